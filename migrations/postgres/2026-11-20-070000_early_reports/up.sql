-- What gateways reported of a message before its sender noted who took it, one to a line.
ALTER TABLE deliveries ADD COLUMN early_reports TEXT;
