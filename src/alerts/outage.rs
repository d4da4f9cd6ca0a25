//! What follows for an alert while the database is away, and what it has to take when it is back: decisions only.

use keepwell_jobs::alerts::{
    plan::{Habits, Move, OpenAlert, View, go_on},
    rule::Severity,
    telling::{Action, Receiver, Telling, ToldAlert},
};
use keepwell_workers::{clock::UnixMs, job::NewJob};

use super::note::Untold;

/// `alert`, which was opened just now, and whom it is to be told.
pub(super) fn begin(alert: OpenAlert, habits: &Habits, now_ms: UnixMs) -> Untold {
    let tellings = tellings(&alert, Action::Triggered, habits, now_ms);
    (alert, tellings)
}

/// What nobody has acknowledged is escalated, and told again. Says whether something follows.
pub(super) fn goes_on((alert, waiting): &mut Untold, view: &View<'_>, habits: &Habits) -> bool {
    let actions = go_on(alert, view, habits);
    for action in &actions {
        // Who has not heard the last one yet hears it once.
        let waits = |new: &Telling, old: &Telling| (old.receiver, old.action) == (new.receiver, new.action);
        let mut new = tellings(alert, *action, habits, view.now_ms);
        new.retain(|new| !waiting.iter().any(|old| waits(new, old)));
        waiting.append(&mut new);
    }
    !actions.is_empty()
}

/// `(alert, waiting)` is recorded as `row`, from before the outage or by a commit that nobody heard of: what was done
/// here since is recorded with it, and told to whoever has not heard. Who was paged from here for what somebody has
/// taken on or ended meanwhile hears of that.
pub(super) fn caught_up(
    (alert, waiting): &Untold,
    row: &OpenAlert,
    habits: &Habits,
    now_ms: UnixMs,
) -> (Vec<Move>, Vec<NewJob>) {
    let id = row.told.id.clone();
    let is_over = row.told.resolved_ms.is_some();
    let was_escalated = alert.escalated && !row.escalated;
    let was_repeated = alert.times_told > row.times_told;
    let (mut moves, mut jobs) = (Vec::new(), Vec::new());
    if is_over || row.acknowledged_ms.is_some() {
        let told =
            ToldAlert { resolved_ms: Some(row.told.resolved_ms.unwrap_or(now_ms)), ..row.told.clone() };
        let paged = [
            (Receiver::Escalation, was_escalated),
            // One that somebody has taken on stays so.
            (Receiver::Pagerduty, was_repeated && is_over),
        ];
        let paged = paged.into_iter().filter(|(receiver, was)| *was && habits.receivers.contains(receiver));
        // Not the job that tells of its end by itself, which may have been told before.
        jobs.extend(paged.map(|(receiver, _)| ended(receiver, &told, now_ms).job(1)));
        return (moves, jobs);
    }
    let still_waiting = |action: Action, time: i64| {
        let waits = waiting.iter().filter(move |telling| telling.action == action);
        waits.map(move |telling| telling.job(time))
    };
    if let (true, Some(next_ms)) = (was_repeated, alert.tell_at_ms) {
        // As often as it was: when it was told first is reckoned back from that.
        let (before, times) = (row.times_told, alert.times_told);
        moves.push(Move::Told { id: id.clone(), before, times, next_ms });
        jobs.extend(still_waiting(Action::Triggered, times));
    }
    if was_escalated {
        moves.push(Move::Escalated { id });
        jobs.extend(still_waiting(Action::Escalated, 0));
    }
    (moves, jobs)
}

/// What ends `alert` where it was told, under the identity that is not recorded: it is open as `known`. If it was
/// escalated, `known` is, so that nobody takes it for over who was escalated to, and nobody is once more later on. A
/// channel has heard that already.
pub(super) fn ends(
    alert: &OpenAlert,
    known: &OpenAlert,
    habits: &Habits,
    now_ms: UnixMs,
) -> (Vec<Move>, Vec<NewJob>) {
    let (mut moves, mut jobs) = (Vec::new(), Vec::new());
    if alert.escalated && !known.escalated && known.acknowledged_ms.is_none() {
        moves.push(Move::Escalated { id: known.told.id.clone() });
        let known = OpenAlert { escalated: true, ..known.clone() };
        let mut tellings = tellings(&known, Action::Escalated, habits, now_ms);
        tellings.retain(|telling| telling.receiver.goes_by_id());
        jobs.extend(tellings.iter().map(|telling| telling.job(0)));
    }
    let told = ToldAlert { resolved_ms: Some(now_ms), ..alert.told.clone() };
    let hears = |receiver: &&Receiver| {
        receiver.goes_by_id()
            && habits.tells(**receiver, Action::Resolved, Severity::Critical, alert.escalated)
    };
    jobs.extend(habits.receivers.iter().filter(hears).map(|receiver| ended(*receiver, &told, now_ms).job(0)));
    (moves, jobs)
}

fn ended(receiver: Receiver, told: &ToldAlert, at_ms: UnixMs) -> Telling {
    Telling { receiver, action: Action::Resolved, alerts: vec![told.clone()], at_ms, known_as: None }
}

fn tellings(alert: &OpenAlert, action: Action, habits: &Habits, at_ms: UnixMs) -> Vec<Telling> {
    let hears = |receiver: &&Receiver| habits.tells(**receiver, action, alert.told.severity, alert.escalated);
    let telling = |receiver: &Receiver| Telling {
        receiver: *receiver,
        action,
        alerts: vec![alert.told.clone()],
        at_ms,
        // The same for every attempt, in whichever life, and for the job once the database takes it, so that a webhook
        // takes none twice.
        known_as: Some(alert.told.known_as(action, alert.times_told)),
    };
    habits.receivers.iter().filter(hears).map(telling).collect()
}

#[cfg(test)]
mod tests {
    use keepwell_jobs::alerts::{plan::opened, rules, unseen::Unseen, watch::Seen};

    use super::*;

    #[test]
    fn who_has_not_heard_the_last_one_yet_hears_it_once_and_who_heard_of_what_is_over_hears_that_too() {
        let habits = Habits {
            receivers: vec![Receiver::Pagerduty, Receiver::Slack],
            repeat_ms: 60_000,
            escalate_ms: 600_000,
            quiet_ms: 1_000,
            source: "a node".to_owned(),
        };
        let seen =
            [Seen { rule: &rules::CRISIS_LANE_PAUSED, cause: String::new(), value: None, is_ripe: true }];
        let alert = OpenAlert { times_told: 1, tell_at_ms: Some(60_000), ..opened(&seen[0], &habits, 0) };
        let row = alert.clone();
        let mut untold = begin(alert, &habits, 0);
        untold.1.retain(|telling| telling.receiver == Receiver::Slack);
        let unseen = Unseen::new(1_000);
        let (open, silences, may_resolve, is_settled, now_ms) = (&[], &[], false, false, 60_000);
        let view = View { seen: &seen, open, silences, unseen: &unseen, may_resolve, is_settled, now_ms };
        assert!(goes_on(&mut untold, &view, &habits));
        let waiting: Vec<Receiver> = untold.1.iter().map(|telling| telling.receiver).collect();
        assert_eq!(waiting, [Receiver::Slack, Receiver::Pagerduty]);

        let told = ToldAlert { resolved_ms: Some(50_000), ..row.told.clone() };
        let over = OpenAlert { told, ..row.clone() };
        let ended = |row: &OpenAlert| caught_up(&untold, row, &habits, 70_000).1.len();
        assert_eq!(ended(&over), 1, "PagerDuty took it for another one");
        let taken_on = OpenAlert { acknowledged_ms: Some(50_000), ..row };
        assert_eq!(ended(&taken_on), 0);
    }
}
