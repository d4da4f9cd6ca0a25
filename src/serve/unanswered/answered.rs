//! Takes back what is granted here for crises that another process has answered: what is granted lasts no longer than
//! the crisis is unanswered, however many there are.

use keepwell_jobs::watch::{GrantedCrisis, Ticket};
use keepwell_workers::{engine::Engine, id::JobId, state::State};

use super::{PAGE, PAGES_MAX, Unread, Watchers};

/// Asks for those for which something is granted.
pub(super) struct Answered {
    watchers: Watchers,
    engine: Engine,
    /// Behind which the next round goes on.
    after: Option<Ticket>,
}

impl Answered {
    pub(super) fn new(watchers: Watchers, engine: Engine) -> Self {
        Self { watchers, engine, after: None }
    }

    /// Looks at so many of them that a round ends. Asks nothing while nothing is granted.
    pub(super) async fn look(&mut self) -> Result<(), Unread> {
        let watch = self.watchers.care.watch.clone();
        for _ in 0..PAGES_MAX {
            let page = watch.granted_behind(self.after, PAGE as usize);
            let answered = self.answered(&page).await?;
            for crisis in answered {
                watch.answered(crisis);
            }
            let is_full = page.len() >= PAGE as usize;
            self.after = page.last().map(|crisis| crisis.ticket).filter(|_| is_full);
            if !is_full {
                break;
            }
        }
        Ok(())
    }

    /// Those of `page` that nobody has to answer any more. Whose job is dead has not been answered.
    async fn answered(&self, page: &[GrantedCrisis]) -> Result<Vec<Ticket>, Unread> {
        let ids: Vec<JobId> = page.iter().filter_map(|crisis| crisis.job).collect();
        let unrecorded = page.iter().filter(|crisis| crisis.job.is_none());
        let keys: Vec<String> = unrecorded.filter_map(|crisis| crisis.key.clone()).collect();
        let ledger = self.engine.ledger();
        let (by_id, by_key) = (ledger.states(&ids).await?, ledger.states_of_keys(&keys).await?);
        let is_over = |state: State| matches!(state, State::Done | State::Cancelled);
        let is_answered = |crisis: &&GrantedCrisis| match (crisis.job, &crisis.key) {
            (Some(job), _) => by_id.iter().any(|(id, state)| *id == job && is_over(*state)),
            (None, Some(key)) => by_key.iter().any(|(known, state)| known == key && is_over(*state)),
            (None, None) => false,
        };
        Ok(page.iter().filter(is_answered).map(|crisis| crisis.ticket).collect())
    }
}
