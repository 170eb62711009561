-- Hashes 32, addresses 20 bytes; amounts 16 bytes big-endian, in wei. Times: Unix microseconds.

-- Where a monitor is. Moves in the transaction that holds the effects of the blocks it passes.
CREATE TABLE chain_cursors (
    stream      TEXT    NOT NULL PRIMARY KEY,
    chain_id    BIGINT  NOT NULL,
    -- The watched contracts, sorted, in hex: a stream never changes its subject.
    contracts   TEXT    NOT NULL,
    start_block BIGINT  NOT NULL CHECK (start_block >= 0),
    next_block  BIGINT  NOT NULL CHECK (next_block >= start_block)
);

-- Hashes of processed blocks: what a reorg is recognised by, and how far back it can be undone.
CREATE TABLE chain_blocks (
    stream  TEXT    NOT NULL REFERENCES chain_cursors (stream) ON DELETE CASCADE,
    number  BIGINT  NOT NULL CHECK (number >= 0),
    hash    BLOB    NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (stream, number)
) WITHOUT ROWID;

-- What we want the chain to do. The key makes a repeated submission the same intent.
CREATE TABLE chain_txs (
    id             INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    key            TEXT    NOT NULL UNIQUE,
    chain_id       BIGINT  NOT NULL,
    sender         BLOB    NOT NULL CHECK (length(sender) = 20),
    recipient      BLOB    NOT NULL CHECK (length(recipient) = 20),
    value          BLOB    NOT NULL CHECK (length(value) = 16),
    input          BLOB    NOT NULL,
    kind           TEXT    NOT NULL,
    subject        TEXT    NOT NULL,
    status         TEXT    NOT NULL CHECK (status IN ('unsent', 'sent', 'mined', 'failed', 'dropped')),
    nonce          BIGINT           CHECK (nonce >= 0),
    gas_limit      BIGINT           CHECK (gas_limit > 0),
    -- Why it does not advance, JSON; for an operator's eyes.
    obstacle       TEXT,
    -- Why it failed, once it has.
    failure        TEXT,
    bump_requested BOOLEAN NOT NULL DEFAULT FALSE,
    -- The receipt last seen; cleared when a reorg takes it back.
    tx_hash        BLOB             CHECK (length(tx_hash) = 32),
    block          BIGINT,
    block_hash     BLOB             CHECK (length(block_hash) = 32),
    success        BOOLEAN,
    gas_used       BIGINT,
    gas_price      BLOB             CHECK (length(gas_price) = 16),
    created_at     BIGINT  NOT NULL,
    updated_at     BIGINT  NOT NULL,
    CHECK (status = 'unsent' OR status = 'failed' OR nonce IS NOT NULL),
    CHECK (status <> 'mined' OR (block IS NOT NULL AND success))
);
-- One nonce, one intent. A dropped intent's nonce belongs to a foreign transaction.
CREATE UNIQUE INDEX chain_txs_nonce ON chain_txs (chain_id, sender, nonce)
    WHERE nonce IS NOT NULL AND status <> 'dropped';
-- The working set: what is not final yet.
CREATE INDEX chain_txs_open ON chain_txs (chain_id, sender, id) WHERE status IN ('unsent', 'sent');
CREATE INDEX chain_txs_subject ON chain_txs (subject, id);

-- Every signed transaction of an intent, stored before its broadcast: any of them may be the one that is mined.
CREATE TABLE chain_attempts (
    hash            BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    tx              BIGINT  NOT NULL REFERENCES chain_txs (id) ON DELETE CASCADE,
    nonce           BIGINT  NOT NULL CHECK (nonce >= 0),
    raw             BLOB    NOT NULL,
    max_fee         BLOB    NOT NULL CHECK (length(max_fee) = 16),
    priority_fee    BLOB    NOT NULL CHECK (length(priority_fee) = 16),
    -- The chain's head when it was signed: how long it has been stuck.
    head            BIGINT  NOT NULL,
    created_at      BIGINT  NOT NULL
) WITHOUT ROWID;
CREATE INDEX chain_attempts_tx ON chain_attempts (tx, created_at);
