-- How far each schedule has come. Written in the transaction that records the jobs of its ticks, so every tick is
-- decided on once, by whichever node is first.
CREATE TABLE schedules (
    name         TEXT   NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    -- When it is due, to know whether that was changed.
    timing       TEXT   NOT NULL,
    -- Every tick until then has been decided on.
    through_ms   BIGINT NOT NULL,
    next_tick_ms BIGINT,
    last_tick_ms BIGINT,
    fired_at_ms  BIGINT,
    last_job     BLOB   CHECK (length(last_job) = 16),
    fired        BIGINT NOT NULL DEFAULT 0 CHECK (fired >= 0),
    skipped      BIGINT NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    paused_at_ms BIGINT,
    pause_reason TEXT   CHECK (length(pause_reason) <= 200),
    CHECK ((paused_at_ms IS NULL) = (pause_reason IS NULL))
) WITHOUT ROWID;
