-- What the chain says of a channel or an offering is kept as it stands, so that an event costs the same however many came
-- before it. `fold` is JSON: the state, the place of the last event that is in it, and how many events it took in since its
-- last snapshot. `fold_version` is the rules that it was folded by. Other rules, and 0, mean: fold once from the stored
-- events, when an event next touches it.
ALTER TABLE channels ADD COLUMN fold_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE channels ADD COLUMN fold TEXT;
ALTER TABLE offerings ADD COLUMN fold_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE offerings ADD COLUMN fold TEXT;

-- How a fold stood after some of its events, one of every 64: undoing blocks folds from the last one that is left.
CREATE TABLE fold_snapshots (
    -- The channel's id, or the offering's agent and hash.
    subject   BLOB   NOT NULL CHECK (length(subject) IN (32, 52)),
    -- The last event that is in it.
    block     BIGINT NOT NULL,
    log_index BIGINT NOT NULL,
    -- JSON.
    state     TEXT   NOT NULL,
    PRIMARY KEY (subject, block, log_index)
) WITHOUT ROWID;
CREATE INDEX fold_snapshots_block ON fold_snapshots (block);

-- What is compared with the contract's storage.
CREATE INDEX channels_unclosed ON channels (created_at) WHERE status NOT IN ('closed_coop', 'closed_uncoop');
