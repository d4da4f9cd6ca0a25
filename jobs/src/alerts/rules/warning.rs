//! Warnings: somebody is told within the hour (001: "Warning Alerts (Within 1 Hour)").

use super::{
    super::{
        figure::{Figure, Growth, Series},
        rule::{Bound, Rule, Severity, When},
    },
    HOUR_S, RECENT_S, SHARE_OF_MIN,
};

const NOT_RECORDED: Series = Series::with("keepwell_webhook_blocked_total", &[("reason", "not_recorded")]);

/// 004: "Webhook Processing Failure Rate High", `webhook_failure_rate > 0.05`, after 15 minutes at the latest.
pub static WEBHOOK_FAILURE_RATE_HIGH: Rule = Rule {
    name: "WebhookFailureRateHigh",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Share {
            part: Growth::of(&[NOT_RECORDED], RECENT_S),
            of: Growth::of(
                &[
                    Series::all("keepwell_webhook_recorded_total"),
                    Series::all("keepwell_webhook_duplicates_total"),
                    NOT_RECORDED,
                ],
                RECENT_S,
            ),
            at_least: SHARE_OF_MIN,
        },
        Bound::Above(0.05),
    ),
    for_s: 60,
    tell_within_s: 15 * 60,
    summary: "more than 5 % of the verified webhooks could not be recorded",
    runbook: "`/health` says what the database complains of; the senders try again",
};

/// What watches is watched: three looks that came to nothing within five minutes are no accident.
pub static MONITOR_FAILS: Rule = Rule {
    name: "MonitorFails",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Growth(Growth::of(
            &[Series::with("keepwell_monitor_runs_total", &[("result", "failed")])],
            RECENT_S,
        )),
        Bound::Above(2.0),
    ),
    for_s: 0,
    tell_within_s: 15 * 60,
    summary: "what watches over crises or grace periods cannot look",
    runbook: "`keepwell_monitor_runs_total` names the monitor, and the log why it could not look",
};

/// 001: "High error rate": as many runs of jobs as 004 allows webhooks.
pub static JOB_FAILURE_RATE_HIGH: Rule = Rule {
    name: "JobFailureRateHigh",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Share {
            part: Growth::of(
                &[
                    Series::with("keepwell_jobs_ended_total", &[("outcome", "retry")]),
                    Series::with("keepwell_jobs_ended_total", &[("outcome", "dead")]),
                ],
                15 * 60,
            ),
            of: Growth::of(&[Series::all("keepwell_jobs_ended_total")], 15 * 60),
            at_least: SHARE_OF_MIN,
        },
        Bound::Above(0.05),
    ),
    for_s: 60,
    tell_within_s: HOUR_S,
    summary: "more than 5 % of the runs of jobs fail",
    runbook: "`keepwell report operations --from 1h` says which kinds and why",
};

/// 001: "Performance degradation"; standard webhooks have 1000 ms (001: "Performance Targets", 004: `responseTime`).
pub static WEBHOOK_ANSWERS_SLOW: Rule = Rule {
    name: "WebhookAnswersSlow",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Share {
            part: Growth {
                plus: &[Series::all("keepwell_webhook_answer_seconds_count")],
                minus: &[Series::with("keepwell_webhook_answer_seconds_bucket", &[("le", "1.0")])],
                window_s: RECENT_S,
            },
            of: Growth::of(&[Series::all("keepwell_webhook_answer_seconds_count")], RECENT_S),
            at_least: SHARE_OF_MIN,
        },
        Bound::Above(0.05),
    ),
    for_s: 60,
    tell_within_s: HOUR_S,
    summary: "webhooks are answered slowly: the 95th percentile is above a second",
    runbook: "an answer waits for the database's commit: look at its disk and its load",
};

/// 001: "Performance degradation". After a minute a job has aged and is preferred; a quarter of an hour is a backlog.
pub static LANE_WAITING: Rule = Rule {
    name: "LaneWaiting",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Highest { of: Series::all("keepwell_lane_oldest_waiting_seconds"), by: Some("lane") },
        Bound::Above(900.0),
    ),
    for_s: 60,
    tell_within_s: HOUR_S,
    summary: "jobs have waited for more than a quarter of an hour",
    runbook: "`keepwell queue list`; add a process with the role `workers` if there is only much to do",
};

/// 001: "Memory usage threshold exceeded"; 004: `memoryUsage: 0.8`.
pub static MEMORY_HIGH: Rule = Rule {
    name: "MemoryHigh",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Ratio {
            part: Series::all("keepwell_process_memory_used_bytes"),
            of: Series::all("keepwell_process_memory_total_bytes"),
        },
        Bound::Above(0.8),
    ),
    for_s: 60,
    tell_within_s: HOUR_S,
    summary: "more than 80 % of the memory that this process may use is in use",
    runbook: "`keepwell_process_resident_memory_bytes` tells its own from that of a private Redis, which shares a \
              service's limit; give it more memory, or restart it: nothing is lost by that",
};

/// 004: `cpuUsage: 0.7`.
pub static PROCESSOR_HIGH: Rule = Rule {
    name: "ProcessorHigh",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Load {
            part: Growth::of(&[Series::all("keepwell_process_cpu_seconds_total")], RECENT_S),
            of: Series::all("keepwell_process_processors"),
        },
        Bound::Above(0.7),
    ),
    for_s: RECENT_S,
    tell_within_s: HOUR_S,
    summary: "this process has kept more than 70 % of its processors busy for five minutes",
    runbook: "add a process with the role `workers`, or processors",
};

/// Runs of the kinds that call somebody, each of which is tried again if nobody takes what it brings. Alerts have a
/// rule of their own.
static CALLS_THAT_FAILED: [Series; 6] = [
    Series::with("keepwell_jobs_ended_total", &[("kind", "care.message"), ("outcome", "retry")]),
    Series::with("keepwell_jobs_ended_total", &[("kind", "care.contact_told"), ("outcome", "retry")]),
    Series::with(
        "keepwell_jobs_ended_total",
        &[("kind", "stripe.confirm_subscription"), ("outcome", "retry")],
    ),
    Series::with("keepwell_jobs_ended_total", &[("kind", "stripe.backfill"), ("outcome", "retry")]),
    Series::with("keepwell_jobs_ended_total", &[("kind", "stripe.reconcile"), ("outcome", "retry")]),
    Series::with("keepwell_jobs_ended_total", &[("kind", "report.delivered"), ("outcome", "retry")]),
];

/// 001: "Network connectivity issues": the notification gateway, Stripe, or whoever takes reports. Five failed runs are
/// more than a hiccup.
pub static OUTSIDE_UNREACHABLE: Rule = Rule {
    name: "OutsideUnreachable",
    severity: Severity::Warning,
    when: When::Figure(Figure::Growth(Growth::of(&CALLS_THAT_FAILED, 15 * 60)), Bound::Above(5.0)),
    for_s: 0,
    tell_within_s: 15 * 60,
    summary: "the notification gateway, Stripe's API or the place for reports does not answer as it should",
    runbook: "`keepwell job list --state owed` shows what waits for them and why",
};

/// 001: "Audit trail inconsistencies".
pub static AUDIT_TRAIL_INCONSISTENT: Rule = Rule {
    name: "AuditTrailInconsistent",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Highest { of: Series::all("keepwell_audit_broken"), by: None },
        Bound::Above(0.0),
    ),
    for_s: 0,
    tell_within_s: 15 * 60,
    summary: "the audit trail cannot be sealed, or something is wrong with it that nobody has acknowledged",
    runbook: "`keepwell audit verify` says what is wrong with it, and `keepwell audit acknowledge` that it was looked \
              into",
};

/// 004: "Grace Period Activations Spike", `grace_period_activations_rate > 10_per_hour`, after 30 minutes at the latest.
pub static GRACE_PERIODS_SPIKE: Rule = Rule {
    name: "GracePeriodsSpike",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Growth(Growth::of(&[Series::all("keepwell_grace_period_activations_total")], HOUR_S)),
        Bound::Above(10.0),
    ),
    for_s: 0,
    tell_within_s: 30 * 60,
    summary: "more than ten grace periods have begun within an hour",
    runbook: "failed payments of many people at once are rather a fault of the payment provider than theirs",
};

/// A tick that a minute later nobody has decided on; longer than any node needs to take over.
pub static SCHEDULE_LATE: Rule = Rule {
    name: "ScheduleLate",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Highest { of: Series::all("keepwell_schedule_overdue_seconds"), by: Some("schedule") },
        Bound::Above(60.0),
    ),
    for_s: 30,
    tell_within_s: 15 * 60,
    summary: "a schedule is late: nobody has fired it",
    runbook: "`keepwell schedule list`; is there a process with the role `schedules`?",
};

/// `overlap = "skip"` leaves ticks out while the job of an earlier one is owed, which is for jobs that may take longer
/// than the time between two ticks. None of ours takes an hour; a schedule that waits for longer has stopped firing.
pub static SCHEDULE_HELD_BACK: Rule = Rule {
    name: "ScheduleHeldBack",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Highest { of: Series::all("keepwell_schedule_held_back_seconds"), by: Some("schedule") },
        Bound::Above(3_600.0),
    ),
    for_s: 30,
    tell_within_s: 15 * 60,
    summary: "a schedule fires no more: the job of its last tick is still owed",
    runbook: "`keepwell schedule list` names the job, `keepwell job show` says why it is owed; mend that or cancel it",
};

/// Alerts that a receiver refuses do not reach anybody through it.
pub static ALERTS_NOT_DELIVERED: Rule = Rule {
    name: "AlertsNotDelivered",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Growth(Growth::of(
            &[Series::with("keepwell_jobs_ended_total", &[("kind", "alert.told"), ("outcome", "dead")])],
            HOUR_S,
        )),
        Bound::Above(0.0),
    ),
    for_s: 0,
    tell_within_s: 60,
    summary: "an alert could not be delivered to one of its receivers",
    runbook: "`keepwell job list --kind alert.told --state dead` says why; mend `alerts.*`, then retry the jobs",
};

/// Somebody said that something happened, and nobody could hear it (see [`super::super::sink`]).
pub static ALERTS_DROPPED: Rule = Rule {
    name: "AlertsDropped",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Growth(Growth::of(&[Series::all("keepwell_alert_events_dropped_total")], HOUR_S)),
        Bound::Above(0.0),
    ),
    for_s: 0,
    tell_within_s: HOUR_S,
    summary: "so much went wrong at once that not all of it was heard; the log has it",
    runbook: "`journalctl -u keepwell | grep alert`",
};
