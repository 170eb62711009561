-- An earlier version fetches the messages of others' offerings by jobs, and knows no orders about its own. The name of the constraint
-- is what the operator reads.
CREATE TABLE offerings_under_way (n INTEGER, CONSTRAINT
    "offerings of this node's account are decided from their stored states, which an earlier version does not know; go on with this version, or restore a backup of before"
    CHECK (n = 0));
INSERT INTO offerings_under_way SELECT count(*) FROM offering_states WHERE ownership LIKE '{"own":%';
DROP TABLE offerings_under_way;

DROP TABLE offering_states;
CREATE INDEX offerings_without_message ON offerings (announced_at, created_at)
    WHERE message IS NULL AND status IN ('registered', 'popping_up', 'popped_up');
