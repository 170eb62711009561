-- An earlier version does not know what is under way. The name of the constraint is what the operator reads.
CREATE TABLE orders_under_way (n INTEGER, CONSTRAINT
    "orders of this database are under way, which an earlier version does not know; go on with this version until they have ended, or restore a backup of before"
    CHECK (n = 0));
INSERT INTO orders_under_way SELECT count(*) FROM orders WHERE outcome IS NULL OR held = 'reserved';
DROP TABLE orders_under_way;

DROP TABLE order_totals;
DROP TABLE orders;
