-- What is in the table is nowhere else, so an earlier version cannot go on from it. The name of the constraint is what the
-- operator reads.
CREATE TABLE adopted_channels (n INTEGER, CONSTRAINT
    "channels of this database are decided from their stored states, which an earlier version does not know; go on with this version, or restore a backup of before"
    CHECK (n = 0));
INSERT INTO adopted_channels SELECT count(*) FROM channel_states;
DROP TABLE adopted_channels;

DROP TABLE channel_states;
