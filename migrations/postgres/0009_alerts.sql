-- What is wrong, since when, and who was told. Written in the transaction that records the jobs which tell of it.
CREATE TABLE alerts (
    id              TEXT   NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    rule            TEXT   NOT NULL CHECK (length(rule) BETWEEN 1 AND 100),
    -- What it is about, where a rule has several; else empty.
    cause           TEXT   NOT NULL CHECK (length(cause) <= 200),
    severity        TEXT   NOT NULL CHECK (severity IN ('critical', 'warning', 'info')),
    summary         TEXT   NOT NULL,
    runbook         TEXT   NOT NULL,
    source          TEXT   NOT NULL,
    -- The figure when it was last seen.
    figure          DOUBLE PRECISION,
    opened_ms       BIGINT NOT NULL,
    -- When a node saw it last; it is over when none has for a while.
    seen_ms         BIGINT NOT NULL,
    -- When somebody is to be told of it next.
    tell_at_ms      BIGINT,
    times_told      BIGINT NOT NULL CHECK (times_told >= 0),
    acknowledged_ms BIGINT,
    acknowledged_by TEXT,
    escalated       BOOLEAN NOT NULL,
    resolved_ms     BIGINT,
    CHECK ((acknowledged_ms IS NULL) = (acknowledged_by IS NULL))
);
-- Of several nodes one opens it.
CREATE UNIQUE INDEX alerts_open ON alerts (rule, cause) WHERE resolved_ms IS NULL;
CREATE INDEX alerts_resolved ON alerts (resolved_ms) WHERE resolved_ms IS NOT NULL;

-- Rules that nobody is told of for a while.
CREATE TABLE alert_silences (
    rule     TEXT   NOT NULL PRIMARY KEY CHECK (length(rule) BETWEEN 1 AND 100),
    until_ms BIGINT NOT NULL,
    reason   TEXT   NOT NULL CHECK (length(reason) <= 200),
    made_by  TEXT   NOT NULL
);
