//! A generated day of work whose true figures are known, and reports that are made on schedule.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use keepwell_jobs::{
    care::report::{
        crisis::CrisisReport,
        operations::{OperationsReport, ScheduleHealth},
        period::Period,
    },
    handlers, kinds,
    reporting::{ReportDesk, ReportError, ReportKind},
    store::{
        audit::AuditFilter,
        reports::{
            FoundReport, ReportContent, ReportSettings, ReportedSchedule, read_facts, read_operations,
            report, reports,
        },
    },
};
use keepwell_workers::{
    clock::{Clock as _, ManualClock, UnixMs},
    database::{Database, Durability, turn::Urgency},
    handler::Registry,
    id::JobId,
    job::{Job, NewJob},
    lane::Lane,
    outcome::Outcome,
    seal::KeyRing,
};
use serde_json::json;

use crate::{
    reports::settings,
    support::{DAY_MS, NOW_MS, Room, on_each_database},
    trail::{all, execute},
};

const FROM_MS: i64 = NOW_MS - DAY_MS;
const HOUR_MS: i64 = 60 * 60 * 1_000;

/// The day, and nothing else.
const DAY: Period = Period { from_ms: FROM_MS, to_ms: NOW_MS };

/// A job as the ledger of this database writes its id.
fn sql_id(room: &Room, id: JobId) -> String {
    let digits = id.0.as_simple();
    let is_sqlite = room.database.dialect() == keepwell_workers::database::Dialect::Sqlite;
    if is_sqlite { format!("x'{digits}'") } else { format!("'{}'", id.0) }
}

/// A job of `kind` that came at `at_ms` and took `took_ms` to its end.
async fn job(room: &Room, kind: &str, state: &str, at_ms: i64, took_ms: i64) -> JobId {
    let id = JobId::new(at_ms);
    let finished = if state == "owed" { "NULL".to_owned() } else { (at_ms + took_ms).to_string() };
    let sql = format!(
        "INSERT INTO jobs (id, kind, lane, state, run_at_ms, created_at_ms, finished_at_ms, attempts, last_error) \
         VALUES ({}, '{kind}', 'standard', '{state}', {at_ms}, {at_ms}, {finished}, 3, 'the last')",
        sql_id(room, id)
    );
    execute(room, &sql).await.unwrap();
    id
}

async fn run_ended(room: &Room, job: JobId, attempt: i32, outcome: &str, error: Option<&str>) {
    let error = error.map_or_else(|| "NULL".to_owned(), |error| format!("'{error}'"));
    let sql = format!(
        "INSERT INTO job_attempts (job_id, attempt, outcome, error, node, finished_at_ms) \
         VALUES ({}, {attempt}, '{outcome}', {error}, 'node', {NOW_MS})",
        sql_id(room, job)
    );
    execute(room, &sql).await.unwrap();
}

async fn operations(room: &Room) -> OperationsReport {
    let facts = read_operations(&room.database, &settings(room), DAY, NOW_MS).await.unwrap();
    OperationsReport::of(&facts)
}

#[tokio::test]
async fn volumes_failures_retries_the_dead_and_the_slow_are_those_of_the_ledger() {
    on_each_database(async |room| {
        // Twelve hours with a payment each, the n-th of which took n seconds.
        for hour in 0..12 {
            job(room, "pays", "done", FROM_MS + hour * HOUR_MS, (hour + 1) * 1_000).await;
        }
        job(room, "pays", "owed", NOW_MS - 1, 0).await;
        job(room, "pays", "cancelled", NOW_MS - HOUR_MS, 5).await;
        let first = job(room, "fails", "dead", FROM_MS, 7_500).await;
        let second = job(room, "fails", "dead", FROM_MS + 2 * HOUR_MS, 1).await;
        for (of, attempt, outcome, error) in [
            (first, 1, "retry", Some("away")),
            (first, 2, "retry", Some("away")),
            (first, 3, "dead", Some("refused")),
            (second, 1, "crashed", None),
            (second, 2, "retry", Some("away")),
            (second, 3, "dead", Some("refused")),
            (second, 3, "snooze", None),
        ] {
            run_ended(room, of, attempt, outcome, error).await;
        }
        // Canaries do not stay, so of none it is told.
        job(room, kinds::CRISIS_CANARY, "done", FROM_MS, 98_000).await;
        let dead_canary = job(room, kinds::CRISIS_CANARY, "dead", NOW_MS - HOUR_MS, 98_000).await;
        run_ended(room, dead_canary, 1, "retry", Some("away")).await;
        run_ended(room, dead_canary, 2, "dead", Some("a canary of its own")).await;
        // Outside the day.
        let outside = job(room, "fails", "dead", FROM_MS - 1, 99_000).await;
        run_ended(room, outside, 1, "retry", Some("away")).await;
        job(room, "pays", "done", NOW_MS, 99_000).await;

        let report = operations(room).await;
        let expected = json!({ "cancelled": 1, "dead": 2, "done": 12, "owed": 1 });
        assert_eq!(json!(report.volumes), expected);
        let [pays, fails] = &report.kinds[..] else { panic!("{:?}", report.kinds) };
        assert_eq!((pays.recorded, pays.failures, pays.average_ms), (14, 0, Some(6_500.0)));
        assert_eq!((fails.recorded, fails.failures, fails.retries, fails.crashes), (2, 6, 3, 1));
        let errors: Vec<_> = report.errors.iter().map(|it| (it.error.as_str(), it.count)).collect();
        assert_eq!(errors, [("away", 3), ("refused", 2)]);
        let slow: Vec<u64> = report.slowest.iter().map(|it| it.took_ms).take(6).collect();
        assert_eq!(slow, [12_000, 11_000, 10_000, 9_000, 8_000, 7_500]);
        assert_eq!(report.slowest.len(), 15);
        let dead: Vec<_> = report.dead.iter().map(|it| (it.job.clone(), it.attempts)).collect();
        assert_eq!(dead, [(second.to_string(), 3), (first.to_string(), 3)]);
        let standard = &report.lanes[0];
        assert_eq!((standard.recorded[0], standard.recorded[1], standard.recorded[2]), (2, 1, 2));
    })
    .await;
}

#[tokio::test]
async fn a_schedule_that_nobody_ticks_is_late_and_one_that_is_gone_is_no_news() {
    on_each_database(async |room| {
        let row = "INSERT INTO schedules (name, timing, through_ms, next_tick_ms, last_tick_ms, fired, skipped) VALUES";
        for name in ["nightly", "configured no more"] {
            let values = format!("('{name}', '', 0, {}, {}, 5, 2)", NOW_MS - HOUR_MS, NOW_MS - 2 * HOUR_MS);
            execute(room, &format!("{row} {values}")).await.unwrap();
        }
        let found = operations(room).await.schedules;
        let said = |it: &ScheduleHealth| (it.name.clone(), it.health.clone(), it.overdue_ms, it.fired, it.skipped);
        let found: Vec<_> = found.iter().map(said).collect();
        let expected = [
            ("nightly".to_owned(), "late".to_owned(), HOUR_MS as u64, 5, 2),
            ("never".to_owned(), "unseen".to_owned(), 0, 0, 0),
        ];
        assert_eq!(found, expected);
    })
    .await;
}

#[tokio::test]
async fn a_schedule_that_leaves_out_its_ticks_while_its_job_is_owed_is_held_back_and_not_on_time() {
    on_each_database(async |room| {
        let tick_ms = NOW_MS - 2 * HOUR_MS;
        let owed = sql_id(room, job(room, kinds::REPORT_DUE, "owed", tick_ms, 0).await);
        let columns = "name, timing, through_ms, next_tick_ms, last_tick_ms, last_job, fired, skipped";
        let next_ms = NOW_MS + HOUR_MS;
        let values = format!("'nightly', '', {tick_ms}, {next_ms}, {tick_ms}, {owed}, 5, 2");
        execute(room, &format!("INSERT INTO schedules ({columns}) VALUES ({values})")).await.unwrap();
        let health = async || operations(room).await.schedules[0].health.clone();
        assert_eq!(health().await, "on_time", "the next tick is yet to come");
        execute(room, &format!("UPDATE schedules SET through_ms = {}", NOW_MS - HOUR_MS)).await.unwrap();
        assert_eq!(health().await, "held_back");
        let schedules = vec![ReportedSchedule { name: "nightly".to_owned(), leaves_out: false }];
        let queues = ReportSettings { schedules, ..settings(room) };
        let facts = read_operations(&room.database, &queues, DAY, NOW_MS).await.unwrap();
        assert!(!facts.schedules[0].held_back, "it has every tick's job wait for its turn");
        execute(room, "UPDATE jobs SET state = 'done', finished_at_ms = created_at_ms").await.unwrap();
        assert_eq!(health().await, "on_time", "the next tick fires");
    })
    .await;
}

/// Makes reports as the daemon does, and brings them nowhere.
#[derive(Debug)]
struct Desk {
    database: Database,
    settings: ReportSettings,
    keys: KeyRing,
    clock: Arc<ManualClock>,
    /// How many reports were made.
    made: AtomicU32,
}

#[async_trait]
impl ReportDesk for Desk {
    fn now_ms(&self) -> UnixMs {
        self.clock.now_ms()
    }

    async fn content(&self, kind: ReportKind, period: Period) -> Result<ReportContent, ReportError> {
        self.made.fetch_add(1, Ordering::Relaxed);
        let Desk { database, settings, keys, .. } = self;
        Ok(match kind {
            ReportKind::Crisis => {
                let facts = read_facts(database, keys, settings, period, None, NOW_MS).await?;
                ReportContent::Crisis(Box::new(CrisisReport::of(&facts)))
            }
            ReportKind::Operations => {
                let facts = read_operations(database, settings, period, NOW_MS).await?;
                ReportContent::Operations(Box::new(OperationsReport::of(&facts)))
            }
        })
    }

    fn delivers(&self) -> bool {
        true
    }

    async fn deliver(&self, _: &str, _: JobId) -> Result<(), Outcome> {
        Ok(())
    }
}

#[tokio::test]
async fn a_report_on_schedule_is_kept_once_under_its_job_and_then_delivered() {
    on_each_database(async |room| {
        let clock = ManualClock::at(0);
        let (database, keys, made) = (room.database.clone(), room.care.keys.clone(), AtomicU32::new(0));
        let desk = Arc::new(Desk { database, settings: settings(room), keys, clock: clock.clone(), made });
        let care = room.care.clone().with_reports(desk.clone());
        let registry = Registry::new(handlers(&care));
        let handler = registry.get(kinds::REPORT_DUE).unwrap();
        let payload =
            json!({ "report": "crisis", "period": "day", "scheduled_for": "2023-11-14T00:00:00.000Z" });
        let job = Job {
            id: JobId::new(NOW_MS),
            kind: kinds::REPORT_DUE.into(),
            lane: Lane::Background,
            dedupe_key: None,
            subject: None,
            payload: payload.to_string().into(),
            attempts: 0,
            created_ms: NOW_MS,
            trace: None,
        };
        let monday_ms = 1_699_833_600_000;
        let mut follow_ups = Vec::new();
        // Asked for by a clock that is ahead: the day is not over yet, or its last crises are still being noted.
        for (early_ms, now_ms) in [(6_000, monday_ms + DAY_MS - 1_000), (1, monday_ms + DAY_MS + 4_999)] {
            clock.advance_ms(now_ms - clock.now_ms());
            let early = Outcome::Snooze { after: Duration::from_millis(early_ms) };
            assert_eq!(handler.prepare(&job).await.err(), Some(early));
        }
        assert_eq!(desk.made.load(Ordering::Relaxed), 0, "none is made that is not kept");
        clock.advance_ms(1);
        let prepared = handler.prepare(&job).await.unwrap();
        // The first transaction is taken back, as by a crash, and the second one counts.
        for commits in [false, true] {
            let mut transaction =
                room.database.begin(Urgency::General, Durability::Relaxed, NOW_MS).await.unwrap();
            transaction.work_for(Arc::new(job.clone()));
            let outcome = handler.apply(&job, &prepared, &mut transaction).await.unwrap();
            assert_eq!(outcome, Outcome::Done);
            if commits {
                follow_ups = transaction.take_follow_ups();
                transaction.commit().await.unwrap();
            } else {
                transaction.rollback().await.unwrap();
            }
        }
        let (listed, total) = reports(&room.database, None, 10).await.unwrap();
        assert_eq!((listed[0].id.clone(), total), (job.id.to_string(), 1));
        assert_eq!((listed[0].from_ms, listed[0].to_ms), (monday_ms, monday_ms + DAY_MS));
        let kept = report(&room.database, &room.care.keys, &listed[0].id).await.unwrap();
        assert!(matches!(kept, FoundReport::Report(ReportContent::Crisis(_))), "{kept:?}");
        let [delivery]: [NewJob; 1] = follow_ups.try_into().unwrap();
        assert_eq!((&*delivery.kind, delivery.lane), (kinds::REPORT_DELIVERED, Lane::Background));
        let filter = AuditFilter { action: Some("report".to_owned()), ..AuditFilter::default() };
        assert_eq!(all(room, &filter).await[0].actor, format!("report.due {}", job.id));
    })
    .await;
}
