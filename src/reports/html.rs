//! The crisis report as a page: no scripts, nothing from elsewhere, numbers and tables beside every drawing.

use keepwell_jobs::care::report::{
    crisis::CrisisReport,
    latency::Latency,
    share::{Share, Status},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::svg;

/// Nothing is loaded, nothing is run, nothing is sent.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// How the page looks, on paper too.
const STYLE: &str = include_str!("page.css");

/// The page of the report `id`.
pub(super) fn page(id: &str, report: &CrisisReport) -> String {
    let period = &report.report_period;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title {
                    "Crisis safety compliance, " (svg::minute(&period.start_date)) " to " (svg::minute(&period.end_date))
                }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { "Crisis safety compliance report" }
                    p.period {
                        "From " (time(&period.start_date)) " up to " (time(&period.end_date)) ". Made at "
                        (time(&report.generated_at)) ". Report " code { (id) } "."
                    }
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
                    (lanes(report))
                    (trail(report))
                    (safeguards(report))
                    (to_do(report))
                    h2 { "Not measured" }
                    ul { @for reason in &report.not_measured { li { (words(reason)) } } }
                }
            }
        }
    };
    page.into_string()
}

fn time(instant: &str) -> Markup {
    html! { time datetime=(instant) { (svg::minute(instant)) " UTC" } }
}

fn status(status: Status) -> Markup {
    let class = match status {
        Status::Compliant => "s compliant",
        Status::NonCompliant => "s non_compliant",
        Status::NoEvents | Status::NotMeasured => "s",
    };
    html! { span class=(class) { (status.words()) } }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |percent| format!("{percent} %"))
}

fn milliseconds(ms: Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.3}"))
}

fn of(share: Share) -> String {
    format!("{} of {}", share.kept, share.of)
}

/// A table with a caption; the first column names the row, and `numbers` says which columns are numbers.
fn table(caption: &str, head: &[&str], numbers: &[usize], rows: &[Vec<Markup>]) -> Markup {
    let class = |column: usize| numbers.contains(&column).then_some("n");
    html! {
        table {
            caption { (caption) }
            thead {
                tr { @for (column, name) in head.iter().enumerate() { th scope="col" class=[class(column)] { (name) } } }
            }
            tbody {
                @for row in rows {
                    tr {
                        @for (column, cell) in row.iter().enumerate() {
                            @if column == 0 { th scope="row" { (cell) } } @else { td class=[class(column)] { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

fn cell(text: impl maud::Render) -> Markup {
    text.render()
}

/// What stands between backticks is a name of ours.
fn words(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() { @if index % 2 == 1 { code { (part) } } @else { (part) } }
    }
}

fn figure(caption: &str, drawing: &Markup) -> Markup {
    html! { figure { figcaption { (caption) } (drawing) } }
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
            "Emergency access opened",
            emergency.target,
            emergency.actual,
            emergency.status,
            format!("{} activations; {} failures", emergency.activations, emergency.failures),
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

fn lanes(report: &CrisisReport) -> Markup {
    let series = &report.charts.lanes;
    let rows: Vec<Vec<Markup>> = series
        .iter()
        .map(|lane| {
            let count = |state: &str| cell(lane.states.get(state).copied().unwrap_or(0));
            let all: u64 = lane.recorded.iter().sum();
            let states = ["done", "owed", "dead", "cancelled"].map(count);
            [cell(&lane.lane), cell(all)].into_iter().chain(states).collect()
        })
        .collect();
    let head = ["Lane", "Recorded", "Done", "Owed", "Dead", "Cancelled"];
    html! {
        h2 { "Lanes" }
        @if series.is_empty() { p { "No job of the period is in the ledger." } } @else {
            (figure("Jobs that were recorded", &svg::lanes(series)))
            (table("Jobs by lane, and what became of them", &head, &[1, 2, 3, 4, 5], &rows))
        }
    }
}

fn trail(report: &CrisisReport) -> Markup {
    let audit = &report.audit_compliance;
    let row = |name: &str, known| vec![cell(name), status(Status::of(known))];
    let rows = [
        row("The trail is complete and whole", audit.audit_trail_complete),
        row("Everything is sealed with a known key", audit.encryption_compliant),
        row("Kept for seven years", audit.retention_compliant),
        row("Operators are named", audit.access_control_compliant),
    ];
    let metrics = &report.safety_metrics;
    let mut counted = vec![
        vec![cell("Crises answered"), cell(metrics.crisis_events_handled)],
        vec![cell("Crises that somebody said are over"), cell(metrics.crises_resolved)],
        vec![cell("Violations recorded as they happened"), cell(metrics.violations_recorded)],
        vec![cell("Grace periods begun"), cell(metrics.grace_period_activations)],
        vec![cell("Emergency switches switched on"), cell(metrics.crisis_override_count)],
    ];
    let kinds =
        metrics.by_kind.iter().map(|(kind, count)| vec![cell(format!("Crises by {kind}")), cell(count)]);
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
        }
    }
}
