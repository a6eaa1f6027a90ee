DROP INDEX deliveries_foreign;
DROP INDEX deliveries_resent;
DROP INDEX deliveries_due;
ALTER TABLE deliveries DROP COLUMN reported_at;
ALTER TABLE deliveries DROP COLUMN due_at;
ALTER TABLE deliveries DROP COLUMN resend_of;
ALTER TABLE deliveries DROP COLUMN locale;
