-- Until when a person's events go through the crisis lane; not included. NULL for those who are not marked, and for
-- those who were marked by a version that knew no end.
ALTER TABLE customers ADD COLUMN marked_until_ms BIGINT;

-- The scores of the last weeks, in which a rapid deterioration would show, sealed.
CREATE TABLE assessment_scores (
    customer TEXT NOT NULL REFERENCES customers (id),
    -- Part of what the sealing is bound to, as in person_data.
    kind     TEXT NOT NULL CHECK (kind = 'scores'),
    key_id   TEXT NOT NULL,
    sealed   BYTEA NOT NULL,
    PRIMARY KEY (customer, kind)
);

-- What operators switch on in an emergency, for every node and over restarts. What has come to its end is off.
CREATE TABLE emergency_switches (
    name     TEXT    NOT NULL PRIMARY KEY CHECK (name IN ('bypass', 'global_bypass', 'maintenance')),
    -- How often it was switched on, went off or was switched off.
    changes  BIGINT  NOT NULL CHECK (changes > 0),
    is_on    BOOLEAN NOT NULL,
    reason   TEXT    NOT NULL,
    since_ms BIGINT  NOT NULL,
    until_ms BIGINT  NOT NULL CHECK (until_ms >= since_ms)
);

-- Crises that were not answered within their time.
CREATE TABLE crisis_violations (
    id       TEXT   NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 255),
    customer TEXT   NOT NULL REFERENCES customers (id),
    severity TEXT   NOT NULL CHECK (severity IN ('moderate', 'high', 'critical')),
    at_ms    BIGINT NOT NULL,
    limit_ms BIGINT NOT NULL CHECK (limit_ms > 0),
    -- How long nothing had been answered when it was noticed.
    took_ms  BIGINT NOT NULL CHECK (took_ms >= limit_ms)
);
CREATE INDEX crisis_violations_at ON crisis_violations (at_ms);
