DROP INDEX channels_unclosed;
DROP TABLE fold_snapshots;
ALTER TABLE offerings DROP COLUMN fold;
ALTER TABLE offerings DROP COLUMN fold_version;
ALTER TABLE channels DROP COLUMN fold;
ALTER TABLE channels DROP COLUMN fold_version;
