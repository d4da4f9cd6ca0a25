//! What becomes of a job, whichever way its run ends.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keepwell_workers::{
    database::{Dialect, Transaction},
    engine::Engine,
    handler::{Handler, Prepared},
    id::JobId,
    job::{Job, NewJob},
    lane::Lane,
    outcome::Outcome,
    state::State,
};

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::eventually;

async fn on_both(check: impl AsyncFn(Bench)) {
    check(Bench::new(Dialect::Sqlite).await).await;
    check(Bench::new(Dialect::Postgres).await).await;
}

async fn state(engine: &Engine, id: JobId) -> State {
    engine.ledger().show(id).await.unwrap().unwrap().0.state
}

#[tokio::test]
async fn every_recorded_job_is_done_exactly_once() {
    on_both(async |bench| {
        let engine = bench.engine();
        let jobs = (0..300).map(|n| scripted("ok", Lane::ALL[n % 5])).collect();
        let recorded = engine.enqueue_all(jobs).await.unwrap();
        nothing_owed(&engine).await;

        let mut effects = bench.effects().await;
        let mut expected: Vec<String> = recorded.iter().map(|job| job.id.to_string()).collect();
        effects.sort();
        expected.sort();
        assert_eq!(effects, expected);
        engine.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn a_dedupe_key_is_recorded_once_even_in_one_group() {
    on_both(async |bench| {
        let engine = bench.engine();
        let keyed = || scripted("ok", Lane::Standard).dedupe_key("evt_1");
        let first = engine.enqueue(keyed()).await.unwrap();
        let both = engine.enqueue_all(vec![keyed(), scripted("ok", Lane::Standard), keyed()]).await.unwrap();

        assert!(!first.duplicate);
        assert_eq!((both[0].duplicate, both[0].id), (true, first.id));
        assert!(!both[1].duplicate);
        assert_eq!((both[2].duplicate, both[2].id), (true, first.id));
        nothing_owed(&engine).await;
        assert_eq!(bench.effects().await.len(), 2);
        engine.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn a_job_that_fails_is_retried_and_its_history_kept() {
    on_both(async |bench| {
        let engine = bench.engine();
        let once = engine.enqueue(scripted("fail once", Lane::Standard)).await.unwrap().id;
        let always = engine.enqueue(scripted("fail", Lane::Standard)).await.unwrap().id;
        nothing_owed(&engine).await;

        let (view, attempts) = engine.ledger().show(once).await.unwrap().unwrap();
        assert_eq!((view.state, view.attempts), (State::Done, 2));
        assert_eq!(attempts[0].error.as_deref(), Some("as scripted, once"));
        let (view, attempts) = engine.ledger().show(always).await.unwrap().unwrap();
        assert_eq!((view.state, view.attempts), (State::Dead, 3));
        let outcomes: Vec<&str> = attempts.iter().map(|attempt| attempt.outcome.as_str()).collect();
        assert_eq!(outcomes, ["retry", "retry", "retry"]);
        engine.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn a_failing_neighbour_costs_nobody_an_effect() {
    on_both(async |bench| {
        let engine = bench.engine();
        let words = ["ok", "fail in effects", "ok", "panic in effects", "ok", "panic", "dead", "ok"];
        let jobs = words.iter().map(|words| scripted(words, Lane::Standard)).collect();
        let recorded = engine.enqueue_all(jobs).await.unwrap();
        nothing_owed(&engine).await;

        let mut effects = bench.effects().await;
        let mut expected: Vec<String> =
            [0, 2, 4, 7].iter().map(|place: &usize| recorded[*place].id.to_string()).collect();
        effects.sort();
        expected.sort();
        assert_eq!(effects, expected);
        for dead in [1, 3, 5, 6] {
            assert_eq!(state(&engine, recorded[dead].id).await, State::Dead, "{}", words[dead]);
        }
        engine.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn a_follow_up_is_recorded_with_the_effects_that_ask_for_it() {
    on_both(async |bench| {
        let engine = bench.engine();
        let id = engine.enqueue(scripted("follow", Lane::Crisis)).await.unwrap().id;
        eventually("the follow-up is done", async || (bench.effects().await.len() == 2).then_some(())).await;
        let again = NewJob::new("scripted", Lane::Standard, "ok").dedupe_key(format!("after {id}"));
        assert!(engine.enqueue(again).await.unwrap().duplicate);
        engine.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn a_dead_job_runs_again_when_an_operator_retries_it() {
    on_both(async |bench| {
        let engine = bench.engine();
        let id = engine.enqueue(scripted("dead", Lane::Standard)).await.unwrap().id;
        nothing_owed(&engine).await;
        assert_eq!(state(&engine, id).await, State::Dead);

        assert!(engine.retry(id).await.unwrap());
        eventually("it is dead again", async || {
            let (view, attempts) = engine.ledger().show(id).await.ok()??;
            (view.state == State::Dead && attempts.len() == 2).then_some(())
        })
        .await;
        assert!(!engine.retry(JobId::new(0)).await.unwrap());
        engine.shutdown().await;
    })
    .await;
}

const OTHER_TRACE: &str = "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-01";

/// Notes of each run what its job was recorded with. One that asks has two follow-up jobs, one with a trace of its own.
#[derive(Default)]
struct Reader(Mutex<Vec<[Option<String>; 3]>>);

#[async_trait]
impl Handler for Reader {
    fn kind(&self) -> &'static str {
        "read"
    }

    async fn apply(&self, job: &Job, _: &Prepared, open: &mut Transaction) -> Result<Outcome, sqlx::Error> {
        let payload = String::from_utf8(job.payload.to_vec()).ok();
        if payload.as_deref() == Some("asks") {
            let [own, other] = [None, Some(OTHER_TRACE.to_owned())];
            for (payload, trace) in [("asked for", own), ("of another trace", other)] {
                open.enqueue(NewJob { trace, ..NewJob::new("read", Lane::Standard, payload) });
            }
        }
        self.0.lock().unwrap().push([payload, job.subject.clone(), job.trace.clone()]);
        Ok(Outcome::Done)
    }
}

#[tokio::test]
async fn a_follow_up_belongs_to_the_trace_of_the_job_that_asks_for_it() {
    on_both(async |bench| {
        let reader = Arc::new(Reader::default());
        let engine = bench.engine_of([Arc::clone(&reader) as Arc<dyn Handler>], |_| {});
        let trace = || Some(format!("00-{:0>32}-{:0>16}-01", 1, 1));
        // Others share its transaction.
        let asks = NewJob { trace: trace(), ..NewJob::new("read", Lane::Standard, "asks") };
        let others = (0..3).map(|_| NewJob::new("read", Lane::Standard, "other"));
        engine.enqueue_all(others.clone().chain([asks]).chain(others).collect()).await.unwrap();
        nothing_owed(&engine).await;
        let mut read = reader.0.lock().unwrap().clone();
        read.retain(|[payload, ..]| payload.as_deref() != Some("other"));
        read.sort();
        let expected =
            [("asked for", trace()), ("asks", trace()), ("of another trace", Some(OTHER_TRACE.into()))];
        assert_eq!(read, expected.map(|(payload, trace)| [Some(payload.to_owned()), None, trace]));
        engine.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn what_a_job_was_recorded_with_reaches_its_handler_its_trace_context_too() {
    on_both(async |bench| {
        let reader = Arc::new(Reader::default());
        let engine = bench.engine_of([Arc::clone(&reader) as Arc<dyn Handler>], |_| {});
        let told = |name: &str| [name, "cus_1", &format!("00-{name:0>32}-{name:0>16}-01")].map(str::to_owned);
        let job = |name: &str| {
            let [payload, subject, trace] = told(name);
            NewJob { trace: Some(trace), ..NewJob::new("read", Lane::Standard, payload).subject(subject) }
        };
        engine.enqueue(job("1")).await.unwrap();
        engine.enqueue_all(vec![job("2"), job("3")]).await.unwrap();
        nothing_owed(&engine).await;
        let mut read = reader.0.lock().unwrap().clone();
        read.sort();
        assert_eq!(read, ["1", "2", "3"].map(|name| told(name).map(Some)));
        engine.shutdown().await;
    })
    .await;
}
