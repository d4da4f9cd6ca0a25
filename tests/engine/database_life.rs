//! A PostgreSQL that dies loses its last relaxed commits: what the lanes were told is done is owed again.

use std::time::Duration;

use futures_util::future::join_all;
use keepwell_workers::{
    database::{Connection, Database, DatabaseOptions, Durability, turn::Urgency},
    lane::Lane,
    ledger::JobFilter,
    state::State,
};
use tokio::time::timeout;

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::{
    eventually,
    postgres::{Postgres, Sync},
    proxy::Proxy,
};

/// A server that leaves relaxed commits in its memory for as long as it can.
async fn forgetful() -> Bench {
    let postgres = Postgres::start(Sync::On).await;
    postgres.execute("ALTER SYSTEM SET wal_writer_delay = '10s'").await;
    postgres.execute("SELECT pg_reload_conf()").await;
    let url = postgres.database("ledger").await;
    Bench::on(postgres, &url).await
}

#[tokio::test]
async fn what_a_dying_server_forgets_is_done_again() {
    let mut bench = forgetful().await;
    let engine = bench.engine();
    let jobs = (0..20).map(|number| scripted("ok", Lane::ALL[number % 5])).collect();
    engine.enqueue_all(jobs).await.unwrap();
    nothing_owed(&engine).await;

    let mut postgres = bench.postgres.take().unwrap();
    postgres.kill();
    postgres.start_again().await;
    // However short its absence was.
    eventually("everything is done once more", async || {
        let done = JobFilter { state: Some(State::Done), ..JobFilter::default() };
        let done = engine.ledger().list(&done, None, 1).await.ok()?;
        (done.total == 20).then_some(())
    })
    .await;
    assert_eq!(bench.effects().await.len(), 20);
    engine.shutdown().await;
}

#[tokio::test]
async fn another_life_of_the_database_is_told_from_the_one_before() {
    let mut bench = forgetful().await;
    let engine = bench.engine_with(|options| options.runs_jobs = false);
    let ledger = engine.ledger();
    let first = ledger.life().await.unwrap();
    assert_eq!(ledger.life().await.unwrap(), first);

    let mut postgres = bench.postgres.take().unwrap();
    postgres.throw_out().await;
    // Seen from here, this is what a server does that restarts all its sessions after a crash of one.
    let thrown_out = eventually("it answers after throwing us out", async || {
        ledger.life().await.ok().filter(|life| *life != first)
    })
    .await;
    let started = |life: &str| life.rsplit_once(' ').map(|(started, _)| started.to_owned());
    assert_eq!(started(&thrown_out), started(&first));

    postgres.kill();
    postgres.start_again().await;
    eventually("it answers in another life", async || {
        ledger.life().await.ok().filter(|life| started(life) != started(&first))
    })
    .await;
    engine.shutdown().await;
}

#[tokio::test]
async fn connections_that_fell_silent_are_given_up_together() {
    const CONNECTIONS: u32 = 8;
    let postgres = Postgres::start(Sync::Off).await;
    postgres.database("ledger").await;
    let network = Proxy::before(postgres.socket()).await;
    let options = DatabaseOptions { connections_max: CONNECTIONS, ..DatabaseOptions::default() };
    let database = Database::connect(&network.postgres_url("ledger"), &options).await.unwrap();
    let all = || join_all((0..CONNECTIONS).map(|_| database.begin(Urgency::General, Durability::Relaxed, 0)));
    drop(all().await);
    let mut pieces = (0, 0);
    eventually("all of them are idle", async || {
        // Nobody has said anything any more for a while.
        pieces = if network.pieces() == pieces.0 { (pieces.0, pieces.1 + 1) } else { (network.pieces(), 0) };
        (network.accepted() >= CONNECTIONS && pieces.1 > 20).then_some(())
    })
    .await;

    network.strand();
    // One after the other, so that each could find a silent one for itself, and lose a second with it.
    let begun = timeout(Duration::from_secs(CONNECTIONS.into()), async {
        for _ in 0..CONNECTIONS {
            let begun = database.begin(Urgency::General, Durability::Relaxed, 0).await.unwrap();
            begun.commit().await.unwrap();
        }
    });
    begun.await.expect("one second in all");
    database.close().await;
}

#[tokio::test]
async fn only_what_would_be_done_again_commits_before_it_is_on_disk() {
    let postgres = Postgres::start(Sync::On).await;
    let url = postgres.database("ledger").await;
    let options = DatabaseOptions { connections_max: 1, ..DatabaseOptions::default() };
    let database = Database::connect(&url, &options).await.unwrap();
    for (durability, expected) in [
        (Durability::Relaxed, "off"),
        (Durability::Durable, "on"),
        (Durability::Relaxed, "off"),
        (Durability::InTwoSteps, "on"),
    ] {
        let mut transaction = database.begin(Urgency::General, durability, 0).await.unwrap();
        let Connection::Postgres(connection) = transaction.connection() else { panic!("it is PostgreSQL") };
        let waits: String =
            sqlx::query_scalar("SHOW synchronous_commit").fetch_one(connection).await.unwrap();
        assert_eq!(waits, expected, "{durability:?}");
        transaction.commit().await.unwrap();
    }
    database.close().await;
}
