//! How the database is opened: by the start itself if it is there, else beside a daemon that runs already. Whoever asks
//! what they may use, or where to find help, is answered meanwhile as they are whenever the database is away.

use std::{error::Error, pin::Pin, sync::Arc, time::Duration};

use keepwell_jobs::{Care, store};
use keepwell_workers::{
    backoff::shortened,
    database::{Database, Unopened, turn::Urgency},
};
use tokio::time::{sleep, timeout};

use super::{build::migrations, error::ServeError};

/// How long the start waits for the database. One that takes longer, also over its tables, is waited for while the
/// floor is answered.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// How long one attempt may take, at most: a new version may have large tables to bring up to date.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Waits between attempts while it is away; each is shortened by chance by up to a half.
const AWAY_MIN: Duration = Duration::from_millis(250);
const AWAY_MAX: Duration = Duration::from_secs(5);

/// The same if somebody has to put something right first.
const WRONG: Duration = Duration::from_secs(30);

/// How long the connections of an attempt that failed may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A database that goes on being opened until it is.
pub(super) type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

type Attempt = Pin<Box<dyn Future<Output = Result<(), ServeError>> + Send>>;

/// What is opened, and what has to be known from it before anybody asks.
pub(super) struct Opening {
    unopened: Unopened,
    care: Care,
}

impl Opening {
    /// Opens `unopened`, from which `care` learns what stands.
    pub(super) fn of(unopened: Unopened, care: Care) -> Self {
        Self { unopened, care }
    }

    /// Opens it now, or says what goes on doing so. An error if that would be in vain.
    pub(super) async fn begin(self) -> Result<Option<Waiting>, ServeError> {
        let opening = Arc::new(self);
        let mut first = Arc::clone(&opening).attempt();
        match timeout(START_PATIENCE, &mut first).await {
            Ok(Ok(())) => Ok(None),
            Ok(Err(error)) if !error.is_passing() => Err(error),
            Ok(Err(error)) => {
                let said = Self::say(&error, String::new());
                Ok(Some(Box::pin(opening.go_on(None, said))))
            }
            Err(_) => {
                tracing::warn!(
                    "the database takes its time; until it is open, the crisis-safe floor is answered"
                );
                Ok(Some(Box::pin(opening.go_on(Some(first), String::new()))))
            }
        }
    }

    fn attempt(self: Arc<Self>) -> Attempt {
        Box::pin(
            async move { timeout(ATTEMPT_TIMEOUT, self.open()).await.unwrap_or(Err(ServeError::Silent)) },
        )
    }

    /// Logs why it is waited for, unless that was `said` already; answers with what is said by then.
    fn say(error: &ServeError, said: String) -> String {
        let gist = format!("{error:?}");
        if gist == said {
            return said;
        }
        let because = error as &(dyn Error + 'static);
        if error.is_passing() {
            tracing::warn!(
                because,
                "the database is away; until it is there, the crisis-safe floor is answered"
            );
        } else {
            tracing::error!(
                because,
                "the database cannot be used; until it can, the crisis-safe floor is answered"
            );
        }
        gist
    }

    async fn open(&self) -> Result<(), ServeError> {
        let database = self.unopened.open().await?;
        let prepared = async {
            database.migrate(&migrations()).await?;
            know_what_stands(&database, &self.care).await.map_err(ServeError::Marks)
        };
        match prepared.await {
            Ok(()) => {
                self.unopened.publish(&database);
                Ok(())
            }
            Err(error) => {
                // Whatever does not close goes with its connection.
                let _ = timeout(CLOSE_TIMEOUT, database.close()).await;
                Err(error)
            }
        }
    }

    /// Tries until it is open. What was wrong so far has been `said`.
    async fn go_on(self: Arc<Self>, under_way: Option<Attempt>, mut said: String) {
        let mut under_way = under_way;
        let mut delay = AWAY_MIN;
        loop {
            let attempt = if let Some(attempt) = under_way.take() {
                attempt
            } else {
                sleep(shortened(delay)).await;
                Arc::clone(&self).attempt()
            };
            let Err(error) = attempt.await else {
                return tracing::info!("the database is open");
            };
            said = Self::say(&error, said);
            delay = if error.is_passing() { (delay * 2).min(AWAY_MAX) } else { WRONG };
        }
    }
}

/// Everybody who is marked, who is in a high-risk period and what operators have switched on, so that it is known
/// before the first question.
async fn know_what_stands(database: &Database, care: &Care) -> Result<(), Box<dyn Error + Send + Sync>> {
    care.marks.refresh(database).await?;
    care.marks.refresh_at_risk(database, &care.definitions).await?;
    store::switches(&mut database.reader(Urgency::General).await?, &care.switches).await?;
    Ok(())
}
