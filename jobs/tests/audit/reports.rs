//! A generated day whose true figures are known: every number of its report is equal.

use keepwell_jobs::{
    care::{
        report::{crisis::CrisisReport, latency::Latency, period::Period, share::Share, share::Status},
        severity::Severity,
    },
    kinds,
    store::{
        audit::{Actor, AuditFilter},
        reports::{
            CrisisResponse, FoundReport, ReportContent, ReportSettings, ReportedSchedule, forget_responses,
            keep_report, note_responses, read_facts, report, reports,
        },
    },
    violation,
};
use keepwell_workers::{clock::UnixMs, id::JobId, on_connection};
use serde_json::{Value, json};

use crate::{
    acknowledged::acknowledge,
    support::{DAY_MS, NOW_MS, Room, event, invoice, on_each_database, signal},
    trail::{all, begin, execute, report as report_of_trail, sealer},
};

const FROM_MS: UnixMs = NOW_MS - DAY_MS;
const AS_OF_MS: UnixMs = NOW_MS + 1_000;
const MINUTE_MS: i64 = 60_000;

/// The day, and nothing else.
pub const DAY: Period = Period { from_ms: FROM_MS, to_ms: NOW_MS };

fn severity(number: i64) -> Severity {
    [Severity::Critical, Severity::High, Severity::Moderate, Severity::High][number as usize % 4]
}

pub fn said(customer: &str, at_ms: UnixMs, severity: Severity) -> String {
    let more = format!(r#","source":"button","severity":"{}""#, severity.name());
    signal("crisis.signal", customer, (NOW_MS - at_ms) / 1_000, &more)
}

/// The jobs that made crises known, the oldest first.
pub async fn crisis_jobs(room: &Room) -> Vec<JobId> {
    let filter = AuditFilter { action: Some("crisis.signalled".to_owned()), ..AuditFilter::default() };
    let entries = all(room, &filter).await;
    entries
        .iter()
        .filter_map(|entry| entry.actor.strip_prefix("app.crisis_signalled ")?.parse().ok())
        .collect()
}

/// Forty crises, ten minutes apart: the first took 5 ms, the second 10, the last 200.
async fn forty_crises(room: &Room) {
    for number in 0..40 {
        let at_ms = FROM_MS + number * 10 * MINUTE_MS;
        room.app_at(&said(&format!("cus_{number}"), at_ms, severity(number)), at_ms).await;
    }
    let jobs = crisis_jobs(room).await;
    assert_eq!(jobs.len(), 40);
    let responses = jobs.into_iter().zip(0..).map(|(job, number)| CrisisResponse {
        job,
        kind: kinds::CRISIS_SIGNALLED.to_owned(),
        severity: severity(number),
        came_ms: FROM_MS + number * 10 * MINUTE_MS,
        limit_ms: severity(number).response_limit_ms() as i64,
        took_us: Some((number as u64 + 1) * 5_000),
        measured: true,
    });
    let responses: Vec<_> = responses.collect();
    note_responses(&room.database, &responses, NOW_MS).await.unwrap();
    // Noting it again, however it says it went, changes nothing.
    let again = CrisisResponse { took_us: Some(1), measured: false, ..responses[39].clone() };
    note_responses(&room.database, &[again], NOW_MS).await.unwrap();
}

/// A job that only the ledger knows.
pub async fn ledger_job(room: &Room, lane: &str, state: &str, at_ms: UnixMs, said: Option<String>) -> JobId {
    const JOB: &str = "INSERT INTO jobs (id, kind, lane, state, subject, run_at_ms, created_at_ms, finished_at_ms) \
         VALUES ($1, $2, $3, $4, 'cus_ledger', $5, $5, $6)";
    const PAYLOAD: &str = "INSERT INTO job_payloads (job_id, key_id, sealed) VALUES ($1, $2, $3)";
    let id = JobId::new(at_ms);
    let kind = if said.is_some() { kinds::CRISIS_SIGNALLED } else { kinds::EVENT_RECORDED };
    let finished_ms = (state != "owed").then_some(at_ms + 150);
    let payload = said.unwrap_or_default();
    let sealed = room.care.keys.seal(id.as_bytes(), payload.as_bytes()).unwrap();
    let mut transaction = begin(room).await;
    on_connection!(transaction, |connection| {
        sqlx::query(JOB)
            .bind(id.0)
            .bind(kind)
            .bind(lane)
            .bind(state)
            .bind(at_ms)
            .bind(finished_ms)
            .execute(connection)
            .await
            .map(|_| ())
    })
    .unwrap();
    on_connection!(transaction, |connection| {
        sqlx::query(PAYLOAD)
            .bind(id.0)
            .bind(&*sealed.key_id)
            .bind(&sealed.bytes)
            .execute(connection)
            .await
            .map(|_| ())
    })
    .unwrap();
    transaction.commit().await.unwrap();
    id
}

/// The day: forty crises that were noted, three that only the ledger knows, two that were noticed to be late, five
/// payments that failed, and nine events of no consequence.
async fn generate(room: &Room) {
    forty_crises(room).await;
    let hour = |hours: i64| FROM_MS + hours * 60 * MINUTE_MS;
    for (hours, state, severity) in
        [(10, "done", Severity::High), (11, "dead", Severity::Critical), (12, "owed", Severity::Moderate)]
    {
        let said = said("cus_ledger", hour(hours), severity);
        ledger_job(room, "crisis", state, hour(hours), Some(said)).await;
    }
    for number in 0..9 {
        ledger_job(room, "standard", if number == 0 { "dead" } else { "done" }, hour(5) + number, None).await;
    }
    for number in [32, 36] {
        let customer = format!("cus_{number}");
        let came_ms = FROM_MS + number * 10 * MINUTE_MS;
        let watch = &room.care.watch;
        let ticket = watch.begin(&customer, None, Severity::Critical, came_ms);
        watch.recorded(ticket, crisis_jobs(room).await[number as usize], false);
        let missed = watch.overdue(came_ms + 101).remove(0);
        room.run(violation(&missed, 101).unwrap(), came_ms + 101).await;
    }
    for number in 0..5 {
        let customer = format!("cus_pays_{number}");
        let failed = event(&format!("evt_{number}"), "invoice.payment_failed", 3_600, &invoice(&customer));
        room.stripe_at(&failed, NOW_MS - 1).await;
    }
    // Outside the day.
    room.app_at(&said("cus_before", FROM_MS - 1_000, Severity::Critical), FROM_MS - 1).await;
    ledger_job(room, "crisis", "done", FROM_MS - 1, Some(said("cus_before", FROM_MS - 1, Severity::High)))
        .await;
    room.app_at(&said("cus_after", NOW_MS, Severity::Critical), NOW_MS).await;
    sealer(room, 7).round().await.unwrap();
}

pub fn settings(room: &Room) -> ReportSettings {
    ReportSettings {
        watch: room.care.watch.clone(),
        audit_days: 2_555,
        done_ms: 35 * DAY_MS,
        dropped_paths: 3,
        schedules: ["nightly", "never"]
            .map(|name| ReportedSchedule { name: name.to_owned(), leaves_out: true })
            .into(),
    }
}

pub async fn made(room: &Room) -> CrisisReport {
    let keys = &room.care.keys;
    let facts = read_facts(&room.database, keys, &settings(room), DAY, None, AS_OF_MS).await.unwrap();
    CrisisReport::of(&facts)
}

#[tokio::test]
async fn every_number_of_a_known_day_is_its_own() {
    on_each_database(async |room| {
        generate(room).await;
        let report = made(room).await;
        let share = |kept, of| Share { kept, of };

        let response = &report.response_time_compliance;
        assert_eq!((response.share, response.violations), (share(36, 43), 7));
        assert_eq!((response.actual, response.status), (Some(83.72), Status::NonCompliant));
        assert_eq!((response.from_ledger, response.pending), (1, 0));
        let latency = Latency {
            count: 41,
            average_ms: Some(103.659),
            fastest_ms: Some(5.0),
            p50_ms: Some(105.0),
            p90_ms: Some(180.0),
            p95_ms: Some(190.0),
            p99_ms: Some(200.0),
            p999_ms: Some(200.0),
            slowest_ms: Some(200.0),
        };
        assert_eq!((&response.latency, response.average_response_time), (&latency, latency.average_ms));
        let by_severity: Vec<_> =
            response.by_severity.iter().map(|it| (it.severity.as_str(), it.limit_ms, it.share)).collect();
        let expected =
            [("critical", 100, share(5, 11)), ("high", 200, share(21, 21)), ("moderate", 300, share(10, 11))];
        assert_eq!(by_severity, expected);

        let emergency = &report.emergency_access_compliance;
        assert_eq!((emergency.activations, emergency.failures, emergency.actual), (40, 2, Some(95.34)));
        assert_eq!(emergency.within_emergency_limit, share(20, 41));

        let access = &report.therapeutic_access_compliance;
        assert_eq!((access.share, access.status), (share(47, 47), Status::Compliant));
        assert_eq!((access.interruptions, access.total_crisis_events), (0, 43));

        let audit = &report.audit_compliance;
        assert_eq!((audit.share, audit.actual), (share(42, 43), Some(97.67)));
        assert_eq!(audit.audit_trail_complete, Some(false), "what only the ledger knows has no entry");
        assert_eq!([audit.encryption_compliant, audit.retention_compliant], [Some(true); 2]);
        assert_eq!((audit.access_control_compliant, audit.finding.as_deref()), (Some(true), None));

        let metrics = &report.safety_metrics;
        assert_eq!((metrics.crisis_events_handled, metrics.violations_recorded), (41, 2));
        assert_eq!(metrics.emergency_access_activations, 40, "what only the ledger knows of opened nothing");
        assert_eq!(metrics.grace_period_activations, 45);
        assert_eq!(json!(metrics.by_kind), json!({ "app.crisis_signalled": 43 }));

        assert_eq!((report.overall_compliance, report.overall_status), (Some(83.72), Status::NonCompliant));
        let items: Vec<_> = report.action_items.iter().map(|it| it.code.as_str()).collect();
        let expected = [
            "answer_crisis",
            "answer_crisis",
            "explain_missing_entry",
            "review_violation",
            "review_violation",
        ];
        assert_eq!(items, expected);
        charts(&json!(report.charts));
        let text = json!(report).to_string();
        assert!(!text.contains("cus_"), "nobody is named in a report");
        assert_eq!(made(room).await, report, "reading it again changes nothing");
    })
    .await;
}

fn charts(charts: &Value) {
    let latency: Vec<_> =
        charts["latency"].as_array().unwrap().iter().map(|it| it["count"].clone()).collect();
    assert_eq!(json!(latency), json!([1, 1, 2, 6, 10, 11, 10, 0, 0, 0, 0, 0, 0]));
    let timeline = charts["timeline"].as_array().unwrap();
    let crises: Vec<_> = timeline.iter().map(|part| part["crises"].clone()).collect();
    let expected = json!([6, 6, 6, 6, 6, 6, 4, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(json!(crises), expected);
    let critical: Vec<_> = timeline.iter().map(|part| part["violations"]["critical"].clone()).collect();
    let expected = json!([0, 0, 0, 1, 2, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(json!(critical), expected);
    assert_eq!(timeline[12]["violations"]["moderate"], 1);
    let grace = |reason: &str| {
        let funnels = charts["grace"].as_array().unwrap();
        let funnel = funnels.iter().find(|it| it["reason"] == reason).unwrap();
        [&funnel["started"], &funnel["over"], &funnel["running"]].map(|count| count.as_u64().unwrap())
    };
    assert_eq!((grace("crisis_detected"), grace("payment_failure")), ([40, 0, 40], [5, 0, 5]));
    let lanes = |name: &str| {
        let lane = charts["lanes"].as_array().unwrap().iter().find(|it| it["lane"] == name).unwrap();
        (lane["states"].clone(), lane["recorded"].clone())
    };
    let (states, recorded) = lanes("standard");
    assert_eq!((states, &recorded[5]), (json!({ "dead": 1, "done": 8 }), &json!(9)));
    assert_eq!(lanes("crisis").0, json!({ "dead": 1, "done": 1, "owed": 1 }));
}

#[tokio::test]
async fn a_crisis_that_is_answered_after_all_counts_as_late_and_as_answered() {
    on_each_database(async |room| {
        ledger_job(room, "crisis", "dead", FROM_MS, Some(said("cus_1", FROM_MS, Severity::High))).await;
        assert_eq!(made(room).await.emergency_access_compliance.failures, 1);
        execute(room, &format!("UPDATE jobs SET state = 'done', finished_at_ms = {}", FROM_MS + 9_000))
            .await
            .unwrap();
        let report = made(room).await;
        assert_eq!(report.emergency_access_compliance.failures, 0);
        let response = &report.response_time_compliance;
        assert_eq!((response.violations, response.average_response_time), (1, Some(9_000.0)));
        // It is kept when its job is gone, and not for ever.
        execute(room, "DELETE FROM jobs").await.unwrap();
        assert_eq!(made(room).await.response_time_compliance, report.response_time_compliance);
        assert!(!forget_responses(&room.database, FROM_MS, NOW_MS).await.unwrap());
        assert_eq!(made(room).await.response_time_compliance.share.of, 1);
        forget_responses(&room.database, FROM_MS + 1, NOW_MS).await.unwrap();
        assert_eq!(made(room).await.response_time_compliance.share.of, 0);
    })
    .await;
}

#[tokio::test]
async fn the_first_crisis_of_a_period_is_on_record_though_the_clock_that_answered_it_is_behind() {
    on_each_database(async |room| {
        // It came as the day began; whoever answered it had a clock that was three seconds behind.
        room.app_at(&said("cus_1", FROM_MS - 3_000, Severity::High), FROM_MS - 3_000).await;
        let response = CrisisResponse {
            job: crisis_jobs(room).await[0],
            kind: kinds::CRISIS_SIGNALLED.to_owned(),
            severity: Severity::High,
            came_ms: FROM_MS + 5,
            limit_ms: 200,
            took_us: Some(20_000),
            measured: true,
        };
        note_responses(&room.database, &[response], NOW_MS).await.unwrap();
        assert_eq!(made(room).await.audit_compliance.share, Share { kept: 1, of: 1 });
    })
    .await;
}

#[tokio::test]
async fn a_trail_that_somebody_changed_and_triggers_that_are_gone_are_in_the_report() {
    on_each_database(async |room| {
        room.app_at(&said("cus_1", NOW_MS - 1_000, Severity::High), NOW_MS - 1_000).await;
        sealer(room, 3).round().await.unwrap();
        assert_eq!(made(room).await.audit_compliance.audit_trail_complete, Some(true));
        for trigger in ["audit_entries_unchanged", "audit_entries_kept"] {
            let of_table = format!("DROP TRIGGER {trigger} ON audit_entries");
            if execute(room, &of_table).await.is_err() {
                execute(room, &format!("DROP TRIGGER {trigger}")).await.unwrap();
            }
        }
        execute(room, "UPDATE audit_entries SET subject = 'cus_2'").await.unwrap();
        let audit = made(room).await.audit_compliance;
        assert_eq!((audit.audit_trail_complete, audit.retention_compliant), (Some(false), Some(false)));
        assert!(audit.finding.is_some());
        // A trail is not whole because somebody has looked into what is wrong with it.
        let found = report_of_trail(room, None).await.findings;
        for finding in found.named() {
            acknowledge(room, finding).await;
        }
        let audit = made(room).await.audit_compliance;
        assert_eq!(audit.audit_trail_complete, Some(false));
        let finding = audit.finding.unwrap();
        assert!(finding.contains("acknowledged on"), "{finding}");
    })
    .await;
}

#[tokio::test]
async fn a_report_is_kept_as_it_was_made_and_an_altered_one_is_not_believed() {
    on_each_database(async |room| {
        let (database, keys) = (&room.database, &room.care.keys);
        let content = ReportContent::Crisis(Box::new(made(room).await));
        let actor = || Actor::Operator { name: "uid 7".to_owned() };
        let first = keep_report(database, keys, DAY, &content, actor(), NOW_MS).await.unwrap();
        let second = keep_report(database, keys, DAY, &content, actor(), NOW_MS + 1).await.unwrap();
        assert_eq!(report(database, keys, &first.id).await.unwrap(), FoundReport::Report(content));
        let (listed, total) = reports(database, None, 10).await.unwrap();
        assert_eq!((listed, total), (vec![second.clone(), first.clone()], 2));
        assert_eq!(reports(database, Some(&second.id), 10).await.unwrap().0, vec![first.clone()]);
        let filter = AuditFilter { action: Some("report".to_owned()), ..AuditFilter::default() };
        assert_eq!(all(room, &filter).await.len(), 2);
        // Another report's content in its place.
        let swapped =
            "UPDATE compliance_reports SET sealed = (SELECT sealed FROM compliance_reports WHERE id = ";
        execute(room, &format!("{swapped}'{}') WHERE id = '{}'", second.id, first.id)).await.unwrap();
        assert_eq!(report(database, keys, &first.id).await.unwrap(), FoundReport::Unreadable);
        assert_eq!(report(database, keys, "none").await.unwrap(), FoundReport::Nothing);
    })
    .await;
}
