-- Interests of which only recent logs matter are followed from some block on, and searched for backwards from there: blocks
-- back_until to back_next are still to be searched, from the newest on; none when back_next < back_until. NULL as long as
-- the stream does not follow them.
ALTER TABLE chain_cursors ADD COLUMN back_next BIGINT CHECK (back_next >= 0);
ALTER TABLE chain_cursors ADD COLUMN back_until BIGINT CHECK (back_until > 0);
