-- The audit trail. An entry is written in the transaction of what it tells of; later it gets a position and a block.
-- 220752000000 ms are the 2555 days for which everything here is kept.
CREATE TABLE audit_entries (
    id             UUID   NOT NULL PRIMARY KEY,
    -- Its place in the chain, without a gap; NULL until it is in a block.
    position       BIGINT CHECK (position >= 1),
    at_ms          BIGINT NOT NULL,
    actor_kind     TEXT   NOT NULL CHECK (actor_kind IN ('system', 'operator', 'source')),
    actor          TEXT   NOT NULL CHECK (length(actor) <= 255),
    action         TEXT   NOT NULL CHECK (length(action) BETWEEN 1 AND 100),
    subject        TEXT   CHECK (length(subject) <= 255),
    -- SHA-256 of the details before they were sealed; they hold a salt, so that nobody can guess them from it.
    details_digest BYTEA  NOT NULL CHECK (length(details_digest) = 32),
    key_id         TEXT   NOT NULL,
    sealed         BYTEA  NOT NULL
);
CREATE UNIQUE INDEX audit_entries_position ON audit_entries (position) WHERE position IS NOT NULL;
CREATE INDEX audit_entries_unsealed ON audit_entries (id) WHERE position IS NULL;
CREATE INDEX audit_entries_subject ON audit_entries (subject, id) WHERE subject IS NOT NULL;

-- What makes the authentication codes of blocks: random keys, sealed with the key ring.
CREATE TABLE audit_keys (
    id            BIGINT NOT NULL PRIMARY KEY CHECK (id >= 1),
    -- The key of the ring that was the first one when this one was made.
    made_under    TEXT   NOT NULL,
    created_at_ms BIGINT NOT NULL,
    key_id        TEXT   NOT NULL,
    sealed        BYTEA  NOT NULL
);

-- The chain: each block holds the digests of its entries and the hash of the block before it.
CREATE TABLE audit_blocks (
    number         BIGINT NOT NULL PRIMARY KEY CHECK (number >= 1),
    previous       BYTEA  NOT NULL CHECK (length(previous) = 32),
    first_position BIGINT NOT NULL CHECK (first_position >= 1),
    last_position  BIGINT NOT NULL CHECK (last_position >= first_position),
    sealed_at_ms   BIGINT NOT NULL,
    newest_ms      BIGINT NOT NULL,
    -- 32 bytes for each entry, in the order of their positions.
    digests        BYTEA  NOT NULL CHECK (length(digests) = 32 * (last_position - first_position + 1)),
    hash           BYTEA  NOT NULL CHECK (length(hash) = 32),
    audit_key      BIGINT NOT NULL,
    code           BYTEA  NOT NULL CHECK (length(code) = 32)
);

-- Where the chain begins (retention moves it) and ends. One row; whoever adds a block takes it first.
CREATE TABLE audit_head (
    id            BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    first_block   BIGINT NOT NULL,
    last_block    BIGINT NOT NULL,
    last_position BIGINT NOT NULL,
    hash          BYTEA  NOT NULL CHECK (length(hash) = 32),
    audit_key     BIGINT NOT NULL,
    code          BYTEA  NOT NULL
);
INSERT INTO audit_head (id, first_block, last_block, last_position, hash, audit_key, code)
VALUES (1, 1, 0, 0, decode(repeat('00', 32), 'hex'), 0, '');

-- The last rotation of keys, and how far it has come.
CREATE TABLE key_rotation (
    id             BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    key_id         TEXT   NOT NULL,
    started_at_ms  BIGINT NOT NULL,
    finished_at_ms BIGINT,
    -- Where it goes on: the place of a table in the order of the work, and the last row that was looked at.
    stage          BIGINT NOT NULL,
    cursor         TEXT   NOT NULL,
    looked_at      BIGINT NOT NULL,
    resealed       BIGINT NOT NULL,
    unreadable     BIGINT NOT NULL
);

-- An entry gets its position, once; its details are sealed again with another key. Nothing else about it ever changes.
CREATE FUNCTION keepwell_audit_entry_unchanged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id = OLD.id AND NEW.at_ms = OLD.at_ms AND NEW.actor_kind = OLD.actor_kind AND NEW.actor = OLD.actor
        AND NEW.action = OLD.action AND NEW.subject IS NOT DISTINCT FROM OLD.subject
        AND NEW.details_digest = OLD.details_digest
        AND (
            (OLD.position IS NULL AND NEW.position IS NOT NULL AND NEW.key_id = OLD.key_id AND NEW.sealed = OLD.sealed)
            OR (NEW.position IS NOT DISTINCT FROM OLD.position AND NEW.key_id <> OLD.key_id)
        )
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit entries are never changed';
END $$;
CREATE TRIGGER audit_entries_unchanged BEFORE UPDATE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION keepwell_audit_entry_unchanged();

CREATE FUNCTION keepwell_audit_key_unchanged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id = OLD.id AND NEW.made_under = OLD.made_under AND NEW.created_at_ms = OLD.created_at_ms
        AND NEW.key_id <> OLD.key_id
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit keys are only ever sealed again';
END $$;
CREATE TRIGGER audit_keys_unchanged BEFORE UPDATE ON audit_keys
    FOR EACH ROW EXECUTE FUNCTION keepwell_audit_key_unchanged();

CREATE FUNCTION keepwell_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is only ever added to';
END $$;
CREATE TRIGGER audit_blocks_unchanged BEFORE UPDATE ON audit_blocks
    FOR EACH ROW EXECUTE FUNCTION keepwell_audit_refuse();
CREATE TRIGGER audit_keys_kept BEFORE DELETE ON audit_keys
    FOR EACH ROW EXECUTE FUNCTION keepwell_audit_refuse();
CREATE TRIGGER audit_head_kept BEFORE DELETE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION keepwell_audit_refuse();
CREATE TRIGGER audit_entries_whole BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION keepwell_audit_refuse();
CREATE TRIGGER audit_blocks_whole BEFORE TRUNCATE ON audit_blocks
    FOR EACH STATEMENT EXECUTE FUNCTION keepwell_audit_refuse();
CREATE TRIGGER audit_keys_whole BEFORE TRUNCATE ON audit_keys
    FOR EACH STATEMENT EXECUTE FUNCTION keepwell_audit_refuse();
CREATE TRIGGER audit_head_whole BEFORE TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION keepwell_audit_refuse();

CREATE FUNCTION keepwell_audit_kept() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest_ms BIGINT;
BEGIN
    IF TG_TABLE_NAME = 'audit_blocks' THEN
        newest_ms := OLD.newest_ms;
    ELSE
        newest_ms := OLD.at_ms;
    END IF;
    IF newest_ms > (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT - 220752000000 THEN
        RAISE EXCEPTION 'the audit trail is kept for 2555 days';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER audit_entries_kept BEFORE DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION keepwell_audit_kept();
CREATE TRIGGER audit_blocks_kept BEFORE DELETE ON audit_blocks
    FOR EACH ROW EXECUTE FUNCTION keepwell_audit_kept();
