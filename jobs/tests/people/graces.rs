//! Grace periods end by themselves: somebody looks, whoever it concerns hears of it, and nobody vulnerable falls.

use std::{collections::HashSet, time::Duration};

use keepwell_jobs::{
    Care,
    care::{
        crisis::Source,
        emergency::{SwitchName, Switching},
    },
    grace_watch::{DUE_MAX, GraceWatch},
    store::{SwitchMemory, switch},
};
use keepwell_workers::{
    clock::UnixMs,
    database::{Durability, turn::Urgency},
    job::NewJob,
    on_connection,
    outcome::Outcome,
};

use crate::support::{DAY_MS, NOW_MS, Room, event, gateway::Gateway, invoice, on_each_database, signal};

/// Far more than a gateway on this machine needs.
const PATIENT_MS: u64 = 20_000;

async fn due(room: &Room, watch: &GraceWatch, now_ms: UnixMs) -> Vec<NewJob> {
    let mut reader = room.database.reader(Urgency::General).await.unwrap();
    watch.due(&mut reader, now_ms).await.unwrap().jobs
}

/// The same, noted as recorded.
async fn looked(room: &Room, watch: &mut GraceWatch, now_ms: UnixMs) -> Vec<NewJob> {
    let mut reader = room.database.reader(Urgency::General).await.unwrap();
    let looked = watch.due(&mut reader, now_ms).await.unwrap();
    let jobs = looked.jobs.clone();
    watch.looked(looked);
    jobs
}

/// Gives each of `count` people a grace period that ends at `ends_ms`.
async fn ending(room: &Room, count: u32, ends_ms: UnixMs) {
    const PEOPLE: &str = "INSERT INTO customers \
         (id, version, payment_method_on_file, vulnerable, marked, touched_ms) \
         WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1) \
         SELECT 'cus_' || n, 1, FALSE, FALSE, FALSE, 0 FROM numbers";
    const GRACES: &str = "INSERT INTO grace_periods (customer, reason, cause, started_ms, ends_ms, closed) \
         SELECT id, 'payment_failure', 'in_1', 0, $1, FALSE FROM customers";
    let mut transaction =
        room.database.begin(Urgency::General, Durability::Relaxed, NOW_MS).await.expect("a transaction");
    for (sql, number) in [(PEOPLE, i64::from(count)), (GRACES, ends_ms)] {
        on_connection!(transaction, |connection| {
            sqlx::query(sql).bind(number).execute(connection).await.map(|_| ())
        })
        .expect("rows");
    }
    transaction.commit().await.expect("a commit");
}

fn keys(jobs: &[NewJob]) -> Vec<&str> {
    jobs.iter().filter_map(|job| job.dedupe_key.as_deref()).collect()
}

async fn run(room: &Room, jobs: Vec<NewJob>, now_ms: UnixMs) {
    for job in jobs {
        assert_eq!(room.run(job, now_ms).await, Outcome::Done);
    }
}

fn about(room: &Room) -> Vec<String> {
    room.follow_ups()
        .iter()
        .map(|job| job.dedupe_key.as_deref().unwrap().rsplitn(3, ':').last().unwrap().into())
        .collect()
}

#[tokio::test]
async fn an_end_is_announced_two_days_before_and_told_when_it_comes() {
    on_each_database(async |room| {
        let room = room.telling(&Gateway::start().await, PATIENT_MS);
        room.stripe(&event("evt_1", "invoice.payment_failed", 5, &invoice("cus_1"))).await;
        assert_eq!(about(&room), ["message:payment_failure"]);
        let (ends_ms, mut watch) = (NOW_MS + 7 * DAY_MS, GraceWatch::default());
        let soon_ms = ends_ms - 2 * DAY_MS;
        assert!(due(&room, &watch, soon_ms - 1).await.is_empty());

        let jobs = looked(&room, &mut watch, soon_ms).await;
        assert_eq!(keys(&jobs), [format!("grace:soon:{ends_ms}:cus_1")]);
        run(&room, jobs, soon_ms).await;
        assert_eq!(about(&room), ["message:grace_ending_soon"]);
        // Who has looked once looks no more at the same.
        assert!(due(&room, &watch, soon_ms + 1).await.is_empty());

        let jobs = due(&room, &watch, ends_ms).await;
        assert_eq!(keys(&jobs), [format!("grace:ended:{ends_ms}:cus_1")]);
        run(&room, jobs, ends_ms).await;
        assert_eq!(about(&room), ["message:grace_ended"]);
        assert!(due(&room, &watch, ends_ms + 1).await.is_empty());
        assert!(room.facts("cus_1").await.graces.values().all(|grace| grace.closed));
    })
    .await;
}

#[tokio::test]
async fn whoever_has_paid_or_is_in_a_crisis_hears_of_no_end() {
    on_each_database(async |room| {
        let room = room.telling(&Gateway::start().await, PATIENT_MS);
        for customer in ["paid", "crisis", "later"] {
            room.stripe(&event("evt_1", "invoice.payment_failed", 5, &invoice(customer))).await;
        }
        room.stripe(&event("evt_2", "invoice.payment_succeeded", 4, &invoice("paid"))).await;
        room.app(&signal("crisis.signal", "crisis", 1, r#","severity":"moderate""#)).await;
        room.follow_ups();
        let (ends_ms, watch) = (NOW_MS + 7 * DAY_MS, GraceWatch::default());
        let early = due(&room, &watch, ends_ms - 1).await;
        // What ends later than a job thought is announced by another job.
        let other = NewJob {
            payload: String::from_utf8(early[0].payload.to_vec())
                .unwrap()
                .replace(&ends_ms.to_string(), "7")
                .into(),
            ..early[0].clone()
        };
        run(&room, vec![other], ends_ms - 1).await;
        assert_eq!(about(&room), [""; 0]);
        run(&room, early, ends_ms - 1).await;
        assert_eq!(about(&room), ["message:grace_ending_soon"]);
        run(&room, due(&room, &watch, ends_ms).await, ends_ms).await;
        assert_eq!(about(&room), ["message:grace_ended"]);
        assert!(room.access("crisis", ends_ms).await.grace.active);
    })
    .await;
}

#[tokio::test]
async fn an_end_in_a_vulnerable_time_becomes_a_longer_period() {
    on_each_database(async |room| {
        let room = room.telling(&Gateway::start().await, PATIENT_MS);
        room.app(&signal("crisis.signal", "cus_1", 9, r#","severity":"moderate""#)).await;
        room.app(&signal("crisis.resolved", "cus_1", 3, "")).await;
        // Six days later a payment fails: its seven days end one day before the fourteen of the crisis.
        let failed_ms = NOW_MS + 6 * DAY_MS;
        let failed = event("evt_1", "invoice.payment_failed", -6 * 86_400, &invoice("cus_1"));
        let intake =
            keepwell_jobs::intake::read_stripe(&failed.into(), &room.care.marks, &room.care.event_types)
                .unwrap();
        room.run(intake.job, failed_ms).await;
        room.follow_ups();
        let (ends_ms, watch) = (NOW_MS + 14 * DAY_MS, GraceWatch::default());
        let payment_ends_ms = failed_ms + 7 * DAY_MS;
        run(&room, due(&room, &watch, payment_ends_ms).await, payment_ends_ms).await;
        // The payment's own period ended a day before that of the crisis, and was extended by seven days.
        // It is no news: with the failure the grace of the crisis had become as long.
        assert_eq!(about(&room), [""; 0]);
        let access = room.access("cus_1", ends_ms).await;
        assert_eq!((access.grace.active, access.grace.remaining_days), (true, 6));
        assert_eq!(
            room.facts("cus_1").await.graces.values().map(|grace| grace.ends_ms).max(),
            Some(payment_ends_ms + 7 * DAY_MS)
        );
    })
    .await;
}

#[tokio::test]
async fn an_end_while_operators_do_not_look_at_payments_becomes_a_longer_period() {
    on_each_database(async |room| {
        room.stripe(&event("evt_1", "invoice.payment_failed", 5, &invoice("cus_1"))).await;
        let (ends_ms, hour_ms) = (NOW_MS + 7 * DAY_MS, 3_600_000);
        let on = Switching::On("a rollback".into(), 7_200);
        // Who switches and who runs the job need not be the same process.
        let care = Care { switches: SwitchMemory::default(), ..room.beside().care };
        switch(&room.database, &room.care.switches, SwitchName::Bypass, on, ends_ms - hour_ms).await.unwrap();
        assert!(room.access("cus_1", ends_ms).await.grace.active, "also before anybody has seen to it");
        let jobs = due(room, &GraceWatch::default(), ends_ms).await;
        run(&room.caring(care), jobs, ends_ms).await;
        let graces = room.facts("cus_1").await.graces;
        let ends: Vec<_> = graces.values().map(|grace| (grace.ends_ms, grace.closed)).collect();
        assert_eq!(ends, [(ends_ms + 7 * DAY_MS, false)]);
        assert!(
            room.facts("cus_1").await.signals.values().all(|signal| signal.source != Source::GraceExpiry)
        );

        // Payments are looked at again.
        let ends_ms = ends_ms + 7 * DAY_MS;
        run(room, due(room, &GraceWatch::default(), ends_ms).await, ends_ms).await;
        assert!(room.facts("cus_1").await.graces.values().all(|grace| grace.closed));
        assert!(!room.access("cus_1", ends_ms).await.grace.active);
    })
    .await;
}

#[tokio::test]
async fn a_watch_that_was_down_asks_for_what_it_missed() {
    on_each_database(async |room| {
        room.stripe(&event("evt_1", "invoice.payment_failed", 5, &invoice("cus_1"))).await;
        let now_ms = NOW_MS + 6 * DAY_MS;
        let (one, other) = (GraceWatch::default(), GraceWatch::default());
        let (one, other) = (due(room, &one, now_ms).await, due(room, &other, now_ms).await);
        // Two daemons that look at the same time ask for the same jobs.
        assert_eq!((one.len(), keys(&one)), (1, keys(&other)));
        assert_eq!(due(room, &GraceWatch::default(), NOW_MS + 90 * DAY_MS).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn more_ends_than_one_look_takes_are_all_found_by_the_next_ones() {
    on_each_database(async |room| {
        let (count, ends_ms) = (2 * DUE_MAX + 3, NOW_MS + 7 * DAY_MS);
        ending(room, count, ends_ms).await;
        // Nobody sees to any of them meanwhile: what stays open keeps nothing else from being found.
        for now_ms in [ends_ms - DAY_MS, ends_ms] {
            let (mut watch, mut found) = (GraceWatch::default(), HashSet::new());
            for _ in 0..3 {
                let jobs = looked(room, &mut watch, now_ms).await;
                assert!(jobs.len() <= DUE_MAX as usize);
                found.extend(jobs.into_iter().filter_map(|job| job.dedupe_key));
            }
            assert_eq!(found.len(), count as usize, "at {now_ms}");
            assert!(looked(room, &mut watch, now_ms).await.is_empty(), "none is found twice");
            watch.begin_again();
            let again = looked(room, &mut watch, now_ms).await.len();
            assert_eq!(
                again,
                if now_ms < ends_ms { 0 } else { DUE_MAX as usize },
                "the next minute looks again"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn an_end_that_has_not_come_on_this_machines_clock_is_waited_for() {
    on_each_database(async |room| {
        room.stripe(&event("evt_1", "invoice.payment_failed", 5, &invoice("cus_1"))).await;
        let ends_ms = NOW_MS + 7 * DAY_MS;
        let [job] = &due(room, &GraceWatch::default(), ends_ms).await[..] else { panic!("one end") };
        let early = room.run(job.clone(), ends_ms - 1_500).await;
        assert_eq!(early, Outcome::Snooze { after: Duration::from_millis(1_500) });
        run(room, vec![job.clone()], ends_ms).await;
        assert!(room.facts("cus_1").await.graces.values().all(|grace| grace.closed));
    })
    .await;
}
