//! The machine's clock is set, forwards and back, while jobs run, wait and are held back. Leases are counted by Redis'
//! clock and waits inside the process by one that nobody can set; only a job's time to run is an instant of ours.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use keepwell_workers::{
    clock::{Clock, ManualClock, SystemClock, UnixMs},
    database::Dialect,
    engine::{Engine, EngineOptions, EngineParts},
    handler::Registry,
    id::JobId,
    lane::Lane,
    ledger::JobFilter,
    observer::{Observer, RunEnded},
    state::State,
};
use redis::AsyncCommands as _;

use super::bench::{Bench, Scripted, nothing_owed, parts, placed, scripted};
use crate::support::{
    eventually, pass,
    proxy::{Proxy, Upstream},
    redis::Redis,
};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// An engine on a clock that shows the present until it is set. It stands still in between.
async fn on_a_clock(bench: &Bench) -> (Arc<ManualClock>, Engine) {
    let clock = ManualClock::at(SystemClock.now_ms());
    let engine = bench.engine_on_clock(Arc::clone(&clock) as _, |options| options.slots = 4);
    eventually("both pools have entered and the lanes have been compared", async || {
        let (_, nodes) = engine.lanes().stats().await.ok()?;
        (nodes.len() == 2 && !engine.health().lanes_behind).then_some(())
    })
    .await;
    (clock, engine)
}

async fn begun(bench: &Bench, count: u32) {
    eventually("so many runs have begun", async || {
        (bench.script.begun.load(Ordering::SeqCst) == count).then_some(())
    })
    .await;
}

/// The nodes that hold leases, each with its end by Redis' clock, and that clock.
async fn leases(bench: &Bench) -> (Vec<String>, Vec<i64>, i64) {
    let mut redis = bench.redis.connection().await;
    let leases: Vec<(String, i64)> = redis.zrange_withscores("{keepwell:0}:nodes", 0, -1).await.unwrap();
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    let (nodes, ends) = leases.into_iter().unzip();
    (nodes, ends, seconds * 1_000 + micros / 1_000)
}

/// Two lengths of the bench's lease.
const TWO_LEASES: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_clock_that_is_set_takes_nobodys_lease_and_runs_nothing_twice() {
    for by_ms in [DAY_MS, -HOUR_MS] {
        let bench = Bench::new(Dialect::Sqlite).await;
        let (clock, engine) = on_a_clock(&bench).await;
        let gates = (0..4).map(|_| scripted("gate", Lane::Standard)).collect();
        engine.enqueue_all(gates).await.unwrap();
        begun(&bench, 4).await;
        let (nodes, ..) = leases(&bench).await;

        clock.advance_ms(by_ms);
        // A second one of the right time, which would take over what the first one seemed to have left.
        let other = bench.engine_with(|options| options.instance = "other".into());
        pass(TWO_LEASES).await;
        let (still, ends, redis_ms) = leases(&bench).await;
        assert!(nodes.iter().all(|node| still.contains(node)), "{nodes:?} are all in {still:?}");
        assert!(ends.iter().all(|end| (redis_ms - 2_000..=redis_ms + 2_000).contains(end)), "{ends:?}");
        assert_eq!(bench.script.begun.load(Ordering::SeqCst), 4, "nothing ran twice");

        // What comes now is done now, a crisis first, although both are younger or older than what was there.
        engine.pause(Lane::Standard, "until the crisis has begun", false).await.unwrap();
        let standard = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
        let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id;
        eventually("the crisis is done", async || {
            (bench.effects().await == [crisis.to_string()]).then_some(())
        })
        .await;
        engine.resume(Lane::Standard).await.unwrap();
        bench.script.gate.add_permits(4);
        nothing_owed(&engine).await;
        let effects = bench.effects().await;
        assert_eq!(effects.len(), 6, "{effects:?}");
        assert_eq!(effects.iter().filter(|id| **id == standard.to_string()).count(), 1);
        engine.shutdown().await;
        other.shutdown().await;
    }
}

#[tokio::test]
async fn what_waits_for_its_time_has_it_by_the_clock_that_is_shown() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (clock, engine) = on_a_clock(&bench).await;
    let now_ms = clock.now_ms();
    let held = |hours: i64, lane| scripted("ok", lane).run_at_ms(now_ms + hours * HOUR_MS);
    let soon = engine.enqueue(held(2, Lane::Standard)).await.unwrap().id.to_string();
    let later = engine.enqueue(held(25, Lane::Standard)).await.unwrap().id.to_string();

    // Back by an hour: nothing that waits is due, and what comes is done at once.
    clock.advance_ms(-HOUR_MS);
    let at_once = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id.to_string();
    eventually("it is done", async || (bench.effects().await == [at_once.clone()]).then_some(())).await;

    // A failed run comes again after its back-off, which was counted by the clock as it is now.
    let failed = engine.enqueue(scripted("fail once", Lane::Standard)).await.unwrap().id;
    eventually("it has failed once", async || {
        let (job, _) = engine.ledger().show(failed).await.ok()??;
        (job.attempts >= 1).then_some(())
    })
    .await;
    clock.advance_ms(10);
    eventually("it is done", async || (bench.effects().await.len() == 2).then_some(())).await;

    // Forwards by a day: what is due by then is done, the rest goes on waiting.
    clock.advance_ms(DAY_MS);
    eventually("what is due is done", async || bench.effects().await.contains(&soon).then_some(())).await;
    assert!(!bench.effects().await.contains(&later));
    clock.advance_ms(2 * HOUR_MS);
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [at_once, failed.to_string(), soon, later]);
    engine.shutdown().await;
}

#[tokio::test]
async fn what_was_recorded_by_a_clock_that_ran_ahead_is_found_after_redis_forgot_it() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (clock, engine) = on_a_clock(&bench).await;
    clock.advance_ms(DAY_MS);
    for lane in [Lane::Standard, Lane::Crisis] {
        engine.pause(lane, "so that it is still owed", true).await.unwrap();
        engine.enqueue(scripted("ok", lane)).await.unwrap();
    }
    placed(&engine, 2).await;
    // Somebody sets it right again, and Redis is emptied.
    clock.advance_ms(-DAY_MS);
    redis::cmd("FLUSHALL").exec_async(&mut bench.redis.connection().await).await.unwrap();
    for lane in [Lane::Standard, Lane::Crisis] {
        engine.resume(lane).await.unwrap();
    }
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), 2);
    let done = JobFilter { state: Some(State::Done), ..JobFilter::default() };
    assert_eq!(engine.ledger().list(&done, None, 1).await.unwrap().total, 2);
    engine.shutdown().await;
}

/// Sets Redis' own clock, as everybody who looks at leases sees it: the leases and the last time that one was extended.
async fn set_redis_clock(bench: &Bench, by_ms: i64) {
    const SET: &str = "for _, node in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do \
         redis.call('ZINCRBY', KEYS[1], -ARGV[1], node) end \
         if redis.call('HEXISTS', KEYS[2], 'beat') == 1 then redis.call('HINCRBY', KEYS[2], 'beat', -ARGV[1]) end";
    let mut redis = bench.redis.connection().await;
    let script = redis::Script::new(SET);
    let mut setting = script.key("{keepwell:0}:nodes");
    let () = setting.key("{keepwell:0}:counters").arg(by_ms).invoke_async(&mut redis).await.unwrap();
}

#[tokio::test]
async fn leases_do_not_run_out_all_at_once_because_the_clock_of_redis_was_set() {
    for by_ms in [DAY_MS, -HOUR_MS] {
        let bench = Bench::new(Dialect::Sqlite).await;
        let (_clock, engine) = on_a_clock(&bench).await;
        let other = bench.engine_with(|options| (options.instance, options.slots) = ("other".into(), 4));
        eventually("four pools have entered", async || (leases(&bench).await.0.len() == 4).then_some(()))
            .await;
        let gates = (0..8).map(|_| scripted("gate", Lane::Standard)).collect();
        engine.enqueue_all(gates).await.unwrap();
        begun(&bench, 8).await;
        let (nodes, ..) = leases(&bench).await;

        set_redis_clock(&bench, by_ms).await;
        pass(TWO_LEASES).await;
        let (mut still, ends, redis_ms) = leases(&bench).await;
        let mut before = nodes.clone();
        still.sort();
        before.sort();
        assert_eq!(still, before, "whoever was there is there");
        assert!(ends.iter().all(|end| (redis_ms..=redis_ms + 2_000).contains(end)), "{ends:?} at {redis_ms}");
        assert_eq!(bench.script.begun.load(Ordering::SeqCst), 8, "nothing ran twice");
        bench.script.gate.add_permits(8);
        nothing_owed(&engine).await;
        assert_eq!(bench.effects().await.len(), 8);
        engine.shutdown().await;
        other.shutdown().await;
    }
}

#[tokio::test]
async fn what_waited_when_the_clock_was_set_back_is_done_at_once() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (clock, engine) = on_a_clock(&bench).await;
    for lane in [Lane::Crisis, Lane::Standard] {
        engine.pause(lane, "so that it waits", true).await.unwrap();
        engine.enqueue(scripted("ok", lane)).await.unwrap();
    }
    placed(&engine, 2).await;
    clock.advance_ms(-HOUR_MS);
    for lane in [Lane::Crisis, Lane::Standard] {
        engine.resume(lane).await.unwrap();
    }
    nothing_owed(&engine).await;
    engine.shutdown().await;
}

/// This machine's clock, set forwards by so many milliseconds.
#[derive(Debug)]
struct Apart(i64);

impl Clock for Apart {
    fn now_ms(&self) -> UnixMs {
        SystemClock.now_ms() + self.0
    }
}

/// Hears how long every job has waited.
#[derive(Default)]
struct Ear(Mutex<Vec<(JobId, Option<Duration>)>>);

impl Observer for Ear {
    fn run_ended(&self, ended: &RunEnded<'_>) {
        self.0.lock().unwrap().push((ended.job.id, ended.waited));
    }
}

impl Ear {
    async fn hears(&self, job: JobId) -> Option<Duration> {
        eventually("its end is heard of", async || {
            self.0.lock().unwrap().iter().find(|(id, _)| *id == job).map(|(_, waited)| *waited)
        })
        .await
    }
}

#[tokio::test]
async fn how_long_a_crisis_waited_does_not_depend_on_how_far_two_machines_clocks_are_apart() {
    let bench = Bench::new(Dialect::Postgres).await;
    let ear = Arc::new(Ear::default());
    let runner = bench.engine_heard_by(Arc::clone(&ear) as _);
    for by_ms in [3_000, -3_000] {
        let recorder = bench.process_on_clock(Arc::new(Apart(by_ms)), |options| {
            (options.instance, options.runs_jobs) = ("other".into(), false);
        });
        let (recorder, database) = recorder.await;
        let crisis = async || recorder.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id;
        // Until then nobody says that they know.
        eventually("they have compared their clocks", async || ear.hears(crisis().await).await).await;

        recorder.pause(Lane::Crisis, "so that it waits", true).await.unwrap();
        let late = crisis().await;
        pass(Duration::from_secs(1)).await;
        recorder.resume(Lane::Crisis).await.unwrap();
        let waited_ms = ear.hears(late).await.map(|waited| waited.as_millis() as i64).unwrap();
        let (job, _) = runner.ledger().show(late).await.unwrap().unwrap();
        let by_ledger_ms = job.finished_at_ms.unwrap() - job.created_at_ms;
        for ms in [waited_ms, by_ledger_ms] {
            assert!((900..3_000).contains(&ms), "{waited_ms} ms, in the ledger {by_ledger_ms}, at {by_ms}");
        }
        let here_ms = runner.ledger().here_ms(late, job.created_at_ms);
        let ago_ms = SystemClock.now_ms() - here_ms;
        assert!((900..60_000).contains(&ago_ms), "it came {ago_ms} ms ago, by the clock of whoever ran it");
        recorder.shutdown().await;
        database.close().await;
    }
    runner.shutdown().await;
}

/// Under what the lanes keep by how much Redis' clock is ahead of the one that has recorded `job`.
fn recorder(job: JobId) -> String {
    let bytes = job.as_bytes();
    u32::from_be_bytes([0, bytes[13], bytes[14], bytes[15]]).to_string()
}

#[tokio::test]
async fn after_a_fail_over_nothing_is_measured_by_the_clock_of_the_server_before() {
    let bench = Bench::new(Dialect::Postgres).await;
    let proxy = Proxy::before(bench.redis.socket()).await;
    let (ear, handler) = (Arc::new(Ear::default()), Arc::new(Scripted(Arc::clone(&bench.script))));
    let url = format!("redis://{}", proxy.address());
    let parts = parts(bench.database.clone(), url, Registry::new([handler as _]));
    let parts = EngineParts { observer: Arc::clone(&ear) as _, ..parts };
    let runner = Engine::start(parts, &EngineOptions::default()).unwrap();
    let elsewhere = bench.process_on_clock(Arc::new(Apart(3_000)), |options| {
        (options.instance, options.runs_jobs) = ("other".into(), false);
    });
    let (elsewhere, database) = elsewhere.await;
    let record = async || elsewhere.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
    eventually("they have compared their clocks", async || ear.hears(record().await).await).await;
    runner.pause(Lane::Standard, "so that it waits", false).await.unwrap();
    let job = record().await;
    elsewhere.shutdown().await;
    database.close().await;

    // A replica knows what its primary knew, whose clock was an hour ahead of its own.
    let (replica, clocks, gone) = (Redis::start().await, "{keepwell:0}:clocks", recorder(job));
    let mut knows = replica.connection().await;
    let _: () = knows.hset(clocks, gone.as_str(), HOUR_MS - 3_000).await.unwrap();
    proxy.lead_to(Upstream::Socket(replica.socket()));
    proxy.cut();
    eventually("the clocks are compared with the other server's", async || {
        let recorders: Vec<String> = knows.hkeys(clocks).await.ok()?;
        recorders.iter().any(|known| *known != gone).then_some(())
    })
    .await;
    runner.resume(Lane::Standard).await.unwrap();
    assert_eq!(ear.hears(job).await, None, "nobody has compared its clock with this server's");
    runner.shutdown().await;
}
