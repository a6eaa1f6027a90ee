-- The addresses of a user; and who else is known to a backend by an id.
CREATE INDEX identities_user ON identities (user_id);
CREATE INDEX identities_upstream ON identities (realm, upstream_id) WHERE upstream_id IS NOT NULL;
