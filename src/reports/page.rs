//! What the pages of reports have in common: no scripts, nothing from elsewhere, numbers and tables beside every
//! drawing.

use keepwell_jobs::care::report::{
    charts::LaneSeries,
    crisis::ReportPeriod,
    share::{Share, Status},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::svg;

/// Nothing is loaded, nothing is run, nothing is sent.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// How a page looks, on paper too.
const STYLE: &str = include_str!("page.css");

/// The page of the report `id` called `title`, made at `made_at`.
pub(super) fn document(
    id: &str,
    title: &str,
    period: &ReportPeriod,
    made_at: &str,
    content: &Markup,
) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title {
                    (title) ", " (svg::minute(&period.start_date)) " to " (svg::minute(&period.end_date))
                }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    p.period {
                        "From " (time(&period.start_date)) " up to " (time(&period.end_date)) ". Made at "
                        (time(made_at)) ". Report " code { (id) } "."
                    }
                    (content)
                }
            }
        }
    };
    page.into_string()
}

/// What nobody can say, and why.
pub(super) fn not_measured(reasons: &[String]) -> Markup {
    html! {
        h2 { "Not measured" }
        ul { @for reason in reasons { li { (words(reason)) } } }
    }
}

pub(super) fn time(instant: &str) -> Markup {
    html! { time datetime=(instant) { (svg::minute(instant)) " UTC" } }
}

pub(super) fn status(status: Status) -> Markup {
    let class = match status {
        Status::Compliant => "s compliant",
        Status::NonCompliant => "s non_compliant",
        Status::NoEvents | Status::NotMeasured => "s",
    };
    html! { span class=(class) { (status.words()) } }
}

pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |percent| format!("{percent} %"))
}

pub(super) fn milliseconds(ms: Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.3}"))
}

pub(super) fn of(share: Share) -> String {
    format!("{} of {}", share.kept, share.of)
}

/// A table with a caption; the first column names the row, and `numbers` says which columns are numbers.
pub(super) fn table(caption: &str, head: &[&str], numbers: &[usize], rows: &[Vec<Markup>]) -> Markup {
    let class = |column: usize| numbers.contains(&column).then_some("n");
    let table = html! {
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
    };
    wide(caption, &table)
}

/// What may be wider than a phone can be moved sideways by itself, with a finger or, once it is reached, with the keys.
fn wide(name: &str, content: &Markup) -> Markup {
    html! { div.wide role="group" aria-label=(name) tabindex="0" { (content) } }
}

pub(super) fn cell(text: impl maud::Render) -> Markup {
    text.render()
}

/// A name of ours, such as a kind of jobs, that may be broken where its parts meet.
pub(super) fn name(name: &str) -> Markup {
    html! { @for part in name.split_inclusive(['.', '_']) { (part) wbr; } }
}

/// What stands between backticks is a name of ours.
pub(super) fn words(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() { @if index % 2 == 1 { code { (part) } } @else { (part) } }
    }
}

pub(super) fn figure(caption: &str, drawing: &Markup) -> Markup {
    html! { figure { figcaption { (caption) } (wide(caption, drawing)) } }
}

/// The jobs of each lane.
pub(super) fn lanes(series: &[LaneSeries]) -> Markup {
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
            (figure("Jobs that were recorded (light), and those of them that are done (dark)", &svg::lanes(series)))
            (table("Jobs by lane, and what became of them", &head, &[1, 2, 3, 4, 5], &rows))
        }
    }
}
