-- The ledger: what is owed. A job's row is small and changes; its sealed payload is large and does not,
-- so they live apart and finishing a job rewrites a hundred bytes instead of thousands.
CREATE TABLE jobs (
    id             UUID    NOT NULL PRIMARY KEY,
    kind           TEXT    NOT NULL CHECK (length(kind) BETWEEN 1 AND 100),
    lane           TEXT    NOT NULL CHECK (lane IN ('crisis', 'therapeutic', 'realtime', 'standard', 'background')),
    state          TEXT    NOT NULL CHECK (state IN ('owed', 'done', 'dead', 'cancelled')),
    dedupe_key     TEXT    UNIQUE CHECK (length(dedupe_key) <= 1000),
    subject        TEXT    CHECK (length(subject) <= 255),
    turn           BIGINT,
    attempts       INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    last_error     TEXT,
    run_at_ms      BIGINT  NOT NULL,
    created_at_ms  BIGINT  NOT NULL,
    finished_at_ms BIGINT,
    trace          TEXT    CHECK (length(trace) <= 255),
    CHECK ((finished_at_ms IS NULL) = (state = 'owed'))
) WITH (fillfactor = 80);

CREATE INDEX jobs_owed ON jobs (lane, id) WHERE state = 'owed';
CREATE INDEX jobs_dead ON jobs (id) WHERE state = 'dead';
CREATE INDEX jobs_subject ON jobs (subject, id) WHERE subject IS NOT NULL;

CREATE TABLE job_payloads (
    job_id UUID  NOT NULL PRIMARY KEY,
    key_id TEXT  NOT NULL,
    sealed BYTEA NOT NULL
);
-- Sealed bytes do not compress; trying costs time.
ALTER TABLE job_payloads ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- Every run that did not end in `done`.
CREATE TABLE job_attempts (
    job_id         UUID    NOT NULL,
    attempt        INTEGER NOT NULL,
    outcome        TEXT    NOT NULL CHECK (outcome IN ('retry', 'snooze', 'cancel', 'dead', 'crashed', 'released')),
    error          TEXT,
    node           TEXT    NOT NULL,
    finished_at_ms BIGINT  NOT NULL
);
CREATE INDEX job_attempts_job ON job_attempts (job_id, finished_at_ms);
