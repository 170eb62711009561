-- A database that has served a contract of the first edition cannot serve one of the second: it is refused as it is, so that
-- the program of before can go on with it until its channels are closed. The name of the constraint is what the operator reads.
CREATE TABLE served_contracts (n INTEGER, CONSTRAINT
    "this database belongs to a contract of the first edition; close its channels with the earlier version, then start this one with a new data folder"
    CHECK (n = 0));
INSERT INTO served_contracts SELECT count(*) FROM identity;
DROP TABLE served_contracts;

-- The second edition counts in seconds of the chain's clock.
ALTER TABLE channels DROP COLUMN close_requested_at;
-- The end of the challenge of the client's pending close request, in seconds of the chain's clock.
ALTER TABLE channels ADD COLUMN challenge_ends_at BIGINT CHECK (challenge_ends_at >= 0);
-- How the channel ended, once it is closed.
ALTER TABLE channels ADD COLUMN closure TEXT CHECK (closure IN
    ('by_agent', 'by_agent_disputed', 'by_both', 'by_client', 'by_client_disputed'));
-- Network fee in 1/100,000 of the channels that open next under the offering.
ALTER TABLE offerings ADD COLUMN fee INTEGER NOT NULL DEFAULT 0 CHECK (fee BETWEEN 0 AND 65535);
-- The chain's id at the contract's deployment, which ids of channels contain. Null: the same as `chain_id`.
ALTER TABLE identity ADD COLUMN deployment_chain_id BIGINT;

-- Confirmed events about the contract itself and about accounts: the network fee, operators, nonces. What the chain says of
-- them is a fold over these rows, as it is for channels over chain_events.
CREATE TABLE contract_events (
    block      BIGINT NOT NULL,
    log_index  BIGINT NOT NULL,
    tx         BLOB   NOT NULL CHECK (length(tx) = 32),
    -- The block's time, in seconds of the chain's clock.
    block_time BIGINT NOT NULL CHECK (block_time >= 0),
    -- Whose operator or nonce it is; null for the network fee.
    account    BLOB            CHECK (account IS NULL OR length(account) = 20),
    event      TEXT   NOT NULL,
    PRIMARY KEY (block, log_index)
);
CREATE INDEX contract_events_account ON contract_events (account, block, log_index);
