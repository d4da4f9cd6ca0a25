//! What watches is watched.

use super::super::{
    figure::{Figure, Series},
    rule::{Bound, Rule, Severity, When},
};

/// A monitor that hangs or was ended by a fault counts no failures ([`super::MONITOR_FAILS`]), and one that looks once
/// an hour does not fail three times within five minutes. Three of its own intervals are three looks that came to
/// nothing.
pub static MONITOR_SILENT: Rule = Rule {
    name: "MonitorSilent",
    severity: Severity::Warning,
    when: When::Figure(
        Figure::Highest { of: Series::all("keepwell_monitor_silence_intervals"), by: Some("monitor") },
        Bound::Above(3.0),
    ),
    // A second's look may be late on a busy machine.
    for_s: 60,
    tell_within_s: 15 * 60,
    summary: "a monitor of crises or grace periods has not been able to look for three of its intervals",
    runbook: "the log says why it could not; if it says nothing, the monitor hangs or has ended: restart this process",
};
