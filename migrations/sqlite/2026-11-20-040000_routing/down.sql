DROP TABLE provider_outcomes;
DROP TABLE provider_state;
DROP INDEX deliveries_failed;
ALTER TABLE deliveries DROP COLUMN failed_providers;
