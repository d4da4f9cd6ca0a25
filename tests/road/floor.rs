//! Whatever is unknown, broken or forbidden: the floor is answered, and where to find help is told to everybody.

use http::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use super::{
    access, app,
    event::{Event, SHAPES},
    from_database, on_both, signal, stripe,
};
use crate::support::{
    daemon::Daemon,
    eventually,
    http::Answer,
    postgres::{Postgres, Sync},
};

const ACCESS: &str = "/v1/customers/cus_kept/access";

/// The floor, as it is answered when nothing else can be known.
fn assert_fallback(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.header("keepwell-fallback"), "floor");
    let access = answer.json();
    assert_eq!((&access["customer"], &access["tier"]), (&"cus_kept".into(), &"floor".into()));
    let enabled = access["features"]["enabled"].as_array().expect("a list");
    for feature in
        ["crisis_button", "hotline_988", "emergency_contacts", "safety_plan", "breathing_exercises"]
    {
        assert!(enabled.contains(&feature.into()), "{feature}");
    }
    assert_eq!(
        (&access["features"]["disabled"], &access["crisis_resources"]["hotline"]),
        (&json!([]), &"988".into())
    );
}

/// A daemon on a PostgreSQL that is its own, with somebody who has paid.
async fn on_postgres() -> (Postgres, String, Daemon) {
    let postgres = Postgres::start(Sync::On).await;
    let url = postgres.database("keepwell").await;
    let daemon = Daemon::start_with(&[("KEEPWELL_DATABASE__URL", &url)]).await;
    stripe(&daemon, &Event::of(SHAPES[0], "customer.subscription.created", "kept")).await;
    (postgres, url, daemon)
}

#[tokio::test]
async fn somebody_unknown_has_the_floor() {
    on_both(&[], async |daemon| {
        let access = access(daemon, "cus_nobody").await;
        assert_eq!((&access["tier"], &access["version"]), (&"floor".into(), &0.into()));
        assert_eq!((&access["subscription"], &access["message"]), (&Value::Null, &Value::Null));
        assert_eq!(access["sync"], json!({ "frequency": "background", "data_limit_mb": 10 }));
        let answer = from_database(&daemon.reader(), "/v1/customers/cus_nobody/access").await;
        assert_eq!(answer.header("cache-control"), "no-store");
    })
    .await;
}

#[tokio::test]
async fn with_its_database_killed_the_daemon_answers_the_floor() {
    let (mut postgres, _, daemon) = on_postgres().await;
    assert_eq!(access(&daemon, "cus_kept").await["tier"], "premium");

    postgres.kill();
    assert_fallback(&daemon.reader().get(ACCESS).await);
    let refused = daemon.stripe(&Event::of(SHAPES[0], "invoice.payment_failed", "kept")).await.unwrap();
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"not_recorded".into())
    );
    assert!(refused.header("retry-after").parse::<u32>().is_ok(), "{:?}", refused.headers);
    assert_eq!(daemon.public().get("/v1/crisis-resources").await.status, StatusCode::OK);
    let unready = daemon.public();
    eventually("the daemon says that it is not ready", async || {
        (unready.get("/health/ready").await.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;

    postgres.start_again().await;
    eventually("what was paid for is answered again", async || {
        (access(&daemon, "cus_kept").await["tier"] == "premium").then_some(())
    })
    .await;
    // A pool finds out about each of its dead connections by using it.
    let failed = Event::of(SHAPES[0], "invoice.payment_failed", "kept");
    eventually("webhooks are taken again", async || {
        (daemon.stripe(&failed).await.ok()?.status == StatusCode::OK).then_some(())
    })
    .await;
    eventually("they have their effect", async || {
        (access(&daemon, "cus_kept").await["grace"]["active"] == true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_its_tables_locked_the_daemon_answers_the_floor_in_time() {
    let (_postgres, url, daemon) = on_postgres().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE").await.unwrap();
    assert_fallback(&daemon.reader().get(ACCESS).await);

    connection.execute("ROLLBACK").await.unwrap();
    eventually("what was paid for is answered again", async || {
        (access(&daemon, "cus_kept").await["tier"] == "premium").then_some(())
    })
    .await;
}

#[tokio::test]
async fn access_is_told_to_nobody_without_a_token() {
    let daemon = Daemon::start().await;
    app(&daemon, &signal("crisis.signal", "cus_kept", json!({ "severity": "high" }))).await;
    for client in [
        daemon.public(),
        daemon.public().with_token("access-token-for-test"),
        daemon.public().with_token("x"),
    ] {
        let answer = client.get(ACCESS).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["code"], "unauthorized");
        assert!(!answer.text().contains("cus_kept"), "{}", answer.text());
    }
}

#[tokio::test]
async fn where_to_find_help_is_told_to_everybody() {
    let daemon = Daemon::start_with(&[("CRISIS_HOTLINE_NUMBER", "112")]).await;
    let answer = daemon.public().get("/v1/crisis-resources").await;
    assert_eq!(answer.status, StatusCode::OK);
    let resources = json!({
        "hotline": "112", "text": "988", "chat_url": "https://988lifeline.org/chat/",
        "international": "+1-800-273-8255",
    });
    assert_eq!(answer.json(), resources);
    let seen = [("if-none-match", answer.header("etag").to_owned())];
    let again =
        daemon.public().call(http::Method::GET, "/v1/crisis-resources", &seen, Vec::new().into()).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
}
