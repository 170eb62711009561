DROP TABLE recovery;
