//! Recording in one round trip. To a server that is some distance away, each of the four that a transaction takes is a
//! large part of what a recorded job costs.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Ledger,
    record::{SealedJob, insert_whole, tell_apart},
};
use crate::{
    database::{AfterCommit, Committed, Connection, Dialect, bounded, turn::Urgency},
    job::Recorded,
};

/// How long the one statement may take. Whatever stands in its way then, a transaction finds out more about it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Jobs that are recorded at once, at most.
const JOBS_MAX: usize = 1_000;

/// Bytes of sealed payload that are recorded at once, at most: over a slow network more takes longer than that.
const BYTES_MAX: usize = 1 << 20;

impl Ledger {
    /// Records `jobs` by one statement that is a transaction of its own, and on disk when it is answered. `None` if a
    /// transaction has to do it: the database is embedded, they are too many or too large, or the connection has
    /// broken or is silent. Unless an answer comes of it, `when_in_doubt` is done: something may have been written.
    pub(super) async fn record_at_once(
        &self,
        urgency: Urgency,
        jobs: &[&SealedJob],
        when_in_doubt: AfterCommit,
    ) -> Result<Option<(Vec<Recorded>, Committed)>, sqlx::Error> {
        let bytes = jobs.iter().map(|job| job.sealed_len()).sum::<usize>();
        if self.database.dialect() == Dialect::Sqlite || jobs.len() > JOBS_MAX || bytes > BYTES_MAX {
            return Ok(None);
        }
        let mut reader = self.database.reader(urgency).await?;
        let Connection::Postgres(connection) = reader.connection() else { return Ok(None) };
        let committed = Committed::in_doubt(when_in_doubt);
        let written = match timeout(PATIENCE, bounded(Box::pin(insert_whole(connection, jobs)))).await {
            Ok(Ok(written)) => written,
            // The server has said no, and undone it.
            Ok(Err(error)) if !self.database.is_break(&error) => {
                committed.undone();
                return Err(error);
            }
            // What the server may still do, for as long as it lets a statement take, whoever records them again finds;
            // if nobody does, the comparisons that follow from a doubt do.
            Ok(Err(_)) | Err(_) => return Ok(None),
        };
        if written == jobs.len() as u64 {
            return Ok(Some((jobs.iter().map(|job| job.recorded()).collect(), committed)));
        }
        let recorded = tell_apart(reader.connection(), jobs).await?;
        Ok(Some((recorded, committed)))
    }
}
