//! A rotation of keys: everything that older keys sealed is sealed again with the first key of the ring, in the
//! background, while the daemon serves.
//!
//! The work goes through the tables in order, in batches so small that a crisis never waits long behind one: at most
//! [`ROWS_MAX`] rows or [`BYTES_MAX`] bytes in a transaction. How far it has come is written in the same transaction,
//! so a daemon that was killed goes on where it was, and doing a piece twice changes nothing. A row that changed
//! meanwhile is left to the next pass: the work has ended when a whole pass has found nothing to do. Rows that cannot
//! be opened (altered, or sealed by a key that is not in the ring) are left as they are and counted.

mod progress;
mod table;

use keepwell_workers::{
    clock::SharedClock,
    database::{Database, Durability, turn::Urgency},
    seal::KeyRing,
};
use serde_json::json;

use self::table::TABLES;
use super::{
    audit::{Actor, AuditEntry, append},
    person_data::encode,
};

pub use progress::Progress;
pub(in crate::store) use table::{Place, SealedTable, SealedValue};

/// Rows that one batch looks at.
const LOOK_MAX: i64 = 400;

/// Rows that one batch seals again; about 1 ms at the database.
pub const ROWS_MAX: usize = 32;

/// Bytes after which a batch is closed early. One row may have more, if its payload has.
pub const BYTES_MAX: u64 = 512 << 10;

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is under way.
    Idle,
    /// There is more to do.
    More,
    /// That was the last one.
    Finished,
}

/// How many rows a key has sealed in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The id of the key.
    pub key_id: String,
    /// The table.
    pub table: &'static str,
    /// Its rows.
    pub rows: u64,
}

/// Which keys are in use, and where. Looks at every sealed row.
pub async fn key_use(database: &Database) -> Result<Vec<KeyUse>, sqlx::Error> {
    let mut reader = database.reader(Urgency::General).await?;
    let mut found = Vec::new();
    for table in TABLES {
        let rows = table.by_key(&mut reader).await?;
        found.extend(rows.into_iter().map(|(key_id, rows)| KeyUse {
            key_id,
            table: table.name(),
            rows: u64::try_from(rows).unwrap_or(0),
        }));
    }
    Ok(found)
}

/// The tables that a rotation goes through.
pub fn tables() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.name())
}

/// Rotates the keys of one database.
#[derive(Debug, Clone)]
pub struct Rotation {
    database: Database,
    keys: KeyRing,
    clock: SharedClock,
}

impl Rotation {
    /// A rotation to the first key of `keys`.
    pub fn new(database: Database, keys: KeyRing, clock: SharedClock) -> Self {
        Self { database, keys, clock }
    }

    /// How far the last one has come; `None` if there never was one.
    pub async fn progress(&self) -> Result<Option<Progress>, sqlx::Error> {
        let mut reader = self.database.reader(Urgency::General).await?;
        Progress::read(&mut reader).await
    }

    /// Begins one, asked for by `operator`. One to the same key that is under way goes on.
    pub async fn start(&self, operator: &str) -> Result<Progress, sqlx::Error> {
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        let known = Progress::read(&mut transaction).await?;
        let same =
            known.filter(|known| known.finished_at_ms.is_none() && known.key_id == self.keys.active_id());
        if let Some(under_way) = same {
            return Ok(under_way);
        }
        let progress = Progress::beginning(self.keys.active_id(), now_ms);
        progress.begin(&mut transaction).await?;
        let entry = AuditEntry {
            at_ms: now_ms,
            actor: Actor::Operator { name: operator.to_owned() },
            action: "key.rotation_started",
            subject: Some(self.keys.active_id().to_owned()),
            reason: "everything is to be sealed with the first key of the ring".to_owned(),
            before: None,
            after: None,
        };
        append(&mut transaction, &entry).await?;
        transaction.commit().await?;
        Ok(progress)
    }

    /// Does one batch of what is under way.
    pub async fn step(&self) -> Result<Step, sqlx::Error> {
        let mut reader = self.database.reader(Urgency::General).await?;
        let Some(progress) = Progress::read(&mut reader).await?.filter(|it| it.finished_at_ms.is_none())
        else {
            return Ok(Step::Idle);
        };
        if progress.key_id != self.keys.active_id() {
            // It is for a process with that key in front; this one may not have been restarted yet. If every process
            // has another key in front by now, another rotation is to be asked for.
            return Ok(Step::Idle);
        }
        let Some(table) = usize::try_from(progress.stage).ok().and_then(|stage| TABLES.get(stage)) else {
            drop(reader);
            return self.end_pass(&progress).await;
        };
        let places = table.look(&mut reader, &progress.cursor, LOOK_MAX).await?;
        let mut next = progress.clone();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let at_end = (places.len() as i64) < LOOK_MAX;
        let mut left = places.len();
        for place in places {
            if batch.len() >= ROWS_MAX || bytes >= BYTES_MAX {
                break;
            }
            left -= 1;
            next.looked_at += 1;
            next.cursor.clone_from(&place.name);
            if place.key_id == self.keys.active_id() {
                continue;
            }
            bytes += place.bytes;
            let Some(old) = table.read(&mut reader, &place.name).await? else { continue };
            match self.keys.open(&old.context, &old.key_id, &old.sealed) {
                Ok(plain) => {
                    let new = self.keys.seal(&old.context, &plain).map_err(encode)?;
                    batch.push(Replacement { stage: progress.stage as usize, place: place.name, old, new });
                    next.resealed += 1;
                }
                Err(error) => {
                    tracing::warn!(%error, table = table.name(), "a sealed row cannot be opened; it stays as it is");
                    next.unreadable += 1;
                }
            }
        }
        if at_end && left == 0 {
            (next.stage, next.cursor) = (progress.stage + 1, String::new());
        }
        drop(reader);
        self.move_on(&progress, &next, &batch).await
    }

    /// Another pass, as long as there is something that another pass can do.
    async fn end_pass(&self, progress: &Progress) -> Result<Step, sqlx::Error> {
        let mut next = progress.clone();
        let used = key_use(&self.database).await?;
        let old: u64 = used.iter().filter(|it| it.key_id != progress.key_id).map(|it| it.rows).sum();
        let unreadable = u64::try_from(progress.unreadable).unwrap_or(0);
        if old > unreadable {
            (next.stage, next.unreadable) = (0, 0);
            return self.move_on(progress, &next, &[]).await;
        }
        let now_ms = self.clock.now_ms();
        next.finished_at_ms = Some(now_ms);
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        if !next.replace(&mut transaction, progress).await? {
            return Ok(Step::More);
        }
        let entry = AuditEntry {
            at_ms: now_ms,
            actor: Actor::System { job: "key rotation".to_owned() },
            action: "key.rotation_finished",
            subject: Some(progress.key_id.clone()),
            reason: "nothing is left that another key has sealed and that can be opened".to_owned(),
            before: None,
            after: Some(json!({ "resealed": next.resealed, "unreadable": next.unreadable })),
        };
        append(&mut transaction, &entry).await?;
        transaction.commit().await?;
        tracing::info!(
            key = progress.key_id,
            resealed = next.resealed,
            "everything is sealed with the first key"
        );
        Ok(Step::Finished)
    }

    async fn move_on(
        &self,
        before: &Progress,
        after: &Progress,
        batch: &[Replacement],
    ) -> Result<Step, sqlx::Error> {
        let now_ms = self.clock.now_ms();
        // What a power cut takes is done again.
        let mut transaction = self.database.begin(Urgency::General, Durability::Relaxed, now_ms).await?;
        if !after.replace(&mut transaction, before).await? {
            // Another process has done this piece.
            return Ok(Step::More);
        }
        for replacement in batch {
            let Replacement { stage, place, old, new } = replacement;
            TABLES[*stage].replace(&mut transaction, place, old, new).await?;
        }
        transaction.commit().await?;
        Ok(Step::More)
    }
}

struct Replacement {
    stage: usize,
    place: String,
    old: SealedValue,
    new: keepwell_workers::seal::Sealed,
}
