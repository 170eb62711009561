-- A row is here from the moment at which this database was copied by `backup` until what happened since has been caught up:
-- vouchers that were accepted and transactions that were sent after it are unknown here.
CREATE TABLE recovery (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    -- When the copy was made; Unix microseconds.
    backed_up_at BIGINT NOT NULL,
    -- When the chain had been caught up with after the restore; Unix microseconds.
    caught_up_at BIGINT
);
