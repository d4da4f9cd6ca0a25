//! There is no room for more on the disk. A limit on the size of files does to the daemon what a full disk does, and
//! takes no privileges.

use http::StatusCode;
use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use super::{
    access, app, assert_not_recorded,
    event::{Event, SHAPES},
    nothing_owed, ready, signal, stripe, taken, trouble,
};
use crate::support::{daemon::Daemon, redis::Redis};

/// Less than any file of SQLite's has, so that nothing more can be written to any of them, nor to the log.
const FILE_BYTES_MAX: u64 = 4_000;

#[tokio::test]
async fn with_a_full_disk_nothing_is_promised_everybody_is_answered_and_room_is_enough_to_go_on() {
    let redis = Redis::start().await;
    let url = redis.url();
    let settings = [("KEEPWELL_LIMITS__ANSWER_TIMEOUT_MS", "300"), ("KEEPWELL_REDIS__URL", &url)];
    let mut daemon = Daemon::start_with(&settings).await;
    stripe(&daemon, &Event::of(SHAPES[0], "customer.subscription.created", "kept")).await;
    let before =
        prlimit(Some(daemon.pid()), Resource::Fsize, Rlimit { current: Some(FILE_BYTES_MAX), maximum: None })
            .expect("our own child");

    let failed = Event::of(SHAPES[0], "invoice.payment_failed", "kept");
    assert_not_recorded(&daemon.stripe(&failed).await.unwrap());
    let pressed =
        signal("crisis.signal", "cus_pressed", json!({ "source": "button", "severity": "critical" }));
    assert_not_recorded(&daemon.app("msg_pressed", &pressed).await.unwrap());
    let because = trouble(&daemon).await;
    assert!(because.starts_with("the database's disk "), "{because}");
    assert_eq!(daemon.public().get("/v1/crisis-resources").await.status, StatusCode::OK);
    assert_eq!(access(&daemon, "cus_kept").await["tier"], "premium");
    assert_eq!(access(&daemon, "cus_pressed").await["tier"], "floor");

    prlimit(Some(daemon.pid()), Resource::Fsize, before).expect("our own child");
    ready(&daemon).await;
    taken(daemon.app("msg_pressed", &pressed).await);
    taken(daemon.stripe(&failed).await);
    app(&daemon, &signal("crisis.signal", "cus_next", json!({ "severity": "high" }))).await;
    nothing_owed(&daemon).await;
    assert_eq!(access(&daemon, "cus_pressed").await["version"], 1);
    assert_eq!(access(&daemon, "cus_kept").await["version"], 2);
    let page = daemon.operator().get("/api/v1/jobs?state=done&limit=1").await.json();
    assert_eq!(page["total"], 4, "{page:#}");
    assert!(daemon.stop().await.success());
}
