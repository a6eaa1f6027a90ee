-- What a list of guarded statements is cast to: where one of them did not find its row, the cast fails, and with it the
-- list. SQLite needs none.
CREATE DOMAIN latchkey_found AS BOOLEAN CONSTRAINT latchkey_found CHECK (VALUE);
