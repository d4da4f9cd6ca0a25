//! What the measured jobs do: nothing, sleep, or note when they began.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
};
use tokio::sync::mpsc;

/// Does nothing.
pub(super) struct Noop;

#[async_trait]
impl Handler for Noop {
    fn kind(&self) -> &'static str {
        "bench.noop"
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, ApplyError> {
        Ok(Outcome::Done)
    }
}

/// Sleeps 5 ms.
pub(super) struct Sleep;

#[async_trait]
impl Handler for Sleep {
    fn kind(&self) -> &'static str {
        "bench.sleep"
    }

    async fn prepare(&self, _: &Job) -> Result<Prepared, Outcome> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(Box::new(()))
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, ApplyError> {
        Ok(Outcome::Done)
    }
}

/// Says for how long it was on its way: the payload holds when it was asked for, in microseconds since the Unix epoch.
pub(super) struct Timed(pub(super) mpsc::UnboundedSender<f64>);

#[async_trait]
impl Handler for Timed {
    fn kind(&self) -> &'static str {
        "bench.timed"
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        let asked_us: f64 =
            std::str::from_utf8(&job.payload).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let _ = self.0.send((now_us() - asked_us) / 1_000.0);
        Ok(Box::new(()))
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, ApplyError> {
        Ok(Outcome::Done)
    }
}

/// Microseconds since the Unix epoch.
#[allow(clippy::disallowed_methods)] // A measurement needs a finer clock than the ledger's.
pub(super) fn now_us() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64() * 1e6)
}

/// All of them.
pub(super) fn handlers(timed: mpsc::UnboundedSender<f64>) -> Vec<Arc<dyn Handler>> {
    vec![Arc::new(Noop), Arc::new(Sleep), Arc::new(Timed(timed))]
}
