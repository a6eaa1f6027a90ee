-- See the twin in migrations/postgres: here, a list of statements is undone by its transaction.
SELECT 1;
