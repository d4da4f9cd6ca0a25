//! Poison pills: jobs that kill whatever process runs them.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use keepwell_workers::{
    clock::{Clock as _, SystemClock},
    database::Dialect,
    engine::{Engine, EngineOptions, EngineParts},
    handler::Registry,
    id::JobId,
    job::NewJob,
    lane::Lane,
    ledger::{DeadOf, DeadPage},
    state::State,
};
use redis::AsyncCommands as _;
use sqlx::Executor as _;

use super::{
    bench::{Bench, Ear, Scripted, nothing_owed, parts, placed, scripted},
    database_locked::stranger,
    worker::{Worker, deaths},
};
use crate::support::eventually;

/// Records a pill among innocents and has a worker run them, and a second one once there is a death to come back from.
/// Sees what becomes of them all; `deaths_max` is what the pill's lane allows.
async fn a_pill_is_quarantined(lane: Lane, innocents: usize, deaths_max: usize) {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let mut jobs: Vec<NewJob> = (0..innocents).map(|_| NewJob::new("innocent", lane, "")).collect();
    jobs.insert(1, NewJob::new("pill", lane, ""));
    let all = recorder.enqueue_all(jobs).await.unwrap();
    let mut workers = vec![Worker::start(&bench, "one")];
    eventually("the first worker is dead", async || workers[0].ended()).await;
    workers.push(Worker::start(&bench, "two"));
    eventually("nothing is owed any more", async || {
        workers.iter_mut().for_each(Worker::keep_alive);
        (recorder.ledger().totals().await.ok()?.owed == 0).then_some(())
    })
    .await;

    let deaths = deaths(&bench);
    if lane == Lane::Crisis {
        // A crisis job runs even if nobody could note that it does, and then nobody knows whom it killed.
        assert!((deaths_max..2 * deaths_max).contains(&deaths), "{deaths}");
    } else {
        assert_eq!(deaths, deaths_max);
    }
    for (place, job) in all.iter().enumerate() {
        let (job, history) = recorder.ledger().show(job.id).await.unwrap().unwrap();
        if place == 1 {
            assert_eq!(job.state, State::Dead);
            let error = job.last_error.unwrap();
            assert_eq!(error, "quarantined: its workers kept dying while running it");
            assert_eq!((history.len(), history[0].outcome.as_str()), (1, "crashed"));
        } else {
            assert_eq!((job.state, job.attempts), (State::Done, 1), "{history:?}");
            assert_eq!((job.last_error, history.len()), (None, 0));
        }
    }
    they_work_on(&bench, &recorder, &mut workers).await;
    recorder.shutdown().await;
}

/// Sees that both workers are alive and that nothing of the pill is left behind.
async fn they_work_on(bench: &Bench, recorder: &Engine, workers: &mut [Worker]) {
    workers.iter_mut().for_each(Worker::keep_alive);
    recorder.enqueue_all((0..20).map(|_| scripted("ok", Lane::Standard)).collect()).await.unwrap();
    nothing_owed(recorder).await;
    assert_eq!(bench.effects().await.len(), 20);
    assert!(workers.iter_mut().all(|worker| worker.ended().is_none()));
    let mut redis = bench.redis.connection().await;
    eventually("the lanes have forgotten the pill", async || {
        let left: usize = redis.exists(&["{keepwell:0}:crashes", "{keepwell:0}:quarantine"]).await.ok()?;
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pill_kills_three_workers_and_no_innocent_job_pays_for_it() {
    a_pill_is_quarantined(Lane::Standard, 7, 3).await;
}

#[tokio::test]
async fn a_pill_in_the_crisis_lane_is_given_up_only_after_nine() {
    a_pill_is_quarantined(Lane::Crisis, 3, 9).await;
}

#[tokio::test]
async fn a_pill_is_found_although_redis_dies_with_every_worker() {
    for (lane, deaths_max) in [(Lane::Standard, 3), (Lane::Crisis, 9)] {
        let mut bench = Bench::new(Dialect::Sqlite).await;
        let recorder = bench.engine_with(|options| options.runs_jobs = false);
        let innocents = (0..5).map(|_| NewJob::new("innocent", lane, ""));
        let pill = [NewJob::new("pill", lane, "")];
        let all = recorder.enqueue_all(pill.into_iter().chain(innocents).collect()).await.unwrap();
        let mut worker = Worker::start(&bench, "alone");
        while recorder.ledger().totals().await.unwrap().owed > 0 {
            eventually("all is over, or the worker is dead", async || {
                let is_over = worker.ended().is_some() || recorder.ledger().totals().await.ok()?.owed == 0;
                is_over.then_some(())
            })
            .await;
            bench.redis.kill();
            bench.redis.wipe();
            bench.redis.start_again().await;
            worker.keep_alive();
        }
        // Nobody had noted what ran at the first death.
        assert_eq!(deaths(&bench), 1 + deaths_max, "{lane}");
        let states =
            recorder.ledger().states(&all.iter().map(|job| job.id).collect::<Vec<_>>()).await.unwrap();
        for (id, state) in states {
            assert_eq!(state, if id == all[0].id { State::Dead } else { State::Done });
        }
        let (job, _) = recorder.ledger().show(all[0].id).await.unwrap().unwrap();
        assert_eq!(job.last_error.as_deref(), Some("quarantined: its workers kept dying while running it"));
        // Whoever retries it knows better.
        assert!(recorder.retry(all[0].id).await.unwrap());
        eventually("it has killed again", async || {
            worker.keep_alive();
            (deaths(&bench) == 2 + deaths_max).then_some(())
        })
        .await;
        recorder.shutdown().await;
    }
}

/// The journal of a life that was killed: each of `jobs` has seen so many workers die.
pub(super) fn journal(bench: &Bench, jobs: &[(JobId, u8)]) -> PathBuf {
    let path = bench.directory.path().join("running");
    let records: Vec<Vec<u8>> =
        jobs.iter().map(|(id, deaths)| [&[b'd', *deaths][..], id.as_bytes()].concat()).collect();
    fs::write(&path, records.concat()).unwrap();
    path
}

#[tokio::test]
async fn who_may_see_one_death_more_runs_after_a_crisis_that_may_be_the_killer() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let record = async |words, lane| recorder.enqueue(scripted(words, lane)).await.unwrap().id;
    let crisis = record("gate", Lane::Crisis).await;
    let suspect = record("ok", Lane::Standard).await;
    let other = record("ok", Lane::Standard).await;
    let journal = journal(&bench, &[(crisis, 1), (suspect, 2)]);
    let engine = bench.engine_with(|options| options.journal = Some(journal));
    let mut redis = bench.redis.connection().await;
    let mut put_off = async |after_ms: i64| {
        eventually("the suspect is put off", async || {
            let until_ms: Option<i64> =
                redis.zscore("{keepwell:0}:later:standard", &suspect.as_bytes()[..]).await.ok()?;
            until_ms.filter(|until_ms| *until_ms > after_ms)
        })
        .await
    };
    let first_ms = put_off(0).await;
    // When its time has come, the crisis still runs.
    put_off(first_ms).await;
    eventually("whoever is no suspect is done", async || {
        (bench.effects().await == [other.to_string()]).then_some(())
    })
    .await;
    bench.script.gate.add_permits(1);
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [other, crisis, suspect].map(|id| id.to_string()));
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn a_pill_that_the_ledger_cannot_give_up_on_yet_is_not_run_meanwhile() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let pill = recorder.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
    placed(&recorder, 1).await;
    let mut stranger = stranger(&bench.file()).await;
    let ear = Arc::new(Ear::default());
    let handler = Arc::new(Scripted(Arc::clone(&bench.script)));
    let parts = parts(bench.database.clone(), bench.redis.url(), Registry::new([handler as _]));
    let options = EngineOptions { journal: Some(journal(&bench, &[(pill, 3)])), ..EngineOptions::default() };
    let engine = Engine::start(EngineParts { observer: Arc::clone(&ear) as _, ..parts }, &options).unwrap();
    eventually("its end could not be recorded", async || {
        ear.heard().contains(&(pill, "unsettled")).then_some(())
    })
    .await;
    stranger.execute("ROLLBACK").await.unwrap();
    nothing_owed(&engine).await;
    let (job, _) = engine.ledger().show(pill).await.unwrap().unwrap();
    assert_eq!((job.state, bench.script.begun.load(Ordering::SeqCst)), (State::Dead, 0));
    assert_eq!(job.last_error.as_deref(), Some("quarantined: its workers kept dying while running it"));
    // Whoever retries it knows better.
    assert!(engine.retry(pill).await.unwrap());
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [pill.to_string()]);
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn whoever_hears_of_runs_hears_that_a_job_was_quarantined() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let ear = Arc::new(Ear::default());
    let engine = bench.engine_heard_by(ear.clone());
    engine.pause(Lane::Standard, "so that it is not run", false).await.unwrap();
    let job = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
    let mut redis = bench.redis.connection().await;
    let () = redis.rpush("{keepwell:0}:quarantine", job.as_bytes().as_slice()).await.unwrap();
    let heard =
        eventually("its end is heard of", async || Some(ear.heard()).filter(|heard| !heard.is_empty())).await;
    assert_eq!(heard, [(job, "dead")]);
    assert_eq!(engine.ledger().show(job).await.unwrap().unwrap().0.state, State::Dead);
    engine.shutdown().await;
}

#[tokio::test]
async fn what_is_owed_and_what_has_died_is_read_whole_on_each_database() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let engine = bench.engine();
        let began_ms = SystemClock.now_ms();
        let dead = engine.enqueue(scripted("dead", Lane::Crisis)).await.unwrap().id;
        engine.enqueue(scripted("dead", Lane::Realtime)).await.unwrap();
        nothing_owed(&engine).await;
        let ledger = engine.ledger();
        let read = async |since_ms, but_prefix: &str, after| {
            let of = DeadOf { lane: Lane::Crisis, but_prefix, kinds: &[] };
            ledger.dead_since(of, since_ms, after, 10).await.unwrap()
        };
        let DeadPage { jobs: died, next } = read(began_ms, "none", None).await;
        let [(job, died_ms)] = &died[..] else { panic!("{died:?}") };
        assert_eq!(next, None);
        assert_eq!((job.id, &job.payload[..], *died_ms >= began_ms), (dead, &b"dead"[..], true));
        assert!(read(died_ms + 1, "none", None).await.jobs.is_empty());
        assert!(read(began_ms, &job.kind[..2], None).await.jobs.is_empty());
        assert!(read(began_ms, "none", Some(dead)).await.jobs.is_empty());

        engine.pause(Lane::Crisis, "so that they are owed", true).await.unwrap();
        let jobs = vec![
            scripted("ok", Lane::Crisis),
            scripted("fail", Lane::Crisis),
            scripted("ok", Lane::Realtime),
        ];
        let recorded = engine.enqueue_all(jobs).await.unwrap();
        let owed = ledger.owed_jobs(Lane::Crisis, None, 10).await.unwrap();
        let read: Vec<(JobId, &[u8])> = owed.iter().map(|job| (job.id, &job.payload[..])).collect();
        let mut expected = [(recorded[0].id, &b"ok"[..]), (recorded[1].id, &b"fail"[..])];
        expected.sort();
        assert_eq!(read, expected);
        let behind = ledger.owed_jobs(Lane::Crisis, Some(owed[0].id), 10).await.unwrap();
        assert_eq!(behind.len(), 1);
        engine.shutdown().await;
    }
}
