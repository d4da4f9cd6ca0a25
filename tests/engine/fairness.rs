//! Nobody holds a lane: not a customer with more jobs than anybody, not a lane that never runs dry. Seen in the order
//! in which jobs are done, never in how long they take.

use std::{collections::HashMap, sync::atomic::Ordering};

use keepwell_workers::{
    database::Dialect,
    engine::{Engine, EngineOptions},
    job::NewJob,
    lane::Lane,
    ledger::JobFilter,
};
use redis::AsyncCommands as _;

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::eventually;

type Words = HashMap<String, &'static str>;

/// Records `jobs` in this order and waits until all of them are in their lanes; answers with the word for each.
async fn waiting(engine: &Engine, jobs: Vec<(&'static str, NewJob)>) -> Words {
    let mut words = Words::new();
    let expected = engine.lanes().held().await.unwrap() + jobs.len() as u64;
    for piece in jobs.chunks(500) {
        let piece_jobs = piece.iter().map(|(_, job)| job.clone()).collect();
        let recorded = engine.enqueue_all(piece_jobs).await.unwrap();
        words
            .extend(recorded.iter().zip(piece).map(|(recorded, (word, _))| (recorded.id.to_string(), *word)));
    }
    eventually("all of them are in their lanes", async || {
        (engine.lanes().held().await.ok()? >= expected).then_some(())
    })
    .await;
    words
}

fn times(count: usize, word: &'static str, job: &NewJob) -> Vec<(&'static str, NewJob)> {
    std::iter::repeat_n((word, job.clone()), count).collect()
}

fn with_slots(slots: usize) -> impl FnOnce(&mut EngineOptions) {
    move |options| (options.slots, options.crisis_slots) = (slots, 1)
}

/// The words in the order in which their jobs were done.
async fn served(bench: &Bench, words: &Words) -> Vec<&'static str> {
    bench.effects().await.iter().map(|id| words[id]).collect()
}

/// How many were done before the first `word` was.
async fn done_before(bench: &Bench, words: &Words, word: &'static str) -> usize {
    eventually(word, async || served(bench, words).await.iter().position(|served| *served == word)).await
}

#[tokio::test]
async fn one_job_does_not_wait_for_ten_thousand_of_somebody_else() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let mut jobs = times(10_000, "noisy", &scripted("ok", Lane::Standard).turn("noisy"));
    jobs.push(("other", scripted("ok", Lane::Standard).turn("other")));
    let words = waiting(&recorder, jobs).await;

    let engine = bench.engine_with(with_slots(1));
    let before = done_before(&bench, &words, "other").await;
    assert!(before < 20, "{before} of ten thousand went first");
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn one_job_does_not_wait_for_more_crowds_than_there_are_slots() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let mut jobs = Vec::new();
    for _ in 0..100 {
        let turns = (0..8).map(|number| format!("noisy {number}"));
        jobs.extend(turns.map(|turn| ("noisy", scripted("ok", Lane::Standard).turn(turn))));
    }
    jobs.push(("other", scripted("ok", Lane::Standard).turn("other")));
    let words = waiting(&recorder, jobs).await;

    let engine = bench.engine_with(with_slots(4));
    let before = done_before(&bench, &words, "other").await;
    assert!(before < 100, "{before} of 800 went first");
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), 801);
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn a_turn_that_rests_keeps_the_order_of_its_jobs_and_loses_none() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let mut expected = Vec::new();
    for round in 0..10 {
        let noisy = (0..20).map(|_| scripted("ok", Lane::Standard).turn("noisy")).collect();
        expected.extend(recorder.enqueue_all(noisy).await.unwrap().iter().map(|job| job.id.to_string()));
        let others =
            (0..5).map(|n| scripted("ok", Lane::Standard).turn(format!("other {round} {n}"))).collect();
        recorder.enqueue_all(others).await.unwrap();
    }
    let engine = bench.engine_with(with_slots(3));
    nothing_owed(&engine).await;
    let noisy: Vec<String> = bench.effects().await.into_iter().filter(|id| expected.contains(id)).collect();
    assert_eq!(noisy, expected);
    eventually("nothing is counted that is not there", async || {
        let (lanes, _) = engine.lanes().stats().await.ok()?;
        lanes.iter().all(|lane| (lane.waiting, lane.running, lane.later) == (0, 0, 0)).then_some(())
    })
    .await;
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn what_comes_for_a_turn_that_rests_goes_behind_what_it_has() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let noisy = scripted("ok", Lane::Therapeutic).turn("noisy");
    let mut jobs = times(20, "noisy", &noisy);
    jobs.extend(times(2, "gate", &scripted("gate", Lane::Therapeutic)));
    let words = waiting(&recorder, jobs).await;
    let engine = bench.engine_with(with_slots(2));
    eventually("both slots are occupied", async || {
        (bench.script.running.load(Ordering::SeqCst) == 2).then_some(())
    })
    .await;
    engine.pause(Lane::Therapeutic, "a test", false).await.unwrap();
    let late: Words = waiting(&recorder, times(5, "late", &noisy)).await;
    bench.script.gate.add_permits(2);
    eventually("both slots are free", async || {
        let done = bench.effects().await;
        (done.iter().filter(|id| words.get(*id) == Some(&"gate")).count() == 2).then_some(())
    })
    .await;
    engine.resume(Lane::Therapeutic).await.unwrap();
    nothing_owed(&engine).await;
    let last: Vec<String> = bench.effects().await.split_off(22);
    assert!(last.iter().all(|id| late.contains_key(id)), "{last:?} of {late:?}");
    engine.shutdown().await;
    recorder.shutdown().await;
}

/// An engine with one slot, which a job occupies while the turn `noisy` rests behind it, with 60 jobs still to come.
async fn with_a_turn_that_rests(bench: &Bench) -> (Engine, Words) {
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let noisy = scripted("ok", Lane::Standard).turn("noisy");
    let mut jobs = times(20, "noisy", &noisy);
    jobs.extend(times(1, "gate", &scripted("gate", Lane::Standard)));
    jobs.extend(times(40, "other", &scripted("ok", Lane::Standard)));
    let words = waiting(&recorder, jobs).await;
    recorder.shutdown().await;
    let engine = bench.engine_with(with_slots(1));
    eventually("the slot is occupied", async || {
        (bench.script.running.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    assert!(bench.effects().await.len() < 20, "the turn rests");
    (engine, words)
}

#[tokio::test]
async fn a_turn_that_rests_does_not_keep_a_more_urgent_job_waiting() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (engine, mut words) = with_a_turn_that_rests(&bench).await;
    let urgent = scripted("ok", Lane::Therapeutic).turn("noisy");
    words.extend(waiting(&engine, vec![("urgent", urgent)]).await);
    bench.script.gate.add_permits(1);
    nothing_owed(&engine).await;
    let served = served(&bench, &words).await;
    let gate = served.iter().position(|word| *word == "gate").unwrap();
    assert_eq!(served[gate + 1], "urgent", "{served:?}");
    assert_eq!(served.len(), 62);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_more_urgent_job_that_waits_for_a_turn_goes_on_before_the_turn_rests() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let noisy = |words| scripted(words, Lane::Realtime).turn("noisy");
    let mut jobs = times(4, "noisy", &noisy("ok"));
    jobs.extend(times(1, "gate", &noisy("gate")));
    jobs.extend(times(20, "noisy", &noisy("ok")));
    jobs.extend(times(40, "other", &scripted("ok", Lane::Realtime)));
    let mut words = waiting(&recorder, jobs).await;
    let engine = bench.engine_with(with_slots(1));
    eventually("the fifth of the noisy turn runs", async || {
        (bench.script.running.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;

    // Somebody with a free slot comes upon the urgent one while the turn is held.
    engine.pause(Lane::Realtime, "a test", false).await.unwrap();
    let beside = bench.engine_with(|options| options.instance = "beside".into());
    let urgent = recorder.enqueue(scripted("ok", Lane::Therapeutic).turn("noisy")).await.unwrap().id;
    words.insert(urgent.to_string(), "urgent");
    let mut redis = bench.redis.connection().await;
    eventually("it is parked", async || {
        let parked: usize = redis.zcard("{keepwell:0}:parked").await.ok()?;
        (parked == 1).then_some(())
    })
    .await;
    beside.shutdown().await;
    engine.resume(Lane::Realtime).await.unwrap();
    bench.script.gate.add_permits(1);
    nothing_owed(&engine).await;
    let served = served(&bench, &words).await;
    let gate = served.iter().position(|word| *word == "gate").unwrap();
    assert_eq!(served[gate + 1], "urgent", "{served:?}");
    assert_eq!(served.len(), 66);
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn a_turn_that_rests_in_a_lane_that_is_held_up_goes_on_in_the_others() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (engine, mut words) = with_a_turn_that_rests(&bench).await;
    engine.pause(Lane::Standard, "a test", false).await.unwrap();
    let elsewhere = scripted("ok", Lane::Background).turn("noisy");
    words.extend(waiting(&engine, vec![("elsewhere", elsewhere)]).await);
    bench.script.gate.add_permits(1);
    done_before(&bench, &words, "elsewhere").await;
    engine.resume(Lane::Standard).await.unwrap();
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), 62);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_turn_that_rests_goes_on_after_its_lane_was_cleared() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (engine, _) = with_a_turn_that_rests(&bench).await;
    let done = bench.effects().await.len();
    let filter = JobFilter { lane: Some(Lane::Standard), ..JobFilter::default() };
    let step = engine.cancel_matching(&filter, None, None).await.unwrap();
    assert_eq!(step.changed, 60 - done as u64, "all that waits");
    // A job may lie in its lane twice. The place at which the turn goes on is none, whatever its first bytes look like.
    assert!(engine.withdraw(&[Lane::Standard]).await.unwrap() >= step.changed);

    let later = waiting(&engine, times(3, "later", &scripted("ok", Lane::Standard).turn("noisy"))).await;
    bench.script.gate.add_permits(1);
    nothing_owed(&engine).await;
    let served: Vec<String> = bench.effects().await.split_off(done + 1);
    assert_eq!(served.len(), 3, "{served:?}");
    assert!(served.iter().all(|id| later.contains_key(id)), "{served:?} of {later:?}");
    engine.shutdown().await;
}

#[tokio::test]
async fn what_is_urgent_is_found_behind_a_crowd_before_less_urgent_work_is_begun() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let mut jobs = times(1, "gate", &scripted("gate", Lane::Therapeutic).turn("noisy"));
    jobs.extend(times(1_000, "noisy", &scripted("ok", Lane::Therapeutic).turn("noisy")));
    jobs.extend(times(1, "other", &scripted("ok", Lane::Therapeutic).turn("other")));
    jobs.extend(times(50, "standard", &scripted("ok", Lane::Standard)));
    let words = waiting(&recorder, jobs).await;
    let engine = bench.engine_with(with_slots(2));
    assert_eq!(done_before(&bench, &words, "other").await, 0);
    bench.script.gate.add_permits(1);
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn what_has_aged_gets_its_eighth_of_a_therapeutic_flood() {
    for slots in [1, 3, 8] {
        let bench = Bench::new(Dialect::Sqlite).await;
        let recorder = bench.engine_with(|options| options.runs_jobs = false);
        let mut jobs = Vec::new();
        for (word, lane) in
            [("realtime", Lane::Realtime), ("standard", Lane::Standard), ("background", Lane::Background)]
        {
            jobs.extend(times(60, word, &scripted("ok", lane)));
        }
        jobs.extend(times(400, "therapeutic", &scripted("ok", Lane::Therapeutic)));
        let words = waiting(&recorder, jobs).await;
        let engine = bench.engine_with(|options| {
            with_slots(slots)(options);
            options.lanes.ageing_ms = 0;
        });
        nothing_owed(&engine).await;

        let served = served(&bench, &words).await;
        let flood: Vec<&str> = served.into_iter().take(400).collect();
        for word in ["realtime", "standard", "background"] {
            let count = flood.iter().filter(|served| **served == word).count();
            // A third of an eighth of 400 is 17; batches and double deliveries blur it a little.
            assert!((12..=22).contains(&count), "{slots} slots: {count} of {word}");
        }
        engine.shutdown().await;
        recorder.shutdown().await;
    }
}

#[tokio::test]
async fn shares_are_six_to_three_to_one_however_many_slots_there_are() {
    for slots in [3, 8] {
        let bench = Bench::new(Dialect::Sqlite).await;
        let recorder = bench.engine_with(|options| options.runs_jobs = false);
        let mut jobs = Vec::new();
        for (word, lane) in
            [("background", Lane::Background), ("standard", Lane::Standard), ("realtime", Lane::Realtime)]
        {
            jobs.extend(times(120, word, &scripted("ok", lane)));
        }
        let words = waiting(&recorder, jobs).await;
        let engine = bench.engine_with(with_slots(slots));
        nothing_owed(&engine).await;
        let first: Vec<&str> = served(&bench, &words).await.into_iter().take(100).collect();
        for (word, expected) in [("realtime", 60_usize), ("standard", 30), ("background", 10)] {
            let count = first.iter().filter(|served| **served == word).count();
            assert!(count.abs_diff(expected) <= slots, "{slots} slots: {count} of {word}");
        }
        engine.shutdown().await;
        recorder.shutdown().await;
    }
}
