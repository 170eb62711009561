-- The transaction that carried an order out, where one did and it is known: its number in `transactions`, which are removed earlier
-- than orders.
ALTER TABLE orders ADD COLUMN tx BIGINT CHECK (tx > 0);
