//! Jobs that have had no effects, whatever became of them: for whoever must know what was said, and not only what was
//! done about it.

use uuid::Uuid;

use crate::{
    clock::UnixMs,
    database::Reader,
    id::JobId,
    on_connection,
    seal::{KeyRing, SealError},
};

/// A job that has had no effects.
#[derive(Debug)]
pub struct Unfinished {
    /// Its identity.
    pub id: JobId,
    /// When it was recorded.
    pub created_ms: UnixMs,
    /// It is still owed, and will have them; otherwise it is dead or cancelled.
    pub owed: bool,
    /// What its handler needs, or why it cannot be opened.
    pub payload: Result<Vec<u8>, SealError>,
}

/// The jobs of `kind` about `subject` with ids after `after` that have had no effects, at most `count_max` of them,
/// oldest first.
pub async fn unfinished(
    reader: &mut Reader,
    keys: &KeyRing,
    kind: &str,
    subject: &str,
    after: Option<JobId>,
    count_max: u32,
) -> Result<Vec<Unfinished>, sqlx::Error> {
    // Written so that no database takes the index of what is owed for it, as in `IS_OWED`.
    const SQL: &str = "SELECT jobs.id, jobs.created_at_ms, jobs.state, job_payloads.key_id, job_payloads.sealed \
         FROM jobs JOIN job_payloads ON job_payloads.job_id = jobs.id \
         WHERE jobs.subject = $1 AND jobs.kind = $2 AND jobs.state || '' <> 'done' AND jobs.id > $3 \
         ORDER BY jobs.id LIMIT $4";
    let rows: Vec<(Uuid, i64, String, String, Vec<u8>)> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL)
            .bind(subject)
            .bind(kind)
            .bind(after.map_or(Uuid::nil(), |id| id.0))
            .bind(i64::from(count_max))
            .fetch_all(connection)
            .await
    })?;
    let open = |(id, created_ms, state, key_id, sealed): (Uuid, i64, String, String, Vec<u8>)| {
        let id = JobId(id);
        let payload = keys.open(id.as_bytes(), &key_id, &sealed);
        Unfinished { id, created_ms, owed: state == "owed", payload }
    };
    Ok(rows.into_iter().map(open).collect())
}
