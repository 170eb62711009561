ALTER TABLE chain_cursors DROP COLUMN part_hash;
ALTER TABLE chain_cursors DROP COLUMN part_index;
ALTER TABLE chain_cursors DROP COLUMN part_block;
ALTER TABLE chain_cursors DROP COLUMN interests;
