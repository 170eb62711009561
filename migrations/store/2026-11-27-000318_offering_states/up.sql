-- What this node does about an offering, its own or another agent's, beyond what the chain shows and its message. Written by the
-- decisions about the offering, once for each, beside `offerings`. Offerings that were stored before get their row at the start.
CREATE TABLE offering_states (
    agent      BLOB    NOT NULL CHECK (length(agent) = 20),
    hash       BLOB    NOT NULL CHECK (length(hash) = 32),
    -- The form of `ownership`.
    schema     INTEGER NOT NULL,
    -- One more with each change: whoever decided from an earlier one stores nothing.
    revision   BIGINT  NOT NULL CHECK (revision > 0),
    -- JSON.
    ownership  TEXT    NOT NULL,
    -- Whether a request to its agent is under way.
    asked      BOOLEAN NOT NULL,
    -- When time alone may change a decision: in milliseconds of the node's uptime, and in seconds of the chain's clock.
    wake_at    BIGINT           CHECK (wake_at >= 0),
    wake_chain BIGINT           CHECK (wake_chain >= 0),
    -- When its agent last sent its message (microseconds since 1970), for people; NULL where it did not, or before this was stored.
    seen_at    BIGINT,
    PRIMARY KEY (agent, hash)
);
CREATE INDEX offering_states_wake_at ON offering_states (asked, wake_at, agent, hash) WHERE wake_at IS NOT NULL;
CREATE INDEX offering_states_wake_chain ON offering_states (wake_chain, agent, hash) WHERE wake_chain IS NOT NULL;
-- The states are what asks for messages now.
DROP INDEX offerings_without_message;
