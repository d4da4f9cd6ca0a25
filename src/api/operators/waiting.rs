//! Why a job has not been done yet: the first question of whoever is on call.

use keepwell_workers::{clock::UnixMs, lanes::LaneStats, ledger::JobView, state::State};

/// Why `job` waits, in a few words; `None` if it is finished. `lanes` is `None` when Redis cannot be asked.
///
/// The lanes do not tell which jobs are running, only how many, so that is a conclusion: a job that came
/// before the one in front of its lane has left the lane.
pub(super) fn waiting_because(
    job: &JobView,
    lanes: Option<&[LaneStats]>,
    now_ms: UnixMs,
) -> Option<&'static str> {
    if job.state != State::Owed {
        return None;
    }
    if job.run_at_ms > now_ms {
        return Some("scheduled for later");
    }
    let Some(stats) = lanes.and_then(|lanes| lanes.iter().find(|stats| stats.lane == job.lane)) else {
        return Some("redis does not answer");
    };
    if is_running(job, stats, now_ms) {
        Some("running")
    } else if stats.paused.is_some() {
        Some("lane paused")
    } else {
        Some("waiting in lane")
    }
}

fn is_running(job: &JobView, stats: &LaneStats, now_ms: UnixMs) -> bool {
    if stats.running == 0 {
        return false;
    }
    let Some(oldest_waiting_ms) = stats.oldest_waiting_ms.filter(|_| stats.waiting > 0) else { return true };
    // One that is tried again stands behind younger ones.
    job.attempts == 0 && job.created_at_ms < now_ms.saturating_sub(oldest_waiting_ms)
}

#[cfg(test)]
mod tests {
    use keepwell_workers::{id::JobId, lane::Lane};

    use super::*;

    const NOW_MS: UnixMs = 100_000;

    fn job() -> JobView {
        JobView {
            id: JobId::new(50_000),
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

    fn lane(waiting: u64, running: u64, oldest_waiting_ms: Option<i64>) -> Vec<LaneStats> {
        vec![LaneStats { lane: Lane::Standard, paused: None, waiting, running, later: 0, oldest_waiting_ms }]
    }

    #[test]
    fn a_finished_job_waits_for_nothing() {
        for state in [State::Done, State::Dead, State::Cancelled] {
            assert_eq!(waiting_because(&JobView { state, ..job() }, None, NOW_MS), None);
        }
    }

    #[test]
    fn an_owed_job_waits_for_its_time_its_lane_or_its_end() {
        let because = |job: &JobView, lanes: &[LaneStats]| waiting_because(job, Some(lanes), NOW_MS);
        let later = JobView { run_at_ms: NOW_MS + 1, ..job() };
        assert_eq!(because(&later, &lane(1, 0, Some(1))), Some("scheduled for later"));
        assert_eq!(because(&job(), &lane(9, 0, Some(60_000))), Some("waiting in lane"));
        assert_eq!(because(&job(), &lane(9, 4, Some(60_000))), Some("waiting in lane"));
        assert_eq!(because(&job(), &lane(9, 4, Some(40_000))), Some("running"));
        assert_eq!(because(&job(), &lane(0, 4, None)), Some("running"));
        let again = JobView { attempts: 1, ..job() };
        assert_eq!(because(&again, &lane(9, 4, Some(40_000))), Some("waiting in lane"));
    }

    #[test]
    fn a_paused_lane_is_named_as_the_reason() {
        let mut lanes = lane(9, 0, Some(60_000));
        lanes[0].paused = Some("an upgrade".to_owned());
        assert_eq!(waiting_because(&job(), Some(&lanes), NOW_MS), Some("lane paused"));
    }

    #[test]
    fn without_redis_nothing_is_guessed() {
        assert_eq!(waiting_because(&job(), None, NOW_MS), Some("redis does not answer"));
    }
}
