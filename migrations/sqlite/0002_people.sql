-- What is known about people. A customer's row is taken first by whoever changes anything about that customer, so that
-- changes of one person wait for each other and never lock each other out.
CREATE TABLE customers (
    id                     TEXT    NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 255),
    version                BIGINT  NOT NULL CHECK (version >= 0),
    payment_method_on_file BOOLEAN NOT NULL,
    vulnerable             BOOLEAN NOT NULL,
    resolved_ms            BIGINT,
    -- Whether the person's events go through the crisis lane.
    marked                 BOOLEAN NOT NULL,
    touched_ms             BIGINT  NOT NULL
) WITHOUT ROWID;
CREATE INDEX customers_marked ON customers (id) WHERE marked;

CREATE TABLE subscriptions (
    customer        TEXT   NOT NULL REFERENCES customers (id),
    id              TEXT   NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    status          TEXT   NOT NULL,
    -- A JSON array of price ids.
    prices          TEXT   NOT NULL,
    period_end_s    BIGINT,
    latest_invoice  TEXT,
    event_created_s BIGINT NOT NULL,
    event_id        TEXT   NOT NULL,
    PRIMARY KEY (customer, id)
) WITHOUT ROWID;

CREATE TABLE invoices (
    customer     TEXT   NOT NULL REFERENCES customers (id),
    id           TEXT   NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    subscription TEXT,
    paid_s       BIGINT,
    failed_s     BIGINT,
    learned_ms   BIGINT NOT NULL,
    PRIMARY KEY (customer, id)
) WITHOUT ROWID;

CREATE TABLE grace_periods (
    customer     TEXT    NOT NULL REFERENCES customers (id),
    reason       TEXT    NOT NULL CHECK (reason IN ('crisis_detected', 'payment_failure', 'subscription_canceled', 'system_error')),
    cause        TEXT    NOT NULL CHECK (length(cause) BETWEEN 1 AND 255),
    started_ms   BIGINT  NOT NULL,
    ends_ms      BIGINT  NOT NULL CHECK (ends_ms >= started_ms),
    closed       BOOLEAN NOT NULL,
    subscription TEXT,
    trouble_s    BIGINT,
    PRIMARY KEY (customer, reason, cause)
) WITHOUT ROWID;
CREATE INDEX grace_periods_ends ON grace_periods (ends_ms) WHERE NOT closed;

CREATE TABLE crisis_signals (
    customer       TEXT    NOT NULL REFERENCES customers (id),
    id             TEXT    NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    source         TEXT    NOT NULL,
    severity       TEXT    NOT NULL CHECK (severity IN ('moderate', 'high', 'critical')),
    at_ms          BIGINT  NOT NULL,
    only_in_crisis BOOLEAN NOT NULL,
    PRIMARY KEY (customer, id)
) WITHOUT ROWID;

-- Contacts, safety plan, consent: the whole value as the app sent it last, sealed.
CREATE TABLE person_data (
    customer  TEXT   NOT NULL REFERENCES customers (id),
    kind      TEXT   NOT NULL CHECK (kind IN ('contacts', 'safety_plan', 'consent')),
    stated_ms BIGINT NOT NULL,
    key_id    TEXT   NOT NULL,
    sealed    BLOB   NOT NULL,
    PRIMARY KEY (customer, kind)
);

-- How a device can be reached is sealed; a removed device keeps its row, so that a registration told late does not bring
-- it back.
CREATE TABLE devices (
    customer  TEXT    NOT NULL REFERENCES customers (id),
    id        TEXT    NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    removed   BOOLEAN NOT NULL,
    stated_ms BIGINT  NOT NULL,
    key_id    TEXT    NOT NULL,
    sealed    BLOB    NOT NULL,
    PRIMARY KEY (customer, id)
);
