//! Whole histories of grace: in whatever order they are told and however often, the same days are left, and nothing
//! that is told later takes one away.

use keepwell_workers::clock::UnixMs;
use proptest::prelude::*;

use super::{
    access::access,
    crisis::Source,
    facts::Facts,
    grace::{DAY_MS, GraceReason, SYSTEM_ERROR_DAYS, days},
    histories::{Happening, NOW_MS, TIERS, Told, learn, told_twice},
    running::{RunningGrace, running_grace},
    scores::Scores,
};

/// What is known once all of it was told; everything had been learned at the same instant.
fn told(history: &[(usize, Happening)]) -> Facts {
    let (mut facts, mut scores) = (Facts::about("cus_1"), Scores::default());
    for (number, happening) in history {
        learn(&mut facts, &mut scores, *number, happening, NOW_MS);
    }
    facts
}

/// Without what ends a crisis: trouble in a crisis makes it more severe, and once somebody has said that the crisis is
/// over, trouble that is told late no longer does.
fn without_resolved(history: &Told) -> Told {
    history
        .iter()
        .filter(|(_, happening)| !matches!(happening, Happening::Resolved { .. }))
        .cloned()
        .collect()
}

/// Whose events were all recorded at [`NOW_MS`] and are applied days apart, because jobs died and were retried.
#[derive(Default)]
struct Late {
    facts: Facts,
    scores: Scores,
    now_ms: UnixMs,
}

impl Late {
    /// Time goes on, and somebody sees to what has ended.
    fn wait(&mut self, pause_ms: i64) {
        self.now_ms = self.now_ms.max(NOW_MS) + pause_ms;
        self.facts.applied_ms = self.now_ms;
        self.facts.close_ended_graces(self.now_ms);
    }

    /// What the store does when a job runs.
    fn run(&mut self, (number, happening): &(usize, Happening)) {
        learn(&mut self.facts, &mut self.scores, *number, happening, NOW_MS);
        self.facts.close_ended_graces(self.now_ms);
    }
}

fn tier(facts: &Facts, now_ms: UnixMs) -> String {
    access(facts, &TIERS, now_ms).tier
}

fn pauses() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(prop_oneof![Just(0), 0..20 * DAY_MS], 28)
}

fn instants() -> impl Strategy<Value = UnixMs> {
    (0..70 * DAY_MS).prop_map(|later_ms| NOW_MS + later_ms)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_same_grace_is_left_at_any_time_whatever_the_order_and_number_of_tellings(
        (once, retold) in told_twice(),
        now_ms in instants(),
    ) {
        let (one, other) = (told(&without_resolved(&once)), told(&without_resolved(&retold)));
        prop_assert_eq!(running_grace(&one, now_ms), running_grace(&other, now_ms), "{:#?}\n{:#?}", one, other);
    }

    #[test]
    fn seeing_to_ended_graces_often_or_seldom_leaves_the_same_unless_an_end_shows_a_crisis(
        (history, _) in told_twice(),
        looks in prop::collection::vec(0..70 * DAY_MS, 0..6),
        now_ms in instants(),
    ) {
        let seldom = told(&history);
        let mut often = seldom.clone();
        let mut looks: Vec<UnixMs> = looks.into_iter().map(|later_ms| NOW_MS + later_ms).collect();
        looks.sort_unstable();
        for look_ms in looks.into_iter().filter(|look_ms| *look_ms <= now_ms) {
            often.close_ended_graces(look_ms);
        }
        let (saw, missed) = (running_grace(&often, now_ms), running_grace(&seldom, now_ms));
        // An end in a vulnerable time is a sign of a crisis (003), and that is known only to who saw it.
        if often.signals.values().any(|signal| signal.source == Source::GraceExpiry) {
            let ends = |grace: Option<RunningGrace>| grace.map(|grace| grace.ends_ms);
            prop_assert!(ends(saw) >= ends(missed), "{:?} {:?} {:#?}", saw, missed, often);
        } else {
            prop_assert_eq!(saw, missed, "{:#?}", often);
        }
    }

    #[test]
    fn no_reason_that_comes_later_moves_an_end_closer((history, _) in told_twice()) {
        let (mut facts, mut scores) = (Facts::about("cus_1"), Scores::default());
        for (number, happening) in &history {
            let before = facts.clone();
            learn(&mut facts, &mut scores, *number, happening, NOW_MS);
            for (key, grace) in &before.graces {
                prop_assert!(facts.graces[key].ends_ms >= grace.ends_ms);
            }
            let ends = |grace: Option<RunningGrace>| grace.map(|grace| grace.ends_ms);
            let (ran, runs) = (running_grace(&before, NOW_MS), running_grace(&facts, NOW_MS));
            let recovers = matches!(happening, Happening::Paid { .. } | Happening::Subscription { .. });
            prop_assert!(recovers || ends(runs) >= ends(ran), "{:?} {:?}", ran, runs);
        }
    }

    #[test]
    fn what_runs_late_begins_grace_when_it_runs_and_lets_nobody_fall_at_once(
        (_, history) in told_twice(),
        pauses in pauses(),
    ) {
        let mut late = Late::default();
        for (told, pause_ms) in history.iter().zip(pauses) {
            late.wait(pause_ms);
            let (before, now_ms) = (late.facts.clone(), late.now_ms);
            late.run(told);
            for (key, grace) in late.facts.graces.iter().filter(|(key, _)| !before.graces.contains_key(*key)) {
                prop_assert!(grace.ends_ms >= now_ms + days(key.reason, None) * DAY_MS, "{:?} {:?}", key, grace);
                prop_assert!(!grace.closed);
            }
            let trouble = matches!(
                told.1,
                Happening::Failed { .. }
                    | Happening::Subscription { status: "past_due" | "unpaid" | "canceled", .. }
            );
            if trouble && tier(&before, now_ms) != "floor" {
                prop_assert_ne!(tier(&late.facts, now_ms), "floor", "{:#?}\n{:#?}", before, late.facts);
            }
        }
    }

    #[test]
    fn what_is_told_again_later_grants_no_more_days_for_a_payment_or_an_end(
        (history, _) in told_twice(),
        pauses in pauses(),
    ) {
        let of_money = |facts: &Facts| {
            let reasons = [GraceReason::PaymentFailure, GraceReason::SubscriptionCanceled];
            let graces = facts.graces.clone().into_iter();
            graces.filter(|(key, _)| reasons.contains(&key.reason)).collect::<Vec<_>>()
        };
        let money = history.into_iter().filter(|(_, happening)| {
            matches!(
                happening,
                Happening::Failed { .. } | Happening::Paid { .. } | Happening::Subscription { .. }
            )
        });
        let (mut late, mut told) = (Late::default(), Vec::new());
        for (one, pause_ms) in money.zip(pauses) {
            late.wait(pause_ms);
            late.run(&one);
            told.push(one);
            let known = of_money(&late.facts);
            for again in &told {
                late.run(again);
                prop_assert_eq!(&of_money(&late.facts), &known, "{:?}", again);
            }
        }
    }

    #[test]
    fn nobody_in_a_crisis_runs_out_of_grace((history, _) in told_twice(), now_ms in instants()) {
        let facts = told(&history);
        if facts.crisis(now_ms).is_some() {
            let grace = running_grace(&facts, now_ms);
            prop_assert!(grace.is_some_and(|grace| grace.ends_ms > now_ms), "{:#?}", facts);
        }
    }

    #[test]
    fn a_crisis_that_is_over_still_leaves_more_than_a_fault_does((history, _) in told_twice()) {
        let crisis = history.iter().any(|(_, happening)| matches!(happening, Happening::Crisis { .. }));
        if crisis {
            let ends_ms = running_grace(&told(&history), NOW_MS).map(|grace| grace.ends_ms);
            prop_assert!(ends_ms > Some(NOW_MS + SYSTEM_ERROR_DAYS * DAY_MS));
        }
    }
}
