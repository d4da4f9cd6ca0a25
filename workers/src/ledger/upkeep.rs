//! What keeps the ledger from growing for ever, and how its database is.

use super::Ledger;
use crate::{
    clock::UnixMs,
    database::{Dialect, Durability, turn::Urgency},
    id::JobId,
    on_connection,
    pruning::Passing,
    state::State,
};

/// Jobs deleted in one transaction. A crisis that is to be recorded waits as long as that takes.
pub(crate) const JOBS_PER_SWEEP: u64 = 100;

/// Which jobs go once they are old enough.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expired {
    /// Those that ended in this state, but for those of this kind.
    In {
        /// How they ended.
        state: State,
        /// What is kept.
        but: Option<&'static str>,
    },
    /// Those that pass.
    Passing(&'static Passing),
}

impl Expired {
    /// What is old enough. Nothing finishes before it is created, so only ids born before then need looking at.
    const fn doomed(self) -> &'static str {
        match self {
            Expired::In { .. } => {
                "SELECT id FROM jobs WHERE id < $1 AND finished_at_ms < $2 AND state = $4 AND kind <> $5 \
                 ORDER BY id LIMIT $3"
            }
            Expired::Passing(_) => {
                "SELECT id FROM jobs WHERE id < $1 AND finished_at_ms < $2 AND subject = $4 AND kind = $5 \
                 ORDER BY id LIMIT $3"
            }
        }
    }

    /// What is bound to its statement from `$4` on.
    fn words(self) -> [&'static str; 2] {
        match self {
            // No kind is called that.
            Expired::In { state, but } => [state.name(), but.unwrap_or_default()],
            Expired::Passing(passing) => [passing.subject, passing.kind],
        }
    }
}

/// Binds to `$statement` what [`Expired::doomed`] asks for.
macro_rules! bind_doomed {
    ($statement:expr, $expired:expr, $before_ms:expr) => {{
        let mut statement =
            $statement.bind(JobId::earliest_at($before_ms).0).bind($before_ms).bind(JOBS_PER_SWEEP as i64);
        for word in $expired.words() {
            statement = statement.bind(word);
        }
        statement
    }};
}

impl Ledger {
    /// What tells the database's present life from every other one: with its last relaxed commits a server that died
    /// may have lost what the lanes were told is done.
    pub async fn life(&self) -> Result<String, sqlx::Error> {
        self.database.life().await
    }

    /// Writes something that changes nothing, to see whether the database takes it.
    pub(crate) async fn try_writing(&self, urgency: Urgency) -> Result<(), sqlx::Error> {
        // Setting the header's free number to what it is writes its page.
        const SQLITE: &str = "PRAGMA user_version = 0";
        const POSTGRES: &str = "SELECT txid_current()";
        let sql = match self.database.dialect() {
            Dialect::Sqlite => SQLITE,
            Dialect::Postgres => POSTGRES,
        };
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(urgency, Durability::Durable, now_ms).await?;
        on_connection!(transaction, |connection| sqlx::query(sql).execute(connection).await.map(|_| ()))?;
        transaction.commit().await
    }

    /// Deletes a batch of `expired` jobs that finished before `before_ms`, with what was sent with them and their
    /// attempts; says how many. Fewer than [`JOBS_PER_SWEEP`] mean that none are left.
    pub(crate) async fn prune(&self, expired: Expired, before_ms: UnixMs) -> Result<u64, sqlx::Error> {
        const STATEMENTS: [&str; 3] = [
            "DELETE FROM job_attempts WHERE job_id = $1",
            "DELETE FROM job_payloads WHERE job_id = $1",
            "DELETE FROM jobs WHERE id = $1",
        ];
        let dialect = self.database.dialect();
        if dialect == Dialect::Sqlite {
            self.warm_up(expired, before_ms).await?;
        }
        // Whom an operator retries at this moment is owed from then on.
        let doomed = format!("{}{}", expired.doomed(), dialect.skipping_locked());
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Relaxed, now_ms).await?;
        let doomed: Vec<(uuid::Uuid,)> = on_connection!(transaction, |connection| {
            let statement = sqlx::query_as(sqlx::AssertSqlSafe(doomed));
            bind_doomed!(statement, expired, before_ms).fetch_all(connection).await
        })?;
        for (id,) in &doomed {
            for sql in STATEMENTS {
                on_connection!(transaction, |connection| {
                    sqlx::query(sql).bind(id).execute(connection).await.map(|_| ())
                })?;
            }
        }
        transaction.commit().await?;
        Ok(doomed.len() as u64)
    }

    /// Reads what is about to be deleted, as nobody has for weeks: SQLite has one writer, and while that waits for the
    /// disk, so does whoever presses the button.
    async fn warm_up(&self, expired: Expired, before_ms: UnixMs) -> Result<(), sqlx::Error> {
        // The last byte, because SQLite goes through all pages of a payload to find it, and to free them.
        let doomed = expired.doomed();
        let read = format!("SELECT max(substr(sealed, -1)) FROM job_payloads WHERE job_id IN ({doomed})");
        let mut reader = self.database.reader(Urgency::General).await?;
        let _: (Option<Vec<u8>>,) = on_connection!(reader, |connection| {
            let statement = sqlx::query_as(sqlx::AssertSqlSafe(read));
            bind_doomed!(statement, expired, before_ms).fetch_one(connection).await
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zeroize::Zeroizing;

    use super::*;
    use crate::{
        clock::{Clock as _, ManualClock},
        database::{Database, DatabaseOptions},
        handler::Registry,
        job::NewJob,
        lane::Lane,
        ledger::{JobFilter, MIGRATIONS, record::record},
        seal::{KeyRing, SealingKey},
    };

    async fn ledger(folder: &tempfile::TempDir, clock: Arc<ManualClock>) -> Ledger {
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        database.migrate(MIGRATIONS).await.unwrap();
        let keys = KeyRing::new(SealingKey::new("test", &Zeroizing::new([7; 32])), []);
        Ledger::new(database, keys, clock, Registry::default())
    }

    #[tokio::test]
    async fn what_passes_is_found_among_millions_by_whom_it_concerns() {
        static PASSING: Passing = Passing { kind: "test", subject: "nobody", keep_ms: 0 };
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(&folder, ManualClock::at(1_000_000)).await;
        let mut reader = ledger.database.reader(Urgency::General).await.unwrap();
        let expired = Expired::Passing(&PASSING);
        let explain = format!("EXPLAIN QUERY PLAN {}", expired.doomed());
        let plan: Vec<(i64, i64, i64, String)> = on_connection!(reader, |connection| {
            let statement = sqlx::query_as(sqlx::AssertSqlSafe(explain));
            bind_doomed!(statement, expired, 1_001_000_i64).fetch_all(connection).await
        })
        .unwrap();
        let [(.., step)] = &plan[..] else { panic!("{plan:?}") };
        assert!(step.contains("jobs_subject (subject=? AND id<?)"), "{step}");
    }

    #[tokio::test]
    async fn what_is_finished_is_kept_for_as_long_as_asked_and_no_longer() {
        const FINISH: &str = "UPDATE jobs SET state = $2, finished_at_ms = $3 WHERE id = $1";
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(1_000_000);
        let ledger = ledger(&folder, clock.clone()).await;
        for (state, finished_ms) in
            [("done", 1_000_500), ("done", 1_002_000), ("dead", 1_000_500), ("owed", 0), ("done", 1_000_999)]
        {
            let job = ledger.seal(NewJob::new("test", Lane::Standard, "words")).unwrap();
            let mut transaction =
                ledger.database.begin(Urgency::General, Durability::Relaxed, clock.now_ms()).await.unwrap();
            record(&mut transaction, &[&job]).await.unwrap();
            let finished_ms = (state != "owed").then_some(finished_ms);
            on_connection!(transaction, |connection| {
                sqlx::query(FINISH)
                    .bind(job.id.0)
                    .bind(state)
                    .bind(finished_ms)
                    .execute(connection)
                    .await
                    .map(|_| ())
            })
            .unwrap();
            transaction.commit().await.unwrap();
        }
        let kept = Expired::In { state: State::Dead, but: Some("test") };
        assert_eq!(ledger.prune(kept, 1_001_000).await.unwrap(), 0);
        let done = Expired::In { state: State::Done, but: Some("another") };
        assert_eq!(ledger.prune(done, 1_001_000).await.unwrap(), 2);
        assert_eq!(ledger.prune(done, 1_001_000).await.unwrap(), 0);
        let left = ledger.list(&JobFilter::default(), None, 10).await.unwrap();
        let mut states: Vec<(&str, Option<i64>)> =
            left.items.iter().map(|job| (job.state.name(), job.finished_at_ms)).collect();
        states.sort_unstable();
        assert_eq!(states, [("dead", Some(1_000_500)), ("done", Some(1_002_000)), ("owed", None)]);
    }
}
