DROP TABLE meters;
DROP INDEX sessions_open;
CREATE INDEX sessions_open ON sessions (id) WHERE stopped_at IS NULL;
