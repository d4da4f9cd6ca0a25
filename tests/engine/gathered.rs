//! What runs leave to be written together keeps nobody else from the database for longer than their effects may; and
//! crises that have ended leave it together.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use keepwell_workers::{
    database::{Dialect, Together, Transaction},
    engine::Engine,
    handler::{Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    ledger::Attempt,
    outcome::Outcome,
    policy::Policy,
    state::State,
};

use tokio::sync::Semaphore;

use super::{
    bench::{Bench, Script, nothing_owed, scripted},
    poison::journal,
};
use crate::support::eventually;

/// Takes its time to be written: until it is let go.
#[derive(Default)]
struct Slowly(Option<Arc<Script>>);

#[async_trait]
impl Together for Slowly {
    async fn write(self, _: &mut Transaction) -> Result<(), sqlx::Error> {
        let script = self.0.expect("somebody has left it");
        script.bell.notify_one();
        script.gate.acquire().await.unwrap().forget();
        Ok(())
    }
}

/// Leaves that, and is done at once itself.
struct Leaver(Arc<Script>);

#[async_trait]
impl Handler for Leaver {
    fn kind(&self) -> &'static str {
        "leaver"
    }

    fn policy(&self) -> Policy {
        Policy { attempts_max: 2, backoff_base_ms: 1, backoff_cap_ms: 5, timeout_ms: 3_600_000 }
    }

    async fn apply(
        &self,
        _: &Job,
        _: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, sqlx::Error> {
        transaction.together::<Slowly>().0 = Some(Arc::clone(&self.0));
        Ok(Outcome::Done)
    }
}

fn engine(bench: &Bench) -> Engine {
    bench.engine_of([Arc::new(Leaver(Arc::clone(&bench.script))) as Arc<dyn Handler>], |_| {})
}

fn leaver() -> NewJob {
    NewJob::new("leaver", Lane::Standard, "")
}

#[tokio::test]
async fn writing_what_was_gathered_gives_way_to_a_crisis() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = engine(&bench);
    // However many of them share a transaction.
    let left = engine.enqueue_all(vec![leaver(), leaver(), leaver()]).await.unwrap();
    bench.script.bell.notified().await;

    let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id.to_string();
    eventually("the crisis job is done", async || bench.effects().await.contains(&crisis).then_some(()))
        .await;
    for job in &left {
        let (job, history) = engine.ledger().show(job.id).await.unwrap().unwrap();
        assert_eq!((job.state, job.attempts, history.len()), (State::Owed, 0, 0), "{history:?}");
    }

    bench.script.gate.add_permits(left.len());
    nothing_owed(&engine).await;
    for job in &left {
        let (job, _) = engine.ledger().show(job.id).await.unwrap().unwrap();
        assert_eq!(job.state, State::Done);
    }
    engine.shutdown().await;
}

#[tokio::test]
async fn writing_what_was_gathered_is_given_up_however_patient_the_kind_is() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = engine(&bench);
    let id = engine.enqueue(leaver()).await.unwrap().id;
    let history: Vec<Attempt> = eventually("it is given up", async || {
        let (_, history) = engine.ledger().show(id).await.ok()??;
        (!history.is_empty()).then_some(history)
    })
    .await;
    assert_eq!(history[0].error.as_deref(), Some("writing the effects took longer than 2000 ms"));
    bench.script.gate.add_permits(1);
    nothing_owed(&engine).await;
    assert_eq!(engine.ledger().show(id).await.unwrap().unwrap().0.state, State::Done);
    engine.shutdown().await;
}

/// How many crises of each transaction have left something.
type Shares = Arc<Mutex<Vec<usize>>>;

#[derive(Default)]
struct Share(usize, Shares);

#[async_trait]
impl Together for Share {
    async fn write(self, _: &mut Transaction) -> Result<(), sqlx::Error> {
        self.1.lock().unwrap().push(self.0);
        Ok(())
    }
}

/// The first of them has the database open until all others have ended, who end after it: one that is stuck first,
/// which has the database for as long as it may.
struct Crowd {
    shares: Shares,
    has_general_slot: Semaphore,
    /// One for the one that is stuck; the others share one.
    may_end: [Semaphore; 2],
    ended: Semaphore,
    test_ends: Semaphore,
}

impl Crowd {
    fn new() -> Arc<Self> {
        let [has_general_slot, ended, test_ends] = [(); 3].map(|()| Semaphore::new(0));
        let may_end = [Semaphore::new(0), Semaphore::new(0)];
        Arc::new(Self { shares: Shares::default(), has_general_slot, may_end, ended, test_ends })
    }

    /// An engine that runs all of them at once in the slots of the crisis pool, whose settler is theirs alone: a job of
    /// another lane has the general slot until the test ends.
    async fn engine(self: &Arc<Self>, bench: &Bench, journal: Option<PathBuf>) -> Engine {
        let engine = bench.engine_of([Arc::clone(self) as Arc<dyn Handler>], |options| {
            (options.slots, options.crisis_slots) = (1, OTHERS as usize + 1);
            options.journal = journal;
        });
        engine.enqueue(NewJob::new("crowd", Lane::Standard, "aside")).await.unwrap();
        self.has_general_slot.acquire().await.unwrap().forget();
        engine
    }
}

const OTHERS: u32 = 11;

#[async_trait]
impl Handler for Crowd {
    fn kind(&self) -> &'static str {
        "crowd"
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        match &job.payload[..] {
            b"first" | b"first beside a stuck one" => return Ok(Box::new(())),
            b"aside" => {
                self.has_general_slot.add_permits(1);
                drop(self.test_ends.acquire().await);
                return Err(Outcome::Cancel { reason: "the test ends".into() });
            }
            b"stuck" => {
                drop(self.may_end[0].acquire().await);
                self.may_end[1].add_permits(1);
            }
            _ => drop(self.may_end[1].acquire().await),
        }
        self.ended.add_permits(1);
        Ok(Box::new(()))
    }

    async fn apply(&self, job: &Job, _: &Prepared, open: &mut Transaction) -> Result<Outcome, sqlx::Error> {
        if job.payload.starts_with(b"first") {
            self.may_end[usize::from(&job.payload[..] == b"first")].add_permits(1);
            drop(self.ended.acquire_many(OTHERS).await);
        }
        if &job.payload[..] == b"stuck" {
            let _ = self.test_ends.acquire().await;
        }
        let share = open.together::<Share>();
        share.1 = Arc::clone(&self.shares);
        share.0 += 1;
        Ok(Outcome::Done)
    }
}

#[tokio::test]
async fn crises_that_have_ended_share_a_transaction_eight_at_most_where_writers_take_turns() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let crowd = Crowd::new();
    let engine = crowd.engine(&bench, None).await;
    let payloads = ["first"].into_iter().chain([""; OTHERS as usize]);
    let jobs = payloads.map(|payload| NewJob::new("crowd", Lane::Crisis, payload)).collect();
    // At once: while the first of them is settled nobody else writes.
    let jobs = engine.enqueue_all(jobs).await.unwrap();
    eventually("all are done", async || {
        for job in &jobs {
            let (job, _) = engine.ledger().show(job.id).await.ok()??;
            (job.state == State::Done).then_some(())?;
        }
        Some(())
    })
    .await;
    let shares = crowd.shares.lock().unwrap().clone();
    assert_eq!(shares.iter().sum::<usize>(), OTHERS as usize + 1, "{shares:?}");
    assert!(shares.iter().all(|share| *share <= 8), "{shares:?}");
    assert!(shares.iter().any(|share| *share > 2), "each by itself: {shares:?}");
    crowd.test_ends.close();
    engine.shutdown().await;
}

#[tokio::test]
async fn a_crisis_that_may_have_killed_its_worker_takes_no_other_one_with_it() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let crowd = Crowd::new();
    let recorder =
        bench.engine_of([Arc::clone(&crowd) as Arc<dyn Handler>], |options| options.runs_jobs = false);
    recorder.pause(Lane::Crisis, "until the general slot is taken", true).await.unwrap();
    let payloads = ["first"].into_iter().chain([""; OTHERS as usize]);
    let jobs = payloads.map(|payload| NewJob::new("crowd", Lane::Crisis, payload)).collect();
    let jobs = recorder.enqueue_all(jobs).await.unwrap();
    let suspects: Vec<_> = jobs[1..].iter().step_by(2).map(|job| (job.id, 1)).collect();
    let engine = crowd.engine(&bench, Some(journal(&bench, &suspects))).await;
    recorder.resume(Lane::Crisis).await.unwrap();
    eventually("all are done", async || {
        (crowd.shares.lock().unwrap().iter().sum::<usize>() == jobs.len()).then_some(())
    })
    .await;
    let shares = crowd.shares.lock().unwrap().clone();
    let alone = shares.iter().filter(|share| **share == 1).count();
    assert!(alone >= suspects.len(), "{} suspects, transactions of {shares:?} crises", suspects.len());
    crowd.test_ends.close();
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn a_crisis_that_is_slow_beside_others_is_settled_after_those_that_it_shared_with() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let crowd = Crowd::new();
    let engine = crowd.engine(&bench, None).await;
    let payloads = ["first beside a stuck one", "stuck"].into_iter().chain([""; OTHERS as usize - 1]);
    let jobs = payloads.map(|payload| NewJob::new("crowd", Lane::Crisis, payload)).collect();
    let jobs = engine.enqueue_all(jobs).await.unwrap();
    let given_up_ms = eventually("the one that is stuck is given up", async || {
        let (_, history) = engine.ledger().show(jobs[1].id).await.ok()??;
        Some(history.first()?.finished_at_ms)
    })
    .await;
    crowd.test_ends.close();
    nothing_owed(&engine).await;
    let mut before = 0;
    for job in &jobs[2..] {
        let (job, history) = engine.ledger().show(job.id).await.unwrap().unwrap();
        assert_eq!(history.len(), 0, "none is given up with it: {history:?}");
        before += usize::from(job.finished_at_ms.unwrap() < given_up_ms);
    }
    // It ended before all of them, and has the two seconds of its effects now, alone.
    assert!(before > 2, "{before} of those that could share with it were settled before it");
    engine.shutdown().await;
}
