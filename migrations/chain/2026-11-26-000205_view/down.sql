ALTER TABLE chain_cursors DROP COLUMN block_time;
