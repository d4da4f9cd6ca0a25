//! Why a job has not been done yet: the first question of whoever is on call.

use std::collections::HashSet;

use keepwell_workers::{clock::UnixMs, id::JobId, lanes::LaneStats, ledger::JobView, state::State};

/// What Redis knows at this moment.
#[derive(Debug)]
pub(super) struct LanesNow {
    /// How the lanes stand.
    pub(super) lanes: Vec<LaneStats>,
    /// The jobs that some node has claimed.
    pub(super) running: HashSet<JobId>,
}

/// Why `job` waits, in a few words; `None` if it is finished. `lanes` is `None` when Redis cannot be asked.
pub(super) fn waiting_because(
    job: &JobView,
    lanes: Option<&LanesNow>,
    now_ms: UnixMs,
) -> Option<&'static str> {
    if job.state != State::Owed {
        return None;
    }
    if job.run_at_ms > now_ms {
        return Some("scheduled for later");
    }
    let Some(now) = lanes else { return Some("redis does not answer") };
    if now.running.contains(&job.id) {
        return Some("running");
    }
    let paused = now.lanes.iter().any(|stats| stats.lane == job.lane && stats.paused.is_some());
    Some(if paused { "lane paused" } else { "waiting in lane" })
}

#[cfg(test)]
mod tests {
    use keepwell_workers::lane::Lane;

    use super::*;

    const NOW_MS: UnixMs = 100_000;

    fn job() -> JobView {
        JobView {
            id: JobId::earliest_at(50_000),
            kind: "k".to_owned(),
            lane: Lane::Standard,
            state: State::Owed,
            subject: None,
            attempts: 0,
            attempts_max: 20,
            created_at_ms: 50_000,
            run_at_ms: 50_000,
            finished_at_ms: None,
            last_error: None,
            dedupe_key: None,
        }
    }

    fn now(paused: Option<&str>, running: &[JobId]) -> LanesNow {
        let stats = LaneStats {
            lane: Lane::Standard,
            paused: paused.map(str::to_owned),
            waiting: 9,
            running: running.len() as u64,
            later: 0,
            oldest: None,
            oldest_waiting_ms: Some(60_000),
        };
        LanesNow { lanes: vec![stats], running: running.iter().copied().collect() }
    }

    #[test]
    fn a_finished_job_waits_for_nothing() {
        for state in [State::Done, State::Dead, State::Cancelled] {
            assert_eq!(waiting_because(&JobView { state, ..job() }, None, NOW_MS), None);
        }
    }

    #[test]
    fn an_owed_job_waits_for_its_time_its_lane_or_its_end() {
        let because = |job: &JobView, lanes: &LanesNow| waiting_because(job, Some(lanes), NOW_MS);
        let later = JobView { run_at_ms: NOW_MS + 1, ..job() };
        assert_eq!(because(&later, &now(None, &[])), Some("scheduled for later"));
        assert_eq!(because(&job(), &now(None, &[])), Some("waiting in lane"));
        assert_eq!(because(&job(), &now(None, &[JobId::new(50_000)])), Some("waiting in lane"));
        assert_eq!(because(&job(), &now(None, &[job().id])), Some("running"));
    }

    #[test]
    fn a_paused_lane_is_named_as_the_reason_unless_the_job_runs() {
        let because = |lanes: &LanesNow| waiting_because(&job(), Some(lanes), NOW_MS);
        assert_eq!(because(&now(Some("an upgrade"), &[])), Some("lane paused"));
        assert_eq!(because(&now(Some("an upgrade"), &[job().id])), Some("running"));
        let elsewhere = JobView { lane: Lane::Realtime, ..job() };
        assert_eq!(waiting_because(&elsewhere, Some(&now(Some(""), &[])), NOW_MS), Some("waiting in lane"));
    }

    #[test]
    fn without_redis_nothing_is_guessed() {
        assert_eq!(waiting_because(&job(), None, NOW_MS), Some("redis does not answer"));
    }
}
