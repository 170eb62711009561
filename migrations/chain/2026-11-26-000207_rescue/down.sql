DROP INDEX chain_txs_parent;
CREATE INDEX chain_txs_parent ON chain_txs (parent) WHERE parent IS NOT NULL;
ALTER TABLE chain_txs DROP COLUMN relieved;
