//! Every trigger of the crisis safety protocols (003), one by one and together.

use keepwell_workers::clock::UnixMs;

use super::{
    assessment::{Assessment, Instrument, assessed},
    crisis::{CrisisKind, HIGH_LIMIT_MS, LATE_MS, Road, Severity, Signal, Source},
    facts::{Facts, PaymentFailure},
    grace::{DAY_MS, Grace, GraceKey, GraceReason},
    scores::Scores,
    subscription::{SubscriptionSnapshot, SubscriptionStatus},
};

const NOW_MS: UnixMs = 1_700_000_000_000;
const MINUTE_MS: i64 = 60 * 1_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// Somebody whose story is told as it happens.
struct Person {
    facts: Facts,
    scores: Scores,
    now_ms: UnixMs,
    told: u32,
}

impl Person {
    fn new() -> Self {
        Self { facts: Facts::about("cus_1"), scores: Scores::default(), now_ms: NOW_MS, told: 0 }
    }

    fn after(mut self, ms: i64) -> Self {
        self.now_ms += ms;
        self.facts.close_ended_graces(self.now_ms);
        self.facts.forget_old(self.now_ms);
        self
    }

    fn tell(mut self, teach: impl FnOnce(&mut Facts, &mut Scores, String, UnixMs)) -> Self {
        self.told += 1;
        let id = format!("evt_{}", self.told);
        teach(&mut self.facts, &mut self.scores, id, self.now_ms);
        self.after(0)
    }

    fn assessed(self, assessment: Assessment) -> Self {
        self.tell(|facts, scores, id, now_ms| {
            assessed(facts, scores, &id, &assessment, None, now_ms);
        })
    }

    fn scored(self, instrument: Instrument, points: f64) -> Self {
        let score = Some(points);
        self.assessed(Assessment { instrument: Some(instrument), score, ..Assessment::default() })
    }

    fn pressed(self, severity: Severity) -> Self {
        self.tell(|facts, _, id, now_ms| {
            let source = Source::Button;
            facts.signalled(id, Signal { source, severity, at_ms: now_ms, only_in_crisis: false }, now_ms);
        })
    }

    fn failed(self, attempt_count: i64) -> Self {
        self.failed_ago(0, attempt_count, Road::Brought)
    }

    fn failed_ago(self, ago_ms: i64, attempt_count: i64, road: Road) -> Self {
        self.tell(|facts, _, id, now_ms| {
            let failure = PaymentFailure {
                invoice: format!("in_{id}"),
                subscription: None,
                attempt_count,
                event_created_s: (now_ms - ago_ms) / 1_000,
                event_id: id,
                road,
            };
            facts.payment_failed(failure, now_ms);
        })
    }

    fn canceled(self) -> Self {
        self.canceled_ago(0, Road::Brought)
    }

    fn canceled_ago(self, ago_ms: i64, road: Road) -> Self {
        self.tell(|facts, _, id, now_ms| {
            let snapshot = SubscriptionSnapshot {
                id: "sub_1".into(),
                status: SubscriptionStatus::Canceled,
                prices: vec![],
                period_end_s: None,
                cancel_at_s: None,
                latest_invoice: None,
                event_created_s: (now_ms - ago_ms) / 1_000,
                event_id: id,
            };
            facts.subscription_shown(snapshot, Some(road), now_ms);
        })
    }

    fn resolved(self) -> Self {
        self.tell(|facts, _, _, now_ms| facts.crisis_resolved(now_ms, now_ms))
    }

    fn crisis(&self) -> Option<(CrisisKind, Severity)> {
        self.facts.crisis(self.now_ms).map(|crisis| (crisis.kind, crisis.severity))
    }

    fn grace_days(&self, reason: GraceReason) -> Option<i64> {
        let graces = self.facts.graces.iter().filter(|(key, _)| key.reason == reason);
        graces.map(|(_, grace)| (grace.ends_ms - self.now_ms) / DAY_MS).max()
    }
}

use CrisisKind::{Clinical, Combined, Payment, System};
use Severity::{Critical, High, Moderate};

#[test]
fn clinical_triggers_are_a_crisis_by_themselves() {
    use Instrument::{Gad7, Phq9};
    let said =
        |suicidal_ideation, emergency| Assessment { suicidal_ideation, emergency, ..Assessment::default() };
    for (person, crisis) in [
        (Person::new().scored(Phq9, 20.0), Some((Clinical, High))),
        (Person::new().scored(Phq9, 19.5), None),
        (Person::new().scored(Gad7, 15.0), Some((Clinical, High))),
        (Person::new().scored(Gad7, 14.5), None),
        (Person::new().assessed(said(true, false)), Some((Clinical, Critical))),
        (Person::new().assessed(said(false, true)), Some((Clinical, Critical))),
        (Person::new().scored(Phq9, 6.0).after(DAY_MS).scored(Phq9, 11.0), Some((Clinical, Moderate))),
        (Person::new().scored(Phq9, 6.0).after(DAY_MS).scored(Phq9, 10.0), None),
        (Person::new().scored(Phq9, 6.0).after(DAY_MS).scored(Phq9, 20.0), Some((Clinical, High))),
    ] {
        assert_eq!(person.crisis(), crisis, "{:#?}", person.facts.signals);
        let grace = crisis.map(|(_, severity)| severity.counts_for_ms() / DAY_MS);
        assert_eq!(person.grace_days(GraceReason::CrisisDetected), grace);
        assert_eq!(person.facts.marked_until_ms(person.now_ms).is_some(), crisis.is_some());
    }
}

#[test]
fn payment_triggers_make_an_open_crisis_worse_and_are_none_otherwise() {
    for (trouble, severity) in [
        (Person::canceled as fn(Person) -> Person, High),
        (|person: Person| person.failed(1), Moderate),
        (|person: Person| person.failed(2), High),
        (|person: Person| person.failed(1).failed(1), High),
    ] {
        assert_eq!(trouble(Person::new()).crisis(), None);
        let in_crisis = Person::new().pressed(Moderate).after(MINUTE_MS);
        assert_eq!(trouble(in_crisis).crisis(), Some((Combined, severity)));
        let resolved = Person::new().canceled().after(MINUTE_MS).pressed(Moderate);
        assert_eq!(resolved.crisis(), Some((Clinical, Moderate)), "what came before is no part of it");
    }
}

#[test]
fn a_payment_that_fails_in_a_high_risk_period_is_a_crisis() {
    use Instrument::{Gad7, Phq9};
    let high_risk = || Person::new().scored(Phq9, 15.0);
    assert_eq!(high_risk().crisis(), None);
    assert_eq!(high_risk().after(14 * DAY_MS - 1_000).failed(1).crisis(), Some((Payment, Moderate)));
    assert_eq!(high_risk().after(14 * DAY_MS).failed(1).crisis(), None);
    assert_eq!(high_risk().failed(1).after(DAY_MS).failed(1).crisis(), Some((Payment, High)));
    assert_eq!(Person::new().scored(Gad7, 10.0).failed(1).crisis(), Some((Payment, Moderate)));
    assert_eq!(Person::new().scored(Phq9, 14.0).failed(1).crisis(), None);
    assert_eq!(high_risk().canceled().crisis(), None, "003 names cancellations only during a crisis");
    let again = || high_risk().failed(2);
    assert_eq!(
        again().after(21 * DAY_MS - 1_000).crisis(),
        Some((Payment, High)),
        "as long as high ones count"
    );
    assert_eq!(again().after(21 * DAY_MS).crisis(), None);
    let person = high_risk().failed(1);
    assert_eq!(person.grace_days(GraceReason::CrisisDetected), Some(14));
    assert!(person.facts.vulnerable && person.facts.marked_until_ms(person.now_ms).is_some());
}

#[test]
fn a_payment_that_failed_in_a_history_counts_when_it_failed() {
    let [brought, fetched] = [Road::Brought, Road::Fetched]
        .map(|road| move |person: Person, ago_ms| person.failed_ago(ago_ms, 2, road));
    let high_risk = || Person::new().scored(Instrument::Phq9, 15.0).after(DAY_MS);
    assert_eq!(brought(high_risk(), 2 * DAY_MS).crisis(), Some((Payment, High)));
    assert_eq!(fetched(high_risk(), 2 * DAY_MS).crisis(), None, "before the period");
    assert_eq!(fetched(high_risk(), HOUR_MS).crisis(), Some((Payment, High)));
    let in_crisis = || Person::new().pressed(Moderate).after(DAY_MS);
    assert_eq!(brought(in_crisis(), 2 * DAY_MS).crisis(), Some((Combined, High)));
    assert_eq!(fetched(in_crisis(), 2 * DAY_MS).crisis(), Some((Clinical, Moderate)));
    assert_eq!(fetched(in_crisis(), HOUR_MS).crisis(), Some((Combined, High)));
    let person = fetched(Person::new(), 2 * DAY_MS);
    assert!(person.grace_days(GraceReason::PaymentFailure) >= Some(7), "from the day on which it is learned");
}

#[test]
fn a_cancellation_of_a_history_counts_when_it_was_made() {
    let in_crisis = || Person::new().pressed(Moderate).after(DAY_MS);
    assert_eq!(in_crisis().canceled_ago(2 * DAY_MS, Road::Brought).crisis(), Some((Combined, High)));
    assert_eq!(in_crisis().canceled_ago(2 * DAY_MS, Road::Fetched).crisis(), Some((Clinical, Moderate)));
    assert_eq!(in_crisis().canceled_ago(HOUR_MS, Road::Fetched).crisis(), Some((Combined, High)));
}

#[test]
fn who_has_an_elevated_score_is_at_risk_until_its_period_ends() {
    let at_risk = |person: &Person| person.facts.at_risk_until_ms(person.now_ms);
    let once = || Person::new().scored(Instrument::Phq9, 15.0);
    let end_ms = NOW_MS + 14 * DAY_MS;
    assert_eq!(at_risk(&Person::new().pressed(Critical)), None, "a crisis is something else");
    assert_eq!((at_risk(&once()), at_risk(&once().after(14 * DAY_MS - 1))), (Some(end_ms), Some(end_ms)));
    assert_eq!(at_risk(&once().after(14 * DAY_MS)), None);
    let twice = once().after(DAY_MS).scored(Instrument::Gad7, 10.0);
    assert_eq!(at_risk(&twice), Some(end_ms + DAY_MS), "the last one counts");
}

#[test]
fn a_high_risk_period_that_is_told_late_covers_what_failed_in_it() {
    let told_late = |ago_ms| {
        let person = Person::new().failed(1).after(2 * HOUR_MS);
        person.tell(|facts, scores, id, now_ms| {
            let (instrument, score) = (Some(Instrument::Phq9), Some(16.0));
            let assessment = Assessment { instrument, score, ..Assessment::default() };
            assessed(facts, scores, &id, &assessment, Some(now_ms - ago_ms), now_ms);
        })
    };
    let person = told_late(3 * HOUR_MS);
    assert_eq!(person.crisis(), Some((Payment, Moderate)));
    assert!(person.facts.vulnerable, "although the failure was told first");
    assert_eq!(told_late(HOUR_MS).crisis(), None, "the failure came before");
    assert!(told_late(14 * DAY_MS).facts.signals.keys().all(|id| !id.ends_with(":risk")), "long over");
}

#[test]
fn a_payment_that_fails_again_in_a_crisis_window_opens_the_crisis_again() {
    let resolved = || Person::new().pressed(Moderate).after(HOUR_MS).resolved().after(MINUTE_MS);
    assert_eq!(resolved().failed(1).crisis(), None);
    assert_eq!(resolved().failed(2).crisis(), Some((Payment, High)));
    assert_eq!(resolved().failed(1).after(HOUR_MS).failed(1).crisis(), Some((Payment, High)));
    assert_eq!(resolved().after(72 * HOUR_MS - MINUTE_MS - 1_000).failed(2).crisis(), Some((Payment, High)));
    assert_eq!(resolved().after(72 * HOUR_MS).failed(2).crisis(), None);
    let never_in_crisis = Person::new().resolved().after(MINUTE_MS).failed(2);
    assert_eq!(never_in_crisis.crisis(), None, "nothing was resolved");
    assert_eq!(
        resolved().failed(2).resolved().after(LATE_MS).crisis(),
        Some((Payment, High)),
        "same instant"
    );
    assert_eq!(resolved().failed(2).after(MINUTE_MS).resolved().crisis(), None);
    // The failure that made it one of two is remembered for as long as the other one counts.
    let twice = resolved().failed(1).after(2 * DAY_MS).failed(1).after(14 * DAY_MS - 1);
    assert_eq!(twice.crisis(), Some((Payment, Moderate)));
    assert_eq!(twice.after(1).crisis(), None);
}

#[test]
fn the_crisis_window_closes_with_the_grace_that_came_with_the_crisis() {
    let mut facts = Facts { resolved_ms: Some(NOW_MS), ..Facts::about("cus_1") };
    let (source, severity) = (Source::RepeatedFailure, High);
    facts.signals.insert("a".into(), Signal { source, severity, at_ms: NOW_MS + 1, only_in_crisis: true });
    let key = GraceKey { reason: GraceReason::CrisisDetected, cause: "crisis_detected".into() };
    facts.graces.insert(key, Grace::starting(NOW_MS, 1));
    let end_ms = NOW_MS + DAY_MS;
    assert!(facts.crisis(end_ms - 1).is_some() && facts.crisis(end_ms).is_none());
    let over = Person::new().pressed(Moderate).facts;
    let end_ms = NOW_MS + 14 * DAY_MS;
    assert_eq!((over.marked_until_ms(end_ms - 1), over.marked_until_ms(end_ms)), (Some(end_ms), None));
}

#[test]
fn a_grace_period_that_expires_in_a_vulnerable_time_goes_on() {
    // In a high-risk period it is a crisis of its own.
    let person = Person::new().failed(1).after(DAY_MS).scored(Instrument::Gad7, 12.0);
    assert_eq!(person.crisis(), None);
    let person = person.after(6 * DAY_MS);
    assert_eq!(person.crisis(), Some((Payment, Moderate)));
    assert_eq!(person.grace_days(GraceReason::PaymentFailure), Some(14), "as long as that of the crisis");
    // In a crisis it does not expire: it lasts as long as that of the crisis.
    let person = Person::new().failed(1).after(DAY_MS).pressed(High).after(6 * DAY_MS);
    assert_eq!(person.crisis(), Some((Clinical, High)));
    assert_eq!(person.grace_days(GraceReason::PaymentFailure), Some(15));
    // After a crisis it goes on, and that alone is no new crisis, or it would never end.
    let resolved = |person: Person| person.pressed(Moderate).after(DAY_MS).resolved();
    let person = resolved(Person::new().failed(1)).after(6 * DAY_MS);
    assert_eq!((person.crisis(), person.grace_days(GraceReason::PaymentFailure)), (None, Some(7)));
    let over = person.after(20 * DAY_MS);
    assert_eq!(over.facts.marked_until_ms(over.now_ms), None);
    assert!(over.facts.graces.values().all(|grace| grace.closed));
    // Nobody vulnerable: it ends.
    let person = Person::new().failed(1).after(7 * DAY_MS);
    assert_eq!((person.crisis(), person.grace_days(GraceReason::PaymentFailure)), (None, Some(0)));
    assert!(person.facts.signals.values().all(|signal| signal.source != Source::GraceExpiry));
}

#[test]
fn system_triggers_make_an_open_crisis_worse_and_are_none_otherwise() {
    type Teach = fn(&mut Facts, String, UnixMs);
    let late: Teach = |facts, id, now_ms| facts.answered_late(id, now_ms, now_ms);
    let threat: Teach = |facts, id, now_ms| facts.threatened(id, now_ms, now_ms);
    let tool: Teach = |facts, id, now_ms| facts.system_failed(id, now_ms, now_ms);
    for (teach, source) in
        [(late, Source::SlowProcessing), (threat, Source::SecurityThreat), (tool, Source::ToolFailure)]
    {
        let trouble = |person: Person| person.tell(|facts, _, id, now_ms| teach(facts, id, now_ms));
        assert_eq!(trouble(Person::new()).crisis(), None);
        let high_risk = trouble(Person::new().scored(Instrument::Phq9, 16.0));
        assert_eq!(high_risk.crisis(), None);
        let person = trouble(Person::new().pressed(Moderate));
        assert_eq!(person.crisis(), Some((Combined, High)));
        assert!(person.facts.signals.values().any(|signal| signal.source == source));
        assert_eq!(person.grace_days(GraceReason::CrisisDetected), Some(21));
    }
    let said = Signal { source: Source::System, severity: High, at_ms: NOW_MS, only_in_crisis: false };
    let person = Person::new().tell(|facts, _, id, now_ms| facts.signalled(id, said, now_ms));
    assert_eq!(person.crisis(), Some((System, High)));
}

#[test]
fn the_grace_of_a_crisis_counts_anew_from_whatever_is_a_part_of_it() {
    let days = |person: Person| person.grace_days(GraceReason::CrisisDetected);
    let later = || Person::new().pressed(High).after(5 * DAY_MS);
    assert_eq!(days(later()), Some(16));
    assert_eq!(days(later().canceled()), Some(21));
    assert_eq!(days(later().scored(Instrument::Phq9, 15.0)), Some(16), "a high-risk period alone is no part");
    let threat = |at_ms| {
        later().tell(|facts, _, id, now_ms| {
            facts.threatened(id, at_ms, now_ms);
        })
    };
    assert_eq!((days(threat(NOW_MS)), days(threat(NOW_MS - 1))), (Some(21), Some(16)));
}

#[test]
fn the_worst_sign_says_how_severe_and_how_fast() {
    let person = Person::new().pressed(Moderate).failed(1).canceled();
    assert_eq!(person.crisis(), Some((Combined, High)));
    assert_eq!(person.facts.crisis(NOW_MS).unwrap().severity.response_limit_ms(), HIGH_LIMIT_MS);
    let thoughts = Assessment { suicidal_ideation: true, ..Assessment::default() };
    assert_eq!(person.assessed(thoughts).crisis(), Some((Combined, Critical)));
}

#[test]
fn a_crisis_ends_when_somebody_says_so_or_nobody_says_anything_for_long() {
    for severity in Severity::ALL {
        let ends_ms = severity.counts_for_ms();
        let pressed = || Person::new().pressed(severity);
        assert_eq!(pressed().facts.crisis(NOW_MS).unwrap().ends_ms, NOW_MS + ends_ms);
        assert!(pressed().after(ends_ms - 1).crisis().is_some());
        let over = pressed().after(ends_ms);
        assert_eq!((over.crisis(), over.facts.signals.len()), (None, 0));
        assert!(!over.facts.vulnerable);
        assert_eq!(over.facts.marked_until_ms(over.now_ms), None);
    }
    // A sign of its own keeps it open; trouble does not.
    let again = Person::new().pressed(Moderate).after(13 * DAY_MS).pressed(Moderate).after(13 * DAY_MS);
    assert_eq!(again.facts.crisis(again.now_ms).unwrap().since_ms, NOW_MS + 13 * DAY_MS);
    assert_eq!(Person::new().pressed(Moderate).after(13 * DAY_MS).canceled().after(DAY_MS).crisis(), None);
    // A worse sign that is over makes a later one no worse.
    let milder = Person::new().pressed(High).after(20 * DAY_MS).pressed(Moderate).after(DAY_MS);
    assert_eq!(milder.crisis(), Some((Clinical, Moderate)));
}

#[test]
fn who_was_in_a_crisis_stays_marked_until_its_grace_period_ends() {
    let person = Person::new().pressed(High).after(DAY_MS).resolved();
    assert_eq!(person.crisis(), None);
    assert_eq!(person.facts.marked_until_ms(person.now_ms), Some(NOW_MS + 21 * DAY_MS));
    let person = person.after(20 * DAY_MS - 1);
    assert!(person.facts.marked_until_ms(person.now_ms).is_some());
    let person = person.after(1);
    assert_eq!((person.facts.marked_until_ms(person.now_ms), person.facts.vulnerable), (None, false));
}

#[test]
fn what_was_resolved_is_forgotten_when_nothing_can_meet_it_any_more() {
    let person = Person::new().pressed(High).failed(1).after(MINUTE_MS).resolved();
    assert_eq!(person.facts.signals.len(), 2);
    assert_eq!(person.after(LATE_MS).facts.signals.len(), 0);
    let high_risk = Person::new().scored(Instrument::Phq9, 22.0).after(MINUTE_MS).resolved().after(LATE_MS);
    let left: Vec<Source> = high_risk.facts.signals.values().map(|signal| signal.source).collect();
    assert_eq!(left, [Source::HighRisk], "a high-risk period is not resolved by saying so");
}

#[test]
fn a_flood_of_signs_is_remembered_as_much_as_it_matters() {
    let mut person = Person::new().pressed(Critical);
    for _ in 0..200 {
        person = person.after(1_000).pressed(Moderate).failed(1);
    }
    assert_eq!(person.facts.signals.len(), 2 * 64 + 1, "the newest of each sort, and the first of all");
    let crisis = person.facts.crisis(person.now_ms).unwrap();
    assert_eq!((crisis.since_ms, crisis.severity), (NOW_MS, Critical));
    let key = GraceKey { reason: GraceReason::CrisisDetected, cause: "crisis_detected".into() };
    assert!(person.facts.graces.contains_key(&key));
}
