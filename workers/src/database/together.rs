//! What the runs of one transaction write together.
//!
//! A settler applies the effects of up to 64 runs in one transaction. Written by each run for itself, a payment that
//! failed took eight statements, and on SQLite each of them hands over to the thread that owns the connection and back:
//! which is two changes of threads. Gathered, they are one statement a table for all runs.

use std::any::{Any, TypeId};

use async_trait::async_trait;

use super::{Transaction, bounded};

/// What runs leave to be written before their transaction commits.
#[async_trait]
pub trait Together: Default + Send + 'static {
    /// Writes it all.
    async fn write(self, transaction: &mut Transaction) -> Result<(), sqlx::Error>;
}

/// [`Together`] of whatever type.
#[async_trait]
trait Gathered: Send {
    fn as_any(&mut self) -> &mut dyn Any;
    async fn write(self: Box<Self>, transaction: &mut Transaction) -> Result<(), sqlx::Error>;
}

#[async_trait]
impl<T: Together> Gathered for T {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    async fn write(self: Box<Self>, transaction: &mut Transaction) -> Result<(), sqlx::Error> {
        Together::write(*self, transaction).await
    }
}

/// What was gathered, one of each type, in the order in which they were asked for.
#[derive(Default)]
pub(super) struct Pending(Vec<(TypeId, Box<dyn Gathered>)>);

impl Transaction {
    /// What is gathered in this transaction, to be added to. It is written by [`Transaction::commit`], or by
    /// [`Transaction::write_together`] for whoever reads what others may have left there.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "it was found by its type, or made of it"
    )]
    pub fn together<T: Together>(&mut self) -> &mut T {
        let pending = &mut self.pending.0;
        let known = pending.iter().position(|(of, _)| *of == TypeId::of::<T>());
        let at = known.unwrap_or(pending.len());
        if known.is_none() {
            pending.push((TypeId::of::<T>(), Box::new(T::default())));
        }
        pending[at].1.as_any().downcast_mut().expect("it is kept with its type")
    }

    /// Writes what was gathered so far.
    pub async fn write_together(&mut self) -> Result<(), sqlx::Error> {
        for (_, gathered) in std::mem::take(&mut self.pending).0 {
            bounded(gathered.write(self)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::{
        super::{Database, DatabaseOptions, Durability, turn::Urgency},
        *,
    };
    use crate::on_connection;

    /// Lines of a table; a negative one cannot be written.
    #[derive(Default)]
    struct Lines(Vec<i64>);

    #[async_trait]
    impl Together for Lines {
        async fn write(self, transaction: &mut Transaction) -> Result<(), sqlx::Error> {
            for line in self.0 {
                on_connection!(transaction, |connection| {
                    sqlx::query("INSERT INTO lines VALUES ($1)")
                        .bind(line)
                        .execute(connection)
                        .await
                        .map(|_| ())
                })?;
            }
            Ok(())
        }
    }

    async fn lines(database: &Database) -> Vec<i64> {
        let mut reader = database.reader(Urgency::General).await.unwrap();
        let rows: Vec<(i64,)> = on_connection!(reader, |connection| {
            sqlx::query_as("SELECT line FROM lines ORDER BY line").fetch_all(connection).await
        })
        .unwrap();
        rows.into_iter().map(|(line,)| line).collect()
    }

    #[tokio::test]
    async fn what_runs_leave_is_written_with_their_commit_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("together.db").display());
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        let begin = || database.begin(Urgency::General, Durability::Relaxed, 0);
        let mut transaction = begin().await.unwrap();
        on_connection!(transaction, |connection| {
            sqlx::query("CREATE TABLE lines (line INTEGER CHECK (line >= 0))")
                .execute(connection)
                .await
                .map(|_| ())
        })
        .unwrap();
        transaction.together::<Lines>().0.push(1);
        transaction.write_together().await.unwrap();
        assert!(transaction.together::<Lines>().0.is_empty(), "it is written once");
        transaction.together::<Lines>().0.push(2);
        transaction.together::<Lines>().0.push(3);
        transaction.commit().await.unwrap();
        assert_eq!(lines(&database).await, [1, 2, 3]);

        let mut transaction = begin().await.unwrap();
        transaction.together::<Lines>().0.push(4);
        transaction.rollback().await.unwrap();

        let in_doubt = Arc::new(AtomicBool::new(false));
        let mut transaction = begin().await.unwrap();
        transaction.together::<Lines>().0.extend([5, -1]);
        let doubtful = Arc::clone(&in_doubt);
        transaction.when_in_doubt(move || doubtful.store(true, Ordering::SeqCst));
        transaction.commit().await.unwrap_err();
        assert!(!in_doubt.load(Ordering::SeqCst), "nothing was committed");
        assert_eq!(lines(&database).await, [1, 2, 3]);
        database.close().await;
    }
}
