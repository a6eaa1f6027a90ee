-- The providers that did not take a message, comma-separated: they are left out where its challenge sends another.
ALTER TABLE deliveries ADD COLUMN failed_providers TEXT;
CREATE INDEX deliveries_failed ON deliveries (challenge_id) WHERE failed_providers IS NOT NULL;

-- What an operator says of a provider, for all nodes.
CREATE TABLE provider_state (
    provider TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    until BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
) WITHOUT ROWID;

-- Messages that were taken, and codes that came back, by hours since the epoch. country is ZZ for mailboxes.
CREATE TABLE provider_outcomes (
    provider TEXT NOT NULL,
    country TEXT NOT NULL,
    hour BIGINT NOT NULL,
    sent BIGINT NOT NULL,
    verified BIGINT NOT NULL,
    PRIMARY KEY (provider, country, hour)
) WITHOUT ROWID;
CREATE INDEX provider_outcomes_age ON provider_outcomes (hour);
