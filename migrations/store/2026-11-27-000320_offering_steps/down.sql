-- As of an offering without a transaction under way.
ALTER TABLE offerings ADD COLUMN step TEXT;
ALTER TABLE offerings ADD COLUMN step_at BIGINT;
