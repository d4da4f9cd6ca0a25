-- In which language and time zone a person lives, as their devices stated it last.
ALTER TABLE customers ADD COLUMN locale TEXT;
ALTER TABLE customers ADD COLUMN locale_stated_ms BIGINT;
ALTER TABLE customers ADD COLUMN time_zone TEXT;
ALTER TABLE customers ADD COLUMN time_zone_stated_ms BIGINT;

-- What became of each emergency contact in each crisis. A contact is eight bytes of a hash here; who it is, how they can be
-- reached and what they were told is in no column.
CREATE TABLE contact_notices (
    customer TEXT   NOT NULL REFERENCES customers (id),
    -- The id of what made the crisis known.
    cause    TEXT   NOT NULL CHECK (length(cause) BETWEEN 1 AND 300),
    contact  BIGINT NOT NULL,
    severity TEXT   NOT NULL CHECK (severity IN ('moderate', 'high', 'critical')),
    result   TEXT   NOT NULL CHECK (result IN ('later', 'queued', 'notified', 'skipped')),
    -- Why not, if skipped.
    reason   TEXT   CHECK ((reason IS NULL) = (result <> 'skipped')),
    -- How, if queued or notified.
    method   TEXT   CHECK ((method IS NULL) = (result IN ('later', 'skipped'))),
    at_ms    BIGINT NOT NULL,
    PRIMARY KEY (customer, cause, contact)
);
CREATE INDEX contact_notices_at ON contact_notices (at_ms);
