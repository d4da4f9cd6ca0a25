//! The crisis report as a page.

use keepwell_jobs::care::report::{
    crisis::CrisisReport,
    latency::Latency,
    share::{Share, Status},
};
use maud::{Markup, html};

use super::{
    page::{
        cell, document, figure, lanes, milliseconds, name, not_measured, of, percent, status, table, time,
        words,
    },
    svg,
};

/// The page of the report `id`.
pub(super) fn page(id: &str, report: &CrisisReport) -> String {
    let content = html! {
        p.verdict {
            "Overall: " (status(report.overall_status)) " "
            @match report.overall_compliance {
                Some(percent) => { "(the lowest share is " (percent) " %)" },
                None => { "(nothing happened that could be counted)" },
            }
        }
        (requirements(report))
        (response_times(report))
        (violations(report))
        (grace(report))
        (lanes(&report.charts.lanes))
        (trail(report))
        (safeguards(report))
        (to_do(report))
        (not_measured(&report.not_measured))
    };
    let title = "Crisis safety compliance report";
    document(id, title, &report.report_period, &report.generated_at, &content)
}

fn requirements(report: &CrisisReport) -> Markup {
    let response = &report.response_time_compliance;
    let access = &report.therapeutic_access_compliance;
    let emergency = &report.emergency_access_compliance;
    let audit = &report.audit_compliance;
    let row = |name: &str, target: u64, actual, how: Status, beside: String| {
        vec![cell(name), cell(format!("{target} %")), cell(percent(actual)), status(how), cell(beside)]
    };
    let rows = [
        row(
            "Answered within the limit",
            response.target,
            response.actual,
            response.status,
            format!("{} crises; {} late or unanswered", of(response.share), response.violations),
        ),
        row(
            "Therapeutic access kept",
            access.target,
            access.actual,
            access.status,
            format!("{} changes of access; {} interruptions", of(access.share), access.interruptions),
        ),
        row(
            "Emergency access for every crisis",
            emergency.target,
            emergency.actual,
            emergency.status,
            format!("{} crises answered; {} not", of(emergency.share()), emergency.failures),
        ),
        row(
            "On record in the audit trail",
            audit.target,
            audit.actual,
            Status::of(audit.audit_trail_complete),
            format!("{} answers and violations", of(audit.share)),
        ),
    ];
    html! {
        h2 { "Requirements" }
        (table("What is asked, and what was", &["Requirement", "Target", "Actual", "Status", "Counted"], &[1, 2], &rows))
    }
}

fn times(name: &str, limit: &str, share: Share, latency: &Latency) -> Vec<Markup> {
    let times = [latency.average_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.slowest_ms];
    let mut row = vec![cell(name), cell(limit), cell(of(share)), cell(percent(share.percent()))];
    row.extend(times.into_iter().map(|ms| cell(milliseconds(ms))));
    row
}

fn response_times(report: &CrisisReport) -> Markup {
    let response = &report.response_time_compliance;
    let mut rows: Vec<Vec<Markup>> = response
        .by_severity
        .iter()
        .map(|it| times(&it.severity, &format!("{} ms", it.limit_ms), it.share, &it.latency))
        .collect();
    rows.push(times("all", "their own", response.share, &response.latency));
    let head = [
        "Severity",
        "Limit",
        "In time",
        "Share",
        "Average, ms",
        "50 %, ms",
        "95 %, ms",
        "99 %, ms",
        "Slowest, ms",
    ];
    let buckets = &report.charts.latency;
    let spread: Vec<Vec<Markup>> = buckets
        .iter()
        .map(|bucket| {
            let end = bucket.up_to_ms.map_or_else(|| "longer".to_owned(), |ms| format!("up to {ms} ms"));
            vec![cell(end), cell(bucket.count)]
        })
        .collect();
    html! {
        h2 { "Response times" }
        (table("From the signal to the commit of what it opens", &head, &[1, 2, 3, 4, 5, 6, 7, 8], &rows))
        (figure("How long answers took", &svg::latency(buckets)))
        (table("How long answers took", &["Time", "Answers"], &[1], &spread))
        @if response.pending > 0 { p { (response.pending) " crises had just come when the report was made." } }
    }
}

fn violations(report: &CrisisReport) -> Markup {
    let parts = &report.charts.timeline;
    let rows: Vec<Vec<Markup>> = parts
        .iter()
        .map(|part| {
            let count = |name: &str| cell(part.violations.get(name).copied().unwrap_or(0));
            vec![time(&part.start), cell(part.crises), count("critical"), count("high"), count("moderate")]
        })
        .collect();
    html! {
        h2 { "Violations" }
        (figure("Crises, and those answered late or never (hatched)", &svg::timeline(parts)))
        (table("Late or unanswered crises by severity", &["From", "Crises", "Critical", "High", "Moderate"],
            &[1, 2, 3, 4], &rows))
    }
}

fn grace(report: &CrisisReport) -> Markup {
    let funnels = &report.charts.grace;
    let rows: Vec<Vec<Markup>> = funnels
        .iter()
        .map(|it| {
            let counts = [it.started, it.over, it.closed, it.running];
            let mut row = vec![cell(it.reason.replace('_', " "))];
            row.extend(counts.into_iter().map(cell));
            row.push(cell(it.longest_days));
            row
        })
        .collect();
    let head = ["Reason", "Began", "Over", "End seen to", "Still running", "Longest, days"];
    html! {
        h2 { "Grace periods" }
        (figure("What became of grace periods", &svg::grace(funnels)))
        (table("Grace periods that began", &head, &[1, 2, 3, 4, 5], &rows))
    }
}

fn trail(report: &CrisisReport) -> Markup {
    let audit = &report.audit_compliance;
    let row = |name: &str, known| vec![cell(name), status(Status::of(known))];
    let rows = [
        row("The trail is complete and whole", audit.audit_trail_complete),
        row("What is sealed is sealed with a known key", audit.encryption_compliant),
        row("Kept for seven years", audit.retention_compliant),
        row("Operators are named", audit.access_control_compliant),
    ];
    let metrics = &report.safety_metrics;
    let mut counted = vec![
        vec![cell("Crises answered"), cell(metrics.crisis_events_handled)],
        vec![
            cell("Times that a crisis opened emergency access (who is in one already has it)"),
            cell(metrics.emergency_access_activations),
        ],
        vec![cell("Crises that somebody said are over"), cell(metrics.crises_resolved)],
        vec![cell("Violations recorded as they happened"), cell(metrics.violations_recorded)],
        vec![cell("Grace periods begun"), cell(metrics.grace_period_activations)],
        vec![cell("Emergency switches switched on, and crises held up"), cell(metrics.crisis_override_count)],
    ];
    let kinds =
        metrics.by_kind.iter().map(|(kind, count)| vec![html! { "Crises by " (name(kind)) }, cell(count)]);
    counted.extend(kinds);
    let contacts = metrics.contacts.iter();
    counted.extend(
        contacts.map(|(result, count)| vec![cell(format!("Emergency contacts {result}")), cell(count)]),
    );
    html! {
        h2 { "Audit trail" }
        p { (audit.entries_verified) " entries in " (audit.blocks_verified) " blocks were verified." }
        @if let Some(finding) = &audit.finding { p.verdict { "The trail is not whole: " (finding) "." } }
        (table("What is kept, and how", &["What", "Status"], &[], &rows))
        (table("Counted beside", &["What", "How many"], &[1], &counted))
    }
}

fn safeguards(report: &CrisisReport) -> Markup {
    let rows: Vec<Vec<Markup>> = report
        .safeguards
        .iter()
        .map(|it| vec![cell(format!("{}: {}", it.control, it.name)), status(it.status), words(&it.evidence)])
        .collect();
    html! {
        h2 { "Technical safeguards" }
        (table("What the facts say about each", &["Safeguard", "Status", "Known from"], &[], &rows))
    }
}

fn to_do(report: &CrisisReport) -> Markup {
    html! {
        h2 { "Recommendations" }
        @if report.recommendations.is_empty() { p { "None." } } @else {
            ul { @for it in &report.recommendations { li { strong { (it.priority) ": " } (words(&it.text)) } } }
        }
        h2 { "To be done" }
        @if report.action_items.is_empty() { p { "Nothing." } } @else {
            ol {
                @for it in &report.action_items {
                    li {
                        strong { (it.priority) ": " } (words(&it.text))
                        @if let Some(job) = &it.job { " Job " code { (job) } "." }
                        @if let Some(since) = &it.since { " Since " (time(since)) "." }
                    }
                }
            }
            @if report.action_items_left_out > 0 { p { "And " (report.action_items_left_out) " more." } }
        }
    }
}
