DROP INDEX sessions_user;
CREATE INDEX sessions_user ON sessions (user_id) WHERE ended_at IS NULL;
DROP INDEX identities_upstream;
DROP INDEX identities_user;
