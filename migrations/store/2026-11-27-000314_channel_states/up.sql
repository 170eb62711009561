-- What this side knows about a channel beyond the chain and the vouchers: what it did, and the answers that it received. Written
-- by the decisions about the channel, once for each, beside `channels`, which keeps what lists and queries need. What is
-- compared or ordered here is a column, the rest one value: a new field of it needs no migration.
CREATE TABLE channel_states (
    channel       BLOB    NOT NULL PRIMARY KEY CHECK (length(channel) = 32),
    -- The form of `own` and `terms`.
    schema        INTEGER NOT NULL,
    -- One more with each change: whoever decided from an earlier one stores nothing.
    revision      BIGINT  NOT NULL CHECK (revision > 0),
    -- Which parts of the channel are decided from this row, as a JSON list of their names.
    adopted       TEXT    NOT NULL,
    -- JSON.
    own           TEXT    NOT NULL,
    -- The terms of the offering as they were when they became known for this channel, as JSON; NULL before.
    terms         TEXT,
    -- When the use grew last, and since when a session runs that is not counted yet, in milliseconds of the node's uptime. How
    -- much was used, `sessions` has.
    used_at       BIGINT  NOT NULL CHECK (used_at >= 0),
    running_since BIGINT           CHECK (running_since >= 0),
    -- When time alone may change a decision: in milliseconds of the node's uptime, and in seconds of the chain's clock.
    wake_at       BIGINT           CHECK (wake_at >= 0),
    wake_chain    BIGINT           CHECK (wake_chain >= 0),
    -- Whether nothing moves the channel on, because nothing is left to be done.
    final         BOOLEAN NOT NULL,
    CHECK (NOT final OR (wake_at IS NULL AND wake_chain IS NULL))
);
CREATE INDEX channel_states_wake_at ON channel_states (wake_at, channel) WHERE wake_at IS NOT NULL;
CREATE INDEX channel_states_wake_chain ON channel_states (wake_chain, channel) WHERE wake_chain IS NOT NULL;
CREATE INDEX channel_states_not_final ON channel_states (channel) WHERE NOT final;
