DROP INDEX sessions_peer;
DROP INDEX vouchers_unacknowledged;
DROP INDEX offerings_without_message;
DROP INDEX offerings_available_in;
DROP INDEX offerings_available;
DROP INDEX offerings_in_country;
