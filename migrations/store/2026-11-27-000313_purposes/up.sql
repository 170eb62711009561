-- What each transaction is for. Written in the transaction that stores it; whoever answers its outcome reads it here, and nothing
-- in its key, its kind or its calldata. Transactions are never deleted, and neither is this.
CREATE TABLE purposes (
    -- The transactor's number of it, in `chain_txs`.
    tx           INTEGER NOT NULL PRIMARY KEY,
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
    "order"      BIGINT
);
CREATE UNIQUE INDEX purposes_subject ON purposes (subject_kind, subject, seq);
CREATE INDEX purposes_job ON purposes (job) WHERE job IS NOT NULL;
