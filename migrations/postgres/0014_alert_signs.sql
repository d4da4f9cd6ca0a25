-- What must not be missed has happened: written in the transaction of what it is about, and gone once an alert of its rule
-- was recorded and it no longer counts.
CREATE TABLE alert_signs (
    rule  TEXT   NOT NULL CHECK (length(rule) BETWEEN 1 AND 100),
    at_ms BIGINT NOT NULL
);
CREATE INDEX alert_signs_at ON alert_signs (at_ms);
