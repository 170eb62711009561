DROP TABLE chain_attempts;
DROP TABLE chain_txs;
DROP TABLE chain_blocks;
DROP TABLE chain_cursors;
