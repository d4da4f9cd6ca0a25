//! What could not be recorded yet.

use std::collections::VecDeque;

use keepwell_jobs::watch::WATCHED_MAX;
use keepwell_workers::job::NewJob;

/// Violations that wait to be recorded: as many as crises are watched, so that an outage in which all of them are late
/// leaves none out. More are not recorded.
#[derive(Default)]
pub(super) struct Unrecorded(pub(super) VecDeque<NewJob>);

impl Unrecorded {
    /// Adds `violation`.
    pub(super) fn put(&mut self, violation: NewJob) {
        if self.0.len() < WATCHED_MAX {
            self.0.push_back(violation);
        } else {
            tracing::error!("a violation of a crisis' time is not recorded: too many wait for that");
        }
    }
}

#[cfg(test)]
mod tests {
    use keepwell_jobs::kinds;
    use keepwell_workers::lane::Lane;

    use super::*;

    #[test]
    fn of_all_crises_that_are_watched_none_is_late_and_left_out() {
        let mut waiting = Unrecorded::default();
        for _ in 0..=WATCHED_MAX {
            waiting.put(NewJob::new(kinds::CRISIS_ANSWERED_LATE, Lane::Crisis, "{}"));
        }
        assert_eq!(waiting.0.len(), WATCHED_MAX);
    }
}
