//! Writing entries, in the transaction of what they tell of.

use keepwell_workers::{
    database::Transaction,
    id::JobId,
    on_connection,
    seal::{KeyRing, Sealed},
};
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};
use sqlx::QueryBuilder;

use super::{
    super::person_data::encode,
    entry::{AuditEntry, Digest32, SALT_BYTES, SealedDetails, context, fit},
};

/// Writes `entry`: it is there exactly if the transaction commits. Its details are sealed with the keys of the
/// transaction's database ([`Database::sealing_with`](keepwell_workers::database::Database::sealing_with)); an error if
/// that has none.
pub async fn append(transaction: &mut Transaction, entry: &AuditEntry) -> Result<(), sqlx::Error> {
    let without_keys = || sqlx::Error::Configuration("a database without keys keeps no audit trail".into());
    let keys = transaction.keys().cloned().ok_or_else(without_keys)?;
    append_all(transaction, &keys, std::slice::from_ref(entry)).await
}

/// An entry ready to be written.
struct Ready<'e> {
    id: JobId,
    entry: &'e AuditEntry,
    actor: String,
    subject: Option<String>,
    details_digest: Digest32,
    sealed: Sealed,
}

/// Writes `entries` in one statement, sealed with `keys`.
pub(super) async fn append_all(
    transaction: &mut Transaction,
    keys: &KeyRing,
    entries: &[AuditEntry],
) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let ready: Vec<Ready<'_>> = entries.iter().map(|entry| prepare(entry, keys)).collect::<Result<_, _>>()?;
    on_connection!(transaction, |connection| {
        let mut statement = QueryBuilder::new(
            "INSERT INTO audit_entries \
             (id, at_ms, actor_kind, actor, action, subject, details_digest, key_id, sealed) ",
        );
        statement.push_values(&ready, |mut row, ready| {
            row.push_bind(ready.id.0)
                .push_bind(ready.entry.at_ms)
                .push_bind(ready.entry.actor.kind())
                .push_bind(&ready.actor)
                .push_bind(ready.entry.action)
                .push_bind(ready.subject.as_deref())
                .push_bind(ready.details_digest.as_slice())
                .push_bind(&*ready.sealed.key_id)
                .push_bind(ready.sealed.bytes.as_slice());
        });
        statement.build().execute(connection).await.map(|_| ())
    })
}

fn prepare<'e>(entry: &'e AuditEntry, keys: &KeyRing) -> Result<Ready<'e>, sqlx::Error> {
    let id = JobId::new(entry.at_ms);
    let (actor, subject) = (fit(entry.actor.name()), entry.subject.as_deref().map(fit));
    let mut salt = [0; SALT_BYTES];
    rand::rng().fill_bytes(&mut salt);
    let salted = SealedDetails::salted(entry, salt);
    let words = [entry.actor.kind(), &actor, entry.action];
    let sealed =
        keys.seal(&context(&id.0, entry.at_ms, words, subject.as_deref()), &salted).map_err(encode)?;
    Ok(Ready { id, entry, actor, subject, details_digest: Sha256::digest(&salted).into(), sealed })
}
