//! The grace that a person has now: of several periods the latest end counts, and the first reason is told.

use std::cmp::Reverse;

use keepwell_workers::clock::UnixMs;

use super::{facts::Facts, grace::GraceReason};

/// Grace that runs at some instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningGrace {
    /// The reason that is told.
    pub reason: GraceReason,
    /// When we learned of that reason and applied it.
    pub started_ms: UnixMs,
    /// Until when it lasts; not included.
    pub ends_ms: UnixMs,
}

/// The grace that `facts` give at `now_ms`.
pub fn running_grace(facts: &Facts, now_ms: UnixMs) -> Option<RunningGrace> {
    let running = facts.graces.iter().filter(|(key, grace)| !grace.closed && !facts.has_recovered(key));
    let running: Vec<RunningGrace> = running
        .map(|(key, grace)| RunningGrace {
            reason: key.reason,
            started_ms: grace.started_ms,
            ends_ms: grace.ends_ms(facts.protected_until_ms(key), now_ms),
        })
        .filter(|grace| grace.ends_ms > now_ms)
        .collect();
    let told = running.iter().min_by_key(|grace| (grace.reason, Reverse(grace.ends_ms), grace.started_ms))?;
    let ends_ms = running.iter().map(|grace| grace.ends_ms).max()?;
    Some(RunningGrace { ends_ms, ..*told })
}

/// The end that is written down: of the grace that runs, or that nobody has seen to since it ended. Unlike
/// [`RunningGrace::ends_ms`] it holds no extension that has not been granted yet.
pub fn written_end_ms(facts: &Facts) -> Option<UnixMs> {
    let open = facts.graces.iter().filter(|(key, grace)| !grace.closed && !facts.has_recovered(key));
    open.map(|(_, grace)| grace.ends_ms).max()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            crisis::Road,
            facts::PaymentFailure,
            grace::DAY_MS,
            subscription::{SubscriptionSnapshot, SubscriptionStatus},
        },
        *,
    };

    fn failed(facts: &mut Facts) {
        let (invoice, event_id) = ("in_1".to_owned(), "evt_1".to_owned());
        let (subscription, attempt_count, event_created_s, road) = (None, 1, 0, Road::Brought);
        let failure =
            PaymentFailure { invoice, subscription, attempt_count, event_created_s, event_id, road };
        facts.payment_failed(failure, 0);
    }

    #[test]
    fn the_first_reason_is_told_and_the_latest_end_counts() {
        let mut facts = Facts::about("cus_1");
        failed(&mut facts);
        let canceled = SubscriptionSnapshot {
            id: "sub_1".into(),
            status: SubscriptionStatus::Canceled,
            prices: vec![],
            period_end_s: None,
            cancel_at_s: None,
            latest_invoice: None,
            event_created_s: 0,
            event_id: "evt_2".into(),
        };
        facts.subscription_changed(canceled, DAY_MS);
        let (reason, ends_ms) = (GraceReason::PaymentFailure, 8 * DAY_MS);
        assert_eq!(running_grace(&facts, DAY_MS), Some(RunningGrace { reason, started_ms: 0, ends_ms }));
        assert_eq!(written_end_ms(&facts), Some(ends_ms));
    }

    #[test]
    fn what_is_closed_or_over_has_no_end_that_is_written_down() {
        let mut facts = Facts::about("cus_1");
        failed(&mut facts);
        assert_eq!(written_end_ms(&facts), Some(7 * DAY_MS));
        let mut paid = facts.clone();
        paid.invoice_paid("in_1", None, 1, 1);
        assert_eq!(written_end_ms(&paid), None);
        facts.close_ended_graces(7 * DAY_MS);
        assert_eq!(written_end_ms(&facts), None);
    }
}
