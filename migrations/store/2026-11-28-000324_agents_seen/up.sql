-- The agents that proved a key of a messaging session here: with which versions, and the newest of their words. Whoever spoke version 2
-- once is not spoken to in version 1 again, and a word that had expired when the newest was given is refused. Dates in seconds.
CREATE TABLE agents_seen (
    agent     BLOB    NOT NULL PRIMARY KEY CHECK (length(agent) = 20),
    version   INTEGER NOT NULL CHECK (version BETWEEN 2 AND 65535),
    issued_at BIGINT  NOT NULL CHECK (issued_at >= 0)
) WITHOUT ROWID;
