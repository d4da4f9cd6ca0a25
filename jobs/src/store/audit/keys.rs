//! The keys of the authentication codes. They are random, and in the database only as the key ring sealed them:
//! rotating the ring seals them again, and a block that was made under a key of seven years ago can still be verified.

use std::fmt;

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Durability, turn::Urgency},
    on_connection,
    seal::{KeyRing, SealError},
};
use rand::RngCore as _;
use zeroize::Zeroizing;

use super::{
    super::{connected::Connected, person_data::encode},
    finding::{Problem, shown_key},
    head::Head,
    sealer::AuditError,
};

/// A key that makes codes.
#[derive(Clone)]
pub(super) struct CodeKey {
    pub(super) id: i64,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for CodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A key as it lies in the table.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct KeyRow {
    pub(super) id: i64,
    pub(super) made_under: String,
    pub(super) key_id: String,
    pub(super) sealed: Vec<u8>,
}

/// What binds a sealed key to its row.
pub(super) fn key_context(id: i64) -> Vec<u8> {
    format!("audit key\0{id}").into_bytes()
}

impl KeyRow {
    pub(super) fn open(&self, keys: &KeyRing) -> Result<CodeKey, SealError> {
        let bytes = keys.open(&key_context(self.id), &self.key_id, &self.sealed)?;
        Ok(CodeKey { id: self.id, bytes: Zeroizing::new(bytes) })
    }
}

/// The keys of the trail, as far as a key ring opens them.
#[derive(Debug, Default)]
pub(super) struct CodeKeys {
    opened: Vec<CodeKey>,
    /// Those for which the ring has no key: their ids, and the key that sealed them.
    unknown: Vec<(i64, String)>,
}

impl CodeKeys {
    pub(super) fn open(rows: &[KeyRow], keys: &KeyRing) -> Self {
        let mut known = Self::default();
        for row in rows {
            match row.open(keys) {
                Ok(key) => known.opened.push(key),
                Err(SealError::UnknownKey(id)) => known.unknown.push((row.id, id)),
                Err(_) => {}
            }
        }
        known
    }

    #[cfg(test)]
    pub(super) fn of(opened: impl IntoIterator<Item = CodeKey>) -> Self {
        Self { opened: opened.into_iter().collect(), unknown: Vec::new() }
    }

    /// The key `id`; what is wrong with it if it is not there.
    pub(super) fn get(&self, id: i64) -> Result<&CodeKey, (Problem, String)> {
        if let Some((_, sealed_with)) = self.unknown.iter().find(|(unknown, _)| *unknown == id) {
            let sealed_with = shown_key(sealed_with);
            let detail =
                format!("audit key {id} is sealed with the key `{sealed_with}`, which is not in the ring");
            return Err((Problem::KeyUnknown, detail));
        }
        let missing =
            || (Problem::KeyMissing, format!("audit key {id} is gone, or is not the one that was sealed"));
        self.opened.iter().find(|key| key.id == id).ok_or_else(missing)
    }
}

/// Every key, the oldest first.
pub(super) async fn all(connected: &mut impl Connected) -> Result<Vec<KeyRow>, sqlx::Error> {
    const SQL: &str = "SELECT id, made_under, key_id, sealed FROM audit_keys ORDER BY id LIMIT 10000";
    on_connection!(connected, |connection| sqlx::query_as(SQL).fetch_all(connection).await)
}

/// The key that makes codes now: the newest one, made if none was ever made under the first key of the ring. Each
/// rotation of the ring gets one, so that a ring key that leaked long ago makes no codes of today. A process that was
/// not restarted yet uses the one that another made, if it can open it, instead of taking turns with it.
pub(super) async fn current(
    database: &Database,
    keys: &KeyRing,
    now_ms: UnixMs,
) -> Result<CodeKey, AuditError> {
    const SQL: &str = "INSERT INTO audit_keys (id, made_under, created_at_ms, key_id, sealed) \
         VALUES ($1, $2, $3, $4, $5)";
    let mut reader = database.reader(Urgency::General).await?;
    let known = all(&mut reader).await?;
    drop(reader);
    if let Some(newest) = known.last()
        && known.iter().any(|key| key.made_under == keys.active_id())
    {
        return Ok(newest.open(keys)?);
    }
    let mut key = CodeKey { id: known.last().map_or(1, |newest| newest.id + 1), bytes: vec![0; 32].into() };
    rand::rng().fill_bytes(&mut key.bytes);
    let sealed = keys.seal(&key_context(key.id), &key.bytes).map_err(encode)?;
    let mut transaction = database.begin(Urgency::General, Durability::Durable, now_ms).await?;
    let head = Head::take(&mut transaction).await?;
    head.prove(&known, keys)?;
    // If another process was faster, this fails, and the next round finds its key.
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(key.id)
            .bind(keys.active_id())
            .bind(now_ms)
            .bind(&*sealed.key_id)
            .bind(&sealed.bytes)
            .execute(connection)
            .await
            .map(|_| ())
    })?;
    // From now on the head is signed with it: one with the code of an older key is a forged one.
    head.signed(&key).write(&mut transaction).await?;
    transaction.commit().await?;
    Ok(key)
}
