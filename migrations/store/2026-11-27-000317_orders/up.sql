-- What the user ordered, and what the policy ordered in the user's stead. An order is written in the transaction of the decision that
-- takes it, and ends in the transaction of the decision that ends it. Orders are never deleted: their numbers rise, and none is used
-- twice.
CREATE TABLE orders (
    id           INTEGER NOT NULL PRIMARY KEY CHECK (id > 0),
    -- The caller's, so that an order that is given again is the same; NULL for what is ordered without one.
    key          TEXT             CHECK (length(key) > 0),
    -- What it is about: as in `purposes`.
    subject_kind TEXT    NOT NULL CHECK (subject_kind IN ('channel', 'offering', 'account')),
    subject      BLOB    NOT NULL CHECK (length(subject) = CASE subject_kind WHEN 'channel' THEN 32 WHEN 'offering' THEN 52 ELSE 20 END),
    -- JSON.
    what         TEXT    NOT NULL,
    -- By whom and when (microseconds since 1970).
    placed_by    TEXT    NOT NULL,
    placed_at    BIGINT  NOT NULL,
    -- The tokens that it takes, in base units, 16 bytes big-endian; NULL where it takes none. The agent and the day that they count
    -- for, the day in days since 1970.
    amount       BLOB             CHECK (length(amount) = 16),
    agent        BLOB             CHECK (length(agent) = 20),
    day          BIGINT           CHECK (day >= 0),
    -- What became of them, and out of which of the account's two pots they are paid, once that is known.
    held         TEXT             CHECK (held IN ('reserved', 'spent', 'released')),
    pot          TEXT             CHECK (pot IN ('contract', 'wallet')),
    -- How it ended, as JSON, and when; NULL while it is under way.
    outcome      TEXT,
    ended_at     BIGINT,
    CHECK ((amount IS NULL) = (held IS NULL) AND (amount IS NULL) = (agent IS NULL) AND (amount IS NULL) = (day IS NULL)),
    CHECK (pot IS NULL OR amount IS NOT NULL),
    CHECK ((outcome IS NULL) = (ended_at IS NULL))
);
CREATE UNIQUE INDEX orders_key ON orders (key) WHERE key IS NOT NULL;
CREATE INDEX orders_subject ON orders (subject_kind, subject, id);
CREATE INDEX orders_unsettled ON orders (subject_kind, subject, id) WHERE outcome IS NULL OR held = 'reserved';

-- What the orders come to: in all, for each day, for each agent, and for each pot. Kept with each change of an order, so that no
-- decision adds orders up.
CREATE TABLE order_totals (
    scope    TEXT NOT NULL CHECK (scope IN ('all', 'day', 'agent', 'pot')),
    -- Nothing for `all`, the day as 8 bytes big-endian, the agent's address, the pot's name.
    id       BLOB NOT NULL,
    -- Base units, 16 bytes big-endian.
    reserved BLOB NOT NULL CHECK (length(reserved) = 16),
    spent    BLOB NOT NULL CHECK (length(spent) = 16),
    -- What was ever spent, also where a reorganisation has taken it back since. It never falls.
    ever     BLOB NOT NULL CHECK (length(ever) = 16),
    PRIMARY KEY (scope, id)
);
