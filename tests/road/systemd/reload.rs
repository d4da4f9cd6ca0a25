//! SIGHUP: `systemctl reload`.

use std::fs;

use http::StatusCode;
use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};

use crate::{
    road::event::{Event, SHAPES},
    support::{door::now_s, eventually, process::Process, service_manager::ServiceManager, sign},
};

const OLD: &str = "whsec_the_old_secret_for_tests_and_nothing_else";
const NEW: &str = "whsec_the_new_secret_for_tests_and_nothing_else";

fn configure(manager: &ServiceManager, text: &str) {
    fs::write(manager.folder().join("keepwell.toml"), text).unwrap();
}

fn secrets(secret: &str) -> String {
    format!("[stripe]\nwebhook_secrets = [\"{secret}\"]\n")
}

fn monotonic_us() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// Has the daemon read its configuration again; answers with the status that it tells afterwards.
async fn reload(manager: &ServiceManager, daemon: &mut Process) -> String {
    while manager.heard().is_some() {}
    let before_us = monotonic_us();
    daemon.signal(Signal::HUP);
    let mut said = manager.hears(daemon, "READY=1").await;
    let reloading =
        said.iter().find(|message| message.starts_with("RELOADING=1\n")).expect("it says so first");
    let at_us: i64 = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("when").parse().unwrap();
    assert!((before_us..=monotonic_us()).contains(&at_us), "{reloading}");
    said.pop().unwrap()
}

/// How an event is answered that is signed with `secret`.
async fn answer(manager: &ServiceManager, secret: &str) -> StatusCode {
    let body = Event::of(SHAPES[0], "setup_intent.succeeded", "reload").to_string();
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("stripe-signature", sign::stripe(secret, now_s(), body.as_bytes())),
    ];
    manager.public().post_bytes("/api/webhooks/stripe", &headers, body).await.status
}

#[tokio::test]
async fn a_reload_takes_new_secrets_and_a_broken_file_changes_nothing() {
    let manager = ServiceManager::new().await.without("KEEPWELL_STRIPE__WEBHOOK_SECRETS");
    let file = manager.folder().join("keepwell.toml").display().to_string();
    let manager = manager.with("KEEPWELL_CONFIG", file);
    configure(&manager, &secrets(OLD));
    let mut daemon = manager.start_ready().await;
    assert_eq!(answer(&manager, OLD).await, StatusCode::OK);
    assert_eq!(answer(&manager, NEW).await, StatusCode::BAD_REQUEST);

    for broken in ["[stripe\n", "[stripe]\nwebhook_secret = \"x\"\n", &secrets("no secret at all")] {
        let refusals = daemon.log().matches("nothing was changed").count();
        configure(&manager, broken);
        let status = reload(&manager, &mut daemon).await;
        assert!(status.contains("the new configuration is wrong and was not taken"), "{status}");
        assert_eq!(daemon.log().matches("nothing was changed").count(), refusals + 1, "{}", daemon.log());
        assert_eq!(answer(&manager, OLD).await, StatusCode::OK, "the old secret is still in force");
    }

    configure(&manager, &secrets(NEW));
    let status = reload(&manager, &mut daemon).await;
    assert!(status.starts_with("READY=1\nSTATUS=taking requests") && !status.contains("wrong"), "{status}");
    assert_eq!(answer(&manager, NEW).await, StatusCode::OK);
    assert_eq!(answer(&manager, OLD).await, StatusCode::BAD_REQUEST, "the old secret counts no more");
    eventually("each reload is in the audit trail", async || {
        let page = manager.operator().get("/api/v1/audit?action=secrets").await.json();
        let entries = page["items"].as_array()?;
        let taken = entries.iter().filter(|entry| entry["action"] == "secrets.reloaded").count();
        let refused = entries.iter().filter(|entry| entry["action"] == "secrets.reload_refused").count();
        ((taken, refused) == (1, 3)).then_some(())
    })
    .await;
    let log = daemon.log();
    assert!(!log.contains(OLD) && !log.contains(NEW) && !log.contains("no secret at all"), "{log}");
}
