//! Redis forgets, refuses, or is not the one it was.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use keepwell_workers::{
    clock::{Clock as _, ManualClock, SystemClock},
    database::{Dialect, Transaction},
    handler::{Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    outcome::Outcome,
};

use super::bench::{Bench, nothing_owed, placed, scripted};
use crate::support::eventually;

#[tokio::test]
async fn an_emptied_redis_under_load_loses_nothing_and_does_nothing_twice() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    for round in 0..6 {
        let jobs = (0..50).map(|_| scripted("ok", Lane::Standard)).chain([scripted("ok", Lane::Crisis)]);
        engine.enqueue_all(jobs.collect()).await.unwrap();
        // Without its scripts it has to be taught them again.
        bench.redis.tell(if round % 2 == 0 { "FLUSHALL" } else { "SCRIPT FLUSH" }).await;
    }
    nothing_owed(&engine).await;
    let mut effects = bench.effects().await;
    let all = effects.len();
    effects.sort();
    effects.dedup();
    assert_eq!((all, effects.len()), (306, 306));
    engine.shutdown().await;
}

#[tokio::test]
async fn another_redis_at_the_same_address_is_noticed_by_a_process_that_only_records() {
    let mut bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine_with(|options| options.runs_jobs = false);
    engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
    eventually("it waits in its lane and nothing else is to be compared", async || {
        let health = engine.health();
        (engine.lanes().held().await.ok()? == 1 && health.lanes_ok && !health.lanes_behind).then_some(())
    })
    .await;

    bench.redis.kill();
    bench.redis.start_again().await;
    placed(&engine, 1).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_user_who_may_not_run_scripts_is_noticed_and_holds_up_no_crisis() {
    let bench = Bench::new(Dialect::Sqlite).await;
    bench.redis.tell("ACL SETUSER limited on >word ~* &* +@all -evalsha").await;
    let url = format!("{}?user=limited&pass=word", bench.redis.url());
    let engine = bench.engine_at(url, |_| {});
    let standard = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
    let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id;
    eventually("the crisis job is done", async || (bench.effects().await.len() == 1).then_some(())).await;
    assert_eq!(bench.effects().await, [crisis.to_string()]);
    // It answers, but it is of no use.
    engine.lanes().ping().await.unwrap();
    assert!(!engine.health().lanes_ok);
    let refused = engine.rebuild().await.unwrap_err();
    assert!(refused.hint().is_some_and(|hint| hint.contains("@scripting")), "{refused}");

    // INFO is dangerous in the eyes of Redis, so it may well be forbidden where the rest is not.
    bench.redis.tell("ACL SETUSER limited +evalsha -info").await;
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [crisis.to_string(), standard.to_string()]);
    eventually("all is well", async || engine.health().lanes_ok.then_some(())).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_crisis_job_that_cannot_be_placed_is_run_although_nothing_else_is_amiss() {
    let bench = Bench::new(Dialect::Sqlite).await;
    bench.redis.tell("ACL SETUSER limited on >word ~* &* +@all -rpush").await;
    let engine = bench.engine_at(format!("{}?user=limited&pass=word", bench.redis.url()), |_| {});
    eventually("all is well", async || engine.health().lanes_ok.then_some(())).await;
    let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id;
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [crisis.to_string()]);
    assert!(engine.health().lanes_ok);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_claim_that_the_server_carries_out_too_late_is_found_while_nothing_else_happens() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    eventually("both pools have entered", async || {
        let (_, nodes) = engine.lanes().stats().await.ok()?;
        (nodes.len() == 2 && !engine.health().lanes_behind).then_some(())
    })
    .await;
    engine.pause(Lane::Standard, "a test", false).await.unwrap();
    engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
    placed(&engine, 1).await;

    // What a claim does whose answer nobody waits for any more.
    let late = redis::Script::new(
        "local element = redis.call('LPOP', KEYS[1]) \
         return redis.call('HSET', KEYS[2], string.sub(element, 1, 16), '3' .. element)",
    );
    let mut connection = bench.redis.connection().await;
    let claimed: u64 = late
        .key("{keepwell:0}:lane:standard")
        .key(format!("{{keepwell:0}}:claims:{}", engine.node()))
        .invoke_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(claimed, 1);
    engine.resume(Lane::Standard).await.unwrap();
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), 1);
    engine.shutdown().await;
}

/// With one slot, and without Redis, each of them waits for the one before.
const CRISES: usize = 300;

#[tokio::test]
async fn crises_that_find_every_slot_taken_while_redis_is_away_wait_for_a_slot_and_no_longer() {
    let mut bench = Bench::new(Dialect::Sqlite).await;
    bench.redis.kill();
    let engine = bench.engine_with(|options| options.crisis_slots = 1);
    engine.enqueue_all((0..CRISES).map(|_| scripted("ok", Lane::Crisis)).collect()).await.unwrap();
    // Were each of them to wait until the lanes are asked again, this would take minutes.
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), CRISES);
    engine.shutdown().await;
}

/// Whose effects the database has no room for.
#[derive(Default)]
struct NoRoom(AtomicU32);

#[async_trait]
impl Handler for NoRoom {
    fn kind(&self) -> &'static str {
        "no room"
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, sqlx::Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(sqlx::Error::PoolTimedOut)
    }
}

#[tokio::test]
async fn a_crisis_that_the_database_cannot_settle_while_redis_is_away_is_not_tried_without_pause() {
    let mut bench = Bench::new(Dialect::Sqlite).await;
    bench.redis.kill();
    let clock = ManualClock::at(SystemClock.now_ms());
    let no_room = Arc::new(NoRoom::default());
    let handler: Arc<dyn Handler> = no_room.clone();
    let engine = bench.engine_of_on_clock([handler], clock.clone(), |options| options.crisis_slots = 1);
    engine.enqueue(NewJob::new("no room", Lane::Crisis, "")).await.unwrap();
    eventually("it was tried", async || (no_room.0.load(Ordering::SeqCst) > 0).then_some(())).await;
    for done in 1..=20 {
        engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap();
        eventually("another one is done", async || (bench.effects().await.len() == done).then_some(())).await;
    }
    assert_eq!(no_room.0.load(Ordering::SeqCst), 1, "tried again before its time");
    clock.advance_ms(60_000);
    eventually("its time has come", async || (no_room.0.load(Ordering::SeqCst) == 2).then_some(())).await;
    engine.shutdown().await;
}
