//! A worker that is killed in the middle of its work, and one that takes over.
//!
//! 2 000 jobs of 50 ms, 64 at a time. When 500 are done the worker process is killed with `kill -9` and another one is
//! started at once: first with the same state directory (the same host was restarted), then, with jobs and a worker
//! of its own, with another one (another host takes over, which has to wait until the lease has ended).

mod journal;
mod worker;

use std::{process::Stdio, time::Duration};

use keepwell_workers::{
    engine::Engine,
    job::NewJob,
    lane::Lane,
    lanes::LanesOptions,
    ledger::{JobFilter, LedgerTotals},
    state::State,
};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time::sleep,
};
use uuid::Uuid;

use super::{
    BenchLine, Failure, Workload,
    handlers::now_us,
    rig::{PAYLOAD_BYTES, Rig, RigOptions},
};
use journal::Journal;
pub(super) use worker::WorkerOrder;

/// Jobs at once.
const SLOTS: usize = 64;

/// The pause between two looks at what is done.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn run(jobs: usize, options: &RigOptions) -> Result<BenchLine, Failure> {
    let rig = Rig::new(&RigOptions { slots: Some(SLOTS), ..options.clone() }).await?;
    let same_host = one(&rig, jobs, true).await?;
    let other_host = one(&rig, jobs, false).await?;
    let mut line = BenchLine::new(Workload::Crash, jobs);
    line.max_ms = Some(same_host.taken_back_ms);
    line.seconds = Some(same_host.seconds);
    line.notes = format!(
        "{} lost={} effects_twice={} same_host: in_flight={} started_again={} max_ms={:.0}; other_host: in_flight={} \
         started_again={} max_ms={:.0} (lease {} s)",
        rig.setting(),
        same_host.lost + other_host.lost,
        same_host.twice + other_host.twice,
        same_host.in_flight,
        same_host.started_again,
        same_host.taken_back_ms,
        other_host.in_flight,
        other_host.started_again,
        other_host.taken_back_ms,
        LanesOptions::default().lease_ms / 1_000,
    );
    rig.clear().await?;
    Ok(line)
}

/// Runs jobs for the other end of [`WorkerOrder`] until killed.
pub(super) async fn work() -> Result<(), Failure> {
    worker::run().await
}

/// What one kill showed.
struct Kill {
    /// Jobs whose handler had begun and that were not settled.
    in_flight: usize,
    /// Of these, how many began again in the next worker.
    started_again: usize,
    /// From the kill to the last of them beginning again, in milliseconds.
    taken_back_ms: f64,
    /// From the kill to the last job done, in seconds.
    seconds: f64,
    lost: u64,
    twice: u64,
}

async fn one(rig: &Rig, jobs: usize, same_host: bool) -> Result<Kill, Failure> {
    let engine = rig.engine(false)?;
    let before = engine.ledger().totals().await?;
    let (done_before, effects_before) =
        (done(&engine, worker::KIND).await?, done(&engine, worker::EFFECT).await?);
    rig.backlog(&engine, jobs, || NewJob::new(worker::KIND, Lane::Standard, vec![b'x'; PAYLOAD_BYTES]))
        .await?;

    let instance = Uuid::new_v4().to_string();
    let first = Journal::new(rig.folder(), "first", same_host);
    let mut killed = start(rig, &instance, &first).await?;
    while done(&engine, worker::KIND).await? < done_before + jobs as u64 / 4 {
        sleep(LOOK_PAUSE).await;
    }
    killed.kill().await?;
    let killed_us = now_us();
    let in_flight = first.begun_and_not_ended()?;

    let second = Journal::new(rig.folder(), "second", same_host);
    let instance = if same_host { instance } else { Uuid::new_v4().to_string() };
    let mut successor = start(rig, &instance, &second).await?;
    while (done(&engine, worker::EFFECT).await? - effects_before) < jobs as u64
        || owed(engine.ledger().totals().await?) > owed(before)
    {
        sleep(LOOK_PAUSE).await;
    }
    let seconds = (now_us() - killed_us) / 1e6;
    successor.kill().await?;

    let begun: Vec<f64> =
        second.begun()?.into_iter().filter(|(id, _)| in_flight.contains(id)).map(|(_, at)| at).collect();
    let last_us = begun.iter().copied().fold(killed_us, f64::max);
    let (done, effects) = (
        done(&engine, worker::KIND).await? - done_before,
        done(&engine, worker::EFFECT).await? - effects_before,
    );
    engine.shutdown().await;
    Ok(Kill {
        in_flight: in_flight.len(),
        started_again: begun.len(),
        taken_back_ms: (last_us - killed_us) / 1e3,
        seconds,
        lost: (jobs as u64).saturating_sub(done.min(effects)),
        twice: effects.saturating_sub(jobs as u64),
    })
}

fn owed(totals: LedgerTotals) -> u64 {
    totals.owed
}

async fn done(engine: &Engine, kind: &str) -> Result<u64, Failure> {
    let filter = JobFilter { kind: Some(kind.to_owned()), state: Some(State::Done), ..JobFilter::default() };
    Ok(engine.ledger().list(&filter, None, 1).await?.total)
}

async fn start(rig: &Rig, instance: &str, journal: &Journal) -> Result<Child, Failure> {
    let order = WorkerOrder {
        database_url: rig.database_url()?,
        redis_url: rig.redis_url().to_owned(),
        key_prefix: rig.prefix().to_owned(),
        instance: instance.to_owned(),
        journal: journal.path().to_owned(),
        slots: SLOTS,
    };
    let mut child = Command::new(std::env::current_exe()?)
        .args(["bench", "crash-worker"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("the worker has no standard input")?;
    // Over its standard input, because a database's address may hold a password.
    stdin.write_all(&serde_json::to_vec(&order)?).await?;
    stdin.shutdown().await?;
    Ok(child)
}
