ALTER TABLE deliveries ADD COLUMN verified_at BIGINT;
