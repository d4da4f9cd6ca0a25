//! The charts of a report, as drawings inside the page. What a bar means is written beside it and in the table behind
//! it, so no meaning is carried by colour alone.

use keepwell_jobs::care::{
    report::{
        charts::{GraceFunnel, LaneSeries, TimelinePart},
        latency::Bucket,
    },
    severity::Severity,
};
use maud::{Markup, html};

/// The width of a drawing, in its own units.
const WIDTH: f64 = 720.0;

/// The height of the part with bars, in the same units.
const HEIGHT: f64 = 180.0;

/// The height of a row of bars in a drawing that has several.
const STRIP: f64 = 80.0;

/// The width of a digit, with room to spare: what is wider than its bar runs into its neighbour's.
const DIGIT: f64 = 8.0;

/// Room for what is written at the left.
const LEFT: f64 = 44.0;

/// Room for what is written above.
const TOP: f64 = 34.0;

/// A drawing called `id`, `height` high, with what it shows in words.
fn drawing(id: &str, title: &str, description: &str, height: f64, content: &Markup) -> Markup {
    let (title_id, description_id) = (format!("{id}-title"), format!("{id}-description"));
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img"
            aria-labelledby=(format!("{title_id} {description_id}")) {
            title id=(title_id) { (title) }
            desc id=(description_id) { (description) }
            (content)
        }
    }
}

fn text(class: &str, (x, y): (f64, f64), anchor: &str, words: &str) -> Markup {
    html! { text class=(class) x=(place(x)) y=(place(y)) text-anchor=(anchor) { (words) } }
}

fn bar(class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) -> Markup {
    html! {
        rect class=(class) x=(place(x)) y=(place(y)) width=(place(width.max(0.0))) height=(place(height.max(0.0))) {}
    }
}

fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> Markup {
    html! { line class=(class) x1=(place(x1)) y1=(place(y1)) x2=(place(x2)) y2=(place(y2)) {} }
}

/// To a tenth of a unit, which nobody can see.
fn place(at: f64) -> String {
    format!("{at:.1}")
}

fn part(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { count as f64 / of as f64 }
}

/// How long answers took, with the limits of the severities.
pub(super) fn latency(buckets: &[Bucket]) -> Markup {
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0);
    let step = (WIDTH - LEFT) / buckets.len().max(1) as f64;
    let bottom = TOP + HEIGHT;
    let right_of = |index: usize| LEFT + step * (index as f64 + 1.0);
    let limit = |severity: Severity| {
        let ends = |bucket: &Bucket| bucket.up_to_ms == Some(severity.response_limit_ms());
        buckets.iter().position(ends).map(|index| (right_of(index), severity))
    };
    let content = html! {
        (line("axis", (LEFT, bottom), (WIDTH, bottom)))
        @for (index, bucket) in buckets.iter().enumerate() {
            @let height = part(bucket.count, most) * HEIGHT;
            @let x = LEFT + step * index as f64;
            (bar("bar", (x + 3.0, bottom - height), (step - 6.0, height)))
            (text("number", (x + step / 2.0, bottom - height - 4.0), "middle", &bucket.count.to_string()))
            @let end = bucket.up_to_ms.map_or_else(|| "more".to_owned(), |ms| format!("≤ {ms}"));
            (text("tick", (x + step / 2.0, bottom + 16.0), "middle", &end))
        }
        @for (x, severity) in Severity::ALL.into_iter().rev().filter_map(limit) {
            (line("limit", (x, TOP - 16.0), (x, bottom)))
            (text("limit-name", (x - 3.0, TOP - 20.0), "middle", severity.name()))
        }
        (text("tick", (WIDTH, bottom + 32.0), "end", "milliseconds; dashed lines are the limits"))
    };
    let description =
        "Bars count the answers by how long they took. Dashed lines mark the limits of each severity.";
    drawing("latency", "How long answers took", description, bottom + 38.0, &content)
}

/// Crises over time, and below them, on a scale of their own, those that were answered late or never.
pub(super) fn timeline(parts: &[TimelinePart]) -> Markup {
    let crises: Vec<u64> = parts.iter().map(|part| part.crises).collect();
    let late: Vec<u64> = parts.iter().map(|part| part.violations.values().sum()).collect();
    let (upper, lower) = (TOP + STRIP, TOP + STRIP * 2.0 + TOP);
    let content = html! {
        (hatching())
        (strip("bar light", "crises", upper, &crises))
        (strip("late", "late or never", lower, &late))
        @if let (Some(first), Some(last)) = (parts.first(), parts.last()) {
            (text("tick", (LEFT, lower + 16.0), "start", &minute(&first.start)))
            (text("tick", (WIDTH, lower + 16.0), "end", &format!("from {}", minute(&last.start))))
        }
    };
    let description = "Each bar is a part of the period: above all crises, below, hatched, those answered late or never. \
         The two rows have scales of their own.";
    drawing("timeline", "Violations over time", description, lower + 24.0, &content)
}

/// A row of bars that stand on `bottom`, each with its number; with that of the highest alone where they do not fit.
/// The table has them all.
fn strip(class: &str, name: &str, bottom: f64, counts: &[u64]) -> Markup {
    let most = counts.iter().copied().max().unwrap_or(0);
    let step = (WIDTH - LEFT) / counts.len().max(1) as f64;
    let fits = most.to_string().len() as f64 * DIGIT <= step;
    let name = if fits { name.to_owned() } else { format!("{name}, at most {most}") };
    html! {
        (text("group", (0.0, bottom - STRIP - 16.0), "start", &name))
        (line("axis", (LEFT, bottom), (WIDTH, bottom)))
        @for (index, count) in counts.iter().enumerate() {
            @let x = LEFT + step * index as f64;
            @let height = part(*count, most) * STRIP;
            (bar(class, (x + 1.0, bottom - height), (step - 2.0, height)))
            @if fits && *count > 0 {
                (text("number", (x + step / 2.0, bottom - height - 4.0), "middle", &count.to_string()))
            }
        }
    }
}

/// What late bars are filled with, for whoever sees no colours.
fn hatching() -> Markup {
    html! {
        defs {
            pattern id="late" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                rect class="late-ground" width="6" height="6" {}
                line class="late-line" x1="0" y1="0" x2="0" y2="6" {}
            }
        }
    }
}

/// An instant as people read it, to the minute.
pub(super) fn minute(instant: &str) -> String {
    instant.get(..16).unwrap_or(instant).replace('T', " ")
}

/// What became of grace periods.
pub(super) fn grace(funnels: &[GraceFunnel]) -> Markup {
    const ROW: f64 = 18.0;
    const NAMES: f64 = 190.0;
    let most = funnels.iter().map(|funnel| funnel.started).max().unwrap_or(0);
    let group = ROW * 4.0 + 26.0;
    let content = html! {
        @for (index, funnel) in funnels.iter().enumerate() {
            @let top = group * index as f64;
            @let stages = [
                ("began", funnel.started), ("over", funnel.over), ("end seen to", funnel.closed),
                ("still running", funnel.running),
            ];
            (text("group", (0.0, top + 15.0), "start", &funnel.reason.replace('_', " ")))
            @for (row, (name, count)) in stages.into_iter().enumerate() {
                @let y = top + 22.0 + ROW * row as f64;
                @let width = part(count, most) * (WIDTH - NAMES - 60.0);
                (text("tick", (NAMES - 8.0, y + 12.0), "end", name))
                (bar(if row == 3 { "bar light" } else { "bar" }, (NAMES, y), (width, ROW - 4.0)))
                (text("number", (NAMES + width + 6.0, y + 12.0), "start", &count.to_string()))
            }
        }
    };
    let description =
        "For each reason: how many grace periods began, how many are over, and how many still run.";
    drawing("grace", "What became of grace periods", description, group * funnels.len() as f64, &content)
}

/// How much each lane was given and has done, over time: the dark bar stands in front of the light one.
pub(super) fn lanes(series: &[LaneSeries]) -> Markup {
    const ROW: f64 = 64.0;
    const NAMES: f64 = 110.0;
    let content = html! {
        @for (index, lane) in series.iter().enumerate() {
            @let bottom = ROW * (index as f64 + 1.0);
            @let most = lane.recorded.iter().copied().max().unwrap_or(0);
            @let step = (WIDTH - NAMES) / lane.recorded.len().max(1) as f64;
            (text("group", (0.0, bottom - 26.0), "start", &lane.lane))
            (text("tick", (0.0, bottom - 10.0), "start", &format!("at most {most}")))
            (line("axis", (NAMES, bottom), (WIDTH, bottom)))
            @for (at, count) in lane.recorded.iter().enumerate() {
                @let height = part(*count, most) * (ROW - 16.0);
                (bar("bar light", (NAMES + step * at as f64 + 1.0, bottom - height), (step - 2.0, height)))
            }
            @for (at, count) in lane.done.iter().enumerate() {
                @let height = part(*count, most) * (ROW - 16.0);
                (bar("bar", (NAMES + step * at as f64 + 1.0, bottom - height), (step - 2.0, height)))
            }
        }
    };
    let description = "A row for each lane: jobs that were recorded, by part of the period (light), and how many of \
         them were done when the report was made (dark). Rows have scales of their own.";
    drawing("lanes", "Jobs by lane", description, ROW * series.len() as f64 + 4.0, &content)
}
