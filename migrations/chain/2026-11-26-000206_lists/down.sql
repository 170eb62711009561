DROP INDEX chain_txs_sender;
DROP INDEX chain_txs_status;
DROP INDEX chain_txs_kind;
