-- Durable jobs. One row is one job, from its creation until it is pruned.
--
-- The jobs of a subject run one after another in the order of their ids. Exactly one row of a subject that has
-- anything to do is its head: the row whose `claim_at` is set, held down to one by `job_head`. A head waits until
-- `claim_at`; while somebody runs it, `held_by` names the holder and `claim_at` is when the lease expires. So one
-- small index answers both "what may be claimed now" and "when is there something to do again", however many jobs
-- wait behind their heads.
CREATE TABLE job (
    id          INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, -- creation order; an id is never used again
    kind        TEXT    NOT NULL CHECK (length(kind) > 0),
    subject     TEXT    NOT NULL,
    payload     TEXT    NOT NULL,                           -- JSON
    created_by  TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL,                           -- all times: Unix microseconds
    status      TEXT    NOT NULL CHECK (status IN ('pending', 'done', 'failed', 'cancelled')),
    ended_at    BIGINT,
    run_at      BIGINT  NOT NULL,                           -- not before
    claim_at    BIGINT,
    held_by     TEXT,
    token       BIGINT  NOT NULL DEFAULT 0,                 -- fencing token: grows with every claim
    tries       INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),   -- ended in an error, panic or timeout
    crashes     INTEGER NOT NULL DEFAULT 0 CHECK (crashes >= 0), -- the holder vanished
    error_cause TEXT,
    error       TEXT,
    unique_key  TEXT,                                       -- set where duplicates are refused
    unique_waiting BOOLEAN NOT NULL DEFAULT FALSE,          -- only until the job is first claimed
    CHECK ((status = 'pending') = (ended_at IS NULL)),
    CHECK (held_by IS NULL OR claim_at IS NOT NULL),        -- only a head is held
    -- An ended job keeps its subject only while the handler of a cancelled job comes to its end.
    CHECK (claim_at IS NULL OR status = 'pending' OR (status = 'cancelled' AND held_by IS NOT NULL)),
    CHECK ((error_cause IS NULL) = (error IS NULL)),
    CHECK (status <> 'failed' OR error IS NOT NULL)
);

-- Claim what is due; find the next time anything is due.
CREATE INDEX job_claim ON job (claim_at, id) WHERE claim_at IS NOT NULL;
-- At most one head a subject.
CREATE UNIQUE INDEX job_head ON job (subject) WHERE claim_at IS NOT NULL;
-- The next job of a subject, however many have ended. The status is always 'pending': with it the query planner prefers
-- this index to `job_by_subject`.
CREATE INDEX job_next ON job (subject, status, id) WHERE ended_at IS NULL;
-- What one holder has in hand.
CREATE INDEX job_held ON job (held_by) WHERE held_by IS NOT NULL;
-- No two pending jobs of one kind, subject and key where that is refused.
CREATE UNIQUE INDEX job_unique ON job (kind, subject, unique_key) WHERE ended_at IS NULL AND unique_key IS NOT NULL;
-- Lists, newest first.
CREATE INDEX job_by_subject ON job (subject, id);
CREATE INDEX job_by_kind ON job (kind, id);
CREATE INDEX job_by_status ON job (status, id);
-- Pruning.
CREATE INDEX job_ended ON job (ended_at) WHERE ended_at IS NOT NULL;
