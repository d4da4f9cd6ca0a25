//! Grace periods that all end at once, with crises among them: each end is a job, and no crisis may notice.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use keepwell_config::TIERS_TOML;
use keepwell_jobs::{
    Care,
    care::{crisis::Road, facts::PaymentFailure, grace::DAY_MS, tiers::Tiers},
    handlers,
    intake::read_app,
    kinds,
    marks::Marks,
    store::{DueGrace, graces_ending, taught},
};
use keepwell_workers::{
    clock::{Clock as _, SystemClock, UnixMs},
    database::{Database, Durability, turn::Urgency},
    engine::{Engine, EngineOptions},
    id::JobId,
    lanes::LanesOptions,
    observer::{Observer, RunEnded},
};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    BenchLine, Failure, Workload,
    line::Times,
    rig::{Rig, RigOptions, keys, parts},
};
use crate::serve::watch_graces;

/// Grace periods that are due, if nobody says otherwise.
pub(super) const DUE: usize = 50_000;

/// Between two crises.
const CRISIS_EVERY: Duration = Duration::from_millis(20);

/// Crises before anything is due, if nobody says otherwise.
pub(super) const CRISES_ALONE: usize = 500;

/// People whose grace begins in one transaction while the run is prepared.
const PEOPLE_AT_ONCE: usize = 500;

/// General slots, as many as the daemon has by default.
const SLOTS: usize = 51;

pub(super) async fn run(
    graces: usize,
    due: usize,
    crises_alone: usize,
    options: &RigOptions,
) -> Result<BenchLine, Failure> {
    let due = due.min(graces);
    let options = RigOptions { slots: Some(options.slots.unwrap_or(SLOTS)), ..options.clone() };
    let rig = Rig::new(&options).await?;
    let database = rig.database.clone().sealing_with(keys());
    database.migrate(&crate::serve::migrations()).await?;
    let care = Care::new(Tiers::from_toml(TIERS_TOML)?, Marks::new(Arc::new(SystemClock)), keys());
    fill(&database, &care, graces, due).await?;

    let (ended, mut answered) = mpsc::unbounded_channel();
    let done = Arc::new(Done { graces: AtomicUsize::new(0), crises: ended });
    let parts = parts(database.clone(), rig.redis_url().to_owned(), handlers(&care), done.clone());
    let options = EngineOptions {
        slots: options.slots.unwrap_or(SLOTS),
        lanes: LanesOptions { key_prefix: rig.prefix().to_owned(), ..LanesOptions::default() },
        ..EngineOptions::default()
    };
    let engine = Engine::start(parts, &options)?;
    let mut sender = Crises { engine: engine.clone(), care, sent: 0 };
    let alone = sender.send(&mut answered, |sent| sent < crises_alone).await?;

    let (stopwatch, stop) = (rig.stopwatch(), CancellationToken::new());
    let watch = watch_graces(engine.clone(), database.clone(), Arc::new(SystemClock), None, stop.clone());
    let mut seconds = None;
    let measured = async {
        let times = sender.send(&mut answered, |_| {
            if done.graces.load(Relaxed) >= due {
                seconds.get_or_insert_with(|| stopwatch.seconds());
            }
            seconds.is_none()
        });
        let times = times.await;
        stop.cancel();
        times
    };
    let (beside, ()) = tokio::join!(measured, watch);
    let shares = stopwatch.shares();
    let open = still_open(&database).await?;
    engine.shutdown().await;
    let mut line = BenchLine::new(Workload::Grace, due).took(seconds.unwrap_or_default());
    let beside = beside?;
    line.set_times(&beside);
    line.alone = Some(Times::of(&alone));
    line.notes = format!(
        "{} {shares} graces={graces} still_open={open} crises={} alone={} ms are those of crises, from the call that \
         enqueues one to the commit of its effects",
        rig.setting(),
        beside.len(),
        alone.len(),
    );
    database.close().await;
    rig.clear().await?;
    Ok(line)
}

/// Gives each of `graces` people a grace period, as a payment that failed does; those of `due` of them have ended.
async fn fill(database: &Database, care: &Care, graces: usize, due: usize) -> Result<(), Failure> {
    let now_ms = SystemClock.now_ms();
    let groups = |from: usize, to: usize| {
        (from..to).step_by(PEOPLE_AT_ONCE).map(move |first| first..to.min(first + PEOPLE_AT_ONCE))
    };
    for group in groups(0, due).chain(groups(due, graces)) {
        let first = group.start;
        // What is not due ends in more than two days, so that nobody is told of it.
        let ago_days = if first < due { 7 } else { (first / PEOPLE_AT_ONCE % 4) as i64 };
        let learned_ms = now_ms - ago_days * DAY_MS - 1_000 - (first % 60_000) as i64;
        let mut transaction = database.begin(Urgency::General, Durability::Relaxed, learned_ms).await?;
        for number in group {
            let failure = PaymentFailure {
                invoice: format!("in_{number}"),
                subscription: Some(format!("sub_{number}")),
                attempt_count: 1,
                event_created_s: learned_ms / 1_000,
                event_id: format!("evt_{number}"),
                road: Road::Brought,
            };
            taught(&mut transaction, &format!("cus_{number}"), care, |facts| {
                facts.payment_failed(failure, learned_ms);
            })
            .await?;
        }
        transaction.commit().await?;
    }
    Ok(())
}

/// Grace periods whose end has come and that nobody has seen to; of many, some.
async fn still_open(database: &Database) -> Result<usize, Failure> {
    let first = DueGrace { customer: String::new(), ends_ms: UnixMs::MIN };
    let mut reader = database.reader(Urgency::General).await?;
    Ok(graces_ending(&mut reader, &first, SystemClock.now_ms(), 1_000).await?.len())
}

/// Sends crises, each of somebody else.
struct Crises {
    engine: Engine,
    care: Care,
    sent: usize,
}

impl Crises {
    /// Sends one after the other, at even distances, as long as `goes_on` with how many were sent; answers with how
    /// long each took, in microseconds.
    async fn send(
        &mut self,
        ended: &mut mpsc::UnboundedReceiver<(JobId, Instant)>,
        mut goes_on: impl FnMut(usize) -> bool,
    ) -> Result<Histogram<u64>, Failure> {
        let mut ticks = interval(CRISIS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut begun = HashMap::new();
        while goes_on(begun.len()) {
            ticks.tick().await;
            self.sent += 1;
            let data = json!({ "customer": format!("crisis_{}", self.sent), "source": "button", "severity": "critical" });
            let body = Bytes::from(json!({ "type": "crisis.signal", "data": data }).to_string());
            let job =
                read_app(&format!("msg_{}", self.sent), &body, &self.care.marks, &self.care.definitions)?.job;
            let started = Instant::now();
            begun.insert(self.engine.enqueue(job).await?.id, started);
        }
        let mut times = Histogram::new(3)?;
        while !begun.is_empty() {
            let Some((job, at)) = ended.recv().await else { return Err("the engine is gone".into()) };
            if let Some(started) = begun.remove(&job) {
                times.record((at - started).as_micros() as u64)?;
            }
        }
        Ok(times)
    }
}

/// Counts ends that were seen to, and tells when crises were answered.
struct Done {
    graces: AtomicUsize,
    crises: mpsc::UnboundedSender<(JobId, Instant)>,
}

impl Observer for Done {
    fn run_ended(&self, ended: &RunEnded<'_>) {
        if ended.outcome != "done" {
            return;
        }
        match &*ended.job.kind {
            kinds::GRACE_DUE => _ = self.graces.fetch_add(1, Relaxed),
            kinds::CRISIS_SIGNALLED => _ = self.crises.send((ended.job.id, Instant::now())),
            _ => {}
        }
    }
}
