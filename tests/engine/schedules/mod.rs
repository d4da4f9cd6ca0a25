//! Schedules on a real ledger: what happens where the database, a clock or an operator stands in the way.

mod days;

use std::sync::Arc;

use async_trait::async_trait;
use keepwell_schedules::{
    board::{Board, HELD_BACK_MS, LATE_MS},
    policy::{Missed, Overlap},
    schedule::{Schedule, Spec},
    ticker::{Looked, Ticker},
    watch::Watch,
};
use keepwell_workers::{
    clock::{Clock as _, ManualClock},
    database::{Dialect, Durability, Note, Transaction, turn::Urgency},
    engine::Engine,
    ledger::ScheduleRow,
    on_connection,
};

use super::bench::Bench;
use crate::support::{
    eventually,
    postgres::{Postgres, Sync},
};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// 2027-01-20T00:07:00Z.
const BEGIN_MS: i64 = 1_800_403_620_000;

fn schedule(name: &str, cron: &str, zone: &str, missed: Missed, window: &str) -> Schedule {
    let spec = Spec {
        name: name.to_owned(),
        cron: Some(cron.to_owned()),
        time_zone: Some(zone.to_owned()),
        every: None,
        kind: "scripted".to_owned(),
        lane: "background".to_owned(),
        payload: serde_json::Map::new(),
        overlap: Overlap::Wait,
        missed,
        window: window.to_owned(),
        jitter: "0s".to_owned(),
    };
    Schedule::new(spec, |_| true, BEGIN_MS).unwrap()
}

/// A node: an engine on a clock of its own, and what ticks on it.
struct Node {
    engine: Engine,
    clock: Arc<ManualClock>,
    schedules: Arc<[Schedule]>,
    ticker: Ticker,
}

impl Node {
    fn new(bench: &Bench, schedules: &[Schedule], now_ms: i64) -> Self {
        let clock = ManualClock::at(now_ms);
        let engine = bench.engine_on_clock(Arc::clone(&clock) as _, |options| options.runs_jobs = false);
        Self::on(engine, schedules, clock)
    }

    fn on(engine: Engine, schedules: &[Schedule], clock: Arc<ManualClock>) -> Self {
        let schedules: Arc<[Schedule]> = schedules.to_vec().into();
        let ticker = Self::born(&engine, &schedules, &clock);
        Self { engine, clock, schedules, ticker }
    }

    fn born(engine: &Engine, schedules: &Arc<[Schedule]>, clock: &Arc<ManualClock>) -> Ticker {
        Ticker::new(engine.clone(), Arc::clone(schedules), Board::default(), Arc::clone(clock) as _)
    }

    /// Dies and is born again: nothing but the ledger remembers.
    fn restart(&mut self) {
        self.ticker = Self::born(&self.engine, &self.schedules, &self.clock);
    }

    async fn looks(&mut self) -> Looked {
        self.ticker.look().await.unwrap()
    }

    fn watch(&self) -> Watch {
        let schedules = Arc::clone(&self.schedules);
        Watch::new(self.engine.clone(), schedules, Board::default(), Arc::clone(&self.clock) as _)
    }

    async fn row(&self, name: &str) -> ScheduleRow {
        let rows = self.engine.ledger().schedules().await.unwrap();
        rows.into_iter().find(|row| row.name == name).unwrap()
    }
}

/// Nothing is noted.
struct Unnoted;

#[async_trait]
impl Note for Unnoted {
    async fn write(&self, _: &mut Transaction, _: u64) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

fn hourly(missed: Missed, overlap: Overlap) -> Schedule {
    let mut schedule = schedule("hourly", "0 0 * * * *", "UTC", missed, "1d");
    schedule.rules.overlap = overlap;
    schedule
}

/// A node at the full hour after [`BEGIN_MS`], whose hourly schedule has just fired for the first time.
async fn at_a_full_hour(bench: &Bench, schedule: Schedule) -> Node {
    let mut node = Node::new(bench, &[schedule], BEGIN_MS);
    assert_eq!(node.looks().await, Looked::default(), "what is new begins now");
    node.clock.advance_ms(53 * MINUTE_MS);
    assert_eq!(node.looks().await, Looked { fired: 1, skipped: 0 });
    node
}

#[tokio::test]
async fn a_tick_is_left_out_while_the_job_of_the_one_before_is_owed() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let mut node = at_a_full_hour(&bench, hourly(Missed::Once, Overlap::Skip)).await;
    node.clock.advance_ms(HOUR_MS);
    assert_eq!(node.looks().await, Looked { fired: 0, skipped: 1 });
    let row = node.row("hourly").await;
    assert_eq!((row.fired, row.skipped, row.last_tick_ms), (1, 1, Some(BEGIN_MS + 53 * MINUTE_MS)));
    assert!(node.engine.cancel(row.last_job.unwrap()).await.unwrap());
    node.clock.advance_ms(HOUR_MS);
    assert_eq!(node.looks().await, Looked { fired: 1, skipped: 0 });
    node.engine.shutdown().await;
}

#[tokio::test]
async fn a_schedule_that_waits_for_weeks_for_its_own_job_is_said_to_be_late() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let mut node = at_a_full_hour(&bench, hourly(Missed::Once, Overlap::Skip)).await;
        let mut watch = node.watch();
        let mut skipped = 0;
        // Nobody would be called for a job that takes a little longer than an hour.
        for later_ms in [HOUR_MS, HELD_BACK_MS] {
            node.clock.advance_ms(later_ms);
            skipped += node.looks().await.skipped;
            assert_eq!(watch.look().await, []);
        }
        node.clock.advance_ms(1);
        let late = watch.look().await;
        assert_eq!((late.len(), late[0].held_back_ms, late[0].overdue_ms), (1, HELD_BACK_MS + 1, 0));
        for _ in 0..14 {
            node.clock.advance_ms(DAY_MS);
            skipped += node.looks().await.skipped;
            assert_eq!(watch.look().await.len(), 1);
        }
        let row = node.row("hourly").await;
        assert_eq!((row.fired, row.skipped, row.last_job_owed), (1, skipped, true));
        // Another node knows it as well, and whoever holds a schedule up knows that it does not fire.
        assert_eq!(node.watch().look().await[0].held_back_ms, 14 * DAY_MS + HELD_BACK_MS + 1);
        let ledger = node.engine.ledger().clone();
        assert!(ledger.pause_schedule("hourly", "", &Unnoted).await.unwrap());
        assert_eq!(watch.look().await, []);
        assert!(ledger.resume_schedule("hourly", (node.clock.now_ms(), None), &Unnoted).await.unwrap());
        assert_eq!(watch.look().await.len(), 1);

        assert!(node.engine.cancel(row.last_job.unwrap()).await.unwrap());
        assert_eq!(watch.look().await, []);
        node.clock.advance_ms(HOUR_MS);
        assert_eq!(node.looks().await, Looked { fired: 1, skipped: 0 });
        node.engine.shutdown().await;
    }
}

#[tokio::test]
async fn what_is_paused_does_not_fire_on_any_node_and_goes_on_from_when_it_is_resumed() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let mut node = at_a_full_hour(&bench, hourly(Missed::All, Overlap::Wait)).await;
        let ledger = node.engine.ledger().clone();
        assert!(ledger.pause_schedule("hourly", "an upgrade", &Unnoted).await.unwrap());
        assert!(!ledger.pause_schedule("hourly", "again", &Unnoted).await.unwrap());
        node.clock.advance_ms(3 * HOUR_MS);
        assert_eq!(node.looks().await, Looked::default());
        node.restart();
        assert_eq!(node.looks().await, Looked::default());
        assert_eq!(node.row("hourly").await.paused.unwrap().reason, "an upgrade");
        let now_ms = node.clock.now_ms();
        assert!(ledger.resume_schedule("hourly", (now_ms, None), &Unnoted).await.unwrap());
        node.clock.advance_ms(HOUR_MS);
        assert_eq!(node.looks().await, Looked { fired: 1, skipped: 0 }, "the pause is not made up for");
        node.engine.shutdown().await;
    }
}

#[tokio::test]
async fn a_schedule_with_other_times_begins_anew_and_one_with_the_same_times_does_not() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let mut node = at_a_full_hour(&bench, hourly(Missed::All, Overlap::Wait)).await;
    node.clock.advance_ms(2 * HOUR_MS);
    node.restart();
    assert_eq!(node.looks().await, Looked { fired: 2, skipped: 0 });
    node.clock.advance_ms(2 * HOUR_MS + 5 * MINUTE_MS);
    node.schedules = vec![schedule("hourly", "0 */10 * * * *", "UTC", Missed::All, "1d")].into();
    node.restart();
    assert_eq!(node.looks().await, Looked::default());
    node.clock.advance_ms(5 * MINUTE_MS);
    assert_eq!(node.looks().await, Looked { fired: 1, skipped: 0 });
    node.engine.shutdown().await;
}

#[tokio::test]
async fn a_clock_that_was_a_year_ahead_does_not_keep_a_schedule_still_for_a_year() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let mut node = at_a_full_hour(&bench, hourly(Missed::Skip, Overlap::Wait)).await;
    node.clock.advance_ms(365 * DAY_MS);
    node.looks().await;
    node.clock.advance_ms(-365 * DAY_MS);
    node.looks().await;
    node.clock.advance_ms(HOUR_MS);
    assert_eq!(node.looks().await, Looked { fired: 1, skipped: 0 });
    // Set back by a little it waits, and what has fired does not fire again.
    node.clock.advance_ms(-30 * MINUTE_MS);
    assert_eq!(node.looks().await, Looked::default());
    node.clock.advance_ms(30 * MINUTE_MS);
    assert_eq!(node.looks().await, Looked::default());
    node.engine.shutdown().await;
}

/// Forgets how far a schedule has come, as a database does that is taken back to before it was known.
async fn forget(bench: &Bench, name: &str) {
    const SQL: &str = "DELETE FROM schedules WHERE name = $1";
    let mut transaction =
        bench.database.begin(Urgency::General, Durability::Durable, BEGIN_MS).await.unwrap();
    on_connection!(transaction, |connection| {
        sqlx::query(SQL).bind(name).execute(connection).await.map(|_| ())
    })
    .unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_schedule_that_the_database_has_forgotten_goes_on() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let mut node = at_a_full_hour(&bench, hourly(Missed::All, Overlap::Wait)).await;
    forget(&bench, "hourly").await;
    for _ in 0..2 {
        node.clock.advance_ms(30 * MINUTE_MS);
        node.looks().await;
    }
    node.clock.advance_ms(HOUR_MS);
    assert_eq!(node.looks().await, Looked { fired: 1, skipped: 0 });
    node.engine.shutdown().await;
}

#[tokio::test]
async fn ticks_outlast_an_absence_of_the_database_and_somebody_says_that_they_are_late() {
    let postgres = Postgres::start(Sync::On).await;
    let url = postgres.database("ledger").await;
    let mut bench = Bench::on(postgres, &url).await;
    let mut node = at_a_full_hour(&bench, hourly(Missed::All, Overlap::Wait)).await;
    let mut watch = node.watch();
    assert_eq!(watch.look().await, []);
    let mut postgres = bench.postgres.take().unwrap();
    postgres.kill();
    node.clock.advance_ms(2 * HOUR_MS + 30 * MINUTE_MS);
    assert!(node.ticker.look().await.is_err());
    let late = watch.look().await;
    // The second of two that came in between is half an hour old, the first is what waits.
    assert_eq!((late.len(), late[0].overdue_ms), (1, HOUR_MS + 30 * MINUTE_MS));
    postgres.start_again().await;
    let looked = eventually("it looks again", async || node.ticker.look().await.ok()).await;
    assert_eq!(looked, Looked { fired: 2, skipped: 0 });
    eventually("it is in time again", async || watch.look().await.is_empty().then_some(())).await;
    node.engine.shutdown().await;
}

#[tokio::test]
async fn a_schedule_that_nobody_ticks_is_said_to_be_late_until_somebody_does_or_it_is_paused() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let mut node = Node::new(&bench, &[hourly(Missed::Once, Overlap::Allow)], BEGIN_MS);
    let mut watch = node.watch();
    // Nobody has ever ticked it.
    node.clock.advance_ms(53 * MINUTE_MS + LATE_MS);
    assert_eq!(watch.look().await, []);
    node.clock.advance_ms(1);
    let late = watch.look().await;
    assert_eq!((late.len(), late[0].row.name.as_str(), late[0].overdue_ms), (1, "hourly", LATE_MS + 1));
    node.looks().await;
    assert_eq!(watch.look().await, []);
    // Nobody does any more.
    node.clock.advance_ms(2 * HOUR_MS);
    assert_eq!(watch.look().await.len(), 1);
    assert!(node.engine.ledger().pause_schedule("hourly", "", &Unnoted).await.unwrap());
    assert_eq!(watch.look().await, []);
    node.engine.shutdown().await;
}
