DROP TABLE sessions;
DROP TABLE vouchers;
DROP TABLE channels;
DROP TABLE offerings;
DROP TABLE chain_events;
DROP TABLE identity;
