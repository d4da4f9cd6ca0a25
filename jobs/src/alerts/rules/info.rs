//! Info: what stands in the daily digest (001: "Info Alerts (Daily Summary)"). Of the summaries that 001 names beside
//! it, those of performance and crisis safety are reports (`report.due`). Of security the crisis report says how many
//! entries tell of what was refused; of the system's use the operations report has jobs, and the metrics have memory
//! and processors.

use super::{
    super::{
        figure::{Figure, Growth, Series},
        rule::{Bound, Rule, Severity, When},
    },
    HOUR_S,
};

/// A day, in seconds.
const DAY_S: u32 = 24 * HOUR_S;

/// Jobs that were given up wait for somebody to look at them.
pub static JOBS_DEAD: Rule = Rule {
    name: "JobsDead",
    severity: Severity::Info,
    when: When::Figure(
        Figure::Highest { of: Series::with("keepwell_ledger_jobs", &[("state", "dead")]), by: None },
        Bound::Above(0.0),
    ),
    for_s: 60,
    tell_within_s: DAY_S,
    summary: "jobs are dead and wait for somebody to look at them",
    runbook: "`keepwell job list --state dead`, then `keepwell job retry` or leave them to retention",
};

/// A lane that somebody has paused and perhaps forgotten.
pub static LANE_PAUSED: Rule = Rule {
    name: "LanePaused",
    severity: Severity::Info,
    when: When::Figure(
        Figure::Highest { of: Series::all("keepwell_lane_paused"), by: Some("lane") },
        Bound::Above(0.0),
    ),
    for_s: 60,
    tell_within_s: DAY_S,
    summary: "a lane is held up",
    runbook: "`keepwell queue list` says why; `keepwell queue resume` lets it go on",
};

/// Events of another mode or account than expected: somebody has mixed up two set-ups.
pub static EVENTS_SET_ASIDE: Rule = Rule {
    name: "EventsSetAside",
    severity: Severity::Info,
    when: grown(&[Series::all("keepwell_webhook_set_aside_total")]),
    for_s: 0,
    tell_within_s: DAY_S,
    summary: "events of another mode or account than expected were set aside",
    runbook: "compare `stripe.livemode` and `stripe.account` with the endpoint in Stripe's dashboard",
};

/// Events of a type that nobody handles: an endpoint that asks Stripe for too much.
pub static EVENTS_UNHANDLED: Rule = Rule {
    name: "EventsUnhandled",
    severity: Severity::Info,
    when: grown(&[Series::all("keepwell_webhook_unhandled_total")]),
    for_s: 0,
    tell_within_s: DAY_S,
    summary: "events came of a type that nobody handles; they are kept",
    runbook: "leave them out of the endpoint's events in Stripe's dashboard",
};

/// Any of these was counted within the hour.
const fn grown(series: &'static [Series]) -> When {
    When::Figure(Figure::Growth(Growth::of(series, HOUR_S)), Bound::Above(0.0))
}
