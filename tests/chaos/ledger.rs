//! What took effect, as the database has it, and a witness in it: triggers that note every job that becomes done, every
//! time that somebody's facts are written and every crisis signal, in the very transaction that does it. (Of somebody's
//! signals only the latest are kept.)

use std::collections::BTreeSet;

use sqlx::{
    Connection as _, Executor as _, FromRow, PgConnection, SqliteConnection, postgres::PgRow,
    sqlite::SqliteRow,
};
use uuid::Uuid;

use super::history::Row;

const SQLITE_WITNESS: &str = "
CREATE TABLE chaos_finishes (place INTEGER PRIMARY KEY AUTOINCREMENT, job_id BLOB NOT NULL);
CREATE TRIGGER chaos_finishes AFTER UPDATE OF state ON jobs WHEN old.state <> 'done' AND new.state = 'done'
BEGIN INSERT INTO chaos_finishes (job_id) VALUES (new.id); END;
CREATE TABLE chaos_changes (place INTEGER PRIMARY KEY AUTOINCREMENT, customer TEXT NOT NULL, version BIGINT NOT NULL);
CREATE TRIGGER chaos_changes AFTER UPDATE OF version ON customers
BEGIN INSERT INTO chaos_changes (customer, version) VALUES (new.id, new.version); END;
CREATE TABLE chaos_signals (customer TEXT NOT NULL, id TEXT NOT NULL);
CREATE TRIGGER chaos_signals AFTER INSERT ON crisis_signals WHEN new.source = 'button'
BEGIN INSERT INTO chaos_signals VALUES (new.customer, new.id); END;";

const POSTGRES_WITNESS: &str = "
CREATE TABLE chaos_finishes (place BIGSERIAL PRIMARY KEY, job_id UUID NOT NULL);
CREATE FUNCTION chaos_finish() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO chaos_finishes (job_id) VALUES (new.id); RETURN new; END $$;
CREATE TRIGGER chaos_finishes AFTER UPDATE OF state ON jobs FOR EACH ROW
WHEN (old.state <> 'done' AND new.state = 'done') EXECUTE FUNCTION chaos_finish();
CREATE TABLE chaos_changes (place BIGSERIAL PRIMARY KEY, customer TEXT NOT NULL, version BIGINT NOT NULL);
CREATE FUNCTION chaos_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO chaos_changes (customer, version) VALUES (new.id, new.version); RETURN new; END $$;
CREATE TRIGGER chaos_changes AFTER UPDATE OF version ON customers FOR EACH ROW EXECUTE FUNCTION chaos_change();
CREATE TABLE chaos_signals (customer TEXT NOT NULL, id TEXT NOT NULL);
CREATE FUNCTION chaos_signal() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO chaos_signals VALUES (new.customer, new.id); RETURN new; END $$;
CREATE TRIGGER chaos_signals AFTER INSERT ON crisis_signals FOR EACH ROW
WHEN (new.source = 'button') EXECUTE FUNCTION chaos_signal();";

const ROWS: &str = "SELECT jobs.id, dedupe_key, state, lane, subject, CAST(attempts AS BIGINT), finished_at_ms, \
     (SELECT count(*) FROM job_attempts WHERE job_id = jobs.id AND outcome IN ('retry', 'dead')) FROM jobs";

/// Each effect in the words of `templates.rs`.
const EFFECTS: [&str; 5] = [
    "SELECT customer || ' paid ' || id || ' at ' || paid_s FROM invoices WHERE paid_s IS NOT NULL",
    "SELECT customer || ' failed ' || id || ' at ' || failed_s FROM invoices WHERE failed_s IS NOT NULL",
    "SELECT customer || ' ' || id || ' ' || status || ' by ' || event_id FROM subscriptions",
    "SELECT id || ' has a card' FROM customers WHERE payment_method_on_file",
    "SELECT customer || ' holds ' || id FROM devices WHERE NOT removed",
];

/// A connection for each question: the server behind it may die between two.
#[derive(Debug, Clone)]
pub struct Database(pub String);

impl Database {
    /// Puts the witness in. The tables must be there.
    pub async fn watch(&self) {
        if self.is_sqlite() {
            self.sqlite().await.expect("a database").execute(SQLITE_WITNESS).await.expect("a witness");
        } else {
            self.postgres().await.expect("a database").execute(POSTGRES_WITNESS).await.expect("a witness");
        }
    }

    /// How many jobs are owed; `None` while the database does not answer.
    pub async fn owed(&self) -> Option<i64> {
        let found: Vec<(i64,)> = self.ask("SELECT count(*) FROM jobs WHERE state = 'owed'").await.ok()?;
        Some(found.first()?.0)
    }

    /// Every job.
    pub async fn rows(&self) -> Vec<Row> {
        type Columns = (Uuid, Option<String>, String, String, Option<String>, i64, Option<i64>, i64);
        let rows: Vec<Columns> = self.ask(ROWS).await.expect("rows");
        rows.into_iter()
            .map(|(id, key, state, lane, subject, attempts, finished_ms, failed)| {
                let key = key.unwrap_or_else(|| format!("nothing, as job {id}"));
                Row { id: id.to_string(), key, state, lane, subject, attempts, failed, finished_ms }
            })
            .collect()
    }

    /// The id of a job for each time that it became done, in order.
    pub async fn finishes(&self) -> Vec<String> {
        let ids: Vec<(Uuid,)> =
            self.ask("SELECT job_id FROM chaos_finishes ORDER BY place").await.expect("finishes");
        ids.into_iter().map(|(id,)| id.to_string()).collect()
    }

    /// Customer and version for each time that somebody's facts were written, in order.
    pub async fn changes(&self) -> Vec<(String, i64)> {
        self.ask("SELECT customer, version FROM chaos_changes ORDER BY place").await.expect("changes")
    }

    /// The rows that effects left.
    pub async fn effects(&self, rows: &[Row]) -> BTreeSet<String> {
        let mut effects = BTreeSet::new();
        for question in EFFECTS {
            let found: Vec<(String,)> = self.ask(question).await.expect("effects");
            effects.extend(found.into_iter().map(|(effect,)| effect));
        }
        // A crisis signal is kept under the id of the job that brought it.
        let keys: std::collections::HashMap<&str, &str> =
            rows.iter().map(|row| (row.id.as_str(), row.key.as_str())).collect();
        let question = "SELECT customer, id FROM chaos_signals";
        let pressed: Vec<(String, String)> = self.ask(question).await.expect("signals");
        effects.extend(pressed.into_iter().map(|(customer, job)| {
            format!(
                "{customer} pressed {}",
                keys.get(job.as_str()).copied().unwrap_or("a button that is not there")
            )
        }));
        effects
    }

    async fn ask<T>(&self, question: &'static str) -> sqlx::Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        if self.is_sqlite() {
            sqlx::query_as(question).fetch_all(&mut self.sqlite().await?).await
        } else {
            sqlx::query_as(question).fetch_all(&mut self.postgres().await?).await
        }
    }

    fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }

    async fn sqlite(&self) -> sqlx::Result<SqliteConnection> {
        SqliteConnection::connect(&self.0).await
    }

    async fn postgres(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect(&self.0).await
    }
}
