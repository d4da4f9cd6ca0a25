//! What is told and recorded, and in which time.

use std::sync::Arc;

use keepwell_config::{Config, Purpose, Sources, TIERS_TOML};
use keepwell_jobs::{Care, care::tiers::Tiers, kinds, marks::Marks};
use keepwell_workers::{
    clock::{SharedClock, SystemClock},
    database::{Database, DatabaseOptions},
    engine::{EngineOptions, EngineParts, Retention},
    handler::Registry,
    job::Job,
    lane::Lane,
    lanes::LanesOptions,
    observer::{RunEnded, Unobserved},
    seal::{KeyRing, SealingKey},
};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;

/// One with a database of its own in `directory`, in which nothing is run.
async fn keeper(directory: &TempDir) -> Keeper {
    let clock: SharedClock = Arc::new(SystemClock);
    let keys = KeyRing::new(SealingKey::new("test", &Zeroizing::new([7; 32])), []);
    let care = Care::new(Tiers::from_toml(TIERS_TOML).unwrap(), Marks::default(), keys.clone());
    let url = format!("sqlite:{}", directory.path().join("keepwell.db").display());
    let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
    database.migrate(&crate::serve::migrations()).await.unwrap();
    let parts = EngineParts {
        database: database.clone(),
        keys: keys.clone(),
        clock: Arc::clone(&clock),
        registry: Registry::default(),
        redis_url: format!("redis+unix://{}", directory.path().join("redis.sock").display()),
        observer: Arc::new(Unobserved),
    };
    let options = EngineOptions {
        slots: 1,
        crisis_slots: 1,
        threads: 1,
        runs_jobs: false,
        drain_timeout_ms: 0,
        instance: "test".to_owned(),
        journal: None,
        host: "test".to_owned(),
        lanes: LanesOptions::default(),
        retention: Retention::default(),
    };
    let engine = Engine::start(parts, &options).unwrap();
    let config = Config::load(&Sources::new([], Purpose::Client)).unwrap().config;
    let watchers = Watchers::new(&care, Arc::clone(&clock), Arc::new(Unobserved));
    let desk = CareDesk::new(database.clone(), care, engine.clone(), Arc::clone(&clock));
    let noter = Noter::new(&watchers, &database, &config);
    let trail = Trail::new(database, keys, clock, directory.path());
    Keeper::new(watchers, engine, desk, noter, trail)
}

#[tokio::test(flavor = "multi_thread")]
async fn violations_that_wait_to_be_recorded_are_recorded_when_the_daemon_ends() {
    let directory = tempfile::tempdir().unwrap();
    let mut keeper = keeper(&directory).await;
    for number in 0..3 {
        let violation = NewJob::new(kinds::CRISIS_ANSWERED_LATE, Lane::Crisis, "{}");
        keeper.unrecorded.put(violation.dedupe_key(format!("late:{number}")));
    }
    // It was silent just now, and may answer again.
    keeper.ledger_is_silent = true;
    keeper.finish(mpsc::channel(1).1).await;
    assert!(keeper.unrecorded.0.is_empty());
    let totals = keeper.engine.ledger().totals().await.unwrap();
    assert_eq!(totals.owed, 3);
    keeper.engine.shutdown().await;
}

/// A crisis that `job` answered in 3 000 ms, as the engine tells of the end of its run.
fn answers_late(keeper: &Keeper, customer: &str) {
    let job = Job {
        id: JobId::new(1),
        kind: kinds::INVOICE_PAYMENT_FAILED.into(),
        lane: Lane::Crisis,
        dedupe_key: None,
        subject: Some(customer.to_owned()),
        payload: "{".into(),
        attempts: 0,
        created_ms: 1,
        trace: None,
    };
    let (waited, ran) = (Some(Duration::from_secs(2)), Duration::from_secs(1));
    let ended = RunEnded { job: &job, outcome: "done", waited, ran };
    keeper.watchers.late.run_ended(&ended, &keeper.watchers.care);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_late_is_told_of_in_its_time_and_recorded_when_there_is_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut keeper = keeper(&directory).await;
    for number in 0..3 {
        answers_late(&keeper, &format!("cus_{number}"));
    }
    // Those of the round before are ripe with the next one.
    for _ in 0..2 {
        keeper.tell_of_late(Duration::ZERO).await;
    }
    assert_eq!(keeper.told.len(), 3, "each is told of");
    assert_eq!(keeper.engine.ledger().totals().await.unwrap().owed, 0, "and the ledger is not asked");
    keeper.finish(mpsc::channel(1).1).await;
    assert_eq!(keeper.engine.ledger().totals().await.unwrap().owed, 3);
    keeper.engine.shutdown().await;
}
