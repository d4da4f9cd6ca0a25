-- Which entry waits in front of all others that are sealed with one key, whatever else waits in front of it. Only what
-- is in no block yet is in it, about a second's entries.
CREATE INDEX audit_entries_waiting ON audit_entries (key_id, id) WHERE position IS NULL;
