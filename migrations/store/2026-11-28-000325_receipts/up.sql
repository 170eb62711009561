-- What a channel's agent has signed of where the channel stands: the receipt over the most, and of several the one with the newest block.
-- It proves to others what the agent said, and decides nothing here.
CREATE TABLE receipts (
    channel    BLOB   NOT NULL PRIMARY KEY CHECK (length(channel) = 32),
    cumulative BLOB   NOT NULL CHECK (length(cumulative) = 16),
    block      BIGINT NOT NULL CHECK (block >= 0),
    receipt    TEXT   NOT NULL
) WITHOUT ROWID;
