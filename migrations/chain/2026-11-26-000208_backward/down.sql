-- An earlier version does not search what is left, but follows everything from the stored block on.
ALTER TABLE chain_cursors DROP COLUMN back_until;
ALTER TABLE chain_cursors DROP COLUMN back_next;
