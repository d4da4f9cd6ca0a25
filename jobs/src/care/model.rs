//! A second opinion: long random histories, over weeks, with events that come late, twice and out of order. After every
//! step the crisis that the facts show has to be the one that a plain reading of the rules finds in everything that
//! was ever told, nothing forgotten.
//!
//! The long form is `cargo test -p keepwell-jobs --release -- --ignored a_million_histories`.

use keepwell_workers::clock::UnixMs;

use super::{
    assessment::{Assessment, Instrument, assessed},
    crisis::{
        Crisis, CrisisKind, Road, Severity, Signal, Source, event_time_ms, resolved_time_ms, signal_time_ms,
    },
    facts::{Facts, PaymentFailure},
    grace::{DAY_MS, GraceReason},
    scores::Scores,
    subscription::{SubscriptionSnapshot, SubscriptionStatus},
};

const START_MS: UnixMs = 1_700_000_000_000;
const HOUR_MS: i64 = 60 * 60 * 1_000;

/// Steps of one history.
const STEPS: u32 = 14;

/// SplitMix64: the same histories on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.roll() % from.len() as u64) as usize]
    }
}

/// What was told, as the plain reading keeps it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Told {
    Sign(CrisisKind, Severity, UnixMs),
    /// How often payment had been attempted.
    Failure(u32, UnixMs),
    Expiry(UnixMs),
    Addition(CrisisKind, UnixMs),
    Score(Instrument, f64, UnixMs),
}

#[derive(Debug, Default)]
struct Plain {
    told: Vec<Told>,
    resolved_ms: Option<UnixMs>,
    /// The scores, by their place in what was told, that a deterioration is known to have ended with.
    risen: Vec<usize>,
}

impl Plain {
    fn high_risk(&self, at_ms: UnixMs) -> bool {
        self.told.iter().any(|told| match told {
            Told::Score(instrument, points, taken_ms) => {
                let line = if *instrument == Instrument::Phq9 { 15.0 } else { 10.0 };
                *points >= line && *taken_ms <= at_ms && at_ms < taken_ms + 14 * DAY_MS
            }
            _ => false,
        })
    }

    /// The crisis at `now_ms`, read off the rules one after the other.
    fn crisis(&self, was_in_crisis: bool, now_ms: UnixMs) -> Option<Crisis> {
        let resolved_ms = self.resolved_ms.unwrap_or(UnixMs::MIN);
        let days = |severity| match severity {
            Severity::Critical => 30,
            Severity::High => 21,
            Severity::Moderate => 14,
        };
        let second = |at_ms: UnixMs| at_ms / 1_000 * 1_000;
        let in_window = |at_ms: UnixMs| {
            was_in_crisis
                && self.resolved_ms.is_some()
                && at_ms >= resolved_ms
                && at_ms <= resolved_ms + 72 * HOUR_MS
        };
        let attempts = self.told.iter().map(|told| match told {
            Told::Failure(attempt, at_ms) if in_window(*at_ms) => (*attempt).min(2),
            _ => 0,
        });
        let again = attempts.sum::<u32>() >= 2;
        let mut signs: Vec<(CrisisKind, Severity, UnixMs, bool, u32)> = Vec::new();
        for told in &self.told {
            signs.push(match *told {
                Told::Sign(kind, severity, at_ms) => (kind, severity, at_ms, true, 0),
                Told::Failure(attempt, at_ms) => {
                    let severity = if attempt > 1 { Severity::High } else { Severity::Moderate };
                    let stands = self.high_risk(at_ms) || again && in_window(at_ms);
                    (CrisisKind::Payment, severity, at_ms, stands, attempt.min(2))
                }
                Told::Expiry(at_ms) => {
                    (CrisisKind::Payment, Severity::Moderate, at_ms, self.high_risk(at_ms), 0)
                }
                Told::Addition(kind, at_ms) => (kind, Severity::High, at_ms, false, 0),
                Told::Score(..) => continue,
            });
        }
        signs.retain(|(_, severity, at_ms, ..)| {
            *at_ms >= resolved_ms && now_ms < second(*at_ms) + days(*severity) * DAY_MS
        });
        let standing: Vec<_> = signs.iter().filter(|(.., stands, _)| *stands).copied().collect();
        let since_ms = standing.iter().map(|(_, _, at_ms, ..)| *at_ms).min()?;
        let ends_ms = standing
            .iter()
            .map(|(_, severity, at_ms, ..)| second(*at_ms) + days(*severity) * DAY_MS)
            .max()?;
        signs.retain(|(_, _, at_ms, ..)| *at_ms >= since_ms);
        let mut severity = signs.iter().map(|(_, severity, ..)| *severity).max()?;
        if signs.iter().map(|(.., attempts)| attempts).sum::<u32>() > 1 {
            severity = severity.max(Severity::High);
        }
        let mut kinds: Vec<CrisisKind> = signs.iter().map(|(kind, ..)| *kind).collect();
        kinds.dedup();
        let alike = kinds.iter().all(|kind| *kind == kinds[0]);
        let kind = if alike { kinds[0] } else { CrisisKind::Combined };
        Some(Crisis { kind, severity, since_ms, ends_ms })
    }

    /// Learns of a score; answers with when those were taken that it shows to be the end of a deterioration.
    fn score(&mut self, instrument: Instrument, points: f64, taken_ms: UnixMs) -> Vec<UnixMs> {
        let rises = |from: f64, from_ms: UnixMs, to: f64, to_ms: UnixMs| {
            let line = if instrument == Instrument::Phq9 { 5.0 } else { 4.0 };
            from_ms < to_ms && to_ms - from_ms <= 14 * DAY_MS && to - from >= line && to >= 10.0
        };
        let mut risen_ms = vec![];
        let mut itself = false;
        for (place, told) in self.told.iter().enumerate() {
            let Told::Score(other_instrument, other, other_ms) = *told else { continue };
            if other_instrument != instrument {
                continue;
            }
            itself |= rises(other, other_ms, points, taken_ms);
            if rises(points, taken_ms, other, other_ms) && !self.risen.contains(&place) {
                self.risen.push(place);
                risen_ms.push(other_ms);
            }
        }
        if itself {
            self.risen.push(self.told.len());
            risen_ms.push(taken_ms);
        }
        self.told.push(Told::Score(instrument, points, taken_ms));
        risen_ms
    }
}

/// One person, twice: as facts, and as everything that was told.
struct Pair {
    facts: Facts,
    scores: Scores,
    plain: Plain,
    now_ms: UnixMs,
}

impl Pair {
    fn step(&mut self, number: u32, dice: &mut Dice) {
        let pause_ms = dice.pick(&[0, 1_000, 10 * 60_000, HOUR_MS, DAY_MS, 3 * DAY_MS, 9 * DAY_MS]);
        self.now_ms += pause_ms;
        let now_ms = self.now_ms;
        let stated_ms = now_ms - dice.pick(&[0, 0, 0, 0, 1_000, 5 * 60_000, 2 * HOUR_MS, 4 * DAY_MS]);
        let at_ms = signal_time_ms(Some(stated_ms), now_ms);
        let road = dice.pick(&[Road::Brought, Road::Brought, Road::Fetched]);
        let id = format!("evt_{number}");
        let expired_before = self.expiries();
        let (facts, plain) = (&mut self.facts, &mut self.plain);
        match dice.roll() % 12 {
            0..=1 => {
                let severity = dice.pick(&Severity::ALL);
                plain.told.push(Told::Sign(CrisisKind::Clinical, severity, at_ms));
                let sign = Signal { source: Source::Keyword, severity, at_ms, only_in_crisis: false };
                facts.signalled(id.clone(), sign.clone(), now_ms);
                facts.signalled(id, sign, now_ms);
            }
            2..=3 => {
                let attempt = dice.pick(&[1, 1, 1, 2]);
                let (event_created_s, at_ms) = event(stated_ms, road, now_ms);
                plain.told.push(Told::Failure(attempt, at_ms));
                let failure = PaymentFailure {
                    invoice: format!("in_{}", dice.roll() % 2),
                    subscription: None,
                    attempt_count: i64::from(attempt),
                    event_created_s,
                    event_id: id,
                    road,
                };
                facts.payment_failed(failure.clone(), now_ms);
                facts.payment_failed(failure, now_ms);
            }
            4..=5 => {
                let resolved_ms = resolved_time_ms(Some(stated_ms), now_ms);
                plain.resolved_ms = plain.resolved_ms.max(Some(resolved_ms));
                facts.crisis_resolved(resolved_ms, now_ms);
            }
            6 => {
                plain.told.push(Told::Addition(CrisisKind::System, at_ms));
                match dice.roll() % 3 {
                    0 => facts.threatened(id, at_ms, now_ms),
                    1 => facts.system_failed(id, at_ms, now_ms),
                    _ => facts.answered_late(id, at_ms, now_ms),
                }
            }
            7 => {
                let (event_created_s, at_ms) = event(stated_ms, road, now_ms);
                plain.told.push(Told::Addition(CrisisKind::Payment, at_ms));
                let canceled = SubscriptionSnapshot {
                    id: format!("sub_{number}"),
                    status: SubscriptionStatus::Canceled,
                    prices: vec![],
                    period_end_s: None,
                    cancel_at_s: None,
                    latest_invoice: None,
                    event_created_s,
                    event_id: id,
                };
                facts.subscription_shown(canceled.clone(), Some(road), now_ms);
                // As Stripe confirms it.
                facts.subscription_shown(canceled, None, now_ms);
            }
            _ => self.assess(&id, stated_ms, dice),
        }
        self.settle(&expired_before);
    }

    fn assess(&mut self, id: &str, stated_ms: UnixMs, dice: &mut Dice) {
        let now_ms = self.now_ms;
        let instrument = dice.pick(&[Instrument::Phq9, Instrument::Gad7]);
        let points: f64 = dice.pick(&[0.0, 4.0, 9.0, 10.0, 14.0, 15.0, 19.0, 20.0]);
        let assessment =
            Assessment { instrument: Some(instrument), score: Some(points), ..Assessment::default() };
        let severe = if instrument == Instrument::Phq9 { 20.0 } else { 15.0 };
        for taken_ms in self.plain.score(instrument, points, stated_ms) {
            let at_ms = signal_time_ms(Some(taken_ms), now_ms);
            self.plain.told.push(Told::Sign(CrisisKind::Clinical, Severity::Moderate, at_ms));
        }
        if points >= severe {
            let at_ms = signal_time_ms(Some(stated_ms), now_ms);
            self.plain.told.push(Told::Sign(CrisisKind::Clinical, Severity::High, at_ms));
        }
        assessed(&mut self.facts, &mut self.scores, id, &assessment, Some(stated_ms), now_ms);
    }

    /// What the store does after every change. Which grace periods expired is taken from the facts: when they do is
    /// their own rule.
    fn settle(&mut self, expired_before: &[UnixMs]) {
        self.facts.close_ended_graces(self.now_ms);
        let new = self.expiries().into_iter().filter(|at_ms| !expired_before.contains(at_ms));
        self.plain.told.extend(new.map(Told::Expiry));
        self.facts.forget_old(self.now_ms);
        self.scores.forget_old(&self.facts.definitions, self.now_ms);
    }

    fn expiries(&self) -> Vec<UnixMs> {
        let expiries = self.facts.signals.values().filter(|signal| signal.source == Source::GraceExpiry);
        expiries.map(|signal| signal.at_ms).collect()
    }

    fn check(&self, seed: u64) {
        let Self { facts, plain, now_ms, .. } = self;
        let grace = facts.graces.iter().filter(|(key, _)| key.reason == GraceReason::CrisisDetected);
        let covered_ms = grace.filter(|(_, grace)| !grace.closed).map(|(_, grace)| grace.ends_ms).max();
        for at_ms in [*now_ms, now_ms + 1, now_ms + 5 * DAY_MS, now_ms + 20 * DAY_MS] {
            let crisis = facts.crisis(at_ms);
            let read = plain.crisis(covered_ms > Some(at_ms), at_ms);
            assert_eq!(crisis, read, "history {seed} at {at_ms}: {facts:#?} {plain:#?}");
            if let Some(crisis) = crisis {
                assert!(covered_ms >= Some(crisis.ends_ms), "history {seed}: a crisis without its grace");
                assert!(facts.marked_until_ms(at_ms) >= Some(crisis.ends_ms), "history {seed}: no mark");
                assert!(facts.vulnerable, "history {seed}");
            }
        }
    }
}

/// The second in which an event was made, and when it counts: when it was made if it was fetched, and if it was brought
/// and is late, as of now.
fn event(stated_ms: UnixMs, road: Road, now_ms: UnixMs) -> (i64, UnixMs) {
    let second = stated_ms / 1_000;
    let counts_ms = if road == Road::Fetched { second * 1_000 + 999 } else { event_time_ms(second, now_ms) };
    (second, counts_ms)
}

fn check_histories(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut dice = Dice(seed);
        let mut pair = Pair {
            facts: Facts::about("cus_1"),
            scores: Scores::default(),
            plain: Plain::default(),
            now_ms: START_MS,
        };
        for number in 0..STEPS {
            pair.step(number, &mut dice);
            pair.check(seed);
        }
    }
}

#[test]
fn facts_show_the_crisis_that_a_plain_reading_finds() {
    check_histories(0..4_000);
}

#[test]
#[ignore = "takes minutes; the short form runs always"]
fn a_million_histories_show_the_crisis_that_a_plain_reading_finds() {
    check_histories(1 << 32..(1 << 32) + 1_000_000);
}
