//! Writing entries, in the transaction of what they tell of.

use async_trait::async_trait;
use keepwell_workers::{
    clock::UnixMs,
    database::{Together, Transaction, pieces},
    id::JobId,
    on_connection,
    seal::{KeyRing, Sealed},
};
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};
use sqlx::{QueryBuilder, types::Uuid};

use super::{
    super::person_data::encode,
    entry::{AuditEntry, Digest32, SALT_BYTES, SealedDetails, context, fit},
    promised::{Promise, Promised},
};

/// Writes `entry`: it is there exactly if the transaction commits. Its details are sealed with the keys of the
/// transaction's database ([`Database::sealing_with`](keepwell_workers::database::Database::sealing_with)); an error if
/// that has none.
pub async fn append(transaction: &mut Transaction, entry: &AuditEntry) -> Result<(), sqlx::Error> {
    append_as(transaction, entry, JobId::new(entry.at_ms)).await
}

/// Writes `entry` under this `id`, which nothing else has.
pub(super) async fn append_as(
    transaction: &mut Transaction,
    entry: &AuditEntry,
    id: JobId,
) -> Result<(), sqlx::Error> {
    let keys = transaction.keys().cloned().ok_or_else(without_keys)?;
    write(transaction, &[prepare(entry, &keys, id)?]).await
}

/// Writes `entry`, unless there is one of the same `name` and the same instant: of several processes that tell of the
/// same, one does. Says whether it was written now. Of two that write at the same time one may find that the database
/// refuses, and finds the other one's entry when it tries again.
pub async fn append_once(
    transaction: &mut Transaction,
    entry: &AuditEntry,
    name: &str,
) -> Result<bool, sqlx::Error> {
    const KNOWN: &str = "SELECT id FROM audit_entries WHERE id = $1";
    let keys = transaction.keys().cloned().ok_or_else(without_keys)?;
    let digest: Digest32 =
        Sha256::new().chain_update(b"keepwell audit name 1\0").chain_update(name).finalize().into();
    let mut first = [0; 10];
    first.copy_from_slice(&digest[..10]);
    let id = JobId::named(entry.at_ms, &first);
    let known: Option<(Uuid,)> = on_connection!(transaction, |connection| {
        sqlx::query_as(KNOWN).bind(id.0).fetch_optional(connection).await
    })?;
    if known.is_none() {
        write(transaction, &[prepare(entry, &keys, id)?]).await?;
    }
    Ok(known.is_none())
}

fn without_keys() -> sqlx::Error {
    sqlx::Error::Configuration("a database without keys keeps no audit trail".into())
}

/// Has `entries`, sealed with `keys`, written before the transaction commits.
pub(super) fn append_together(
    transaction: &mut Transaction,
    keys: &KeyRing,
    entries: &[AuditEntry],
) -> Result<(), sqlx::Error> {
    for entry in entries {
        let ready = prepare(entry, keys, JobId::new(entry.at_ms))?;
        transaction.together::<Entries>().0.push(ready);
    }
    Ok(())
}

/// Entries of a transaction that are yet to be written.
#[derive(Default)]
struct Entries(Vec<Ready>);

#[async_trait]
impl Together for Entries {
    async fn write(self, transaction: &mut Transaction) -> Result<(), sqlx::Error> {
        for piece in pieces(&self.0) {
            write(transaction, piece).await?;
        }
        Ok(())
    }
}

/// An entry ready to be written.
struct Ready {
    id: JobId,
    at_ms: UnixMs,
    actor_kind: &'static str,
    actor: String,
    action: &'static str,
    subject: Option<String>,
    details_digest: Digest32,
    sealed: Sealed,
}

impl Ready {
    fn promise(&self, begun: u64) -> (Uuid, Promise) {
        let (at_ms, action, subject) = (self.at_ms, self.action, self.subject.clone());
        (self.id.0, Promise { at_ms, action, subject, begun, done: 0 })
    }
}

/// Writes `entries` in one statement, and remembers them once they are committed.
async fn write(transaction: &mut Transaction, entries: &[Ready]) -> Result<(), sqlx::Error> {
    on_connection!(transaction, |connection| {
        let mut statement = QueryBuilder::new(
            "INSERT INTO audit_entries \
             (id, at_ms, actor_kind, actor, action, subject, details_digest, key_id, sealed) ",
        );
        statement.push_values(entries, |mut row, ready| {
            row.push_bind(ready.id.0)
                .push_bind(ready.at_ms)
                .push_bind(ready.actor_kind)
                .push_bind(&ready.actor)
                .push_bind(ready.action)
                .push_bind(ready.subject.as_deref())
                .push_bind(ready.details_digest.as_slice())
                .push_bind(&*ready.sealed.key_id)
                .push_bind(ready.sealed.bytes.as_slice());
        });
        statement.build().execute(connection).await.map(|_| ())
    })?;
    let promised = transaction.beside::<Promised>();
    let begun = promised.commits();
    let made = entries.iter().map(|ready| ready.promise(begun)).collect();
    transaction.after_commit(move || promised.add(made));
    Ok(())
}

fn prepare(entry: &AuditEntry, keys: &KeyRing, id: JobId) -> Result<Ready, sqlx::Error> {
    let (actor, subject) = (fit(entry.actor.name()), entry.subject.as_deref().map(fit));
    let mut salt = [0; SALT_BYTES];
    rand::rng().fill_bytes(&mut salt);
    let salted = SealedDetails::salted(entry, salt);
    let words = [entry.actor.kind(), &actor, entry.action];
    let sealed =
        keys.seal(&context(&id.0, entry.at_ms, words, subject.as_deref()), &salted).map_err(encode)?;
    Ok(Ready {
        id,
        at_ms: entry.at_ms,
        actor_kind: entry.actor.kind(),
        actor,
        action: entry.action,
        subject,
        details_digest: Sha256::digest(&salted).into(),
        sealed,
    })
}
