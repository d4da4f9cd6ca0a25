//! What an app gives the engine: one [`Handler`] per kind of job, gathered in a [`Registry`].

use std::{any::Any, collections::HashMap, fmt, sync::Arc};

use async_trait::async_trait;

use crate::{database::Transaction, job::Job, outcome::Outcome, policy::Policy};

/// A database error in a handler's effects.
pub type ApplyError = sqlx::Error;

/// What [`Handler::prepare`] found out and [`Handler::apply`] needs.
pub type Prepared = Box<dyn Any + Send + Sync>;

/// Runs one kind of job in two steps: what reaches outside the database first, then the effects inside it.
///
/// [`Handler::apply`] may be called again after its transaction was rolled back (together with that of a neighbour that
/// failed), so it changes nothing but the database and what it hands to [`Transaction::after_commit`].
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// The kind it runs, as recorded in the ledger.
    fn kind(&self) -> &'static str;

    /// How often, how patiently and for how long. Asked for once, when the [`Registry`] is made.
    fn policy(&self) -> Policy {
        Policy::DEFAULT
    }

    /// Work outside the database, before any transaction is open. It may run more than once for the same job:
    /// whatever it does outside carries the job's id as its idempotency key. An `Err` ends the run with that outcome.
    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        let _ = job;
        Ok(Box::new(()))
    }

    /// The effects, exactly once: they commit together with the job's `done`, or not at all.
    ///
    /// It is given up after 2 s (or the kind's time-out, if that is shorter), and gives way to a crisis that waits to
    /// write: what is slow belongs into [`Handler::prepare`]. An `Err` is a database error; the run is retried.
    async fn apply(
        &self,
        job: &Job,
        prepared: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError>;
}

/// Every kind of job that this process can run.
#[derive(Clone, Default)]
pub struct Registry {
    handlers: Arc<HashMap<&'static str, Registered>>,
}

/// A handler with its policy, asked for once: nothing that a handler does can then stop the loop that hands out runs.
type Registered = (Arc<dyn Handler>, Policy);

impl Registry {
    /// A registry of `handlers`. Of two with the same kind the later one stays.
    pub fn new(handlers: impl IntoIterator<Item = Arc<dyn Handler>>) -> Self {
        let with_policy = |handler: Arc<dyn Handler>| {
            let policy = handler.policy();
            (handler.kind(), (handler, policy))
        };
        Self { handlers: Arc::new(handlers.into_iter().map(with_policy).collect()) }
    }

    /// The handler of `kind`.
    pub fn get(&self, kind: &str) -> Option<&Arc<dyn Handler>> {
        self.handlers.get(kind).map(|(handler, _)| handler)
    }

    /// The policy of `kind`; the default one if nobody handles it.
    pub fn policy(&self, kind: &str) -> Policy {
        self.handlers.get(kind).map_or(Policy::DEFAULT, |(_, policy)| *policy)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.handlers.keys()).finish()
    }
}
