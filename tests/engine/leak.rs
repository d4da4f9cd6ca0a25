//! A handler that takes ever more memory until its process dies of it.

use std::os::unix::process::ExitStatusExt as _;

use keepwell_workers::{database::Dialect, job::NewJob, lane::Lane, state::State};
use rustix::process::Signal;

use super::{
    bench::{Bench, nothing_owed, scripted},
    worker::{Worker, deaths},
};
use crate::support::eventually;

/// What a worker may have, in bytes: far more than it needs.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

#[tokio::test]
async fn a_job_that_leaks_until_its_worker_dies_is_given_up_and_costs_nobody_anything() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let mut jobs: Vec<NewJob> = (0..6).map(|_| NewJob::new("innocent", Lane::Standard, "")).collect();
    jobs.insert(1, NewJob::new("pill", Lane::Standard, "leak"));
    let all = recorder.enqueue_all(jobs).await.unwrap();
    let mut worker = Worker::start_within(Some(MEMORY_BYTES_MAX), &bench, "leaky");
    let mut expected = Vec::new();
    for death in 1..=3 {
        eventually("it leaks", async || {
            worker.keep_alive();
            (deaths(&bench) == death).then_some(())
        })
        .await;
        // They come while it does.
        for lane in [Lane::Crisis, Lane::Crisis, Lane::Therapeutic] {
            expected.push(recorder.enqueue(scripted("ok", lane)).await.unwrap().id.to_string());
        }
        let ended = eventually("the worker dies of it", async || worker.ended()).await;
        assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{ended}");
    }
    worker.keep_alive();
    nothing_owed(&recorder).await;

    for (place, job) in all.iter().enumerate() {
        let (job, history) = recorder.ledger().show(job.id).await.unwrap().unwrap();
        if place == 1 {
            assert_eq!((job.state, history.len()), (State::Dead, 1));
            let error = job.last_error.as_deref();
            assert_eq!(error, Some("quarantined: its workers kept dying while running it"));
        } else {
            assert_eq!((job.state, job.attempts, history.len()), (State::Done, 1, 0), "{history:?}");
        }
    }
    expected.push(recorder.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id.to_string());
    nothing_owed(&recorder).await;
    let mut effects = bench.effects().await;
    effects.sort();
    expected.sort();
    assert_eq!(effects, expected, "each once");
    assert_eq!((deaths(&bench), worker.ended()), (3, None));
    recorder.shutdown().await;
}
