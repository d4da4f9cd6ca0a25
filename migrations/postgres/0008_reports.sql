-- How every crisis that came was answered: kept for as long as the audit trail, far longer than its job. Holds nobody's
-- name.
CREATE TABLE crisis_responses (
    job_id   UUID   NOT NULL PRIMARY KEY,
    kind     TEXT   NOT NULL CHECK (length(kind) BETWEEN 1 AND 100),
    severity TEXT   NOT NULL CHECK (severity IN ('moderate', 'high', 'critical')),
    came_ms  BIGINT NOT NULL,
    limit_ms BIGINT NOT NULL CHECK (limit_ms > 0),
    -- From when it was recorded to the commit of what it changes, in microseconds; NULL if nothing answered it.
    took_us  BIGINT CHECK (took_us >= 0),
    -- Whether the process that answered it measured that. Otherwise it was read from the ledger, to the millisecond.
    measured BOOLEAN NOT NULL
);
CREATE INDEX crisis_responses_came ON crisis_responses (came_ms, job_id);

-- Reports that were made. The content is sealed, so that whoever has the database and no key cannot change it.
CREATE TABLE compliance_reports (
    id      TEXT   NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    kind    TEXT   NOT NULL CHECK (length(kind) BETWEEN 1 AND 100),
    from_ms BIGINT NOT NULL,
    to_ms   BIGINT NOT NULL CHECK (to_ms > from_ms),
    made_ms BIGINT NOT NULL,
    key_id  TEXT   NOT NULL,
    sealed  BYTEA  NOT NULL
);
