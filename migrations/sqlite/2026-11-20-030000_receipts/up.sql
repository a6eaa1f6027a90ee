-- What gateways report. locale: that of the text, for another one. resend_of: the message that did not arrive. due_at:
-- when another is sent in its place, unless a report says that it arrived.
ALTER TABLE deliveries ADD COLUMN locale TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN resend_of TEXT;
ALTER TABLE deliveries ADD COLUMN due_at BIGINT;
ALTER TABLE deliveries ADD COLUMN reported_at BIGINT;
-- Most rows are in one of these indexes for a moment, or never.
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_resent ON deliveries (challenge_id) WHERE resend_of IS NOT NULL;
CREATE INDEX deliveries_foreign ON deliveries (provider, provider_id) WHERE provider_id IS NOT NULL;
