-- The own time of the newest processed block, in seconds since the Unix epoch: how old the view is at a start without an
-- endpoint. NULL before it was stored.
ALTER TABLE chain_cursors ADD COLUMN block_time BIGINT CHECK (block_time >= 0);
