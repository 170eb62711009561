DROP TABLE contract_facts;
