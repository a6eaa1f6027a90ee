-- The place of a code tells how it left: by which message, which way, and for which network. A code that is on its way
-- while this is done is void, and its challenge takes another.
UPDATE challenges SET slots = x'' WHERE consumed_at IS NULL;
