-- Lists read the rows of their page, by whichever filter is set.
CREATE INDEX chain_txs_kind ON chain_txs (kind, id);
CREATE INDEX chain_txs_status ON chain_txs (status, id);
CREATE INDEX chain_txs_sender ON chain_txs (sender, id);
