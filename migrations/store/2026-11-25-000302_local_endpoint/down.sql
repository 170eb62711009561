DROP INDEX channels_local;
ALTER TABLE channels DROP COLUMN local_endpoint;
