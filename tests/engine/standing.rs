//! How jobs stand, as whoever waits for them asks the ledger.

use std::sync::Arc;

use keepwell_workers::{
    clock::{Clock as _, ManualClock, SystemClock},
    database::{Dialect, Durability, turn::Urgency},
    id::JobId,
    lane::Lane,
    ledger::DeadOf,
    on_connection,
    state::State,
};

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::eventually;

/// More dead jobs than are looked at for two pages, every 5 000th of them in the crisis lane.
#[tokio::test]
async fn however_many_are_dead_none_hides_the_crises_among_them() {
    for (dialect, sql) in [
        (
            Dialect::Sqlite,
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 25000) \
             INSERT INTO jobs (id, kind, lane, state, run_at_ms, created_at_ms, finished_at_ms) \
             SELECT unhex(printf('019000000000700080000000%08x', n)), 'old', \
             CASE n % 5000 WHEN 1 THEN 'crisis' ELSE 'standard' END, 'dead', n, n, n FROM numbers; \
             INSERT INTO job_payloads SELECT id, 'none', '' FROM jobs",
        ),
        (
            Dialect::Postgres,
            "INSERT INTO jobs (id, kind, lane, state, run_at_ms, created_at_ms, finished_at_ms) \
             SELECT ('01900000-0000-7000-8000-0000' || lpad(to_hex(n), 8, '0'))::uuid, 'old', \
             CASE n % 5000 WHEN 1 THEN 'crisis' ELSE 'standard' END, 'dead', n, n, n \
             FROM generate_series(1, 25000) n; \
             INSERT INTO job_payloads SELECT id, 'none', '' FROM jobs",
        ),
    ] {
        let bench = Bench::new(dialect).await;
        let mut transaction = bench.database.begin(Urgency::General, Durability::Relaxed, 0).await.unwrap();
        on_connection!(transaction, |connection| sqlx::raw_sql(sql).execute(connection).await.map(|_| ()))
            .unwrap();
        transaction.commit().await.unwrap();
        let engine = bench.engine();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let of = DeadOf { lane: Lane::Crisis, but_prefix: "none", kinds: &[] };
            let page = engine.ledger().dead_since(of, 0, after, 2).await.unwrap();
            assert!(page.jobs.len() <= 2);
            found.extend(page.jobs.into_iter().map(|(_, died_ms)| died_ms));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, [20_001, 15_001, 10_001, 5_001, 1]);
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn how_jobs_stand_is_read_by_their_ids_and_by_their_keys() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let engine = bench.engine();
        let done = engine.enqueue(scripted("ok", Lane::Crisis).dedupe_key("app:done")).await.unwrap().id;
        let dead = engine.enqueue(scripted("dead", Lane::Crisis).dedupe_key("app:dead")).await.unwrap().id;
        nothing_owed(&engine).await;
        let ledger = engine.ledger();
        let mut states = ledger.states(&[done, dead, JobId::new(1)]).await.unwrap();
        states.sort_by_key(|(id, _)| *id);
        let mut expected = [(done, State::Done), (dead, State::Dead)];
        expected.sort_by_key(|(id, _)| *id);
        assert_eq!(states, expected);
        let keys = ["app:none", "app:dead", "app:done"].map(str::to_owned);
        let mut states = ledger.states_of_keys(&keys).await.unwrap();
        states.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(states, [("app:dead".to_owned(), State::Dead), ("app:done".to_owned(), State::Done)]);
        assert!(ledger.states(&[]).await.unwrap().is_empty());
        assert!(ledger.states_of_keys(&[]).await.unwrap().is_empty());
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn who_is_tried_again_waits_since_then_and_who_is_held_up_since_it_was_recorded() {
    const SQL: &str = "UPDATE jobs SET run_at_ms = $1 WHERE id = $2";
    let bench = Bench::new(Dialect::Sqlite).await;
    let clock = ManualClock::at(SystemClock.now_ms());
    let engine = bench.engine_on_clock(Arc::clone(&clock) as _, |_| {});
    eventually("both pools have entered and the last comparison has begun", async || {
        let (_, nodes) = engine.lanes().stats().await.ok()?;
        (nodes.len() == 2 && !engine.health().lanes_behind).then_some(())
    })
    .await;
    let held_up = [Lane::Realtime, Lane::Standard];
    let mut jobs = Vec::new();
    for lane in held_up {
        engine.pause(lane, "a test", false).await.unwrap();
        jobs.push(engine.enqueue(scripted("ok", lane)).await.unwrap().id);
    }
    eventually("both wait", async || {
        let (lanes, _) = engine.lanes().stats().await.ok()?;
        held_up.iter().all(|lane| lanes[lane.index()].waiting == 1).then_some(())
    })
    .await;
    clock.advance_ms(60_000);
    // As a run leaves the first one that has failed, and whose time has come again since.
    let mut transaction = bench.database.begin(Urgency::General, Durability::Relaxed, 0).await.unwrap();
    on_connection!(transaction, |connection| {
        sqlx::query(SQL).bind(clock.now_ms() - 5_000).bind(jobs[0].0).execute(connection).await.map(|_| ())
    })
    .unwrap();
    transaction.commit().await.unwrap();
    let (lanes, _) = engine.standing().await.unwrap();
    let waited = held_up.map(|lane| lanes[lane.index()].oldest_waiting_ms);
    assert_eq!(waited, [Some(5_000), Some(60_000)]);
    for lane in held_up {
        engine.resume(lane).await.unwrap();
    }
    nothing_owed(&engine).await;
    engine.shutdown().await;
}
