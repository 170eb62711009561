-- Lists read the rows of their page, however many others there are. Queries repeat the conditions word for word: a bound
-- value proves no partial index.
CREATE INDEX offerings_in_country ON offerings (country, announced_at, created_at);
CREATE INDEX offerings_available ON offerings (announced_at, created_at)
    WHERE free_supply > 0 AND message IS NOT NULL AND status IN ('registered', 'popping_up', 'popped_up');
CREATE INDEX offerings_available_in ON offerings (country, announced_at, created_at)
    WHERE free_supply > 0 AND message IS NOT NULL AND status IN ('registered', 'popping_up', 'popped_up');
CREATE INDEX offerings_without_message ON offerings (announced_at, created_at)
    WHERE message IS NULL AND status IN ('registered', 'popping_up', 'popped_up');
CREATE INDEX vouchers_unacknowledged ON vouchers (channel) WHERE acknowledged < cumulative;
CREATE INDEX sessions_peer ON sessions (id) WHERE peer IS NOT NULL;
