-- One login that lives on. family: SHA-256 of what its refresh tokens have in common; refresh_hash: of the current one.
-- A session of the mesibo dialect has neither, and is found by its chat token. ended_at also sets expires_at.
CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    realm TEXT NOT NULL,
    app_id TEXT NOT NULL,
    dialect TEXT NOT NULL,
    address TEXT NOT NULL,
    challenge_id TEXT NOT NULL,
    channel TEXT,
    label TEXT,
    network TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    family BLOB,
    refresh_hash BLOB,
    previous_hash BLOB,
    successor BLOB,
    rotated_at BIGINT,
    chat_token_hash BLOB,
    ended_at BIGINT,
    ended_why TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX sessions_family ON sessions (family) WHERE family IS NOT NULL;
CREATE INDEX sessions_chat_token ON sessions (chat_token_hash) WHERE chat_token_hash IS NOT NULL;
CREATE INDEX sessions_user ON sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- The way that the right code came.
ALTER TABLE challenges ADD COLUMN channel TEXT;
