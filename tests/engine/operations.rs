//! What operators do to many jobs at once.

use std::{
    collections::HashSet,
    future::pending,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::poll;
use keepwell_workers::{
    clock::{Clock as _, SystemClock},
    database::{Dialect, Note, Transaction},
    engine::{Engine, Step},
    id::JobId,
    lane::Lane,
    ledger::JobFilter,
    state::State,
};
use redis::AsyncCommands as _;
use tokio::time::timeout;

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::{PATIENCE, eventually};

/// More than two steps.
const MANY: usize = 2_100;

const HOUR_MS: i64 = 3_600_000;

fn standard() -> JobFilter {
    JobFilter { lane: Some(Lane::Standard), ..JobFilter::default() }
}

/// Every step of an action, and what they did in all.
async fn all_steps(step: impl AsyncFn(Option<JobId>) -> Step) -> (u64, u64, usize) {
    let (mut changed, mut running, mut steps, mut after) = (0, 0, 0, None);
    loop {
        let did = step(after).await;
        assert!(did.changed <= 1_000, "a step is bounded");
        (changed, running, steps) = (changed + did.changed, running + did.running, steps + 1);
        match did.next {
            Some(next) => after = Some(next),
            None => return (changed, running, steps),
        }
    }
}

async fn cancel_all(engine: &Engine, filter: &JobFilter) -> (u64, u64, usize) {
    all_steps(async |after| engine.cancel_matching(filter, after, None).await.unwrap()).await
}

/// Waiting, running and later jobs of the standard lane.
async fn stands(engine: &Engine) -> (u64, u64, u64) {
    let (lanes, _) = engine.lanes().stats().await.unwrap();
    let lane = &lanes[Lane::Standard.index()];
    (lane.waiting, lane.running, lane.later)
}

/// An engine whose lanes have been compared with the ledger, so that nothing is placed twice.
async fn settled_engine(bench: &Bench) -> Engine {
    let engine = bench.engine();
    eventually("both pools have entered and the lanes have been compared", async || {
        let (_, nodes) = engine.lanes().stats().await.ok()?;
        (nodes.len() == 2 && !engine.health().lanes_behind).then_some(())
    })
    .await;
    engine
}

#[tokio::test]
async fn a_lane_is_cleared_of_all_that_waits_and_what_runs_is_left_alone() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let engine = settled_engine(&bench).await;
        let taking_turns = |words| scripted(words, Lane::Standard).turn("one after the other");
        let gate = engine.enqueue(taking_turns("gate")).await.unwrap().id;
        eventually("it runs", async || (bench.script.begun.load(Ordering::SeqCst) == 1).then_some(())).await;
        engine.enqueue_all((0..3).map(|_| taking_turns("ok")).collect()).await.unwrap();
        let mut redis = bench.redis.connection().await;
        eventually("three wait for their turn", async || {
            let parked: u64 = redis.zcard("{keepwell:0}:parked").await.unwrap();
            (parked == 3).then_some(())
        })
        .await;
        engine.pause(Lane::Standard, "a test", false).await.unwrap();
        engine.pause(Lane::Background, "a test", false).await.unwrap();
        engine.enqueue_all((0..MANY).map(|_| scripted("ok", Lane::Standard)).collect()).await.unwrap();
        let later = SystemClock.now_ms() + HOUR_MS;
        engine
            .enqueue_all((0..5).map(|_| scripted("ok", Lane::Standard).run_at_ms(later)).collect())
            .await
            .unwrap();
        engine.enqueue(scripted("ok", Lane::Background)).await.unwrap();
        let waiting = MANY as u64 + 3;
        eventually("they are in their lanes", async || {
            (stands(&engine).await == (waiting, 1, 5)).then_some(())
        })
        .await;

        assert_eq!(engine.ledger().count(&standard()).await.unwrap(), waiting + 6);
        assert_eq!(engine.running().await.unwrap(), HashSet::from([gate]));
        assert_eq!(cancel_all(&engine, &standard()).await, (waiting + 5, 1, 3));
        assert_eq!(engine.ledger().totals().await.unwrap().owed, 2, "what runs, and the other lane's");
        assert_eq!(engine.withdraw(&[Lane::Standard]).await.unwrap(), waiting + 5);
        assert_eq!(stands(&engine).await, (0, 1, 0));
        let (lanes, _) = engine.lanes().stats().await.unwrap();
        assert_eq!(lanes[Lane::Background.index()].waiting, 1);

        engine.resume(Lane::Standard).await.unwrap();
        engine.resume(Lane::Background).await.unwrap();
        bench.script.gate.add_permits(1);
        nothing_owed(&engine).await;
        assert_eq!(bench.effects().await.len(), 2, "nothing that was cancelled has run");
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn what_does_not_match_keeps_its_place() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = settled_engine(&bench).await;
    engine.pause(Lane::Standard, "a test", false).await.unwrap();
    let subject = |number: usize| if number.is_multiple_of(3) { "cus_gone" } else { "cus_stays" };
    engine
        .enqueue_all(
            (0..MANY).map(|number| scripted("ok", Lane::Standard).subject(subject(number))).collect(),
        )
        .await
        .unwrap();
    let redis = bench.redis.connection().await;
    let list =
        async || redis.clone().lrange::<_, Vec<Vec<u8>>>("{keepwell:0}:lane:standard", 0, -1).await.unwrap();
    let before =
        eventually("they are in their lane", async || Some(list().await).filter(|list| list.len() == MANY))
            .await;
    let gone = JobFilter { subject: Some("cus_gone".into()), ..standard() };
    let cancelled = cancel_all(&engine, &gone).await.0;
    assert_eq!(engine.withdraw(&Lane::ALL).await.unwrap(), cancelled);
    let mut stayed = Vec::new();
    for element in before {
        let id = JobId::from_bytes(&element).unwrap();
        if engine.ledger().show(id).await.unwrap().unwrap().0.state == State::Owed {
            stayed.push(element);
        }
    }
    assert_eq!(stayed.len() as u64 + cancelled, MANY as u64);
    assert!(list().await == stayed, "the order is as it was");
    engine.shutdown().await;
}

#[tokio::test]
async fn what_was_cancelled_is_retried_and_done_once() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let engine = settled_engine(&bench).await;
        engine.pause(Lane::Standard, "a test", false).await.unwrap();
        engine.enqueue_all((0..MANY).map(|_| scripted("ok", Lane::Standard)).collect()).await.unwrap();
        let crisis = JobFilter { except_lane: Some(Lane::Standard), ..JobFilter::default() };
        assert_eq!(cancel_all(&engine, &crisis).await.0, 0);
        assert_eq!(cancel_all(&engine, &standard()).await.0, MANY as u64);
        let retry = async |filter: &JobFilter| {
            all_steps(async |after| engine.retry_matching(filter, after, None).await.unwrap()).await.0
        };
        assert_eq!(retry(&standard()).await, 0, "none of them is dead");
        let cancelled = JobFilter { state: Some(State::Cancelled), ..standard() };
        assert_eq!(retry(&cancelled).await, MANY as u64);
        engine.resume(Lane::Standard).await.unwrap();
        nothing_owed(&engine).await;
        let mut effects = bench.effects().await;
        effects.sort();
        effects.dedup();
        assert_eq!(effects.len(), MANY, "each has run");
        assert_eq!(bench.effects().await.len(), MANY, "and none twice");
        engine.shutdown().await;
    }
}

/// A note that never comes to its end.
struct Endless;

#[async_trait]
impl Note for Endless {
    async fn write(&self, _: &mut Transaction, _: u64) -> Result<(), sqlx::Error> {
        pending().await
    }
}

#[tokio::test]
async fn an_engine_that_has_to_stop_leaves_behind_what_does_not_end() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    let mut pausing = pin!(engine.pause_noting(Lane::Standard, "", false, Some(Arc::new(Endless))));
    assert!(poll!(&mut pausing).is_pending());
    engine.drain().await;
    let stopping = engine.shutdown_within(Duration::from_millis(500));
    timeout(PATIENCE, stopping).await.expect("it has stopped");
    assert!(poll!(&mut pausing).is_pending(), "nobody was told that it is so");
}
