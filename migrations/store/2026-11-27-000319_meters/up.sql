-- What was used on a channel over all its sessions, kept with each report of one, so that a report reads one row whatever the number
-- of sessions. A channel without use has none.
CREATE TABLE meters (
    channel    BLOB   NOT NULL PRIMARY KEY CHECK (length(channel) = 32),
    used       BIGINT NOT NULL CHECK (used >= 0),
    last_usage BIGINT
) WITHOUT ROWID;

-- Summed in two halves: a broken adapter may have reported more than one sum can hold, which counts as the most.
INSERT INTO meters (channel, used, last_usage)
    SELECT channel,
           CASE WHEN high + (low >> 32) > 2147483647 THEN 9223372036854775807 ELSE (high << 32) + low END,
           last_usage
    FROM (
        SELECT channel, SUM(used >> 32) AS high, SUM(used & 4294967295) AS low, MAX(last_usage) AS last_usage
        FROM sessions GROUP BY channel
    );

-- Whether a session of a channel runs is asked with each report, too.
DROP INDEX sessions_open;
CREATE INDEX sessions_open ON sessions (channel) WHERE stopped_at IS NULL;
