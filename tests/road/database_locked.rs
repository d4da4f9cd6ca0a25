//! Another process holds the lock of the daemon's SQLite file.

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use super::{
    access, assert_not_recorded,
    event::{Event, SHAPES},
    from_database, nothing_owed, ready, signal, stripe, taken, trouble,
};
use crate::support::{daemon::Daemon, eventually};

/// Events that come while the database stands still for a moment.
const AT_ONCE: usize = 40;

async fn stranger(daemon: &Daemon) -> SqliteConnection {
    let file = daemon.state_dir().join("keepwell.db");
    SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.expect("a file that opens")
}

#[tokio::test]
async fn while_the_database_is_locked_nothing_is_promised_and_everybody_is_answered() {
    let daemon = Daemon::start_with(&[("KEEPWELL_LIMITS__ANSWER_TIMEOUT_MS", "300")]).await;
    stripe(&daemon, &Event::of(SHAPES[0], "customer.subscription.created", "kept")).await;
    let mut stranger = stranger(&daemon).await;
    for (number, mode) in ["IMMEDIATE", "EXCLUSIVE"].into_iter().enumerate() {
        stranger.execute(if number == 0 { "BEGIN IMMEDIATE" } else { "BEGIN EXCLUSIVE" }).await.unwrap();
        let failed = Event::of(SHAPES[0], "invoice.payment_failed", &format!("kept_{mode}"));
        assert_not_recorded(&daemon.stripe(&failed).await.unwrap());
        let customer = format!("cus_pressed_{mode}");
        let pressed =
            signal("crisis.signal", &customer, json!({ "source": "button", "severity": "critical" }));
        assert_not_recorded(&daemon.app(&format!("msg_{mode}"), &pressed).await.unwrap());
        assert_eq!(trouble(&daemon).await, "another process holds the database's lock");
        assert_eq!(daemon.public().get("/v1/crisis-resources").await.status, StatusCode::OK);
        // What was committed can be read all the same.
        let known = from_database(&daemon.reader(), "/v1/customers/cus_kept/access").await;
        assert_eq!(known.json()["tier"], "premium");

        stranger.execute("ROLLBACK").await.unwrap();
        ready(&daemon).await;
        // Whoever presses the button may not be able to press it again.
        eventually("the crisis is known without being told of again", async || {
            (access(&daemon, &customer).await["crisis"]["active"] == true).then_some(())
        })
        .await;
        let again = taken(daemon.app(&format!("msg_{mode}"), &pressed).await);
        assert_eq!(again["duplicate"], true);
        taken(daemon.stripe(&failed).await);
        nothing_owed(&daemon).await;
        assert_eq!(access(&daemon, &format!("cus_kept_{mode}")).await["version"], 1);
    }
    let page = daemon.operator().get("/api/v1/jobs?state=done&limit=1").await.json();
    assert_eq!(page["total"], 5, "{page:#}");
}

#[tokio::test]
async fn a_database_that_stands_still_again_and_again_costs_time_and_no_event() {
    let daemon = Daemon::start_with(&[("KEEPWELL_LIMITS__ANSWER_TIMEOUT_MS", "30000")]).await;
    let mut stranger = stranger(&daemon).await;
    for pulse in 0..3 {
        stranger.execute("BEGIN IMMEDIATE").await.unwrap();
        let paid = |number| Event::of(SHAPES[1], "invoice.payment_succeeded", &format!("{pulse}_{number}"));
        let events: Vec<Event> = (0..AT_ONCE).map(paid).collect();
        let deliveries = join_all(events.iter().map(|event| daemon.stripe(event)));
        let standstill = async {
            eventually("all of them wait", async || {
                let metrics = daemon.public().get("/metrics").await;
                metrics.text().contains(&format!("keepwell_webhook_in_flight {AT_ONCE}\n")).then_some(())
            })
            .await;
            stranger.execute("ROLLBACK").await.unwrap();
        };
        let (answers, ()) = tokio::join!(deliveries, standstill);
        assert!(answers.into_iter().map(taken).all(|accepted| accepted["duplicate"] == false));
    }
    nothing_owed(&daemon).await;
    let page = daemon.operator().get("/api/v1/jobs?state=done&limit=1").await.json();
    assert_eq!(page["total"], 3 * AT_ONCE);
}
