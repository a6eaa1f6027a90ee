ALTER TABLE deliveries DROP COLUMN early_reports;
