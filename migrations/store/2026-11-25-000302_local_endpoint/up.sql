-- Where a client's programs find a channel's service on their machine, e.g. a local port, as the adapter last said. It
-- stays with the channel for its life, and is kept after its end, so that no other channel gets it soon.
ALTER TABLE channels ADD COLUMN local_endpoint TEXT;
CREATE INDEX channels_local ON channels (service_since) WHERE local_endpoint IS NOT NULL;
