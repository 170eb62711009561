-- What the stream follows, JSON; empty before this was stored: then all that the contracts emit counts as followed.
ALTER TABLE chain_cursors ADD COLUMN interests TEXT NOT NULL DEFAULT '';
-- How far a batch that is committed in parts is applied: all logs of block next_block and later ones that come before
-- this index of this block, on the branch of this hash. NULL when all logs below next_block are applied and no other.
ALTER TABLE chain_cursors ADD COLUMN part_block BIGINT CHECK (part_block >= 0);
ALTER TABLE chain_cursors ADD COLUMN part_index BIGINT CHECK (part_index > 0);
ALTER TABLE chain_cursors ADD COLUMN part_hash BLOB CHECK (length(part_hash) = 32);
