-- Whether the intent of the same purpose (its parent, or the one that it is the parent of) is mined, so that it has neither a
-- deadline nor a stake for now.
ALTER TABLE chain_txs ADD COLUMN relieved BOOLEAN NOT NULL DEFAULT FALSE;
-- An intent has one rescue, for ever.
DROP INDEX chain_txs_parent;
CREATE UNIQUE INDEX chain_txs_parent ON chain_txs (parent) WHERE parent IS NOT NULL;
