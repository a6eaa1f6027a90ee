-- Times are unix milliseconds. The twin in migrations/postgres differs in type names, and in WITHOUT ROWID: a row lives
-- in its key's tree, so that a write touches one page fewer.

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    realm TEXT NOT NULL,
    name TEXT,
    created_at BIGINT NOT NULL
) WITHOUT ROWID;

-- Who holds which address in a realm. upstream_id: the backend's own id of an imported user.
CREATE TABLE identities (
    realm TEXT NOT NULL,
    address TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    upstream_id TEXT,
    created_at BIGINT NOT NULL,
    last_login_at BIGINT,
    PRIMARY KEY (realm, address)
) WITHOUT ROWID;

-- One attempt to prove an address; after a right code, the grant that it turned into.
CREATE TABLE challenges (
    id TEXT NOT NULL PRIMARY KEY,
    dialect TEXT NOT NULL,
    purpose TEXT NOT NULL,
    app_id TEXT NOT NULL,
    realm TEXT NOT NULL,
    address TEXT NOT NULL,
    secret_hash BLOB,
    key_id TEXT NOT NULL,
    salt BLOB NOT NULL,
    slots BLOB NOT NULL,
    version INTEGER NOT NULL,
    guesses INTEGER NOT NULL,
    repeats INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    consumed_at BIGINT,
    code_hash BLOB,
    user_id TEXT,
    is_new_user BOOLEAN NOT NULL,
    grant_hash BLOB,
    grant_expires_at BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    minted_at BIGINT,
    ended_at BIGINT
) WITHOUT ROWID;
-- The mesibo dialect finds a challenge by whom it is about: there is one at a time.
CREATE UNIQUE INDEX challenges_current ON challenges (app_id, address) WHERE dialect = 'mesibo' AND ended_at IS NULL;
CREATE UNIQUE INDEX challenges_grant ON challenges (grant_hash) WHERE grant_hash IS NOT NULL;
CREATE INDEX challenges_expiry ON challenges (expires_at);

-- One message. network names the budget that a verified code gives its send back to.
CREATE TABLE deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    challenge_id TEXT NOT NULL,
    address TEXT NOT NULL,
    channel TEXT NOT NULL,
    network TEXT NOT NULL,
    status TEXT NOT NULL,
    provider TEXT,
    provider_id TEXT,
    error TEXT,
    created_at BIGINT NOT NULL,
    deadline_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    verified_at BIGINT
) WITHOUT ROWID;
CREATE INDEX deliveries_pending ON deliveries (deadline_at) WHERE status = 'pending';
CREATE INDEX deliveries_age ON deliveries (created_at);

CREATE TABLE guards (
    realm TEXT NOT NULL,
    address TEXT NOT NULL,
    failures INTEGER NOT NULL,
    comparisons INTEGER NOT NULL,
    next_guess_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (realm, address)
) WITHOUT ROWID;

-- GCRA rows: the theoretical arrival time of the next message. total_arrival is the second rate of a network,
-- ready_at the end of an address's wait.
CREATE TABLE budgets (
    key TEXT NOT NULL PRIMARY KEY,
    arrival BIGINT NOT NULL,
    total_arrival BIGINT NOT NULL,
    ready_at BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE audit (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at BIGINT NOT NULL,
    event TEXT NOT NULL,
    realm TEXT,
    app_id TEXT,
    address TEXT,
    challenge_id TEXT,
    user_id TEXT,
    network TEXT,
    detail TEXT
);
