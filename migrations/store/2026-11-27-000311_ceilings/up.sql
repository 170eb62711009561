-- An agent's channels on which not every voucher may be acknowledged: the amount that is certain to be paid, since the agent's
-- own close at that amount may be mined, or the client may end a challenge before a better voucher is cashed. Written with the
-- close, or with the event; read in the transaction that stores a voucher.
CREATE TABLE ceilings (
    channel BLOB NOT NULL PRIMARY KEY CHECK (length(channel) = 32),
    amount  BLOB NOT NULL CHECK (length(amount) = 16)
) WITHOUT ROWID;

-- Until now an agent acknowledged each voucher that it stored.
UPDATE vouchers SET acknowledged = cumulative WHERE EXISTS (SELECT 1 FROM identity WHERE role = 'agent');

-- Of a close that is on its way only the chain's tables know the amount. Nothing above what is stored is acknowledged before it
-- has an outcome.
INSERT INTO ceilings (channel, amount)
    SELECT id, CASE WHEN challenge_ends_at IS NULL THEN COALESCE(cumulative, paid) ELSE paid END
    FROM channels LEFT JOIN vouchers ON vouchers.channel = channels.id
    WHERE channels.status NOT IN ('closed_coop', 'closed_uncoop')
      AND (challenge_ends_at IS NOT NULL OR channels.status = 'wait_coop')
      AND EXISTS (SELECT 1 FROM identity WHERE role = 'agent');
