-- The addresses of a user; and who else is known to a backend by an id.
CREATE INDEX identities_user ON identities (user_id);
CREATE INDEX identities_upstream ON identities (upstream_id) WHERE upstream_id IS NOT NULL;
-- All sessions of a user, also those that are over: their last use says whether a number was idle.
DROP INDEX sessions_user;
CREATE INDEX sessions_user ON sessions (user_id);
