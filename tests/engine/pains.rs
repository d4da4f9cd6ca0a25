//! What people report of other queues, and why it does not happen here. ARCHITECTURE.md has the whole list.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use keepwell_workers::{
    database::{Dialect, Transaction},
    engine::{Effective, Engine},
    handler::{Handler, Prepared},
    id::JobId,
    job::{Job, NewJob},
    lane::Lane,
    ledger::JobFilter,
    outcome::Outcome,
    policy::Policy,
    state::State,
};
use redis::AsyncCommands as _;

use super::{
    bench::{Bench, Script, nothing_owed, scripted},
    worker::{LEASE_MS, Worker},
};
use crate::support::eventually;

/// How a job stands: its state, its attempts, and how many of them are in its history.
async fn standing(engine: &Engine, id: JobId) -> (State, u32, usize) {
    let (job, history) = engine.ledger().show(id).await.unwrap().unwrap();
    (job.state, job.attempts, history.len())
}

/// Waits until the lanes know the two nodes of an engine on the bench and no others.
async fn alone(engine: &Engine) {
    eventually("the bench's engine is there alone", async || {
        let (_, nodes) = engine.lanes().stats().await.ok()?;
        let own = nodes.iter().filter(|node| node.info.as_ref().is_some_and(|info| info.instance == "bench"));
        (nodes.len() == 2 && own.count() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_killed_workers_jobs_return_to_the_front_of_their_lanes_with_all_their_attempts() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let job = || scripted("gate", Lane::Standard);
    let mut taken =
        recorder.enqueue_all((0..8).map(|n| job().turn(format!("cus_{n}"))).collect()).await.unwrap();
    let mut worker = Worker::start(&bench, "doomed");
    eventually("the worker has taken all of them", async || {
        let (_, nodes) = recorder.lanes().stats().await.ok()?;
        nodes.iter().any(|node| node.running == 8).then_some(())
    })
    .await;
    // The first one's turn is held by the dead worker; the others only came later.
    taken.extend(recorder.enqueue_all(vec![job().turn("cus_0"), job(), job()]).await.unwrap());
    recorder.pause(Lane::Standard, "a test", false).await.unwrap();
    worker.kill();

    let engine = bench.engine_with(|options| (options.slots, options.lanes.lease_ms) = (1, LEASE_MS));
    alone(&engine).await;
    bench.script.gate.add_permits(1_000);
    engine.resume(Lane::Standard).await.unwrap();
    nothing_owed(&engine).await;
    let mut first: Vec<String> = bench.effects().await.into_iter().take(8).collect();
    let mut recovered: Vec<String> = taken[..8].iter().map(|job| job.id.to_string()).collect();
    first.sort();
    recovered.sort();
    assert_eq!(first, recovered);
    for job in taken {
        assert_eq!(standing(&engine, job.id).await, (State::Done, 1, 0));
    }
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn what_a_killed_worker_held_is_not_kept_waiting_by_more_urgent_lanes() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let held = (0..4).map(|_| scripted("gate", Lane::Background)).collect();
    let held = recorder.enqueue_all(held).await.unwrap();
    let mut worker = Worker::start(&bench, "doomed");
    eventually("the worker has taken all of them", async || {
        let (_, nodes) = recorder.lanes().stats().await.ok()?;
        nodes.iter().any(|node| node.running == 4).then_some(())
    })
    .await;
    for lane in [Lane::Background, Lane::Therapeutic] {
        recorder.pause(lane, "a test", false).await.unwrap();
    }
    recorder.enqueue_all((0..8).map(|_| scripted("gate", Lane::Therapeutic)).collect()).await.unwrap();
    worker.kill();

    let engine = bench.engine_with(|options| (options.slots, options.lanes.lease_ms) = (1, LEASE_MS));
    alone(&engine).await;
    engine.resume(Lane::Background).await.unwrap();
    eventually("its only slot is busy", async || {
        (bench.script.running.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    engine.resume(Lane::Therapeutic).await.unwrap();
    bench.script.gate.add_permits(1_000);
    nothing_owed(&engine).await;
    let mut first: Vec<String> = bench.effects().await.into_iter().take(4).collect();
    let mut recovered: Vec<String> = held.iter().map(|job| job.id.to_string()).collect();
    first.sort();
    recovered.sort();
    assert_eq!(first, recovered);
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn a_worker_that_died_with_every_slot_taken_leaves_every_slot_to_the_next_one() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let taken = (0..8).map(|_| scripted("gate", Lane::Standard)).collect();
    let taken = recorder.enqueue_all(taken).await.unwrap();
    let mut worker = Worker::start(&bench, "doomed");
    eventually("the worker has taken all of them", async || {
        let (_, nodes) = recorder.lanes().stats().await.ok()?;
        nodes.iter().any(|node| node.running == 8).then_some(())
    })
    .await;
    worker.kill();

    let engine = bench.engine_with(|options| (options.slots, options.lanes.lease_ms) = (8, LEASE_MS));
    for _ in 0..2 {
        eventually("as many run at once as there are slots", async || {
            (bench.script.running.load(Ordering::SeqCst) == 8).then_some(())
        })
        .await;
        bench.script.gate.add_permits(8);
        nothing_owed(&engine).await;
        let next = (0..8).map(|_| scripted("gate", Lane::Standard)).collect();
        recorder.enqueue_all(next).await.unwrap();
    }
    bench.script.gate.add_permits(8);
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), 24);
    for job in taken {
        // None has waited at the gate for another one's slot until its time was over.
        assert_eq!(standing(&engine, job.id).await, (State::Done, 1, 0));
    }
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn a_job_that_takes_longer_than_its_lease_runs_once() {
    const SHORT_MS: u64 = 800;
    let bench = Bench::new(Dialect::Sqlite).await;
    let start = |instance: &'static str| {
        bench.engine_with(|options| {
            (options.instance, options.lanes.lease_ms) = (instance.into(), SHORT_MS);
        })
    };
    let (one, two) = (start("one"), start("two"));
    let long = one.enqueue(scripted("gate", Lane::Standard)).await.unwrap().id;
    eventually("it runs", async || (bench.script.running.load(Ordering::SeqCst) == 1).then_some(())).await;

    let mut redis = bench.redis.connection().await;
    let mut lease_ends = async || -> Vec<(String, u64)> {
        redis.zrange_withscores("{keepwell:0}:nodes", 0, -1).await.unwrap()
    };
    let begin = eventually("all four nodes are there", async || {
        let ends = lease_ends().await;
        (ends.len() == 4).then_some(ends)
    })
    .await;
    eventually("three leases have passed", async || {
        let ends = lease_ends().await;
        let kept = |(node, end): &(String, u64)| {
            ends.iter().any(|(same, now)| same == node && *now > end + 3 * SHORT_MS)
        };
        begin.iter().all(kept).then_some(())
    })
    .await;
    bench.script.gate.add_permits(1);
    nothing_owed(&one).await;
    assert_eq!(bench.script.begun.load(Ordering::SeqCst), 1);
    assert_eq!(standing(&one, long).await, (State::Done, 1, 0));
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test]
async fn two_engines_of_one_name_do_every_job_once() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let one = bench.engine();
    let first = one.enqueue_all((0..8).map(|_| scripted("gate", Lane::Standard)).collect()).await.unwrap();
    eventually("they run", async || (bench.script.running.load(Ordering::SeqCst) == 8).then_some(())).await;

    // The second takes the first for an earlier life of its own, and runs at once what that held.
    let two = bench.engine();
    eventually("they run once more", async || {
        (bench.script.running.load(Ordering::SeqCst) == 16).then_some(())
    })
    .await;
    bench.script.gate.add_permits(1_000);
    nothing_owed(&one).await;
    let more = one.enqueue_all((0..50).map(|_| scripted("ok", Lane::Standard)).collect()).await.unwrap();
    nothing_owed(&one).await;
    let mut effects = bench.effects().await;
    let mut expected: Vec<String> = first.iter().chain(&more).map(|job| job.id.to_string()).collect();
    effects.sort();
    expected.sort();
    assert_eq!(effects, expected);
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test]
async fn an_idle_engine_hears_of_work_after_redis_was_restarted() {
    let mut bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    alone(&engine).await;
    for _ in 0..2 {
        bench.redis.kill();
        bench.redis.start_again().await;
        alone(&engine).await;
        for lane in Lane::ALL {
            engine.enqueue(scripted("ok", lane)).await.unwrap();
            nothing_owed(&engine).await;
        }
    }
    assert_eq!(bench.effects().await.len(), 10);
    engine.shutdown().await;
}

#[tokio::test]
async fn an_idle_engine_is_woken_by_another_process() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let engine = bench.engine();
    let mut redis = bench.redis.connection().await;
    let client = redis::Client::open(bench.redis.url()).unwrap();
    let mut listener = client.get_async_pubsub().await.unwrap();
    listener.subscribe("{keepwell:0}:wake").await.unwrap();
    for lane in [Lane::Standard, Lane::Crisis] {
        eventually("the engine has nothing to do", async || {
            let idle: bool = redis.sismember("{keepwell:0}:idle", engine.node().to_string()).await.ok()?;
            idle.then_some(())
        })
        .await;
        recorder.enqueue(scripted("ok", lane)).await.unwrap();
        let message = listener.on_message().next().await.unwrap();
        let expected: &[u8] = if lane == Lane::Crisis { b"0" } else { b"1" };
        assert_eq!(message.get_payload_bytes(), expected);
        nothing_owed(&engine).await;
    }
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn a_follow_up_of_effects_that_did_not_commit_is_nowhere() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    let held_up = engine.pause(Lane::Crisis, "so that whatever is put there stays", true).await.unwrap();
    assert_eq!(held_up, Effective::Now);
    let id = engine.enqueue(scripted("follow, then fail", Lane::Standard)).await.unwrap().id;
    nothing_owed(&engine).await;
    assert_eq!(standing(&engine, id).await.0, State::Dead);
    let page = engine.ledger().list(&JobFilter::default(), None, 10).await.unwrap();
    assert_eq!((page.total, page.items[0].id), (1, id));
    eventually("no lane holds anything", async || (engine.lanes().held().await.ok()? == 0).then_some(()))
        .await;
    assert_eq!(bench.effects().await.len(), 0);
    // What is placed later is there: so would be what had been placed before.
    engine.enqueue(scripted("follow", Lane::Standard)).await.unwrap();
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), 2);
    let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id;
    assert_eq!(waiting_crises(&bench).await, HashSet::from([crisis.as_bytes().to_vec()]));
    engine.shutdown().await;
}

/// What waits in the crisis lane, once something does.
async fn waiting_crises(bench: &Bench) -> HashSet<Vec<u8>> {
    let redis = bench.redis.connection().await;
    eventually("a crisis waits", async || {
        let lane =
            redis.clone().lrange::<_, HashSet<Vec<u8>>>("{keepwell:0}:lane:crisis", 0, -1).await.ok()?;
        (!lane.is_empty()).then_some(lane)
    })
    .await
}

/// Asks for a crisis job and then holds its transaction open until it is let go.
struct Asks(Arc<Script>);

#[async_trait]
impl Handler for Asks {
    fn kind(&self) -> &'static str {
        "asks"
    }

    fn policy(&self) -> Policy {
        Policy { attempts_max: 1_000, backoff_base_ms: 1, backoff_cap_ms: 5, timeout_ms: 10_000 }
    }

    async fn apply(
        &self,
        _: &Job,
        _: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, sqlx::Error> {
        transaction.enqueue(scripted("ok", Lane::Crisis));
        self.0.bell.notify_one();
        self.0.gate.acquire().await.unwrap().forget();
        Ok(Outcome::Done)
    }
}

#[tokio::test]
async fn a_follow_up_is_placed_when_its_transaction_has_committed_and_not_before() {
    // On one with many writers, so that others can record meanwhile.
    let bench = Bench::new(Dialect::Postgres).await;
    let engine = bench.engine_of([Arc::new(Asks(Arc::clone(&bench.script))) as Arc<dyn Handler>], |_| {});
    engine.pause(Lane::Crisis, "so that whatever is put there stays", true).await.unwrap();
    engine.enqueue(NewJob::new("asks", Lane::Standard, "")).await.unwrap();
    bench.script.bell.notified().await;
    let while_it_is_open = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id;
    assert_eq!(waiting_crises(&bench).await, HashSet::from([while_it_is_open.as_bytes().to_vec()]));
    let page = engine.ledger().list(&JobFilter::default(), None, 10).await.unwrap();
    assert_eq!(page.total, 2, "the one that asks, and the one that was recorded now");

    bench.script.gate.add_permits(1);
    eventually("what it asked for is there", async || {
        (waiting_crises(&bench).await.len() == 2).then_some(())
    })
    .await;
    engine.resume(Lane::Crisis).await.unwrap();
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), 2);
    engine.shutdown().await;
}

#[tokio::test]
async fn the_key_of_a_dead_job_leads_to_it_and_a_retry_revives_it() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    let keyed = |words| scripted(words, Lane::Standard).dedupe_key("evt_1");
    let id = engine.enqueue(keyed("dead")).await.unwrap().id;
    nothing_owed(&engine).await;

    let again = engine.enqueue(keyed("ok")).await.unwrap();
    assert_eq!((again.duplicate, again.id), (true, id));
    assert_eq!(standing(&engine, id).await, (State::Dead, 1, 1));
    assert!(engine.retry(id).await.unwrap());
    eventually("it has run again", async || (standing(&engine, id).await.2 == 2).then_some(())).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn what_is_finished_leaves_nothing_in_redis() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    let words = ["ok", "fail once", "fail", "panic", "dead", "follow"];
    let jobs = (0..300).map(|n| scripted(words[n % 6], Lane::ALL[n % 5]).turn(format!("cus_{}", n % 17)));
    engine.enqueue_all(jobs.collect()).await.unwrap();
    nothing_owed(&engine).await;
    let mut redis = bench.redis.connection().await;
    // Who works here, small numbers, and who has had more than a share lately: none of it grows with the jobs.
    let bounded = ["nodes", "info", "idle", "counters", "recent", "clocks"]
        .map(|name| format!("{{keepwell:0}}:{name}"));
    eventually("only what is bounded is left", async || {
        let keys: Vec<String> = redis.keys("*").await.ok()?;
        keys.iter().all(|key| bounded.contains(key)).then_some(())
    })
    .await;
    engine.shutdown().await;
}
