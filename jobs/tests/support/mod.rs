//! A room of jobs on a real database: what comes in at the door is read, handled and committed as in the daemon.

#[path = "../../../tests/support/envelopes.rs"]
pub mod envelopes;
#[path = "../../../tests/support/gateway.rs"]
pub mod gateway;
#[path = "../../../tests/support/personal.rs"]
pub mod personal;
mod postgres;
#[path = "../../../tests/support/stripe.rs"]
pub mod stripe;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use keepwell_jobs::{
    Care, access_query,
    care::{document::AccessDocument, facts::Facts, tiers::Tiers},
    handlers,
    intake::{read_app, read_stripe},
    marks::Marks,
    migrations,
    outbound::notify::{Notifier, NotifierOptions},
    outreach::Outreach,
    settle_untold,
    store::{self, FactsMemory},
};
use keepwell_workers::{
    clock::{Clock as _, ManualClock, UnixMs},
    database::{Database, DatabaseOptions, Durability, Transaction, turn::Urgency},
    handler::Registry,
    id::JobId,
    job::{Job, NewJob},
    ledger,
    outcome::Outcome,
    seal::{KeyRing, SealingKey},
    state::{Transition, settle},
};
use tempfile::TempDir;
use zeroize::Zeroizing;

use gateway::{GATEWAY_TOKEN, Gateway};
use postgres::Postgres;

/// When everything happens.
pub const NOW_MS: UnixMs = 1_700_000_000_000;
/// The same in seconds.
pub const NOW_S: i64 = NOW_MS / 1_000;
/// One day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// A room and its database. Clones are the same room.
#[derive(Clone)]
pub struct Room {
    pub database: Database,
    pub care: Care,
    /// Where SQLite keeps its file.
    pub directory: Arc<TempDir>,
    registry: Registry,
    /// Shows when the last job was run.
    clock: Arc<ManualClock>,
    #[allow(dead_code)] // Only one of the suites asks for it.
    url: String,
    follow_ups: Arc<Mutex<Vec<NewJob>>>,
    _postgres: Option<Arc<Postgres>>,
}

/// Runs `test` in an empty room on SQLite, and in another on PostgreSQL where that is installed.
pub async fn on_each_database(test: impl AsyncFn(&Room)) {
    let directory = Arc::new(TempDir::with_prefix("keepwell-jobs-").expect("a temporary directory"));
    let url = format!("sqlite:{}", directory.path().join("jobs.db").display());
    test(&Room::open(&url, &directory, None).await).await;
    match Postgres::shared() {
        Some(postgres) => {
            let url = postgres.database().await;
            let room = Room::open(&url, &directory, Some(postgres)).await;
            test(&room).await;
            room.database.close().await;
        }
        None => eprintln!("PostgreSQL is not installed: only SQLite was tested"),
    }
}

impl Room {
    /// An empty room on a PostgreSQL server that nobody else uses; `None` where that is not installed.
    #[allow(dead_code)] // Only one of the suites asks for it.
    pub async fn on_a_server_of_its_own() -> Option<Self> {
        let directory = Arc::new(TempDir::with_prefix("keepwell-jobs-").expect("a temporary directory"));
        let postgres = Postgres::alone()?;
        Some(Self::open(&postgres.database().await, &directory, Some(postgres)).await)
    }

    /// The address of its database.
    #[allow(dead_code)] // Only one of the suites asks for it.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn open(url: &str, directory: &Arc<TempDir>, postgres: Option<Arc<Postgres>>) -> Self {
        let database = Database::connect(url, &DatabaseOptions::default()).await.expect("a database");
        let tables = [ledger::MIGRATIONS, &migrations()].concat();
        database.migrate(&tables).await.expect("its tables");
        let tiers = Tiers::from_toml(include_str!("../../../config/tiers.toml")).expect("the shipped tiers");
        let keys = KeyRing::new(SealingKey::new("test", &Zeroizing::new([7; 32])), []);
        let database = database.sealing_with(keys.clone());
        let care = Care::new(tiers, Marks::default(), keys);
        let registry = Registry::new(handlers(&care));
        let (directory, follow_ups) = (Arc::clone(directory), Arc::default());
        let clock = ManualClock::at(NOW_MS);
        let url = url.to_owned();
        Self { database, care, directory, registry, clock, url, follow_ups, _postgres: postgres }
    }

    /// The same database with one connection for everything that is not a crisis.
    #[allow(dead_code)] // Only one of the suites asks for it.
    pub async fn with_one_connection(&self) -> Database {
        let options = DatabaseOptions { connections_max: 1, acquire_timeout_ms: 1_000 };
        let database = Database::connect(&self.url, &options).await.expect("a database");
        database.sealing_with(self.care.keys.clone())
    }

    /// The same room with a gateway that brings words to people, slow after `timeout_ms`.
    pub fn telling(&self, gateway: &Gateway, timeout_ms: u64) -> Self {
        let notifier = Notifier::new(&NotifierOptions {
            url: &gateway.url(),
            token: GATEWAY_TOKEN,
            timeout_ms,
            authorities: None,
            urgent_in_flight_max: 2,
            in_flight_max: 2,
        });
        let (database, clock) = (self.database.clone(), self.clock.clone());
        let outreach = Outreach { notifier: notifier.expect("a gateway"), database, clock };
        let care = self.care.clone().with_outreach(outreach);
        Self { registry: Registry::new(handlers(&care)), care, ..self.clone() }
    }

    /// The jobs that followed from what was heard since the last time, in the order of their keys.
    pub fn follow_ups(&self) -> Vec<NewJob> {
        let mut jobs = std::mem::take(&mut *self.follow_ups.lock().expect("the jobs"));
        jobs.sort_by(|one, other| (&one.kind, &one.dedupe_key).cmp(&(&other.kind, &other.dedupe_key)));
        jobs
    }

    /// Runs everything that follows now until nothing more does; answers with what waits for later.
    pub async fn follow(&self, now_ms: UnixMs) -> Vec<NewJob> {
        let mut later = Vec::new();
        loop {
            let jobs = self.follow_ups();
            if jobs.is_empty() {
                return later;
            }
            for job in jobs {
                if job.run_at_ms.is_some_and(|run_at_ms| run_at_ms > now_ms) {
                    later.push(job);
                } else {
                    assert_eq!(self.run(job, now_ms).await, Outcome::Done);
                }
            }
        }
    }

    /// Another process on the same database, which remembers nothing yet.
    #[must_use]
    pub fn beside(&self) -> Self {
        let care = Care { memory: FactsMemory::default(), marks: Marks::default(), ..self.care.clone() };
        Self { registry: Registry::new(handlers(&care)), care, ..self.clone() }
    }

    /// Hears an event of Stripe's at [`NOW_MS`].
    pub async fn stripe(&self, body: &str) -> Outcome {
        self.stripe_at(body, NOW_MS).await
    }

    /// Hears an event of Stripe's at `now_ms`.
    pub async fn stripe_at(&self, body: &str, now_ms: UnixMs) -> Outcome {
        let intake = read_stripe(&Bytes::from(body.to_owned()), &self.care.marks, &self.care.event_types)
            .expect("an event");
        self.run(intake.job, now_ms).await
    }

    /// Hears a signal of the app's at [`NOW_MS`].
    pub async fn app(&self, body: &str) -> Outcome {
        self.app_at(body, NOW_MS).await
    }

    /// Hears a signal of the app's at `now_ms`.
    pub async fn app_at(&self, body: &str, now_ms: UnixMs) -> Outcome {
        let intake =
            read_app("msg_1", &Bytes::from(body.to_owned()), &self.care.marks, &self.care.definitions)
                .expect("a signal");
        self.run(intake.job, now_ms).await
    }

    /// Runs a job that was recorded at `learned_ms`, and commits what it did if it is done.
    pub async fn run(&self, job: NewJob, learned_ms: UnixMs) -> Outcome {
        self.run_late(job, learned_ms, learned_ms).await
    }

    /// Runs a job at `now_ms` that was recorded at `recorded_ms`, and commits what it did if it is done.
    pub async fn run_late(&self, job: NewJob, recorded_ms: UnixMs, now_ms: UnixMs) -> Outcome {
        self.run_again(job, 0, recorded_ms, now_ms).await
    }

    /// The same for a job of which `attempts` runs have failed. If it is dead then, what that leaves is settled.
    pub async fn run_again(
        &self,
        job: NewJob,
        attempts: u32,
        recorded_ms: UnixMs,
        now_ms: UnixMs,
    ) -> Outcome {
        let job = Job { attempts, ..recorded(job, recorded_ms) };
        let (outcome, mut transaction) = self.apply_recorded(&job, now_ms).await;
        if outcome == Outcome::Done {
            self.follow_ups.lock().expect("the jobs").extend(transaction.take_follow_ups());
            transaction.commit().await.expect("a commit");
        } else {
            drop(transaction);
            let policy = self.registry.policy(&job.kind);
            if let Transition::Bury { .. } = settle(outcome.clone(), attempts, &policy, now_ms, 0.0) {
                settle_untold(&self.database, &job, now_ms).await.expect("a settled death");
            }
        }
        outcome
    }

    /// Runs a job and leaves the transaction open.
    pub async fn apply(&self, job: NewJob, learned_ms: UnixMs) -> (Outcome, Transaction) {
        self.apply_recorded(&recorded(job, learned_ms), learned_ms).await
    }

    async fn apply_recorded(&self, job: &Job, now_ms: UnixMs) -> (Outcome, Transaction) {
        let handler = self.registry.get(&job.kind).expect("every kind has a handler");
        self.clock.advance_ms(now_ms - self.clock.now_ms());
        // As in the daemon, no transaction is open yet.
        let prepared = handler.prepare(job).await;
        let begun = self.database.begin(Urgency::General, Durability::Relaxed, now_ms).await;
        let mut transaction = begun.expect("a transaction");
        transaction.work_for(Arc::new(job.clone()));
        let outcome = match prepared {
            Ok(prepared) => {
                handler.apply(job, &prepared, &mut transaction).await.expect("a database that answers")
            }
            Err(outcome) => outcome,
        };
        (outcome, transaction)
    }

    /// What `customer` may use at `now_ms`. What the room remembers has to be what the database holds.
    pub async fn access(&self, customer: &str, now_ms: UnixMs) -> AccessDocument {
        let mut reader = self.database.reader(Urgency::General).await.expect("a reader");
        let remembered = access_query::access(&mut reader, &self.care, customer, now_ms).await;
        let forgetful = Care { memory: FactsMemory::default(), ..self.care.clone() };
        let kept = access_query::access(&mut reader, &forgetful, customer, now_ms).await;
        let (remembered, kept) = (remembered.expect("an answer"), kept.expect("an answer"));
        assert_eq!(remembered, kept);
        kept
    }

    /// What the database holds about `customer`.
    pub async fn facts(&self, customer: &str) -> Facts {
        let mut reader = self.database.reader(Urgency::General).await.expect("a reader");
        store::facts(&mut reader, customer, &FactsMemory::default()).await.expect("an answer")
    }
}

/// The job as the ledger has it that recorded it at `recorded_ms`.
fn recorded(job: NewJob, recorded_ms: UnixMs) -> Job {
    Job {
        id: JobId::new(recorded_ms),
        kind: job.kind,
        lane: job.lane,
        dedupe_key: job.dedupe_key,
        subject: job.subject,
        payload: job.payload,
        attempts: 0,
        created_ms: recorded_ms,
        trace: None,
    }
}

/// An event of Stripe's about `object`, made `ago_s` seconds before [`NOW_MS`].
pub fn event(id: &str, event_type: &str, ago_s: i64, object: &str) -> String {
    format!(
        r#"{{"id":"{id}","object":"event","type":"{event_type}","created":{},"livemode":false,
            "data":{{"object":{object}}}}}"#,
        NOW_S - ago_s
    )
}

/// A premium subscription whose newest invoice is `in_1`.
pub fn subscription(customer: &str, status: &str) -> String {
    format!(
        r#"{{"id":"sub_1","object":"subscription","customer":"{customer}","status":"{status}","latest_invoice":"in_1",
            "items":{{"data":[{{"price":{{"id":"price_premium_monthly"}},"current_period_end":1800000000}}]}}}}"#
    )
}

/// The invoice `in_1` of that subscription.
pub fn invoice(customer: &str) -> String {
    format!(
        r#"{{"id":"in_1","object":"invoice","customer":"{customer}","subscription":"sub_1","attempt_count":1}}"#
    )
}

/// A signal of the app's, stated `ago_s` seconds before [`NOW_MS`], with `more` in its data.
pub fn signal(signal_type: &str, customer: &str, ago_s: i64, more: &str) -> String {
    let timestamp_s = NOW_S - ago_s;
    format!(
        r#"{{"type":"{signal_type}","timestamp":{timestamp_s},"data":{{"customer":"{customer}"{more}}}}}"#
    )
}

impl Room {
    /// The same room with another care.
    pub fn caring(&self, care: Care) -> Self {
        Self { registry: Registry::new(handlers(&care)), care, ..self.clone() }
    }
}
