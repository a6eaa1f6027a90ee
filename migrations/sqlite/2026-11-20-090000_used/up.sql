-- That the code of a message came back is told by the record (code.consumed), and when by its challenge.
ALTER TABLE deliveries DROP COLUMN verified_at;
