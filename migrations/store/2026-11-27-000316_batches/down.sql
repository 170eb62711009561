-- As in 314, which is undone after this: what is dropped here, channels with a stored state go on from. The name of the constraint is
-- what the operator reads.
CREATE TABLE adopted_channels (n INTEGER, CONSTRAINT
    "channels of this database are decided from their stored states, which an earlier version does not know; go on with this version, or restore a backup of before"
    CHECK (n = 0));
INSERT INTO adopted_channels SELECT count(*) FROM channel_states;
DROP TABLE adopted_channels;

DROP TABLE collected;
CREATE TABLE purposes_of_one (
    tx           INTEGER NOT NULL PRIMARY KEY,
    subject_kind TEXT    NOT NULL CHECK (subject_kind IN ('channel', 'offering', 'account')),
    subject      BLOB    NOT NULL CHECK (length(subject) = CASE subject_kind WHEN 'channel' THEN 32 WHEN 'offering' THEN 52 ELSE 20 END),
    seq          BIGINT  NOT NULL CHECK (seq > 0),
    purpose      TEXT    NOT NULL,
    from_wallet  BOOLEAN NOT NULL,
    job          BIGINT,
    "order"      BIGINT
);
INSERT INTO purposes_of_one
    SELECT tx, subject_kind, subject, seq, purpose, from_wallet, job, "order" FROM purposes ORDER BY tx, subject_kind, subject;
DROP TABLE purposes;
ALTER TABLE purposes_of_one RENAME TO purposes;
CREATE UNIQUE INDEX purposes_subject ON purposes (subject_kind, subject, seq);
CREATE INDEX purposes_job ON purposes (job) WHERE job IS NOT NULL;
