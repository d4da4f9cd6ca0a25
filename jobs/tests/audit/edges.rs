//! Reports at their edges: what comes in one hour and is noticed in the next, and many that are made at once.

use keepwell_jobs::{
    care::{
        report::{crisis::CrisisReport, period::Period, share::Status},
        severity::Severity,
    },
    kinds,
    store::reports::{CrisisResponse, note_responses, read_facts},
    violation,
};
use keepwell_workers::clock::UnixMs;

use crate::{
    reports::{crisis_jobs, said, settings},
    support::{NOW_MS, Room, on_each_database},
    trail::sealer,
};

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// Where one hour ends and the next one begins.
const EDGE_MS: UnixMs = NOW_MS - 2 * HOUR_MS;

const BEFORE: Period = Period { from_ms: EDGE_MS - HOUR_MS, to_ms: EDGE_MS };
const AFTER: Period = Period { from_ms: EDGE_MS, to_ms: EDGE_MS + HOUR_MS };

/// A crisis that came at `came_ms`, took `took_ms`, and was noticed to be late after `noticed_ms`.
async fn late(room: &Room, customer: &str, came_ms: UnixMs, took_ms: i64, noticed_ms: i64) {
    room.app_at(&said(customer, came_ms, Severity::Critical), came_ms).await;
    let job = *crisis_jobs(room).await.last().unwrap();
    let watch = &room.care.watch;
    let ticket = watch.begin(customer, None, Severity::Critical, came_ms);
    watch.recorded(ticket, job, false);
    let missed = watch.overdue(came_ms + noticed_ms).remove(0);
    room.run(violation(&missed, noticed_ms).unwrap(), came_ms + noticed_ms).await;
    let response = CrisisResponse {
        job,
        kind: kinds::CRISIS_SIGNALLED.to_owned(),
        severity: Severity::Critical,
        came_ms,
        limit_ms: 100,
        took_us: Some(took_ms as u64 * 1_000),
        measured: true,
    };
    note_responses(&room.database, &[response], NOW_MS).await.unwrap();
}

async fn made(room: &Room, period: Period) -> CrisisReport {
    let (database, keys) = (&room.database, &room.care.keys);
    let facts = read_facts(database, keys, &settings(room), period, None, NOW_MS).await.unwrap();
    CrisisReport::of(&facts)
}

fn monitoring(report: &CrisisReport) -> Status {
    report.safeguards.iter().find(|it| it.name == "realTimeMonitoring").unwrap().status
}

#[tokio::test]
async fn what_comes_in_one_hour_and_is_noticed_in_the_next_counts_where_it_came() {
    on_each_database(async |room| {
        // The process that took one died, and the next one began an hour and a half later; the other one came just
        // before the edge and was noticed behind it.
        late(room, "cus_1", EDGE_MS - 40 * 60_000, 90 * 60_000 + 5, 90 * 60_000).await;
        late(room, "cus_2", EDGE_MS - 50, 160, 101).await;
        sealer(room, 7).round().await.unwrap();
        let before = made(room, BEFORE).await;
        assert_eq!(before.response_time_compliance.violations, 2);
        assert_eq!(before.safety_metrics.violations_recorded, 2);
        assert_eq!(monitoring(&before), Status::Compliant, "{:?}", before.safeguards);
        let codes: Vec<_> = before.recommendations.iter().map(|it| it.code.as_str()).collect();
        assert_eq!(codes, ["responses_late"]);
        let audit = &before.audit_compliance;
        assert_eq!((audit.share.kept, audit.share.of), (4, 4), "{audit:?}");
        let after = made(room, AFTER).await;
        assert_eq!(after.safety_metrics.violations_recorded, 0);
        assert!(after.action_items.is_empty(), "{:?}", after.action_items);
    })
    .await;
}

#[tokio::test]
async fn a_report_needs_one_connection_at_a_time() {
    on_each_database(async |room| {
        late(room, "cus_1", EDGE_MS - 50, 160, 101).await;
        sealer(room, 1).round().await.unwrap();
        let (narrow, keys) = (room.with_one_connection().await, &room.care.keys);
        let facts = read_facts(&narrow, keys, &settings(room), BEFORE, None, NOW_MS).await;
        assert_eq!(facts.expect("no report waits for itself").crises.len(), 1);
        narrow.close().await;
    })
    .await;
}
