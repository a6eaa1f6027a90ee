DROP INDEX identities_upstream;
DROP INDEX identities_user;
