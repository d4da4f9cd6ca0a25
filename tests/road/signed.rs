//! What must not be missed is told of although the process that saw it ends before it looks at its own counters.

use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use super::{app, on_call::OnCall};
use crate::support::{daemon::Daemon, eventually};

/// A daemon that looks as it starts, and then not before the test is over, after somebody's crisis has opened.
async fn with_a_crisis(on_call: &OnCall) -> Daemon {
    let told = on_call.settings();
    let rarely =
        [("KEEPWELL_ALERTS__LOOK_EVERY_MS", "600000"), ("KEEPWELL_ALERTS__RESOLVE_AFTER_MS", "2400000")];
    let settings: Vec<(&str, &str)> =
        told.iter().map(|(name, value)| (*name, value.as_str())).chain(rarely).collect();
    let daemon = Daemon::start_with(&settings).await;
    let signal = json!({
        "type": "crisis.signal",
        "data": { "customer": "cus_ada", "source": "button", "severity": "critical" },
    });
    app(&daemon, &signal).await;
    eventually("the crisis is open", async || {
        (daemon.access("cus_ada").await["crisis"]["active"] == true).then_some(())
    })
    .await;
    daemon
}

#[tokio::test]
async fn a_crisis_that_opened_just_before_a_kill_is_told_of_by_the_next_life() {
    let on_call = OnCall::start().await;
    let mut daemon = with_a_crisis(&on_call).await;
    daemon.kill();
    daemon.start_again().await;
    let told = eventually("the alert is told", async || {
        let told = on_call.posted("alert.triggered");
        told.into_iter().find(|told| told["data"]["alerts"][0]["rule"] == "EmergencyAccessActivated")
    })
    .await;
    assert_eq!(told["data"]["alerts"].as_array().map(Vec::len), Some(1), "{told:#}");
}

#[tokio::test]
async fn a_daemon_that_stops_looks_once_more_so_that_what_it_counted_is_told_of_by_the_next_life() {
    let on_call = OnCall::start().await;
    let mut daemon = with_a_crisis(&on_call).await;
    assert!(daemon.stop().await.success());
    let file = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let mut ledger = SqliteConnection::connect(&file).await.unwrap();
    let open: Vec<(String, i64)> =
        sqlx::query_as("SELECT rule, times_told FROM alerts WHERE resolved_ms IS NULL")
            .fetch_all(&mut ledger)
            .await
            .unwrap();
    assert!(open.iter().any(|(rule, _)| rule == "EmergencyAccessActivated"), "{open:?}");
}
