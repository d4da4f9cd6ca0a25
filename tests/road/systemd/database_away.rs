//! A database that is away when the daemon starts.

use http::StatusCode;
use rustix::process::Signal;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use crate::{
    road::{
        assert_not_recorded,
        event::{Event, SHAPES},
        signal,
    },
    support::{
        daemon::ACCESS_TOKEN,
        door::Door,
        eventually,
        postgres::{Postgres, Sync},
        process::Process,
        service_manager::ServiceManager,
    },
};

const WAITING: &str =
    "STATUS=waiting for the database; nothing can be recorded, the crisis-safe floor is answered";

/// Has the daemon answer fast that it cannot take anything.
const IMPATIENT: (&str, &str) = ("KEEPWELL_LIMITS__ANSWER_TIMEOUT_MS", "500");

const ACCESS: &str = "/v1/customers/cus_kept/access";

/// What must hold while the daemon waits for its database: whoever asks is answered, and nothing is promised.
async fn waits(manager: &ServiceManager, daemon: &mut Process) {
    manager.hears(daemon, WAITING).await;
    let (public, door) = (manager.public(), Door::of(manager.public()));
    let floor = public.with_token(ACCESS_TOKEN).get(ACCESS).await;
    assert_eq!((floor.status, floor.header("keepwell-fallback")), (StatusCode::OK, "floor"));
    assert!(floor.json()["features"]["enabled"][0].is_string(), "{}", floor.text());
    assert_eq!(public.get("/v1/crisis-resources").await.status, StatusCode::OK);
    let failed = Event::of(SHAPES[0], "invoice.payment_failed", "kept");
    assert_not_recorded(&door.stripe(&failed).await.unwrap());
    let pressed =
        signal("crisis.signal", "cus_pressed", json!({ "source": "button", "severity": "critical" }));
    assert_not_recorded(&door.app("msg_pressed", &pressed).await.unwrap());
    let health = public.get("/health").await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"degraded".into())
    );
    assert_eq!(health.json()["dependencies"]["database"], false);
    assert_eq!(public.get("/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(public.get("/health/live").await.status, StatusCode::OK);
}

/// What must hold once the database is there, in the same process.
async fn works(manager: &ServiceManager, daemon: &mut Process) {
    let (public, door) = (manager.public(), Door::of(manager.public()));
    let bought = Event::of(SHAPES[0], "customer.subscription.created", "kept");
    eventually("webhooks are taken", async || {
        (door.stripe(&bought).await.ok()?.status == StatusCode::OK).then_some(())
    })
    .await;
    let reader = public.with_token(ACCESS_TOKEN);
    eventually("what was bought is answered, and the crisis of before is known", async || {
        let kept = reader.get(ACCESS).await.json();
        let pressed = reader.get("/v1/customers/cus_pressed/access").await.json();
        (kept["tier"] == "premium" && pressed["crisis"]["active"] == true).then_some(())
    })
    .await;
    eventually("the daemon says that it is ready", async || {
        (public.get("/health/ready").await.status == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(daemon.ended(), None, "{}", daemon.log());
    assert_eq!(daemon.stop(Signal::TERM).await.code(), Some(0), "{}", daemon.log());
}

#[tokio::test]
async fn a_daemon_that_starts_while_postgres_is_away_answers_the_floor_and_works_once_it_is_there() {
    let mut postgres = Postgres::start(Sync::Off).await;
    let url = postgres.database("keepwell").await;
    let manager =
        ServiceManager::new().await.with("KEEPWELL_DATABASE__URL", url).with(IMPATIENT.0, IMPATIENT.1);
    postgres.kill();
    let mut daemon = manager.start();
    let said = manager.hears(&mut daemon, "READY=1").await;
    assert_eq!(said.last().unwrap(), &format!("READY=1\n{WAITING}"));
    drop(daemon);

    let mut daemon = manager.start();
    waits(&manager, &mut daemon).await;
    postgres.start_again().await;
    works(&manager, &mut daemon).await;
}

#[tokio::test]
async fn a_daemon_that_starts_while_its_file_is_locked_answers_the_floor_and_works_once_it_is_not() {
    let manager = ServiceManager::new().await;
    let url = format!("sqlite:{}", manager.folder().join("locked.db").display());
    let mut stranger = SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
    stranger.execute("CREATE TABLE strange (a); BEGIN EXCLUSIVE").await.unwrap();
    let manager = manager.with("KEEPWELL_DATABASE__URL", url).with(IMPATIENT.0, IMPATIENT.1);
    let mut daemon = manager.start();
    waits(&manager, &mut daemon).await;
    stranger.execute("ROLLBACK").await.unwrap();
    works(&manager, &mut daemon).await;
}

#[tokio::test]
async fn a_stop_ends_a_daemon_that_waits_for_its_database() {
    let url = "postgres://keepwell@127.0.0.1:1/keepwell?sslmode=disable";
    let manager = ServiceManager::new().await.with("KEEPWELL_DATABASE__URL", url);
    let mut daemon = manager.start();
    manager.hears(&mut daemon, WAITING).await;
    assert_eq!(daemon.stop(Signal::TERM).await.code(), Some(0), "{}", daemon.log());
}
