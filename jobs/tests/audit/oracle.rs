//! The report of the generated month, counted a second time and plainly: all of it, so that a number that nobody named
//! is a difference.

use keepwell_jobs::{
    care::{document::UtcTime, grace::GraceReason, severity::Severity},
    kinds,
    store::reports::CrisisResponse,
};
use keepwell_workers::lane::Lane;
use serde_json::{Map, Value, json};

use crate::{
    month::{MONTH, Written},
    support::{DAY_MS, NOW_MS},
};

/// The words of a report that follow from no figure; of these only the numbers in them count.
const WORDS: [&str; 3] = ["evidence", "text", "notMeasured"];

/// Where buckets of the spread end, in milliseconds.
const ENDS_MS: [u64; 12] = [5, 10, 20, 50, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000];

/// Everything that is in one of `found` and `expected` and not the same in the other, by its path.
pub(super) fn differences(path: &str, found: &Value, expected: &Value) -> Vec<String> {
    match (found, expected) {
        (Value::Object(of), Value::Object(than)) => {
            let missing = than.keys().filter(|name| !of.contains_key(*name));
            let names = of.keys().chain(missing);
            let at = |name: &String| differences(&format!("{path}/{name}"), &found[name], &expected[name]);
            names.flat_map(at).collect()
        }
        (Value::Array(of), Value::Array(than)) if of.len() == than.len() => {
            let pairs = of.iter().zip(than).enumerate();
            pairs.flat_map(|(at, (of, than))| differences(&format!("{path}/{at}"), of, than)).collect()
        }
        (Value::Number(of), Value::Number(than)) if of.as_f64() == than.as_f64() => Vec::new(),
        _ if found == expected => Vec::new(),
        _ => vec![format!("{path}: {found} and not {expected}")],
    }
}

/// `report` with the numbers of its words in the place of them.
pub(super) fn counted(report: Value) -> Value {
    match report {
        Value::Object(of) => {
            let count = |(name, value): (String, Value)| {
                let is_words = WORDS.contains(&name.as_str());
                let value = match value {
                    Value::String(text) if is_words => json!(numbers(&text)),
                    Value::Array(texts) if is_words => {
                        texts.iter().map(|text| json!(numbers(text.as_str().unwrap()))).collect()
                    }
                    other => counted(other),
                };
                (name, value)
            };
            Value::Object(of.into_iter().map(count).collect())
        }
        Value::Array(of) => of.into_iter().map(counted).collect(),
        other => other,
    }
}

fn numbers(text: &str) -> Vec<u64> {
    let runs = text.split(|it: char| !it.is_ascii_digit());
    runs.filter(|run| !run.is_empty()).map(|run| run.parse().unwrap()).collect()
}

fn instant(at_ms: i64) -> String {
    UtcTime(at_ms).to_rfc3339()
}

fn is_in_time(crisis: &CrisisResponse) -> bool {
    crisis.took_us.is_some_and(|us| us <= crisis.limit_ms as u64 * 1_000)
}

fn share(kept: u64, of: u64) -> Value {
    json!({ "kept": kept, "of": of })
}

fn percent(kept: u64, of: u64) -> f64 {
    (kept * 10_000 / of) as f64 / 100.0
}

fn status(is_so: bool) -> &'static str {
    if is_so { "compliant" } else { "non_compliant" }
}

/// The answer that so many of a thousand of `sorted` did not exceed, in milliseconds.
fn nearest_rank(sorted: &[u64], of_1000: f64) -> f64 {
    let rank = (sorted.len() as f64 * of_1000 / 1_000.0).ceil() as usize;
    sorted[rank - 1] as f64 / 1_000.0
}

fn sorted<'c>(crises: impl Iterator<Item = &'c CrisisResponse>) -> Vec<u64> {
    let mut sorted: Vec<u64> = crises.filter_map(|it| it.took_us).collect();
    sorted.sort_unstable();
    sorted
}

fn latency(sorted: &[u64]) -> Value {
    let mean_us = (sorted.iter().sum::<u64>() as f64 / sorted.len() as f64).round();
    json!({
        "count": sorted.len(),
        "averageMs": mean_us / 1_000.0,
        "fastestMs": sorted[0] as f64 / 1_000.0,
        "p50Ms": nearest_rank(sorted, 500.0),
        "p90Ms": nearest_rank(sorted, 900.0),
        "p95Ms": nearest_rank(sorted, 950.0),
        "p99Ms": nearest_rank(sorted, 990.0),
        "p999Ms": nearest_rank(sorted, 999.0),
        "slowestMs": sorted[sorted.len() - 1] as f64 / 1_000.0,
    })
}

/// What the report of `crises` and of what was `written` has to say.
pub(super) fn report(crises: &[CrisisResponse], written: &Written) -> Value {
    let all = crises.len() as u64;
    let kept = crises.iter().filter(|it| is_in_time(it)).count() as u64;
    let times = sorted(crises.iter());
    let answered = times.len() as u64;
    let fast = times.iter().filter(|us| **us <= 100_000).count() as u64;
    let changes = written.whole_changes + written.broken_changes;
    let interruptions = written.broken_changes + written.missing;
    let looked = changes + written.missing;
    let (audited, audited_of) = audited(written);
    let found = [written.missing, written.resolved, written.overrides, written.missed_without_entry];
    assert!(found.iter().all(|count| *count > 0), "the month has something to find: {found:?}");
    let shares = [(kept, all), (looked - interruptions, looked), (answered, all), (audited, audited_of)];
    let lowest = shares.map(|(kept, of)| percent(kept, of)).into_iter().reduce(f64::min);
    let [notified, queued, skipped] = written.contacts;
    let payments = crises.iter().filter(|it| it.kind == kinds::INVOICE_PAID).count() as u64;
    let from_ledger = crises.iter().filter(|it| it.took_us.is_some() && !it.measured).count() as u64;
    let limits_ms = [("critical", 100), ("high", 200), ("moderate", 300)];
    let of_severities = limits_ms.map(|it| by_severity(crises, it));
    json!({
        "reportPeriod": { "startDate": instant(MONTH.from_ms), "endDate": instant(MONTH.to_ms) },
        "generatedAt": instant(NOW_MS),
        "overallCompliance": lowest,
        "overallStatus": "non_compliant",
        "responseTimeCompliance": {
            "target": 95,
            "actual": percent(kept, all),
            "status": status(kept * 100 >= all * 95),
            "share": share(kept, all),
            "violations": all - kept,
            "averageResponseTime": latency(&times)["averageMs"],
            "latency": latency(&times),
            "bySeverity": of_severities,
            "fromLedger": from_ledger,
            "pending": written.pending,
        },
        "therapeuticAccessCompliance": {
            "target": 100,
            "actual": percent(looked - interruptions, looked),
            "status": "non_compliant",
            "share": share(looked - interruptions, looked),
            "interruptions": interruptions,
            "totalCrisisEvents": all,
        },
        "emergencyAccessCompliance": {
            "target": 100,
            "actual": percent(answered, all),
            "status": "non_compliant",
            "activations": written.opened,
            "failures": all - answered,
            "withinEmergencyLimit": share(fast, answered),
        },
        "auditCompliance": {
            "target": 100,
            "actual": percent(audited, audited_of),
            "share": share(audited, audited_of),
            "auditTrailComplete": false,
            "encryptionCompliant": true,
            "notSealed": ["contact_notices", "crisis_responses", "crisis_signals", "crisis_violations", "customers",
                "grace_periods", "invoices", "jobs", "subscriptions"],
            "retentionCompliant": true,
            "accessControlCompliant": false,
            "blocksVerified": written.entries.div_ceil(64),
            "entriesVerified": written.entries,
            "finding": null,
        },
        "safetyMetrics": {
            "crisisEventsHandled": answered,
            "byKind": { "app.crisis_signalled": all - payments, "stripe.invoice_paid": payments },
            "emergencyAccessActivations": written.opened,
            "therapeuticContinuityMaintained": looked - interruptions,
            "complianceViolations": all - kept + interruptions,
            "violationsRecorded": written.missed.len(),
            "crisesResolved": written.resolved,
            "gracePeriodActivations": written.graces_begun,
            "crisisOverrideCount": written.overrides,
            "contacts": { "notified": notified, "queued": queued, "skipped": skipped },
            "hotlineIntegrationUsage": null,
        },
        "safeguards": safeguards(crises, written),
        "recommendations": recommendations(kept * 100 >= all * 95),
        "actionItems": action_items(crises, written),
        "actionItemsLeftOut": 0,
        "notMeasured": [
            json!([]),
            json!([]),
            json!([]),
            json!([written.graces_begun - written.graces.len() as u64, written.graces_begun]),
            json!([from_ledger]),
            json!([crises.iter().filter(|it| it.took_us.is_some() && it.kind == kinds::INVOICE_PAID).count()]),
        ],
        "charts": {
            "latency": spread(&times),
            "timeline": (0..30).map(|day| timeline(crises, day)).collect::<Vec<_>>(),
            "grace": GraceReason::ALL.map(|reason| funnel(written, reason)),
            "lanes": lanes(written),
        },
    })
}

/// What has to be in the trail and is, and all that has to.
fn audited(written: &Written) -> (u64, u64) {
    let (missed, signals) = (written.missed.len() as u64, written.with_entry);
    let kept = signals + missed - written.missed_without_entry;
    (kept, signals + written.without_entry.len() as u64 + missed)
}

fn by_severity(crises: &[CrisisResponse], (name, limit_ms): (&str, u64)) -> Value {
    let of: Vec<_> = crises.iter().filter(|it| it.severity.name() == name).collect();
    let kept = of.iter().filter(|it| is_in_time(it)).count() as u64;
    json!({
        "severity": name,
        "limitMs": limit_ms,
        "share": share(kept, of.len() as u64),
        "latency": latency(&sorted(of.into_iter())),
    })
}

fn safeguards(crises: &[CrisisResponse], written: &Written) -> Vec<Value> {
    let all = crises.len() as u64;
    let kept = crises.iter().filter(|it| is_in_time(it)).count() as u64;
    let answered = crises.iter().filter(|it| it.took_us.is_some()).count() as u64;
    let (audited, audited_of) = audited(written);
    let is_noticed =
        |it: &CrisisResponse| written.missed.iter().any(|missed| missed.job == it.job.to_string());
    let unnoticed: Vec<_> = crises.iter().filter(|it| !is_in_time(it) && !is_noticed(it)).collect();
    // Of those that nothing answers, the job that is still owed is late and not given up on.
    let owed: Vec<i64> =
        written.jobs.iter().filter(|it| it.0 == Lane::Crisis && it.1 == "owed").map(|it| it.2).collect();
    let is_given_up = |it: &&&CrisisResponse| it.took_us.is_none() && !owed.contains(&it.came_ms);
    let given_up = unnoticed.iter().filter(is_given_up).count() as u64;
    let mut noticed = vec![all - kept, written.missed.len() as u64, unnoticed.len() as u64 - given_up];
    noticed.extend((given_up > 0).then_some(given_up));
    let blocks = json!([written.entries, written.entries.div_ceil(64)]);
    let mut days: Vec<i64> =
        written.backups_ms.iter().map(|at_ms| (at_ms - MONTH.from_ms) / DAY_MS).collect();
    days.sort_unstable();
    days.dedup();
    let last_ms = *written.backups_ms.iter().max().unwrap();
    let mut backups = vec![written.backups_ms.len() as u64, days.len() as u64, 30];
    backups.extend(numbers(&instant(last_ms)));
    backups.extend([(MONTH.to_ms - last_ms) as u64 / 3_600_000, written.backups_told]);
    // Sealed are the entries, the payloads, and the one key of the chain.
    let sealed = written.entries + written.jobs.len() as u64 + 1;
    let none = || json!([]);
    [
        ("accessControl", "userAuthentication", "not_measured", none()),
        ("accessControl", "roleBasedAccess", "not_measured", none()),
        ("accessControl", "auditLogging", "non_compliant", json!([written.by_operators, written.by_nobody])),
        ("accessControl", "sessionManagement", "not_measured", none()),
        ("accessControl", "emergencyAccess", "non_compliant", json!([answered, all, written.opened])),
        ("auditControls", "completeAuditTrail", "non_compliant", json!([audited, audited_of])),
        ("auditControls", "encryptedLogging", "compliant", json!([sealed, 0])),
        ("auditControls", "tamperResistant", "compliant", blocks.clone()),
        ("auditControls", "retentionPeriod", "compliant", json!([2_555, 2_555])),
        ("auditControls", "realTimeMonitoring", "non_compliant", json!(noticed)),
        ("integrityControls", "dataValidation", "not_measured", none()),
        ("integrityControls", "checksumVerification", "compliant", blocks),
        ("integrityControls", "versionControl", "not_measured", none()),
        ("integrityControls", "backupValidation", "not_measured", json!(backups)),
        ("integrityControls", "recoveryTesting", "not_measured", none()),
        ("transmissionSecurity", "endToEndEncryption", "not_measured", none()),
        ("transmissionSecurity", "networkSecurity", "not_measured", none()),
        ("transmissionSecurity", "dataMinimization", "not_measured", json!([3])),
        ("transmissionSecurity", "secureProtocols", "not_measured", none()),
        ("transmissionSecurity", "integrityChecks", "not_measured", json!([written.blocked])),
    ]
    .map(|(control, name, status, evidence)| {
        json!({ "control": control, "name": name, "status": status, "evidence": evidence })
    })
    .to_vec()
}

fn recommendations(is_fast_enough: bool) -> Vec<Value> {
    let times =
        if is_fast_enough { ("responses_near_limit", "moderate") } else { ("responses_late", "high") };
    [
        ("crises_unanswered", "critical"),
        ("access_interrupted", "critical"),
        times,
        ("violations_unnoticed", "high"),
        ("trail_incomplete", "high"),
        ("operators_unnamed", "high"),
        ("times_from_ledger", "moderate"),
    ]
    .map(|(code, priority)| json!({ "code": code, "priority": priority, "text": [] }))
    .to_vec()
}

fn action_items(crises: &[CrisisResponse], written: &Written) -> Vec<Value> {
    let item = |code: &str, priority: &str, job: &str, since_ms: i64, text: &[i64]| {
        let since = instant(since_ms);
        json!({ "code": code, "priority": priority, "job": job, "since": since, "text": text })
    };
    let gravest_first = [Severity::Critical, Severity::High, Severity::Moderate];
    let mut items = Vec::new();
    for severity in gravest_first {
        let open = crises.iter().filter(|it| it.took_us.is_none() && it.severity == severity);
        items.extend(
            open.map(|it| item("answer_crisis", severity.name(), &it.job.to_string(), it.came_ms, &[])),
        );
    }
    let mut unaudited = written.without_entry.clone();
    unaudited.sort_unstable();
    items.extend(
        unaudited.iter().map(|(came_ms, job)| item("explain_missing_entry", "high", job, *came_ms, &[])),
    );
    for severity in gravest_first {
        let mut missed: Vec<_> = written.missed.iter().filter(|it| it.severity == severity).collect();
        missed.sort_by_key(|it| it.at_ms);
        items.extend(missed.iter().map(|it| {
            item("review_violation", severity.name(), &it.job, it.at_ms, &[it.limit_ms, it.took_ms])
        }));
    }
    assert!(items.len() <= 100, "what a report holds: {}", items.len());
    items
}

fn spread(times: &[u64]) -> Vec<Value> {
    let ends = ENDS_MS.into_iter().map(Some).chain([None]);
    let mut begin_us = 0;
    let bucket = |end_ms: Option<u64>| {
        let end_us = end_ms.map_or(u64::MAX, |ms| ms * 1_000);
        let count = times.iter().filter(|us| **us > begin_us && **us <= end_us).count();
        begin_us = end_us;
        json!({ "upToMs": end_ms, "count": count })
    };
    ends.map(bucket).collect()
}

fn timeline(crises: &[CrisisResponse], day: i64) -> Value {
    let of_day: Vec<_> = crises.iter().filter(|it| (it.came_ms - MONTH.from_ms) / DAY_MS == day).collect();
    let late =
        |name: &str| of_day.iter().filter(|it| !is_in_time(it) && it.severity.name() == name).count() as u64;
    json!({
        "start": instant(MONTH.from_ms + day * DAY_MS),
        "crises": of_day.len(),
        "violations": { "critical": late("critical"), "high": late("high"), "moderate": late("moderate") },
    })
}

fn funnel(written: &Written, reason: GraceReason) -> Value {
    let of: Vec<_> = written.graces.iter().filter(|it| it.reason == reason).collect();
    let over = of.iter().filter(|it| it.closed || it.ends_ms <= NOW_MS).count();
    json!({
        "reason": reason.name(),
        "started": of.len(),
        "over": over,
        "closed": of.iter().filter(|it| it.closed).count(),
        "running": of.len() - over,
        "longestDays": of.iter().map(|it| it.days).max(),
    })
}

/// The lanes in the order in which they are met.
fn lanes(written: &Written) -> Vec<Value> {
    let mut jobs = written.jobs.clone();
    jobs.sort_by_key(|it| it.2);
    let mut met: Vec<Lane> = Vec::new();
    for (lane, ..) in &jobs {
        if !met.contains(lane) {
            met.push(*lane);
        }
    }
    met.into_iter().map(|lane| series(&jobs, lane)).collect()
}

fn series(jobs: &[(Lane, &'static str, i64)], lane: Lane) -> Value {
    let of: Vec<_> = jobs.iter().filter(|it| it.0 == lane).collect();
    let all_on = |day: i64| of.iter().filter(|it| (it.2 - MONTH.from_ms) / DAY_MS == day).count();
    let done_on =
        |day: i64| of.iter().filter(|it| it.1 == "done" && (it.2 - MONTH.from_ms) / DAY_MS == day).count();
    let mut states = Map::new();
    for (_, state, _) in &of {
        let count = of.iter().filter(|it| it.1 == *state).count();
        states.insert((*state).to_owned(), json!(count));
    }
    json!({
        "lane": lane.name(),
        "recorded": (0..30).map(all_on).collect::<Vec<_>>(),
        "done": (0..30).map(done_on).collect::<Vec<_>>(),
        "states": states,
    })
}
