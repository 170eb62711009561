-- Intents with a priority, a deadline and a stake; nonces that can be released; outcomes that are watched until their
-- block is final. Both tables are built again, because SQLite cannot change the checks of one.

CREATE TABLE chain_txs_new (
    id             INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    key            TEXT    NOT NULL UNIQUE,
    chain_id       BIGINT  NOT NULL,
    sender         BLOB    NOT NULL CHECK (length(sender) = 20),
    recipient      BLOB    NOT NULL CHECK (length(recipient) = 20),
    value          BLOB    NOT NULL CHECK (length(value) = 16),
    input          BLOB    NOT NULL,
    kind           TEXT    NOT NULL,
    subject        TEXT    NOT NULL,
    -- Priority, deadline, stake and what else the submitter asked for, JSON: no query filters by it.
    terms          TEXT    NOT NULL,
    -- The intent that this one stands in for, from another account.
    parent         BIGINT           REFERENCES chain_txs_new (id),
    -- Whether it only uses up a nonce.
    filler         BOOLEAN NOT NULL DEFAULT FALSE,
    status         TEXT    NOT NULL CHECK (status IN ('unsent', 'sent', 'mined', 'failed', 'dropped', 'cancelled')),
    -- How it is to end instead of being sent again, once another transaction has its nonce for good.
    ending         TEXT             CHECK (ending IN ('cancelled', 'failed')),
    -- Whether the transactor still looks at it: it is open, or the block of its outcome is not final yet.
    watched        BOOLEAN NOT NULL,
    -- The nonce that it owns, and the only one that it may be signed for until another transaction has that for good.
    nonce          BIGINT           CHECK (nonce >= 0),
    bound          BIGINT           CHECK (bound >= 0),
    gas_limit      BIGINT           CHECK (gas_limit > 0),
    -- Why it does not advance, JSON; for an operator's eyes.
    obstacle       TEXT,
    -- Why it failed, once it has.
    failure        TEXT,
    -- The raise of its fee that the operator asked for, JSON.
    raise          TEXT,
    -- The receipt last seen; cleared when a reorg takes it back.
    tx_hash        BLOB             CHECK (length(tx_hash) = 32),
    block          BIGINT,
    block_hash     BLOB             CHECK (length(block_hash) = 32),
    success        BOOLEAN,
    gas_used       BIGINT,
    gas_price      BLOB             CHECK (length(gas_price) = 16),
    created_at     BIGINT  NOT NULL,
    updated_at     BIGINT  NOT NULL,
    CHECK (status <> 'sent' OR nonce IS NOT NULL),
    CHECK (status <> 'mined' OR (block IS NOT NULL AND success)),
    CHECK (watched OR status NOT IN ('unsent', 'sent'))
);

CREATE TABLE chain_attempts_new (
    hash            BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    tx              BIGINT  NOT NULL REFERENCES chain_txs_new (id) ON DELETE CASCADE,
    chain_id        BIGINT  NOT NULL,
    sender          BLOB    NOT NULL CHECK (length(sender) = 20),
    nonce           BIGINT  NOT NULL CHECK (nonce >= 0),
    raw             BLOB    NOT NULL,
    max_fee         BLOB    NOT NULL CHECK (length(max_fee) = 16),
    priority_fee    BLOB    NOT NULL CHECK (length(priority_fee) = 16),
    -- Whether a pool has it: `unknown` from before the broadcast until it is answered, which counts as held.
    fate            TEXT    NOT NULL CHECK (fate IN ('unknown', 'held', 'refused')),
    -- The chain's head when it was signed: how long it has been waiting.
    head            BIGINT  NOT NULL,
    created_at      BIGINT  NOT NULL
) WITHOUT ROWID;

-- A filler that was never signed holds nothing; the transactor makes another where one is still needed.
INSERT INTO chain_txs_new (id, key, chain_id, sender, recipient, value, input, kind, subject, terms, filler, status,
        watched, nonce, bound, gas_limit, obstacle, failure, raise, tx_hash, block, block_hash, success, gas_used,
        gas_price, created_at, updated_at)
    SELECT id, key, chain_id, sender, recipient, value, input, kind, subject, '{}', kind = 'nonce-filler', status,
        status IN ('unsent', 'sent'), nonce, nonce, gas_limit, NULL, failure,
        CASE WHEN bump_requested THEN '"market"' END, tx_hash, block, block_hash, success, gas_used, gas_price,
        created_at, updated_at
    FROM chain_txs
    WHERE NOT (kind = 'nonce-filler' AND status = 'unsent');
INSERT INTO chain_attempts_new
    SELECT hash, tx, chain_id, sender, chain_attempts.nonce, raw, max_fee, priority_fee, 'unknown', head,
        chain_attempts.created_at
    FROM chain_attempts JOIN chain_txs ON chain_txs.id = tx
    WHERE tx IN (SELECT id FROM chain_txs_new);

-- The attempts first: dropping the intents would delete them.
DROP TABLE chain_attempts;
DROP TABLE chain_txs;
ALTER TABLE chain_txs_new RENAME TO chain_txs;
ALTER TABLE chain_attempts_new RENAME TO chain_attempts;

-- One nonce, one owner. A dropped intent's nonce belongs to a foreign transaction.
CREATE UNIQUE INDEX chain_txs_nonce ON chain_txs (chain_id, sender, nonce)
    WHERE nonce IS NOT NULL AND status <> 'dropped';
-- The working set.
CREATE INDEX chain_txs_watched ON chain_txs (chain_id, sender, id) WHERE watched = 1;
CREATE INDEX chain_txs_subject ON chain_txs (subject, id);
CREATE INDEX chain_txs_parent ON chain_txs (parent) WHERE parent IS NOT NULL;
CREATE INDEX chain_attempts_tx ON chain_attempts (tx, created_at);
CREATE INDEX chain_attempts_nonce ON chain_attempts (chain_id, sender, nonce);
