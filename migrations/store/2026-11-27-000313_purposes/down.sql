DROP TABLE purposes;
