//! The table of rules. 001 names three severities and what belongs to each ("Alerting System"), 004 some thresholds
//! (`monitoringDashboard`, `performanceThresholds`); where both are silent, the number and the reason for it stand
//! here. 004's `high` that escalates at once is critical here, its other `high` and its `medium` are warnings that are
//! told of within 15 and 30 minutes.
//!
//! A rule comes together with the figure that it is about, which a test looks for in `/metrics`.

mod critical;
mod info;
mod warning;
mod watching;

pub use critical::*;
pub use info::*;
pub use warning::*;
pub use watching::*;

use super::rule::Rule;

/// Every rule, the worst first.
pub static RULES: [&Rule; 39] = [
    &CRISIS_ANSWERED_LATE,
    &CRISIS_RESPONSE_SLOW,
    &CRISIS_GRANTED_FROM_MEMORY,
    &CONTACT_NOT_TOLD,
    &CRISIS_WAITING,
    &CRISIS_LANE_PAUSED,
    &CRISIS_REHEARSAL_FAILED,
    &CANARY_NOT_ANSWERED,
    &CRISIS_SYSTEM_UNHEALTHY,
    &THERAPEUTIC_ACCESS_MISSING,
    &THERAPEUTIC_WAITING,
    &DATABASE_AWAY,
    &REDIS_AWAY,
    &COMPLIANCE_VIOLATION,
    &NO_WORKERS,
    &SECURITY_INTRUSION,
    &AUDIT_TRAIL_BROKEN,
    &EMERGENCY_ACCESS_ACTIVATED,
    &EMERGENCY_BYPASS_ACTIVE,
    &ALERT_TEST,
    &MONITOR_FAILS,
    &MONITOR_SILENT,
    &WEBHOOK_FAILURE_RATE_HIGH,
    &JOB_FAILURE_RATE_HIGH,
    &WEBHOOK_ANSWERS_SLOW,
    &LANE_WAITING,
    &MEMORY_HIGH,
    &PROCESSOR_HIGH,
    &OUTSIDE_UNREACHABLE,
    &AUDIT_TRAIL_INCONSISTENT,
    &GRACE_PERIODS_SPIKE,
    &SCHEDULE_LATE,
    &SCHEDULE_HELD_BACK,
    &ALERTS_NOT_DELIVERED,
    &ALERTS_DROPPED,
    &JOBS_DEAD,
    &LANE_PAUSED,
    &EVENTS_SET_ASIDE,
    &EVENTS_UNHANDLED,
];

/// The rule called `name`.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.into_iter().find(|rule| rule.name == name)
}

/// Five minutes, in seconds: how far back "of late" reaches unless a rule says otherwise, as in `/health`.
pub const RECENT_S: u32 = 5 * 60;

/// An hour, in seconds: a warning's longest wait (001: "Within 1 Hour").
const HOUR_S: u32 = 60 * 60;

/// Of fewer than this, a share says nothing about the rest.
const SHARE_OF_MIN: f64 = 20.0;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::rule::Severity, *};
    use crate::kinds;

    #[test]
    fn names_are_told_apart_and_severities_wait_as_long_as_they_may() {
        let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), RULES.len());
        for rule in RULES {
            let within = match rule.severity {
                Severity::Critical => 0..=0,
                Severity::Warning => 1..=HOUR_S,
                Severity::Info => 24 * HOUR_S..=24 * HOUR_S,
            };
            assert!(within.contains(&rule.tell_within_s), "{}", rule.name);
            assert!(!rule.summary.is_empty() && !rule.runbook.is_empty(), "{}", rule.name);
        }
        assert!(RULES.is_sorted_by_key(|rule| std::cmp::Reverse(rule.severity)));
    }

    #[test]
    fn whatever_calls_somebody_outside_and_is_tried_again_is_told_of_before_it_is_dead() {
        let watched = OUTSIDE_UNREACHABLE.series();
        for kind in [
            kinds::MESSAGE,
            kinds::CONTACT_TOLD,
            kinds::CONFIRM_SUBSCRIPTION,
            kinds::STRIPE_BACKFILL,
            kinds::STRIPE_RECONCILE,
            kinds::REPORT_DELIVERED,
        ] {
            let labels = [("kind", kind), ("outcome", "retry")];
            assert!(watched.iter().any(|series| series.labels == labels), "{kind}: {watched:?}");
        }
    }
}
