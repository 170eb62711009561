-- What is under way of an own offering follows from its state (`offering_states`).
ALTER TABLE offerings DROP COLUMN step;
ALTER TABLE offerings DROP COLUMN step_at;
