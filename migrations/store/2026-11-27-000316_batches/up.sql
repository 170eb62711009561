-- One transaction carries effects of many channels: the rows of a batch.
CREATE TABLE purposes_of_many (
    -- The transactor's number of it, in `chain_txs`.
    tx           INTEGER NOT NULL,
    -- What it is about: a channel by its id, an offering by its agent's address and its hash, an account by its address.
    subject_kind TEXT    NOT NULL CHECK (subject_kind IN ('channel', 'offering', 'account')),
    subject      BLOB    NOT NULL CHECK (length(subject) = CASE subject_kind WHEN 'channel' THEN 32 WHEN 'offering' THEN 52 ELSE 20 END),
    -- Numbers the effects of a subject.
    seq          BIGINT  NOT NULL CHECK (seq > 0),
    -- JSON.
    purpose      TEXT    NOT NULL,
    -- Whether its call takes tokens from the wallet or changes what may be taken from it.
    from_wallet  BOOLEAN NOT NULL,
    -- The job that made it.
    job          BIGINT,
    -- The order that it carries out; NULL until orders are stored.
    "order"      BIGINT,
    -- Whether its call may have effects of other channels, too.
    batch        BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (subject_kind, subject, seq)
);
INSERT INTO purposes_of_many (tx, subject_kind, subject, seq, purpose, from_wallet, job, "order")
    SELECT tx, subject_kind, subject, seq, purpose, from_wallet, job, "order" FROM purposes;
DROP TABLE purposes;
ALTER TABLE purposes_of_many RENAME TO purposes;
-- A batch has a channel once at most.
CREATE UNIQUE INDEX purposes_tx ON purposes (tx, subject_kind, subject);
CREATE INDEX purposes_job ON purposes (job, tx) WHERE job IS NOT NULL;

-- Closes and settlements that wait for a batch, each by its channel and its number among the channel's effects.
CREATE TABLE collected (
    channel BLOB   NOT NULL CHECK (length(channel) = 32),
    seq     BIGINT NOT NULL CHECK (seq > 0),
    -- JSON.
    purpose TEXT   NOT NULL,
    -- Since when, in milliseconds of the node's uptime.
    since   BIGINT NOT NULL CHECK (since >= 0),
    PRIMARY KEY (channel, seq)
);
CREATE INDEX collected_since ON collected (since, channel, seq);
