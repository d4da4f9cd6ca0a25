//! The apalis backend: a channel that the fetcher fills.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll, ready},
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    task::Task,
    worker::context::WorkerContext,
};
use tokio::sync::mpsc;
use tower::layer::util::Identity;

use super::run::Run;

/// Hands claimed runs to an apalis worker. It never fails; when the fetcher has stopped, it is exhausted.
#[derive(Debug)]
pub(crate) struct LaneBackend {
    runs: mpsc::Receiver<Arc<Run>>,
}

impl LaneBackend {
    pub(crate) fn new(runs: mpsc::Receiver<Arc<Run>>) -> Self {
        Self { runs }
    }
}

impl Backend for LaneBackend {
    type Task = Task<Arc<Run>>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        let run = ready!(self.runs.poll_recv(cx));
        if run.is_none()
            && !worker.is_shutting_down()
            && let Err(error) = worker.stop()
        {
            // Whoever told it to stop before it had begun was not heard, so it is told here once more.
            tracing::debug!(error = %error, "the worker had ended before");
        }
        Poll::Ready(run.map(|run| Ok(Task::new(run))))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        // Nothing is held back here: acknowledgements go through the settler and the fetcher.
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for LaneBackend {
    type Args = Arc<Run>;
    type Id = crate::id::JobId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
