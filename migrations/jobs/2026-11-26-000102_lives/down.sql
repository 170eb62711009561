DROP INDEX job_due;
DROP INDEX job_suspect;
DROP INDEX job_set;
DROP INDEX job_ended;
CREATE INDEX job_claim ON job (claim_at, id) WHERE claim_at IS NOT NULL;
CREATE INDEX job_ended ON job (ended_at) WHERE ended_at IS NOT NULL;
ALTER TABLE job DROP COLUMN suspect;
ALTER TABLE job DROP COLUMN set_at;
