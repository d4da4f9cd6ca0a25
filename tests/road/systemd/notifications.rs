//! What the daemon says on the socket that `NOTIFY_SOCKET` names.

use http::StatusCode;
use rustix::process::Signal;
use serde_json::json;

use crate::{
    road::{signal, taken},
    support::{door::Door, service_manager::ServiceManager},
};

#[tokio::test]
async fn the_daemon_says_that_it_is_ready_when_its_door_answers_and_that_it_stops() {
    for manager in [ServiceManager::new().await, ServiceManager::with_abstract_socket().await] {
        let mut daemon = manager.start();
        let said = manager.hears(&mut daemon, "READY=1").await;
        assert!(said[0].starts_with("STATUS=starting"), "{said:?}");
        assert_eq!(said.last().unwrap(), "READY=1\nSTATUS=taking requests", "{said:?}");
        // Asked once: who is told READY=1 sends people there at once.
        assert_eq!(manager.public().get("/health/live").await.status, StatusCode::OK);

        daemon.signal(Signal::TERM);
        let said = manager.hears(&mut daemon, "STOPPING=1").await;
        assert!(said.iter().all(|message| !message.contains("READY=1")), "{said:?}");
        assert_eq!(daemon.stop(Signal::TERM).await.code(), Some(0), "{}", daemon.log());
    }
}

#[tokio::test]
async fn the_watchdog_hears_from_the_daemon_again_and_again() {
    let manager = ServiceManager::new().await.with("WATCHDOG_USEC", "1000000");
    let mut daemon = manager.start_ready().await;
    for _ in 0..3 {
        manager.hears(&mut daemon, "WATCHDOG=1").await;
    }
}

#[tokio::test]
async fn the_status_says_what_waits_and_what_is_held_up() {
    let manager = ServiceManager::new().await;
    let mut daemon = manager.start_ready().await;
    let body = json!({ "override": true, "reason": "a drill" });
    let paused = manager.operator().post("/api/v1/lanes/crisis/pause", &body).await;
    assert_eq!(paused.status, StatusCode::OK);
    let signal = signal("crisis.signal", "cus_1", json!({ "severity": "high" }));
    taken(Door::of(manager.public()).app("msg_1", &signal).await);
    let status = "STATUS=CRISIS WORK IS HELD UP by an operator; taking requests; waiting 1, running 0, later 0; paused: crisis";
    manager.hears(&mut daemon, status).await;
}
