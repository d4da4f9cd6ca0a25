//! The operations report as a page.

use keepwell_jobs::care::report::operations::OperationsReport;
use maud::{Markup, html};

use super::page::{cell, document, lanes, milliseconds, name, not_measured, table, time};

/// The page of the report `id`.
pub(super) fn page(id: &str, report: &OperationsReport) -> String {
    let content = html! {
        (volumes(report))
        (lanes(&report.lanes))
        (failures(report))
        (slowest(report))
        (schedules(report))
        (not_measured(&report.not_measured))
    };
    document(id, "Operations report", &report.report_period, &report.generated_at, &content)
}

fn volumes(report: &OperationsReport) -> Markup {
    let row = |(state, count): (&String, &u64)| vec![cell(state), cell(count)];
    let rows: Vec<Vec<Markup>> = report.volumes.iter().map(row).collect();
    let head = [
        "Kind",
        "Recorded",
        "Done",
        "Owed",
        "Dead",
        "Cancelled",
        "Failed runs",
        "Retries",
        "Crashes",
        "Average, ms",
    ];
    let by_kind: Vec<Vec<Markup>> = report
        .kinds
        .iter()
        .map(|of| {
            let count = |state: &str| cell(of.states.get(state).copied().unwrap_or(0));
            let states = ["done", "owed", "dead", "cancelled"].map(count);
            let runs = [of.failures, of.retries, of.crashes].map(cell);
            let before = [name(&of.kind), cell(of.recorded)];
            let all = before.into_iter().chain(states).chain(runs);
            all.chain([cell(milliseconds(of.average_ms))]).collect()
        })
        .collect();
    html! {
        h2 { "Volumes" }
        (table("Jobs that were recorded, and what became of them", &["State", "Jobs"], &[1], &rows))
        @if !by_kind.is_empty() {
            (table("By kind", &head, &[1, 2, 3, 4, 5, 6, 7, 8, 9], &by_kind))
        }
    }
}

fn failures(report: &OperationsReport) -> Markup {
    let errors: Vec<Vec<Markup>> =
        report.errors.iter().map(|it| vec![name(&it.kind), cell(it.count), cell(&it.error)]).collect();
    let dead: Vec<Vec<Markup>> = report
        .dead
        .iter()
        .map(|it| {
            let error = it.error.as_deref().unwrap_or("–");
            vec![html! { code { (it.job) } }, name(&it.kind), cell(&it.lane), cell(it.attempts), cell(error)]
        })
        .collect();
    html! {
        h2 { "Failures" }
        @if errors.is_empty() { p { "No run failed." } } @else {
            (table("The most frequent errors", &["Kind", "Runs", "Error"], &[1], &errors))
        }
        @if dead.is_empty() { p { "No job is dead." } } @else {
            (table("Dead jobs, the newest first", &["Job", "Kind", "Lane", "Runs", "Last error"], &[3], &dead))
        }
    }
}

fn slowest(report: &OperationsReport) -> Markup {
    let rows: Vec<Vec<Markup>> = report
        .slowest
        .iter()
        .map(|it| {
            let job = html! { code { (it.job) } };
            vec![job, name(&it.kind), cell(&it.lane), cell(&it.state), cell(it.took_ms)]
        })
        .collect();
    html! {
        h2 { "Slowest" }
        @if rows.is_empty() { p { "Nothing has ended." } } @else {
            (table("From recording to the end, waits included", &["Job", "Kind", "Lane", "State", "Took, ms"], &[4], &rows))
        }
    }
}

fn schedules(report: &OperationsReport) -> Markup {
    let instant = |at: &Option<String>| at.as_ref().map_or_else(|| cell("–"), |at| time(at));
    let rows: Vec<Vec<Markup>> = report
        .schedules
        .iter()
        .map(|it| {
            let (last, next) = (instant(&it.last_tick), instant(&it.next_tick));
            let health = cell(it.health.replace('_', " "));
            vec![cell(&it.name), health, last, next, cell(it.overdue_ms), cell(it.fired), cell(it.skipped)]
        })
        .collect();
    let head = ["Schedule", "Health", "Last tick", "Next tick", "Overdue, ms", "Fired", "Left out"];
    html! {
        h2 { "Schedules" }
        @if rows.is_empty() { p { "No schedule is configured." } } @else {
            (table("How they stood when the report was made", &head, &[4, 5, 6], &rows))
        }
    }
}
