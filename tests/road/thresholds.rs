//! Bounds of one's own in the place of the table's.

use keepwell_jobs::alerts::rules;

use super::{on_call::OnCall, said::Said, watchman::Watchman};
use crate::support::daemon::Daemon;

const THRESHOLDS: &str = "KEEPWELL_ALERTS__THRESHOLDS";

#[tokio::test]
async fn a_bound_of_ones_own_is_the_one_that_somebody_is_woken_by() {
    let on_call = OnCall::start().await;
    let settings = [(THRESHOLDS, "{ CrisisWaiting = 10 }")];
    let mut watchman = Watchman::of(&on_call, &[&rules::CRISIS_WAITING], &settings, 1_803_891_600_000).await;
    for (waiting_s, told) in [(9, 0), (10, 0), (11, 1)] {
        let figures = format!("keepwell_lane_oldest_waiting_seconds{{lane=\"crisis\"}} {waiting_s}\n");
        watchman.looks(1_000, &figures, &[]).await;
        watchman.has_told_all().await;
        assert_eq!(on_call.pages().len(), told, "{waiting_s} s");
    }
}

#[tokio::test]
async fn bounds_are_shown_with_what_was_changed_and_printed_for_prometheus() {
    let daemon = Daemon::start_with(&[(THRESHOLDS, "{ MemoryHigh = 0.95, NoWorkers = 2 }")]).await;
    assert!(daemon.says(&["check"]).warned("care.crisis_response_ms").contains("nobody is told"));
    let shown = daemon.says(&["alert", "rules"]).done();
    assert!(shown.contains("0.95 (changed from 0.8)") && shown.contains("2 (changed from 1)"), "{shown}");
    assert_eq!(shown.matches("changed from").count(), 2);
    let printed = daemon.says(&["alert", "rules", "--prometheus"]).done();
    assert!(printed.contains("> 0.95'") && printed.contains("max(keepwell_nodes) < 2'"), "{printed}");
    let table = include_str!("../../config/alerts/keepwell.rules.yml");
    let changed = table.lines().zip(printed.lines()).filter(|(one, other)| one != other).count();
    assert_eq!((table.lines().count(), changed), (printed.lines().count(), 2), "{printed}");
}

#[test]
fn a_bound_for_what_nobody_knows_or_measures_is_refused_with_the_names_of_those_that_have_one() {
    for (thresholds, said) in [
        ("{ MemoryHi = 0.9 }", "no rule is called `MemoryHi`"),
        ("{ AlertTest = 1 }", "nothing is measured for `AlertTest`"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let checked = Said::of(&check(state.path(), thresholds));
        assert!(checked.code != 0 && checked.data.contains(said), "{checked:?}");
        assert!(
            checked.data.contains("MemoryHigh") && checked.data.contains("GracePeriodsSpike"),
            "{checked:?}"
        );
    }
}

/// What `keepwell check` says of these thresholds.
fn check(state: &std::path::Path, thresholds: &str) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keepwell"));
    command.arg("check").env("KEEPWELL_STATE_DIR", state).env(THRESHOLDS, thresholds);
    command.output().unwrap()
}
