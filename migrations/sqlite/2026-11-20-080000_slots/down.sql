-- Places are laid out in another way.
UPDATE challenges SET slots = x'' WHERE consumed_at IS NULL;
