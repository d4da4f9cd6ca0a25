-- As in SQLite, nobody adds an entry that has its position already. What else the step of that name guards against,
-- statements that say OR REPLACE, is not in PostgreSQL's language.
CREATE TRIGGER audit_entries_new BEFORE INSERT ON audit_entries
    FOR EACH ROW WHEN (NEW.position IS NOT NULL) EXECUTE FUNCTION keepwell_audit_refuse();
