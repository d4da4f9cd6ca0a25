//! The service that an apalis worker calls for each run, and its layers: a span, the settlement, panics, the time-out.

use std::{
    any::Any,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use apalis_core::{error::BoxDynError, task::Task};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};
use tracing::Span;

use super::{
    Journal,
    run::Run,
    settler::{Ended, Verdicts},
};
use crate::{
    handler::Prepared,
    ledger::{Verdict, fit},
    outcome::Outcome,
};

/// How long a suspect waits that could not be noted as running.
const UNNOTED_DELAY: Duration = Duration::from_millis(100);

/// The innermost step: the handler's work outside the database.
pub(crate) async fn prepare(run: Arc<Run>) -> Result<Result<Prepared, Outcome>, BoxDynError> {
    Ok(run.handler.prepare(&run.job).await)
}

/// The span under which everything about a run is logged.
pub(crate) fn span(task: &Task<Arc<Run>>) -> Span {
    let job = &task.args.job;
    tracing::info_span!(
        "job",
        job.id = %job.id,
        job.kind = %job.kind,
        lane = %job.lane,
        attempt = job.attempts + 1,
        trace = job.trace.as_deref(),
    )
}

/// The start of a run is not worth a line; its end is (see the settler).
pub(crate) fn unsaid(_: &Task<Arc<Run>>, _: &Span) {}

/// A handler panicked.
#[derive(Debug, thiserror::Error)]
#[error("the handler panicked: {0}")]
pub(crate) struct Panicked(&'static str);

/// What a panic said, as far as it may be repeated: words that stand in the source. A message that was put together
/// while the handler ran may hold whatever the handler held, a person's data among it.
pub(crate) fn panicked(payload: &Box<dyn Any + Send>) -> Panicked {
    Panicked(payload.downcast_ref::<&'static str>().copied().unwrap_or("in words that are not repeated here"))
}

type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Ends a run whose preparation takes longer than its kind allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunTimeoutLayer;

/// See [`RunTimeoutLayer`].
#[derive(Debug, Clone)]
pub(crate) struct RunTimeout<S>(S);

impl<S> Layer<S> for RunTimeoutLayer {
    type Service = RunTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RunTimeout(inner)
    }
}

impl<S> Service<Task<Arc<Run>>> for RunTimeout<S>
where
    S: Service<Task<Arc<Run>>, Response = Result<Prepared, Outcome>, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = Result<Prepared, Outcome>;
    type Error = BoxDynError;
    type Future = BoxFuture<Self::Response, BoxDynError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Arc<Run>>) -> Self::Future {
        let limit = Duration::from_millis(task.args.policy.timeout_ms);
        let preparing = self.0.call(task);
        Box::pin(async move {
            match tokio::time::timeout(limit, preparing).await {
                Ok(prepared) => prepared,
                Err(_) => Ok(Err(Outcome::retry(format!("timed out after {} ms", limit.as_millis())))),
            }
        })
    }
}

/// Brings a run before the settler and waits until the ledger has settled it.
#[derive(Debug, Clone)]
pub(crate) struct SettleLayer {
    verdicts: Verdicts,
    journal: Option<Arc<Journal>>,
    abandoned: CancellationToken,
}

impl SettleLayer {
    /// Until a run is `abandoned`: then its job is not this pool's any more.
    pub(crate) fn new(
        verdicts: Verdicts,
        journal: Option<Arc<Journal>>,
        abandoned: CancellationToken,
    ) -> Self {
        Self { verdicts, journal, abandoned }
    }
}

/// See [`SettleLayer`].
#[derive(Debug, Clone)]
pub(crate) struct Settle<S> {
    inner: S,
    verdicts: Verdicts,
    journal: Option<Arc<Journal>>,
    abandoned: CancellationToken,
}

impl<S> Layer<S> for SettleLayer {
    type Service = Settle<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Settle {
            inner,
            verdicts: self.verdicts.clone(),
            journal: self.journal.clone(),
            abandoned: self.abandoned.clone(),
        }
    }
}

impl<S> Service<Task<Arc<Run>>> for Settle<S>
where
    S: Service<Task<Arc<Run>>, Response = Result<Prepared, Outcome>, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = BoxFuture<(), BoxDynError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Arc<Run>>) -> Self::Future {
        let run = Arc::clone(&task.args);
        let (verdicts, journal) = (self.verdicts.clone(), self.journal.clone());
        let (preparing, abandoned) = (self.inner.call(task), self.abandoned.clone());
        let run = async move {
            // Held until the run is settled: a poison pill may sit in the effects too.
            let alone = match &run.suspicion {
                Some(suspicion) => Some(suspicion.begin(&run.job).await),
                None => None,
            };
            let must_not_run = matches!(alone, Some(None));
            let _noted = journal
                .filter(|_| !must_not_run)
                .and_then(|journal| journal.begins(run.job.id, run.job.created_ms, run.job.lane));
            let prepared = if must_not_run {
                Err(Outcome::Snooze { after: UNNOTED_DELAY })
            } else {
                match preparing.await {
                    Ok(Ok(prepared)) => Ok((Arc::clone(&run.handler), prepared)),
                    Ok(Err(outcome)) => Err(outcome.map_text(fit)),
                    Err(error) => Err(Outcome::retry(error.to_string())),
                }
            };
            let (settled_in, settled) = oneshot::channel();
            let verdict = Verdict { job: Arc::clone(&run.job), policy: run.policy, prepared };
            let ended = Ended {
                verdict,
                claimed_ms: run.claimed_ms,
                claimed_at: run.claimed_at,
                is_suspect: run.suspicion.is_some(),
                settled: Some(settled_in),
            };
            if verdicts.bring(ended).await {
                // The slot stays taken until the ledger has spoken; a settler that is gone has nothing more to say.
                let _ = settled.await;
            }
        };
        // Whoever runs it next must not meet it here: the worker that is gone leaves its runs going.
        Box::pin(async move {
            let _ = abandoned.run_until_cancelled(run).await;
            Ok(())
        })
    }
}
