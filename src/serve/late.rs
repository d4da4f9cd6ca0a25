//! Answers to crises that were late by what was measured. The watch looks at whole milliseconds, and a moment after the
//! time is over: an answer that is late by less it takes for one in time. Reports and metrics go by what was measured,
//! so the watch is told of it.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keepwell_jobs::{
    Care,
    care::severity::is_late,
    watch::{Missed, WATCHED_MAX, recorded_urgency},
};
use keepwell_workers::observer::RunEnded;

/// Late answers that wait to be told of. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct LateAnswers(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    fresh: Mutex<Vec<(Missed, i64)>>,
    /// What was fresh when it was asked last.
    ripe: Mutex<Vec<(Missed, i64)>>,
}

impl LateAnswers {
    /// Takes in the end of a run, if it answered a crisis later than it may.
    pub(super) fn run_ended(&self, ended: &RunEnded<'_>, care: &Care) {
        if ended.outcome != "done" {
            return;
        }
        let job = ended.job;
        let (Some((customer, severity)), Some(took)) = (recorded_urgency(job), ended.took()) else { return };
        let limit_ms = u64::try_from(care.watch.limit_ms(severity)).unwrap_or(0);
        if !is_late(took, Duration::from_millis(limit_ms)) {
            return;
        }
        let missed = care.watch.missed(job.id, customer, severity, job.created_ms);
        let took_ms = i64::try_from(took.as_micros().div_ceil(1_000)).unwrap_or(i64::MAX);
        let mut fresh = lock(&self.0.fresh);
        if fresh.len() < WATCHED_MAX {
            fresh.push((missed, took_ms));
        }
    }

    /// Those that were there when it was asked last, and how long they took, in milliseconds. An answer may be there
    /// before whoever recorded the crisis has said as what: by then the watch knows whether it has told of it.
    pub(super) fn take(&self) -> Vec<(Missed, i64)> {
        let fresh = mem::take(&mut *lock(&self.0.fresh));
        mem::replace(&mut *lock(&self.0.ripe), fresh)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use keepwell_config::TIERS_TOML;
    use keepwell_jobs::{care::tiers::Tiers, kinds, marks::Marks};
    use keepwell_workers::{
        clock::UnixMs,
        id::JobId,
        job::Job,
        lane::Lane,
        seal::{KeyRing, SealingKey},
    };
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn an_answer_that_is_late_by_a_fraction_of_a_millisecond_is_told_of_and_one_in_time_is_not() {
        let keys = KeyRing::new(SealingKey::new("test", &Zeroizing::new([7; 32])), []);
        let care = Care::new(Tiers::from_toml(TIERS_TOML).unwrap(), Marks::default(), keys);
        let late = LateAnswers::default();
        for (kind, outcome, waited_ms, ran_us) in [
            // What is in the crisis lane because of whom it is about has 200 ms.
            (kinds::INVOICE_PAYMENT_FAILED, "done", Some(150), 50_000),
            (kinds::INVOICE_PAYMENT_FAILED, "done", Some(150), 50_001),
            (kinds::INVOICE_PAYMENT_FAILED, "retry", Some(150), 90_000),
            (kinds::INVOICE_PAYMENT_FAILED, "nothing_owed", Some(150), 90_000),
            (kinds::INVOICE_PAYMENT_FAILED, "done", None, 90_000),
            (kinds::CRISIS_CANARY, "done", Some(150), 90_000),
            (kinds::CRISIS_RESOLVED, "done", Some(150), 90_000),
        ] {
            let job = Job {
                id: JobId::new(1),
                kind: kind.into(),
                lane: Lane::Crisis,
                dedupe_key: None,
                subject: Some("cus_1".to_owned()),
                payload: "{".into(),
                attempts: 0,
                created_ms: 1,
                trace: None,
            };
            let waited = waited_ms.map(Duration::from_millis);
            let ran = Duration::from_micros(ran_us);
            late.run_ended(&RunEnded { job: &job, outcome, waited, ran }, &care);
        }
        assert!(late.take().is_empty(), "the watch may not know yet which job it is");
        let told: Vec<(i64, UnixMs, i64)> =
            late.take().into_iter().map(|(missed, ms)| (missed.limit_ms(), missed.since_ms, ms)).collect();
        assert_eq!(told, [(200, 1, 201)]);
        assert!(late.take().is_empty());
    }
}
