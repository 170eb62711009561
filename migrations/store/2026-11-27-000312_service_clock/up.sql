-- For how long the processes of this database have run, by which patience is measured: time in which none ran does not count. One
-- row for each. Written each minute and at a shutdown, so that a crash loses a minute at most.
CREATE TABLE service_clock (
    process TEXT   NOT NULL PRIMARY KEY,
    -- Milliseconds since the first start, downtime left out.
    uptime  BIGINT NOT NULL CHECK (uptime >= 0),
    -- How often it was started. What a service adapter did in an earlier life, it knows no more.
    starts  BIGINT NOT NULL CHECK (starts > 0)
) WITHOUT ROWID;
