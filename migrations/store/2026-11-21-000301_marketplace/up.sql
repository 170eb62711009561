-- Amounts: 16 bytes big-endian, base units. Hashes 32, addresses 20 bytes. Times: Unix microseconds. Usage: the unit's finest measure.

-- Whose database this is. One row; a program with another role, chain, contract or account is refused.
CREATE TABLE identity (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    role      TEXT    NOT NULL CHECK (role IN ('agent', 'client')),
    chain_id  BIGINT  NOT NULL,
    contract  BLOB    NOT NULL CHECK (length(contract) = 20),
    token     BLOB    NOT NULL CHECK (length(token) = 20),
    account   BLOB    NOT NULL CHECK (length(account) = 20)
);

-- Every confirmed event that we acted on. What the chain says of a channel or an offering is a fold over its rows, so
-- undoing orphaned blocks is: delete their rows, fold again.
CREATE TABLE chain_events (
    block     BIGINT  NOT NULL,
    log_index BIGINT  NOT NULL,
    tx        BLOB    NOT NULL CHECK (length(tx) = 32),
    agent     BLOB    NOT NULL CHECK (length(agent) = 20),
    channel   BLOB             CHECK (channel IS NULL OR length(channel) = 32),
    offering  BLOB             CHECK (offering IS NULL OR length(offering) = 32),
    event     TEXT    NOT NULL,
    PRIMARY KEY (block, log_index)
);
CREATE INDEX chain_events_channel ON chain_events (channel, block, log_index) WHERE channel IS NOT NULL;
CREATE INDEX chain_events_offering ON chain_events (agent, offering, block, log_index) WHERE offering IS NOT NULL;

-- Keyed by agent and hash: anybody may announce any hash under their own address.
CREATE TABLE offerings (
    agent         BLOB    NOT NULL CHECK (length(agent) = 20),
    hash          BLOB    NOT NULL CHECK (length(hash) = 32),
    status        TEXT    NOT NULL CHECK (status IN
                  ('draft', 'registering', 'registered', 'popping_up', 'popped_up', 'removing', 'removed')),
    -- The signed message, once we have it and it passed every check.
    message       BLOB,
    country       TEXT,
    min_deposit   BLOB    NOT NULL CHECK (length(min_deposit) = 16),
    supply        BIGINT  NOT NULL CHECK (supply >= 0),
    free_supply   BIGINT  NOT NULL CHECK (free_supply >= 0),
    source_type   SMALLINT NOT NULL,
    source        TEXT    NOT NULL,
    announced_at  BIGINT,
    -- Our own last step (a transaction sent, or failed): the status that it led to, and `announced_at` then.
    step          TEXT,
    step_at       BIGINT,
    -- Why its message could not be had or was refused.
    problem       TEXT,
    created_at    BIGINT  NOT NULL,
    PRIMARY KEY (agent, hash)
);
CREATE INDEX offerings_recent ON offerings (announced_at, created_at);
-- Whoever announced a hash: an event of a channel names the hash alone.
CREATE INDEX offerings_hash ON offerings (hash);

CREATE TABLE channels (
    id                 BLOB     NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    client             BLOB     NOT NULL CHECK (length(client) = 20),
    agent              BLOB     NOT NULL CHECK (length(agent) = 20),
    offering           BLOB     NOT NULL CHECK (length(offering) = 32),
    nonce              BIGINT   NOT NULL,
    signer             BLOB     NOT NULL CHECK (length(signer) = 20),
    -- The deposit asked for before the opening: what `deposit` goes back to when the opening is undone.
    asked              BLOB     NOT NULL CHECK (length(asked) = 16),
    -- What the chain says (a fold over chain_events).
    deposit            BLOB     NOT NULL CHECK (length(deposit) = 16),
    paid               BLOB     NOT NULL CHECK (length(paid) = 16),
    fee                INTEGER  NOT NULL,
    opened_at          BIGINT,
    close_requested_at BIGINT,
    status             TEXT     NOT NULL CHECK (status IN ('pending', 'active', 'wait_coop', 'closed_coop',
                       'wait_challenge', 'in_challenge', 'wait_uncoop', 'closed_uncoop')),
    -- Our own last step (a transaction sent, or failed): the status that it led to, and the channel's last event then.
    -- `status` is that step and the later events replayed, so it can be had again after events were undone.
    step               TEXT,
    step_block         BIGINT,
    step_index         BIGINT,
    -- What we do with it.
    service            TEXT     NOT NULL CHECK (service IN ('pending', 'activating', 'active', 'suspending',
                       'suspended', 'terminating', 'terminated')),
    service_since      BIGINT   NOT NULL,
    -- Why the service is in that state, for the operator.
    reason             TEXT,
    username           TEXT,
    password           TEXT,
    -- Access parameters: what the agent hands out, what the client got.
    access             TEXT,
    -- The operator paused it; billing alone does not resume it.
    held               BOOLEAN  NOT NULL DEFAULT FALSE,
    top_up_pending     BOOLEAN  NOT NULL DEFAULT FALSE,
    created_at         BIGINT   NOT NULL,
    CHECK ((step_block IS NULL) = (step_index IS NULL)),
    CHECK (step IS NOT NULL OR step_block IS NULL)
);
CREATE INDEX channels_recent ON channels (created_at);
CREATE INDEX channels_live ON channels (created_at) WHERE service <> 'terminated';
CREATE INDEX channels_offering ON channels (offering, client);

-- One row per channel: the best voucher an agent holds, the highest a client signed.
CREATE TABLE vouchers (
    channel    BLOB    NOT NULL PRIMARY KEY CHECK (length(channel) = 32),
    cumulative BLOB    NOT NULL CHECK (length(cumulative) = 16),
    signature  BLOB    NOT NULL CHECK (length(signature) = 65),
    -- Vouchers accepted or signed on the channel so far.
    count      BIGINT  NOT NULL,
    -- The client's view: what the agent has acknowledged.
    acknowledged BLOB  NOT NULL CHECK (length(acknowledged) = 16),
    updated_at BIGINT  NOT NULL
) WITHOUT ROWID;

-- Totals per session, never deltas: a report processed twice changes nothing.
CREATE TABLE sessions (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    channel    BLOB    NOT NULL REFERENCES channels (id),
    used       BIGINT  NOT NULL CHECK (used >= 0),
    peer       TEXT,
    started_at BIGINT  NOT NULL,
    last_usage BIGINT,
    stopped_at BIGINT
);
CREATE INDEX sessions_channel ON sessions (channel, started_at);
CREATE INDEX sessions_open ON sessions (id) WHERE stopped_at IS NULL;
