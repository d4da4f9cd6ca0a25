//! A server commits and its answer is lost: whoever asked must find out, neither lose anything nor do it twice.

use std::{pin::pin, sync::atomic::Ordering};

use keepwell_workers::{
    database::{Database, DatabaseOptions, Dialect, Durability, turn::Urgency},
    engine::Engine,
    lane::Lane,
    ledger::{EnqueueError, JobFilter},
    on_connection,
};

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::{
    eventually,
    postgres::{Postgres, Sync},
    proxy::{Mode, Proxy},
};

async fn behind_a_network() -> (Proxy, Bench, Engine) {
    let postgres = Postgres::start(Sync::Off).await;
    postgres.database("ledger").await;
    let network = Proxy::before(postgres.socket()).await;
    let bench = Bench::on(postgres, &network.postgres_url("ledger")).await;
    let engine = bench.engine();
    (network, bench, engine)
}

#[tokio::test]
async fn a_job_whose_commit_was_not_answered_is_found_and_answered_once() {
    let (network, bench, engine) = behind_a_network().await;
    for lane in [Lane::Standard, Lane::Crisis] {
        for job in [scripted("ok", lane), scripted("ok", lane).dedupe_key(lane.name())] {
            // What a job is called is said by the statement that records it.
            network.cut_at_answer_to(b"scripted");
            let recorded = engine.enqueue(job).await.unwrap();
            assert!(network.has_cut());
            assert!(!recorded.duplicate);
        }
    }
    nothing_owed(&engine).await;
    let jobs = engine.ledger().list(&JobFilter::default(), None, 10).await.unwrap();
    assert_eq!((jobs.total, bench.effects().await.len()), (4, 4));
    engine.shutdown().await;
}

/// The fewest pieces in which the server was asked for something while `enqueue` was done, of twenty times: the engine
/// asks for this and that by itself.
async fn asked_for(network: &Proxy, mut enqueue: impl AsyncFnMut(u32)) -> u32 {
    let mut fewest = u32::MAX;
    for round in 0..20 {
        let before = network.pieces();
        enqueue(round).await;
        fewest = fewest.min(network.pieces() - before);
    }
    fewest
}

#[tokio::test]
async fn what_is_enqueued_is_recorded_by_a_server_in_one_round_trip() {
    let (network, _bench, engine) = behind_a_network().await;
    engine.pause(Lane::Standard, "so that nobody asks for what is claimed", false).await.unwrap();
    let job = |key: String| scripted("ok", Lane::Standard).dedupe_key(key);
    let one = asked_for(&network, async |round| {
        engine.enqueue(job(format!("one {round}"))).await.unwrap();
    })
    .await;
    // Two more show, afterwards, that the connection is well; they may be counted with the next one.
    assert!(one <= 3, "{one}");
    let many = asked_for(&network, async |round| {
        let jobs = (0..77).map(|number| job(format!("{number} of {round}"))).collect();
        engine.enqueue_all(jobs).await.unwrap();
    })
    .await;
    // What is longer than a piece comes in several.
    assert!(many <= 6, "{many}");
    engine.shutdown().await;
}

#[tokio::test]
async fn effects_whose_commit_was_not_answered_are_in_once_with_what_follows_from_them() {
    let (network, bench, engine) = behind_a_network().await;
    engine.enqueue(scripted("follow at the gate", Lane::Standard)).await.unwrap();
    eventually("it runs", async || (bench.script.begun.load(Ordering::SeqCst) == 1).then_some(())).await;
    network.cut_at_answer_to(b"COMMIT\0");
    bench.script.gate.add_permits(10);
    eventually("the answer is lost", async || network.has_cut().then_some(())).await;
    eventually("both are done", async || (bench.effects().await.len() == 2).then_some(())).await;
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), 2);
    engine.shutdown().await;
}

#[tokio::test]
async fn what_a_slow_server_records_after_all_is_done_though_nobody_waits_for_it_any_more() {
    // The first who records waits for the gate, and everybody after him is refused.
    const GATE: &str = "CREATE TABLE gate (is_open boolean); CREATE SEQUENCE tries; \
         CREATE FUNCTION passes() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN \
         IF nextval('tries') > 1 THEN RAISE 'not now'; END IF; \
         WHILE NOT EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.01); END LOOP; RETURN NULL; END$$; \
         CREATE TRIGGER gate BEFORE INSERT ON jobs FOR EACH STATEMENT EXECUTE FUNCTION passes()";
    let bench = Bench::new(Dialect::Postgres).await;
    let execute = async |sql: &'static str| {
        let mut transaction = bench.database.begin(Urgency::General, Durability::Durable, 0).await.unwrap();
        on_connection!(transaction, |connection| sqlx::raw_sql(sql).execute(connection).await.map(|_| ()))
            .unwrap();
        transaction.commit().await.unwrap();
    };
    execute(GATE).await;
    let engine = bench.engine();
    let recorded = engine.enqueue(scripted("ok", Lane::Standard)).await;
    assert!(matches!(recorded, Err(EnqueueError::Unrecorded)), "{recorded:?}");
    eventually("the lanes have been compared, and nothing was there", async || {
        let is_well = engine.health().lanes_ok && !engine.health().lanes_behind;
        is_well.then_some(())
    })
    .await;
    execute("INSERT INTO gate VALUES (true)").await;
    eventually("it is done", async || (bench.effects().await.len() == 1).then_some(())).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn to_record_what_is_recorded_already_takes_no_more_questions_than_the_first_time() {
    let (network, _bench, engine) = behind_a_network().await;
    let jobs =
        || (0..64).map(|number| scripted("ok", Lane::Standard).dedupe_key(format!("{number}"))).collect();
    engine.pause(Lane::Standard, "so that nothing else asks", false).await.unwrap();
    let mut asked = Vec::new();
    let mut recorded = Vec::new();
    for _ in 0..3 {
        let before = network.pieces();
        recorded.push(engine.enqueue_all(jobs()).await.unwrap());
        asked.push(network.pieces() - before);
    }
    assert!(recorded[1..].iter().flatten().all(|job| job.duplicate));
    let ids = |round: usize| recorded[round].iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(ids(0), ids(2));
    // Statements are prepared the first time; what the engine asks by itself blurs it a little.
    assert!(asked[2] <= asked[0] + 20, "{asked:?}");
    engine.shutdown().await;
}

#[tokio::test]
async fn a_transaction_that_nobody_waited_for_shows_nobody_the_past() {
    let postgres = Postgres::start(Sync::Off).await;
    postgres.database("ledger").await;
    let network = Proxy::before(postgres.socket()).await;
    let options = DatabaseOptions { connections_max: 1, ..DatabaseOptions::default() };
    let database = Database::connect(&network.postgres_url("ledger"), &options).await.unwrap();
    let count = async || -> i64 {
        let mut reader = database.reader(Urgency::General).await.unwrap();
        let counted = on_connection!(reader, |connection| {
            sqlx::query_scalar("SELECT count(*) FROM pg_roles").fetch_one(connection).await
        });
        counted.unwrap()
    };
    let before = count().await;
    let mut reader = database.reader(Urgency::General).await.unwrap();
    let asked = network.pieces();
    network.set(Mode::Hold);
    {
        let mut snapshot = pin!(reader.snapshot());
        assert!(futures_util::poll!(&mut snapshot).is_pending());
        eventually("it is asked for", async || (network.pieces() > asked).then_some(())).await;
    }
    drop(reader);
    network.set(Mode::Forward);
    // Whoever is in that transaction sees what is there now, and goes on seeing it.
    count().await;
    postgres.execute("CREATE ROLE newcomer").await;
    assert_eq!(count().await, before + 1);
    database.close().await;
}
