-- Refused while an intent is cancelled, which the earlier tables cannot hold. Priorities, deadlines, stakes and fates are
-- lost; a nonce that an unsent intent is bound to is kept as its nonce, so that it is signed for no other.

CREATE TABLE chain_txs_old (
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
    obstacle       TEXT,
    failure        TEXT,
    bump_requested BOOLEAN NOT NULL DEFAULT FALSE,
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
CREATE TABLE chain_attempts_old (
    hash            BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    tx              BIGINT  NOT NULL REFERENCES chain_txs_old (id) ON DELETE CASCADE,
    nonce           BIGINT  NOT NULL CHECK (nonce >= 0),
    raw             BLOB    NOT NULL,
    max_fee         BLOB    NOT NULL CHECK (length(max_fee) = 16),
    priority_fee    BLOB    NOT NULL CHECK (length(priority_fee) = 16),
    head            BIGINT  NOT NULL,
    created_at      BIGINT  NOT NULL
) WITHOUT ROWID;
INSERT INTO chain_txs_old
    SELECT id, key, chain_id, sender, recipient, value, input, kind, subject, status, coalesce(nonce, bound), gas_limit,
        NULL, failure, raise IS NOT NULL, tx_hash, block, block_hash, success, gas_used, gas_price, created_at, updated_at
    FROM chain_txs;
INSERT INTO chain_attempts_old
    SELECT hash, tx, nonce, raw, max_fee, priority_fee, head, created_at FROM chain_attempts;
DROP TABLE chain_attempts;
DROP TABLE chain_txs;
ALTER TABLE chain_txs_old RENAME TO chain_txs;
ALTER TABLE chain_attempts_old RENAME TO chain_attempts;
CREATE UNIQUE INDEX chain_txs_nonce ON chain_txs (chain_id, sender, nonce)
    WHERE nonce IS NOT NULL AND status <> 'dropped';
CREATE INDEX chain_txs_open ON chain_txs (chain_id, sender, id) WHERE status IN ('unsent', 'sent');
CREATE INDEX chain_txs_subject ON chain_txs (subject, id);
CREATE INDEX chain_attempts_tx ON chain_attempts (tx, created_at);
