ALTER TABLE challenges DROP COLUMN channel;
DROP TABLE sessions;
