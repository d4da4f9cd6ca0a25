//! Pools: apalis workers over our own apalis `Backend`.
//!
//! A pool is three loops that hand a run from one to the next:
//!
//! ```text
//!            claims                  runs                   verdicts
//!   lanes ───────────▶ Fetcher ───────────▶ apalis Worker ───────────▶ Settler ──▶ ledger
//!     ▲                   │ ▲                                             │
//!     └───────────────────┘ └─────────────────────────────────────────────┘
//!        acks, retries                          moves
//! ```
//!
//! The fetcher claims only for slots that are free, so no prefetch holds jobs while a crisis job waits, and tells the
//! lanes what has ended in the same round trip in which it claims what is next. The settler takes whatever has come
//! to an end since its last commit and settles it in one transaction. Crisis jobs have a settler of their own, in
//! either pool: general slots take them too. So have jobs that have seen a worker die. On a database with many writers
//! there are several settlers.
//!
//! apalis-core's `Persisted` does not drain acknowledgements while a fetch is pending and ends the worker for good on
//! one backend error. Here the backend is a channel: an error from Redis or the database means "try again" to the
//! fetcher and never reaches the worker.

mod backend;
mod drain_time;
mod fetcher;
mod journal;
mod member;
mod run;
mod service;
mod settler;

use std::sync::Arc;

use apalis::layers::{catch_panic::CatchPanicLayer, tracing::TraceLayer};
use apalis_core::worker::{
    builder::WorkerBuilder, context::WorkerContext, ext::parallelize::ParallelizeExt as _,
};
use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    database::turn::Urgency,
    lanes::{Behind, Bells, ClaimScope, Lanes, PlacementQueue},
    ledger::Ledger,
    observer::Observer,
    runtime,
    turns::Turns,
};

pub(crate) use drain_time::DrainTime;
pub(crate) use journal::Journal;
pub(crate) use member::{Keeper, Member};

use backend::LaneBackend;
use fetcher::Fetcher;
use service::{RunTimeoutLayer, SettleLayer, panicked, prepare, span};
use settler::{Settler, Verdicts};

/// What a pool is made of.
pub(crate) struct Pool {
    pub(crate) name: &'static str,
    pub(crate) scope: ClaimScope,
    pub(crate) slots: usize,
    pub(crate) ledger: Ledger,
    pub(crate) lanes: Lanes,
    pub(crate) member: Arc<Member>,
    pub(crate) placements: PlacementQueue,
    /// What the lanes may be missing.
    pub(crate) behind: Arc<Behind>,
    pub(crate) bells: Arc<Bells>,
    pub(crate) observer: Arc<dyn Observer>,
    /// Cancelled when nothing more shall be claimed.
    pub(crate) drain: CancellationToken,
    /// Counts the turns of the fetcher's loop.
    pub(crate) turns: Turns,
    /// What is running, for the next life.
    pub(crate) journal: Option<Arc<Journal>>,
    /// Cancelled when one of the pool's loops has ended before its time.
    pub(crate) broken: CancellationToken,
}

impl Pool {
    /// Runs until `drain` is cancelled and every run has ended, or until the `drain_time` is over; whatever the pool
    /// still holds then goes back to the front of its lane.
    pub(crate) async fn run(self, drain_time: &DrainTime) {
        let (runs_in, runs_out) = mpsc::channel(self.slots);
        let (moves_in, moves_out) = mpsc::unbounded_channel();
        let mut settlers = Vec::new();
        let mut settled_by = |urgency, writers: u32| {
            let (verdicts_in, verdicts_out) = mpsc::channel(self.slots);
            let settler = Settler {
                ledger: self.ledger.clone(),
                urgency,
                lanes: self.lanes.clone(),
                member: Arc::clone(&self.member),
                verdicts: Arc::new(Mutex::new(verdicts_out)),
                moves: moves_in.clone(),
                placements: self.placements.clone(),
                observer: Arc::clone(&self.observer),
                journal: self.journal.clone(),
            };
            settlers.extend((0..writers).map(|_| settler.clone()));
            verdicts_in
        };
        let writers = |urgency| self.ledger.database.writers(urgency);
        let crisis = settled_by(Urgency::Crisis, writers(Urgency::Crisis));
        let verdicts = match self.scope {
            ClaimScope::Crisis => Verdicts { suspects: crisis.clone(), general: crisis.clone(), crisis },
            ClaimScope::General => Verdicts {
                crisis,
                suspects: settled_by(Urgency::Recovered, 1),
                general: settled_by(Urgency::General, writers(Urgency::General)),
            },
        };
        drop(moves_in);
        let fetcher = Fetcher::new(
            self.scope,
            self.lanes.clone(),
            self.ledger,
            Arc::clone(&self.member),
            Arc::new(Semaphore::new(self.slots)),
            runs_in,
            verdicts.clone(),
            moves_out,
            self.behind,
            self.bells,
            self.drain.clone(),
            self.turns,
            self.journal.clone(),
        );
        let abandoned = CancellationToken::new();
        let context = WorkerContext::new(self.name);
        let worker = WorkerBuilder::new(&context)
            .backend(LaneBackend::new(runs_out))
            .parallelize(runtime::start_run)
            .layer(SettleLayer::new(verdicts, self.journal, abandoned.clone()))
            .layer(CatchPanicLayer::<_, service::Panicked>::with_panic_handler(panicked))
            .layer(RunTimeoutLayer)
            .layer(
                TraceLayer::new()
                    .make_span_with(span)
                    .on_request(service::unsaid)
                    .on_response(())
                    .on_failure(()),
            )
            .build(prepare);

        let mut loops = JoinSet::new();
        runtime::start_loop(&mut loops, &self.broken, fetcher.run());
        for settler in settlers {
            runtime::start_loop(&mut loops, &self.broken, settler.run());
        }
        let broken = self.broken.clone();
        runtime::start_loop(&mut loops, &self.broken, async move {
            if let Err(error) = worker.run().await {
                tracing::error!(error = %error, "a worker ended before its time");
                broken.cancel();
            }
        });
        self.drain.cancelled().await;
        // An exhausted backend alone does not end an apalis worker; it waits to be told. Claimed runs that it has not
        // begun are given back with the rest.
        if let Err(error) = context.stop() {
            tracing::debug!(error = %error, "the worker had ended before");
        }
        let all_ended = async { while loops.join_next().await.is_some() {} };
        if tokio::time::timeout_at(drain_time.until(), all_ended).await.is_err() {
            tracing::warn!(pool = self.name, "runs that did not end in time go back to their lanes");
            loops.abort_all();
            while loops.join_next().await.is_some() {}
            abandoned.cancel();
        }
        self.member.leave().await;
    }
}
