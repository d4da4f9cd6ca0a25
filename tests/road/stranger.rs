//! Somebody else at a watchman's database, whichever it is.

use keepwell_workers::{
    database::{Database, DatabaseOptions, Dialect, Durability, Transaction, turn::Urgency},
    on_connection,
};

/// Somebody else at a database.
pub struct Stranger(Database);

impl Stranger {
    /// One at the database with this address.
    pub async fn at(url: &str) -> Self {
        Self(Database::connect(url, &DatabaseOptions::default()).await.unwrap())
    }

    /// What `sql` counts of what is not `like` this.
    pub async fn counts(&self, sql: &'static str, unlike: &str) -> i64 {
        let mut reader = self.0.reader(Urgency::General).await.unwrap();
        let counted = on_connection!(reader, |connection| {
            sqlx::query_scalar(sql).bind(unlike).fetch_one(connection).await
        });
        counted.unwrap()
    }

    /// Does `sql`.
    pub async fn does(&self, sql: &'static str, now_ms: i64) {
        let begun = self.0.begin(Urgency::General, Durability::Relaxed, now_ms).await;
        let mut transaction = begun.unwrap();
        execute(&mut transaction, sql).await;
        transaction.commit().await.unwrap();
    }

    /// Does `sql` with `whom` for its `$1`.
    pub async fn does_to(&self, sql: &'static str, whom: &str, now_ms: i64) {
        let begun = self.0.begin(Urgency::General, Durability::Relaxed, now_ms).await;
        let mut transaction = begun.unwrap();
        let done = on_connection!(transaction, |connection| {
            sqlx::query(sql).bind(whom).execute(connection).await.map(|_| ())
        });
        done.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Keeps everybody from changing jobs until they are [let go](HoldUp::ends).
    pub async fn holds_writers_up(&self, now_ms: i64) -> HoldUp {
        let begun = self.0.begin(Urgency::General, Durability::Relaxed, now_ms).await;
        let mut transaction = begun.unwrap();
        if self.0.dialect() == Dialect::Postgres {
            execute(&mut transaction, "LOCK TABLE jobs IN EXCLUSIVE MODE").await;
        }
        HoldUp(transaction, self.0.dialect())
    }
}

/// Nobody else changes jobs.
pub struct HoldUp(Transaction, Dialect);

impl HoldUp {
    /// Lets those go on who live. What a process that was killed had begun never happens.
    pub async fn ends(mut self) {
        if self.1 == Dialect::Postgres {
            // The server goes on with what it was sent last, whoever has died meanwhile.
            const GONE_WITHIN_10_S: &str = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
                 WHERE pid <> pg_backend_pid() AND datname = current_database()";
            execute(&mut self.0, GONE_WITHIN_10_S).await;
        }
    }
}

async fn execute(transaction: &mut Transaction, sql: &'static str) {
    let done =
        on_connection!(transaction, |connection| sqlx::query(sql).execute(connection).await.map(|_| ()));
    done.unwrap();
}
