-- Who holds a job is one life of a processor, and a held job is in no index that claims read.
--
-- `held_by` is a name that no other life has, so that a start frees what is held by lives that have ended. Leases have no
-- end in time: `claim_at` of a held job only says that it is still the head of its subject.

-- Crashes in a row: how often the process has died under the job since a run of it last came to an end.
ALTER TABLE job ADD COLUMN suspect INTEGER NOT NULL DEFAULT 0;
-- The wall time at which `claim_at` was written. One in the future shows that the clock was set back since.
ALTER TABLE job ADD COLUMN set_at BIGINT NOT NULL DEFAULT 0;

-- What may be claimed, by kind, in the order of its time; and the same for suspects. The queries repeat the conditions
-- word for word.
DROP INDEX job_claim;
CREATE INDEX job_due ON job (kind, claim_at, id) WHERE claim_at IS NOT NULL AND held_by IS NULL AND suspect < 2;
CREATE INDEX job_suspect ON job (kind, claim_at, id) WHERE claim_at IS NOT NULL AND held_by IS NULL AND suspect >= 2;
-- Waits that were written at a time that has not come yet.
CREATE INDEX job_set ON job (set_at) WHERE claim_at IS NOT NULL AND held_by IS NULL;
-- Pruning, by status.
DROP INDEX job_ended;
CREATE INDEX job_ended ON job (status, ended_at) WHERE ended_at IS NOT NULL;
