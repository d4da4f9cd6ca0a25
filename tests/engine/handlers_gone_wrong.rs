//! Handlers that do what no handler should. None of them costs anybody else anything.

use std::{
    future::pending,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use keepwell_workers::{
    database::{Dialect, Transaction},
    engine::Engine,
    handler::{Handler, Prepared},
    id::JobId,
    job::{Job, NewJob},
    lane::Lane,
    ledger::{Attempt, JobView},
    outcome::Outcome,
    policy::Policy,
    state::State,
};
use redis::AsyncCommands as _;

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::eventually;

const POLICY: Policy = Policy { attempts_max: 2, backoff_base_ms: 1, backoff_cap_ms: 5, timeout_ms: 200 };

/// Does what its job's payload says.
#[derive(Default)]
struct Wrong {
    /// `block` jobs hold their thread until this is true.
    released: Arc<(Mutex<bool>, Condvar)>,
    /// How many have come so far.
    blocked: Arc<AtomicU32>,
}

#[async_trait]
impl Handler for Wrong {
    fn kind(&self) -> &'static str {
        "wrong"
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        let words = String::from_utf8_lossy(&job.payload).into_owned();
        match &*words {
            "hang" => pending().await,
            "block" => {
                self.blocked.fetch_add(1, Ordering::SeqCst);
                let (released, changed) = &*self.released;
                drop(changed.wait_while(released.lock().unwrap(), |released| !*released).unwrap());
            }
            "long error" => return Err(Outcome::dead("\u{20ac}".repeat(1_000_000))),
            "snooze" => return Err(Outcome::Snooze { after: std::time::Duration::ZERO }),
            "panic" => panic!("words of the source"),
            words if words.starts_with("panic over") => panic!("cannot read {words}"),
            _ => {}
        }
        Ok(Box::new(words))
    }

    async fn apply(
        &self,
        _: &Job,
        prepared: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, sqlx::Error> {
        let words = prepared.downcast_ref::<String>().unwrap();
        let follow_up = |payload: Vec<u8>| NewJob::new("scripted", Lane::Standard, payload);
        match words.as_str() {
            "hang in effects" => pending().await,
            "long error in effects" => return Ok(Outcome::dead("\u{20ac}".repeat(1_000_000))),
            "256 follow-ups" => (0..256).for_each(|_| transaction.enqueue(follow_up(b"ok".to_vec()))),
            "a million follow-ups" => {
                (0..1_000_000).for_each(|_| transaction.enqueue(follow_up(b"ok".to_vec())));
            }
            "heavy follow-ups" => (0..3).for_each(|_| transaction.enqueue(follow_up(vec![0; 2 << 20]))),
            words if words.starts_with("in effects, panic over") => panic!("cannot apply {words}"),
            _ => {}
        }
        Ok(Outcome::Done)
    }
}

/// Panics before it has even returned what would apply its effects.
struct PanicsEarly;

impl Handler for PanicsEarly {
    fn kind(&self) -> &'static str {
        "panics early"
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    fn apply<'h, 'j, 'p, 't, 'f>(
        &'h self,
        _: &'j Job,
        _: &'p Prepared,
        _: &'t mut Transaction,
    ) -> Pin<Box<dyn Future<Output = Result<Outcome, sqlx::Error>> + Send + 'f>>
    where
        'h: 'f,
        'j: 'f,
        'p: 'f,
        't: 'f,
    {
        panic!("early");
    }
}

/// Holds its transaction open until it is let go.
struct Dawdler(Arc<super::bench::Script>, u64);

#[async_trait]
impl Handler for Dawdler {
    fn kind(&self) -> &'static str {
        "dawdler"
    }

    fn policy(&self) -> Policy {
        Policy { timeout_ms: self.1, ..POLICY }
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, sqlx::Error> {
        self.0.bell.notify_one();
        self.0.gate.acquire().await.unwrap().forget();
        Ok(Outcome::Done)
    }
}

fn engine(bench: &Bench) -> Engine {
    bench.engine_of([Arc::new(Wrong::default()) as Arc<dyn Handler>, Arc::new(PanicsEarly)], |_| {})
}

fn wrong(words: &str) -> NewJob {
    NewJob::new("wrong", Lane::Standard, words.as_bytes().to_vec())
}

/// The job and its history once it is no longer owed.
async fn ended(engine: &Engine, id: JobId) -> (JobView, Vec<Attempt>) {
    eventually("the job has ended", async || {
        let (job, history) = engine.ledger().show(id).await.ok()??;
        (job.state != State::Owed).then_some((job, history))
    })
    .await
}

/// Sees that a job which behaves is done.
async fn still_works(bench: &Bench, engine: &Engine) {
    let id = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id.to_string();
    eventually("a good job is done", async || bench.effects().await.contains(&id).then_some(())).await;
}

#[tokio::test]
async fn a_panic_repeats_nothing_of_what_its_handler_held() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = engine(&bench);
    for (words, error) in [
        ("panic", "the handler panicked: words of the source"),
        ("panic over alma", "the handler panicked: in words that are not repeated here"),
        ("in effects, panic over alma", "the handler panicked while applying its effects"),
    ] {
        let id = engine.enqueue(wrong(words)).await.unwrap().id;
        let (job, history) = ended(&engine, id).await;
        assert_eq!((job.state, job.attempts, job.last_error.as_deref()), (State::Dead, 2, Some(error)));
        assert_eq!(history.len(), 2);
        assert!(history.iter().all(|attempt| attempt.error.as_deref() == Some(error)), "{history:?}");
    }
    let early = NewJob::new("panics early", Lane::Standard, "");
    let id = engine.enqueue(early).await.unwrap().id;
    assert_eq!(ended(&engine, id).await.0.attempts, 2);
    still_works(&bench, &engine).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_handler_that_never_returns_is_ended_and_its_slot_is_free_again() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let handlers = [Arc::new(Wrong::default()) as Arc<dyn Handler>];
    let engine = bench.engine_of(handlers, |options| options.slots = 1);
    for (words, error) in [
        ("hang", "timed out after 200 ms"),
        ("hang in effects", "applying the effects took longer than 200 ms"),
    ] {
        let id = engine.enqueue(wrong(words)).await.unwrap().id;
        let (job, history) = ended(&engine, id).await;
        assert_eq!((job.state, job.attempts, job.last_error.as_deref()), (State::Dead, 2, Some(error)));
        assert_eq!(history.len(), 2);
        still_works(&bench, &engine).await;
    }
    engine.shutdown().await;
}

#[tokio::test]
async fn handlers_that_block_every_general_thread_hold_up_no_crisis_and_lose_no_lease() {
    const LEASE_MS: u64 = 1_000;
    let bench = Bench::new(Dialect::Sqlite).await;
    let handler = Wrong::default();
    let (released, blocked) = (Arc::clone(&handler.released), Arc::clone(&handler.blocked));
    let engine = bench.engine_of([Arc::new(handler) as Arc<dyn Handler>], |options| {
        (options.threads, options.lanes.lease_ms) = (2, LEASE_MS);
    });
    let recorded = engine.enqueue_all((0..8).map(|_| wrong("block")).collect()).await.unwrap();
    let mut redis = bench.redis.connection().await;
    eventually("both threads of the pool are blocked", async || {
        (blocked.load(Ordering::SeqCst) == 2).then_some(())
    })
    .await;
    let turns = engine.turns()[1];
    let node = engine.node();
    let lease_end = async |redis: &mut redis::aio::MultiplexedConnection| -> Option<u64> {
        redis.zscore("{keepwell:0}:nodes", node.to_string()).await.unwrap()
    };

    let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id.to_string();
    eventually("the crisis job is done", async || bench.effects().await.contains(&crisis).then_some(()))
        .await;
    let begin = lease_end(&mut redis).await.expect("the pool has a lease");
    eventually("the lease has been kept for twice its length", async || {
        (lease_end(&mut redis).await.expect("it still has its lease") > begin + 2 * LEASE_MS).then_some(())
    })
    .await;
    assert!(engine.turns()[1] == turns, "the pool's own threads were blocked all the while");

    *released.0.lock().unwrap() = true;
    released.1.notify_all();
    nothing_owed(&engine).await;
    assert_eq!(engine.node(), node);
    for job in recorded {
        let (job, history) = ended(&engine, job.id).await;
        assert_eq!((job.state, job.attempts, history.len()), (State::Done, 1, 0), "{history:?}");
    }
    engine.shutdown().await;
}

#[tokio::test]
async fn an_error_is_kept_in_part_however_long_it_is() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let engine = engine(&bench);
        for words in ["long error", "long error in effects"] {
            let id = engine.enqueue(wrong(words)).await.unwrap().id;
            let (job, history) = ended(&engine, id).await;
            let kept = job.last_error.unwrap();
            assert_eq!(kept.len(), 1_998, "whole characters, and no more than 2000 bytes of them");
            assert_eq!(history[0].error.as_ref(), Some(&kept));
        }
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn a_run_that_asks_for_too_many_jobs_gets_none() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = engine(&bench);
    for words in ["a million follow-ups", "heavy follow-ups"] {
        let id = engine.enqueue(wrong(words)).await.unwrap().id;
        let (job, _) = ended(&engine, id).await;
        assert_eq!((job.state, job.attempts), (State::Dead, 1));
        let error = job.last_error.unwrap();
        assert!(
            error.starts_with("asked for more than 256 follow-up jobs, or more than 4194304 bytes"),
            "{error}"
        );
    }
    assert_eq!(bench.effects().await.len(), 0);

    engine.enqueue(wrong("256 follow-ups")).await.unwrap();
    engine.enqueue(wrong("256 follow-ups")).await.unwrap();
    eventually("they are done", async || (bench.effects().await.len() == 512).then_some(())).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn effects_that_dawdle_give_way_to_a_crisis() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let dawdler = Dawdler(Arc::clone(&bench.script), 30_000);
    let engine = bench.engine_of([Arc::new(dawdler) as Arc<dyn Handler>], |_| {});
    let id = engine.enqueue(NewJob::new("dawdler", Lane::Standard, "")).await.unwrap().id;
    bench.script.bell.notified().await;

    let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id.to_string();
    eventually("the crisis job is done", async || bench.effects().await.contains(&crisis).then_some(()))
        .await;
    let (job, history) = engine.ledger().show(id).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts, history.len()), (State::Owed, 0, 0), "{history:?}");

    bench.script.gate.add_permits(1);
    let (job, _) = ended(&engine, id).await;
    assert_eq!((job.state, job.attempts), (State::Done, 1));
    engine.shutdown().await;
}

#[tokio::test]
async fn effects_that_dawdle_are_given_up_however_patient_their_kind_is() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let dawdler = Dawdler(Arc::clone(&bench.script), 3_600_000);
    let engine = bench.engine_of([Arc::new(dawdler) as Arc<dyn Handler>], |_| {});
    let id = engine.enqueue(NewJob::new("dawdler", Lane::Standard, "")).await.unwrap().id;
    let history = eventually("it is given up", async || {
        let (_, history) = engine.ledger().show(id).await.ok()??;
        (!history.is_empty()).then_some(history)
    })
    .await;
    assert_eq!(history[0].error.as_deref(), Some("applying the effects took longer than 2000 ms"));
    bench.script.gate.add_permits(1);
    assert_eq!(ended(&engine, id).await.0.state, State::Done);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_job_that_is_snoozed_for_ever_has_a_short_history() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = engine(&bench);
    let id = engine.enqueue(wrong("snooze")).await.unwrap().id;
    let mut seen = std::collections::HashSet::new();
    eventually("it has been snoozed five times", async || {
        let (job, history) = engine.ledger().show(id).await.ok()??;
        assert!(history.len() <= 1 && job.attempts == 0, "{history:?}");
        seen.extend(history.iter().map(|snooze| snooze.finished_at_ms));
        (seen.len() == 5).then_some(())
    })
    .await;
    engine.shutdown().await;
}
