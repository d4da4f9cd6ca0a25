//! Events and signals that nobody handles: recorded, kept for as long as others, and nothing else.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
};

/// Has nothing to do: the record in the ledger is all.
pub(crate) struct Recorded(pub(crate) &'static str);

#[async_trait]
impl Handler for Recorded {
    fn kind(&self) -> &'static str {
        self.0
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, ApplyError> {
        Ok(Outcome::Done)
    }
}
