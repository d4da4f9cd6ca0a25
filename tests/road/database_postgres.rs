//! A PostgreSQL that is restarted, throws the daemon out, has no connection for it, or falls silent.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    access, assert_not_recorded,
    event::{Event, SHAPES},
    nothing_owed, ready, signal,
    stream::Stream,
    stripe, trouble,
};
use crate::support::{
    daemon::Daemon,
    eventually,
    postgres::{Postgres, Sync},
    proxy::{Mode, Proxy},
};

/// Has the daemon answer fast that it cannot take anything.
const IMPATIENT: (&str, &str) = ("KEEPWELL_LIMITS__ANSWER_TIMEOUT_MS", "500");

fn pressed() -> Value {
    signal("crisis.signal", "cus_pressed", json!({ "source": "button", "severity": "critical" }))
}

/// What must hold while the daemon cannot reach its database.
async fn everybody_is_answered_and_nothing_promised(daemon: &Daemon) {
    assert_not_recorded(
        &daemon.stripe(&Event::of(SHAPES[0], "invoice.payment_failed", "kept")).await.unwrap(),
    );
    assert_not_recorded(&daemon.app("msg_pressed", &pressed()).await.unwrap());
    assert!(trouble(daemon).await.starts_with("the database does not answer"));
    let floor = daemon.reader().get("/v1/customers/cus_kept/access").await;
    assert_eq!((floor.status, floor.header("keepwell-fallback")), (StatusCode::OK, "floor"));
    assert_eq!(daemon.public().get("/v1/crisis-resources").await.status, StatusCode::OK);
}

/// What must hold once it can.
async fn all_is_well_again(daemon: &Daemon) {
    ready(daemon).await;
    eventually("the crisis is known without being told of again", async || {
        (access(daemon, "cus_pressed").await["crisis"]["active"] == true).then_some(())
    })
    .await;
    // A connection that is found dead in this moment costs an answer its time, and its sender comes again.
    let again = eventually("the sender is told that it is known", async || {
        let answer = daemon.app("msg_pressed", &pressed()).await.ok()?;
        (answer.status == StatusCode::OK).then(|| answer.json())
    })
    .await;
    assert_eq!(again["duplicate"], true);
    eventually("events are taken again", async || {
        let answer = daemon.stripe(&Event::of(SHAPES[0], "invoice.payment_failed", "later")).await.ok()?;
        (answer.status == StatusCode::OK).then_some(())
    })
    .await;
    nothing_owed(daemon).await;
    assert_eq!(access(daemon, "cus_pressed").await["version"], 1);
    assert_eq!(access(daemon, "cus_kept").await["tier"], "premium");
}

#[tokio::test]
async fn a_server_that_is_killed_and_throws_everybody_out_in_a_stream_loses_nothing() {
    let mut postgres = Postgres::start(Sync::On).await;
    let url = postgres.database("keepwell").await;
    let mut daemon = Daemon::start_with(&[("KEEPWELL_DATABASE__URL", &url)]).await;
    let stream = Stream { people: 16, events_each: 24 };
    stream
        .survives(&mut daemon, async |_, mut taken| {
            for (number, moment) in stream.moments(3, 7).into_iter().enumerate() {
                taken.wait_for(|taken| *taken >= moment).await.expect("the stream goes on");
                if number % 2 == 0 {
                    postgres.kill();
                    postgres.start_again().await;
                } else {
                    postgres.throw_out().await;
                }
            }
        })
        .await;
}

#[tokio::test]
async fn without_a_connection_to_spare_everybody_is_answered() {
    let postgres = Postgres::start(Sync::Off).await;
    postgres.execute("CREATE ROLE app LOGIN").await;
    let url = postgres.database("keepwell").await.replace("user=keepwell", "user=app");
    postgres.execute("ALTER DATABASE keepwell OWNER TO app").await;
    let daemon = Daemon::start_with(&[("KEEPWELL_DATABASE__URL", &url), IMPATIENT]).await;
    stripe(&daemon, &Event::of(SHAPES[0], "customer.subscription.created", "kept")).await;

    postgres.execute("ALTER ROLE app CONNECTION LIMIT 0").await;
    postgres.throw_out().await;
    everybody_is_answered_and_nothing_promised(&daemon).await;

    postgres.execute("ALTER ROLE app CONNECTION LIMIT 50").await;
    all_is_well_again(&daemon).await;
}

#[tokio::test]
async fn a_network_that_swallows_everything_holds_nobody_up() {
    let postgres = Postgres::start(Sync::Off).await;
    postgres.database("keepwell").await;
    let network = Proxy::before(postgres.socket()).await;
    let url = network.postgres_url("keepwell");
    let daemon = Daemon::start_with(&[("KEEPWELL_DATABASE__URL", &url), IMPATIENT]).await;
    stripe(&daemon, &Event::of(SHAPES[0], "customer.subscription.created", "kept")).await;

    network.set(Mode::BlackHole);
    everybody_is_answered_and_nothing_promised(&daemon).await;

    // The connections of before are never heard of again.
    network.set(Mode::Forward);
    all_is_well_again(&daemon).await;
}

#[tokio::test]
async fn a_slow_disk_costs_time_and_no_event() {
    let postgres = Postgres::start(Sync::On).await;
    // Each sync of the disk takes a tenth of a second longer.
    postgres.execute("ALTER SYSTEM SET commit_delay = 100000").await;
    postgres.execute("ALTER SYSTEM SET commit_siblings = 0").await;
    postgres.execute("SELECT pg_reload_conf()").await;
    let url = postgres.database("keepwell").await;
    let mut daemon = Daemon::start_with(&[("KEEPWELL_DATABASE__URL", &url)]).await;
    Stream { people: 60, events_each: 2 }.survives(&mut daemon, async |_, _| {}).await;
}
