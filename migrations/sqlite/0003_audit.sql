-- The audit trail. An entry is written in the transaction of what it tells of; later it gets a position and a block.
-- 220752000000 ms are the 2555 days for which everything here is kept.
CREATE TABLE audit_entries (
    id             BLOB   NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    -- Its place in the chain, without a gap; NULL until it is in a block.
    position       BIGINT CHECK (position >= 1),
    at_ms          BIGINT NOT NULL,
    actor_kind     TEXT   NOT NULL CHECK (actor_kind IN ('system', 'operator', 'source')),
    actor          TEXT   NOT NULL CHECK (length(actor) <= 255),
    action         TEXT   NOT NULL CHECK (length(action) BETWEEN 1 AND 100),
    subject        TEXT   CHECK (length(subject) <= 255),
    -- SHA-256 of the details before they were sealed; they hold a salt, so that nobody can guess them from it.
    details_digest BLOB   NOT NULL CHECK (length(details_digest) = 32),
    key_id         TEXT   NOT NULL,
    sealed         BLOB   NOT NULL
);
CREATE UNIQUE INDEX audit_entries_position ON audit_entries (position) WHERE position IS NOT NULL;
CREATE INDEX audit_entries_unsealed ON audit_entries (id) WHERE position IS NULL;
CREATE INDEX audit_entries_subject ON audit_entries (subject, id) WHERE subject IS NOT NULL;

-- REPLACE would delete without asking the trigger below.
CREATE TRIGGER audit_entries_new BEFORE INSERT ON audit_entries
WHEN NEW.position IS NOT NULL OR EXISTS (SELECT 1 FROM audit_entries WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'an audit entry is added once, and has no position yet');
END;

-- An entry gets its position, once; its details are sealed again with another key. Nothing else about it ever changes.
-- Three triggers, so that giving a position does not have to read the details.
CREATE TRIGGER audit_entries_unchanged
BEFORE UPDATE OF id, at_ms, actor_kind, actor, action, subject, details_digest ON audit_entries
BEGIN
    SELECT RAISE(ABORT, 'audit entries are never changed');
END;
CREATE TRIGGER audit_entries_in_place BEFORE UPDATE OF position ON audit_entries
WHEN OLD.position IS NOT NULL OR NEW.position IS NULL
BEGIN
    SELECT RAISE(ABORT, 'the positions of audit entries are never changed');
END;
CREATE TRIGGER audit_entries_resealed BEFORE UPDATE OF key_id, sealed ON audit_entries
WHEN NEW.key_id IS OLD.key_id
BEGIN
    SELECT RAISE(ABORT, 'the details of audit entries are never changed, only sealed with another key');
END;

CREATE TRIGGER audit_entries_kept BEFORE DELETE ON audit_entries
WHEN OLD.at_ms > CAST(strftime('%s', 'now') AS INTEGER) * 1000 - 220752000000
BEGIN
    SELECT RAISE(ABORT, 'audit entries are kept for 2555 days');
END;

-- What makes the authentication codes of blocks: random keys, sealed with the key ring.
CREATE TABLE audit_keys (
    id            BIGINT NOT NULL PRIMARY KEY CHECK (id >= 1),
    -- The key of the ring that was the first one when this one was made.
    made_under    TEXT   NOT NULL,
    created_at_ms BIGINT NOT NULL,
    key_id        TEXT   NOT NULL,
    sealed        BLOB   NOT NULL
);
CREATE TRIGGER audit_keys_unchanged BEFORE UPDATE ON audit_keys
WHEN NEW.id IS NOT OLD.id OR NEW.made_under IS NOT OLD.made_under OR NEW.created_at_ms IS NOT OLD.created_at_ms
    OR NEW.key_id IS OLD.key_id
BEGIN
    SELECT RAISE(ABORT, 'audit keys are only ever sealed again');
END;
CREATE TRIGGER audit_keys_kept BEFORE DELETE ON audit_keys
BEGIN
    SELECT RAISE(ABORT, 'audit keys are kept');
END;

-- The chain: each block holds the digests of its entries and the hash of the block before it.
CREATE TABLE audit_blocks (
    number         BIGINT NOT NULL PRIMARY KEY CHECK (number >= 1),
    previous       BLOB   NOT NULL CHECK (length(previous) = 32),
    first_position BIGINT NOT NULL CHECK (first_position >= 1),
    last_position  BIGINT NOT NULL CHECK (last_position >= first_position),
    sealed_at_ms   BIGINT NOT NULL,
    newest_ms      BIGINT NOT NULL,
    -- 32 bytes for each entry, in the order of their positions.
    digests        BLOB   NOT NULL CHECK (length(digests) = 32 * (last_position - first_position + 1)),
    hash           BLOB   NOT NULL CHECK (length(hash) = 32),
    audit_key      BIGINT NOT NULL,
    code           BLOB   NOT NULL CHECK (length(code) = 32)
);
CREATE TRIGGER audit_blocks_new BEFORE INSERT ON audit_blocks
WHEN EXISTS (SELECT 1 FROM audit_blocks WHERE number = NEW.number)
BEGIN
    SELECT RAISE(ABORT, 'an audit block is added once');
END;
CREATE TRIGGER audit_blocks_unchanged BEFORE UPDATE ON audit_blocks
BEGIN
    SELECT RAISE(ABORT, 'audit blocks are never changed');
END;
CREATE TRIGGER audit_blocks_kept BEFORE DELETE ON audit_blocks
WHEN OLD.newest_ms > CAST(strftime('%s', 'now') AS INTEGER) * 1000 - 220752000000
BEGIN
    SELECT RAISE(ABORT, 'audit blocks are kept for 2555 days');
END;

-- Where the chain begins (retention moves it) and ends. One row; whoever adds a block takes it first.
CREATE TABLE audit_head (
    id            BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    first_block   BIGINT NOT NULL,
    last_block    BIGINT NOT NULL,
    last_position BIGINT NOT NULL,
    hash          BLOB   NOT NULL CHECK (length(hash) = 32),
    audit_key     BIGINT NOT NULL,
    code          BLOB   NOT NULL
);
INSERT INTO audit_head (id, first_block, last_block, last_position, hash, audit_key, code)
VALUES (1, 1, 0, 0, zeroblob(32), 0, x'');
CREATE TRIGGER audit_head_kept BEFORE DELETE ON audit_head
BEGIN
    SELECT RAISE(ABORT, 'the head of the audit trail is kept');
END;

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
