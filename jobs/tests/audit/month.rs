//! A generated month. Its true figures are counted here a second time, plainly, from what was generated.

use keepwell_jobs::{
    care::{
        report::{crisis::CrisisReport, period::Period, share::Share},
        severity::Severity,
        tiers::FLOOR,
    },
    kinds,
    store::{
        audit::{Actor, AuditEntry, append},
        reports::{CrisisResponse, note_responses, read_facts},
    },
};
use keepwell_workers::id::JobId;
use serde_json::{Value, json};

use crate::{
    reports::settings,
    support::{DAY_MS, NOW_MS, Room, on_each_database},
    trail::{begin, execute, sealer},
};

const MONTH: Period = Period { from_ms: NOW_MS - 30 * DAY_MS, to_ms: NOW_MS };

/// Crises of the month.
const CRISES: usize = 700;

/// Numbers that look like chance and are the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Crises over thirty days: most are answered in time, some late, some never. One of nine is a payment of somebody who
/// is in a crisis.
fn crises(chance: &mut Chance) -> Vec<CrisisResponse> {
    let mut crises = Vec::new();
    for _ in 0..CRISES {
        let severity = Severity::ALL[chance.below(3) as usize];
        let came_ms = MONTH.from_ms + chance.below(30 * DAY_MS as u64) as i64;
        let took_us = match chance.below(100) {
            0 => None,
            1..=4 => Some(100_000 + chance.below(900_000)),
            _ => Some(1_000 + chance.below(110_000)),
        };
        crises.push(CrisisResponse {
            job: JobId::new(came_ms),
            kind: if chance.below(9) == 0 { kinds::INVOICE_PAID } else { kinds::CRISIS_SIGNALLED }.to_owned(),
            severity,
            came_ms,
            limit_ms: severity.response_limit_ms() as i64,
            took_us,
            measured: true,
        });
    }
    crises
}

fn entry(actor: String, action: &'static str, at_ms: i64, after: Value) -> AuditEntry {
    AuditEntry {
        at_ms,
        actor: Actor::System { job: actor },
        action,
        subject: Some("somebody".to_owned()),
        reason: "generated".to_owned(),
        before: None,
        after: Some(after),
    }
}

/// What was written beside the crises.
#[derive(Default)]
struct Written {
    with_entry: u64,
    /// Signals that were answered: those have to be in the trail.
    signals_answered: u64,
    opened: u64,
    missing: u64,
    resolved: u64,
    overrides: u64,
    contacts: [u64; 3],
    entries_beside: u64,
    whole_changes: u64,
    broken_changes: u64,
    graces: u64,
    graces_over: u64,
}

async fn write(room: &Room, chance: &mut Chance, crises: &[CrisisResponse]) -> Written {
    note_responses(&room.database, crises, NOW_MS).await.unwrap();
    let mut written = Written::default();
    let mut transaction = begin(room).await;
    for crisis in crises {
        let is_signal = crisis.kind == kinds::CRISIS_SIGNALLED;
        // One of fifty answers left no entry.
        if is_signal && crisis.took_us.is_some() {
            written.signals_answered += 1;
        }
        if is_signal && crisis.took_us.is_some() && chance.below(50) > 0 {
            let actor = format!("{} {}", crisis.kind, crisis.job);
            let entry = entry(actor, "crisis.signalled", crisis.came_ms, json!({}));
            append(&mut transaction, &entry).await.unwrap();
            written.with_entry += 1;
        }
        // One of three crises changed what somebody may use, and one of forty of these took from the floor.
        if chance.below(3) == 0 {
            let broken = chance.below(40) == 0;
            let enabled = if broken { &FLOOR[1..] } else { &FLOOR[..] };
            let after = json!({ "features": { "enabled": enabled } });
            let entry = entry("generated".to_owned(), "access.changed", crisis.came_ms, after);
            append(&mut transaction, &entry).await.unwrap();
            if broken { written.broken_changes += 1 } else { written.whole_changes += 1 }
        }
        // Every other signal opens emergency access; the others find it open.
        if is_signal && crisis.took_us.is_some() {
            let opens = chance.below(2) == 0;
            let state =
                |active: bool| json!({ "crisis": { "active": active }, "emergency": { "active": active } });
            let entry = entry("generated".to_owned(), "access.changed", crisis.came_ms, state(true));
            append(&mut transaction, &AuditEntry { before: Some(state(!opens)), ..entry }).await.unwrap();
            written.opened += u64::from(opens);
            written.whole_changes += 1;
        }
        let beside = |action, subject: &str| AuditEntry {
            subject: Some(subject.to_owned()),
            ..entry("generated".to_owned(), action, crisis.came_ms, json!({}))
        };
        let (beside, counted) = match chance.below(20) {
            0 => (beside("access.missing", "somebody"), Some(&mut written.missing)),
            1 => (beside("crisis.resolved", "somebody"), Some(&mut written.resolved)),
            2 => (beside("emergency.switched_on", "global_bypass"), Some(&mut written.overrides)),
            3 => (beside("lane.paused", "crisis"), Some(&mut written.overrides)),
            4 => (beside("lane.paused", "standard"), None),
            5 => (beside("emergency.switched_off", "global_bypass"), None),
            _ => continue,
        };
        append(&mut transaction, &beside).await.unwrap();
        written.entries_beside += 1;
        if let Some(counted) = counted {
            *counted += 1;
        }
    }
    transaction.commit().await.unwrap();
    let customer = "INSERT INTO customers (id, version, payment_method_on_file, vulnerable, marked, touched_ms) \
         VALUES ('cus_grace', 1, FALSE, FALSE, FALSE, 0)";
    execute(room, customer).await.unwrap();
    for number in 0..60 {
        let started_ms = MONTH.from_ms + chance.below(30 * DAY_MS as u64) as i64;
        let ends_ms = started_ms + 7 * DAY_MS;
        let sql = format!(
            "INSERT INTO grace_periods (customer, reason, cause, started_ms, ends_ms, closed) \
             VALUES ('cus_grace', 'payment_failure', 'in_{number}', {started_ms}, {ends_ms}, FALSE)"
        );
        execute(room, &sql).await.unwrap();
        written.graces += 1;
        written.graces_over += u64::from(ends_ms <= NOW_MS);
    }
    written.contacts = contacts(room, chance).await;
    sealer(room, 64).round().await.unwrap();
    written
}

/// Emergency contacts of the month who were notified, are to be, or were left out; and one of the month before.
async fn contacts(room: &Room, chance: &mut Chance) -> [u64; 3] {
    let mut counts = [0; 3];
    for number in 0..90 {
        let result = chance.below(3) as usize;
        let words =
            ["'notified', NULL, 'text'", "'queued', NULL, 'text'", "'skipped', 'no_consent', NULL"][result];
        let at_ms =
            if number == 0 { MONTH.from_ms - 1 } else { MONTH.from_ms + chance.below(1_000_000) as i64 };
        let sql = format!(
            "INSERT INTO contact_notices (customer, cause, contact, severity, result, reason, method, at_ms) \
             VALUES ('cus_grace', 'cause {number}', 0, 'high', {words}, {at_ms})"
        );
        execute(room, &sql).await.unwrap();
        counts[result] += u64::from(number > 0);
    }
    counts
}

/// The answer that `percent` of a hundred of `sorted` did not exceed, in milliseconds.
fn nearest_rank(sorted: &[u64], percent: f64) -> f64 {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted[rank - 1] as f64 / 1_000.0
}

#[tokio::test]
async fn every_number_of_a_generated_month_equals_what_was_generated() {
    on_each_database(async |room| {
        let mut chance = Chance(2_026);
        let crises = crises(&mut chance);
        let written = write(room, &mut chance, &crises).await;
        let facts = read_facts(&room.database, &room.care.keys, &settings(room), MONTH, None, NOW_MS).await;
        let report = CrisisReport::of(&facts.unwrap());

        let in_time = |it: &&CrisisResponse| it.took_us.is_some_and(|us| us <= it.limit_ms as u64 * 1_000);
        let kept = crises.iter().filter(in_time).count() as u64;
        let response = &report.response_time_compliance;
        assert_eq!(response.share, Share { kept, of: CRISES as u64 });
        assert_eq!((response.violations, response.pending), (CRISES as u64 - kept, 0));
        assert_eq!(response.actual, Some((kept * 10_000 / CRISES as u64) as f64 / 100.0));
        let mut sorted: Vec<u64> = crises.iter().filter_map(|it| it.took_us).collect();
        sorted.sort_unstable();
        let latency = &response.latency;
        let mean_us = (sorted.iter().sum::<u64>() as f64 / sorted.len() as f64).round();
        assert_eq!((latency.count, latency.average_ms), (sorted.len() as u64, Some(mean_us / 1_000.0)));
        for (found, percent) in [
            (latency.p50_ms, 50.0),
            (latency.p90_ms, 90.0),
            (latency.p95_ms, 95.0),
            (latency.p99_ms, 99.0),
            (latency.p999_ms, 99.9),
            (latency.slowest_ms, 100.0),
        ] {
            assert_eq!(found, Some(nearest_rank(&sorted, percent)), "{percent} %");
        }
        for of in &response.by_severity {
            let all: Vec<_> = crises.iter().filter(|it| it.severity.name() == of.severity).collect();
            let kept = all.iter().copied().filter(in_time).count() as u64;
            assert_eq!(of.share, Share { kept, of: all.len() as u64 }, "{}", of.severity);
        }

        let answered = sorted.len() as u64;
        let emergency = &report.emergency_access_compliance;
        assert_eq!((emergency.activations, emergency.failures), (written.opened, CRISES as u64 - answered));
        let fast = sorted.iter().filter(|us| **us <= 100_000).count() as u64;
        assert_eq!(emergency.within_emergency_limit, Share { kept: fast, of: answered });

        let access = &report.therapeutic_access_compliance;
        let changes = written.whole_changes + written.broken_changes;
        let found =
            [written.broken_changes, written.missing, written.resolved, written.overrides, written.opened];
        assert!(
            found.iter().all(|count| *count > 0) && written.with_entry < written.signals_answered,
            "the month has something to find: {found:?}"
        );
        assert_eq!(access.share, Share { kept: written.whole_changes, of: changes + written.missing });
        let interruptions = written.broken_changes + written.missing;
        assert_eq!((access.interruptions, access.total_crisis_events), (interruptions, CRISES as u64));
        let audit = &report.audit_compliance;
        assert_eq!(audit.share, Share { kept: written.with_entry, of: written.signals_answered });
        let entries = written.with_entry + changes + written.entries_beside;
        assert_eq!((audit.entries_verified, audit.finding.as_deref()), (entries, None));

        let metrics = &report.safety_metrics;
        let payments = crises.iter().filter(|it| it.kind == kinds::INVOICE_PAID).count() as u64;
        let by_kind =
            json!({ "app.crisis_signalled": CRISES as u64 - payments, "stripe.invoice_paid": payments });
        assert_eq!((metrics.crisis_events_handled, json!(metrics.by_kind)), (answered, by_kind));
        assert_eq!(metrics.emergency_access_activations, written.opened, "no payment opened any");
        assert_eq!(
            (metrics.crises_resolved, metrics.crisis_override_count),
            (written.resolved, written.overrides)
        );
        assert_eq!(metrics.compliance_violations, response.violations + interruptions);
        let [notified, queued, skipped] = written.contacts;
        let contacts = json!({ "notified": notified, "queued": queued, "skipped": skipped });
        assert_eq!(json!(metrics.contacts), contacts);

        let charts = &report.charts;
        let mut end_us = 0;
        for bucket in &charts.latency {
            let (begin_us, up_to_us) = (end_us, bucket.up_to_ms.map_or(u64::MAX, |ms| ms * 1_000));
            let expected = sorted.iter().filter(|us| **us > begin_us && **us <= up_to_us).count() as u64;
            assert_eq!(bucket.count, expected, "up to {up_to_us} µs");
            end_us = up_to_us;
        }
        assert_eq!(charts.timeline.len(), 30, "a bar for each day");
        for (day, part) in charts.timeline.iter().enumerate() {
            let of_day = |it: &&CrisisResponse| (it.came_ms - MONTH.from_ms) / DAY_MS == day as i64;
            let late = crises.iter().filter(of_day).filter(|it| !in_time(it)).count() as u64;
            let counted = (part.crises, part.violations.values().sum::<u64>());
            assert_eq!(counted, (crises.iter().filter(of_day).count() as u64, late), "day {day}");
        }
        let grace = charts.grace.iter().find(|it| it.reason == "payment_failure").unwrap();
        let expected = (written.graces, written.graces_over, written.graces - written.graces_over);
        assert_eq!((grace.started, grace.over, grace.running), expected);
    })
    .await;
}
