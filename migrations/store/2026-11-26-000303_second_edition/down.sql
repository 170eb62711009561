DROP TABLE contract_events;
ALTER TABLE identity DROP COLUMN deployment_chain_id;
ALTER TABLE offerings DROP COLUMN fee;
ALTER TABLE channels DROP COLUMN closure;
ALTER TABLE channels DROP COLUMN challenge_ends_at;
ALTER TABLE channels ADD COLUMN close_requested_at BIGINT;
