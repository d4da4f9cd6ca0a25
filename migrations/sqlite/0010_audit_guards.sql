-- A statement that says OR REPLACE deletes what is in its way without asking the triggers that keep it (0003). So what
-- is in its way is looked for first.
DROP TRIGGER audit_entries_in_place;
CREATE TRIGGER audit_entries_in_place BEFORE UPDATE OF position ON audit_entries
WHEN OLD.position IS NOT NULL OR NEW.position IS NULL
    OR EXISTS (SELECT 1 FROM audit_entries WHERE position IS NOT NULL AND position = NEW.position)
BEGIN
    SELECT RAISE(ABORT, 'the positions of audit entries are never changed');
END;
CREATE TRIGGER audit_keys_new BEFORE INSERT ON audit_keys
WHEN EXISTS (SELECT 1 FROM audit_keys WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'an audit key is added once');
END;
CREATE TRIGGER audit_head_new BEFORE INSERT ON audit_head
WHEN EXISTS (SELECT 1 FROM audit_head WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'the audit trail has one head');
END;
