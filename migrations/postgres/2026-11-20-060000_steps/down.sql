DROP DOMAIN latchkey_found;
