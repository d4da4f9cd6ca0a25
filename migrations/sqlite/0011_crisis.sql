-- When it was switched last, as whoever switched it said: what was switched before that and is recorded later changes
-- nothing any more. 0 for what a version switched that did not know.
ALTER TABLE emergency_switches ADD COLUMN switched_ms BIGINT NOT NULL DEFAULT 0;

-- Who is in a high-risk period: looked for once a minute by every process.
CREATE INDEX crisis_signals_high_risk ON crisis_signals (at_ms, customer) WHERE source = 'high_risk';
