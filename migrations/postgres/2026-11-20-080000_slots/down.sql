-- Places are laid out in another way.
UPDATE challenges SET slots = '' WHERE consumed_at IS NULL;
