-- What was found at the last check of the contract: a start without an endpoint goes on from it.
CREATE TABLE contract_facts (
    id                  INTEGER PRIMARY KEY CHECK (id = 1),
    chain_id            BIGINT NOT NULL CHECK (chain_id >= 0),
    deployment_chain_id BIGINT NOT NULL CHECK (deployment_chain_id >= 0),
    contract            BLOB   NOT NULL CHECK (length(contract) = 20),
    token               BLOB   NOT NULL CHECK (length(token) = 20),
    -- Keccak-256 of the contract's code, and whether this version knows that code or the operator has accepted it.
    code_hash           BLOB   NOT NULL CHECK (length(code_hash) = 32),
    verdict             TEXT   NOT NULL CHECK (verdict IN ('known', 'accepted')),
    -- Seconds.
    challenge_period    BIGINT NOT NULL CHECK (challenge_period >= 0),
    token_name          TEXT,
    token_symbol        TEXT,
    token_decimals      BIGINT CHECK (token_decimals BETWEEN 0 AND 77),
    -- How the token gets into the contract, in words.
    deposits            TEXT   NOT NULL,
    -- Unix microseconds.
    checked_at          BIGINT NOT NULL
);
