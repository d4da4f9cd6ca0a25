//! Subscriptions against a Stripe that is played: it changes its mind, tells of it late, twice and in any order, and
//! can be asked. At no step is anything taken away that Stripe has not shown, at every step the floor is there, and
//! when everything was told and asked, what counts is what Stripe says.
//!
//! `make test` plays twenty thousand histories. For a million of them:
//!
//! ```text
//! HISTORIES=1000000 cargo test -p keepwell-jobs subscription_histories
//! ```

use keepwell_workers::clock::UnixMs;

use super::{
    access::access,
    confirmation::{Confirmed, Shown, Told},
    crisis::Road,
    facts::Facts,
    subscription::{SubscriptionSnapshot, SubscriptionStatus},
    tiers::{FLOOR, Tiers, shipped},
    transition::rank,
};

const START_MS: UnixMs = 1_700_000_000_000;
const SUBSCRIPTION: &str = "sub_1";

/// SplitMix64: the same histories on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }
}

#[derive(Debug, Clone)]
enum Event {
    Changed(SubscriptionSnapshot),
    Paid { invoice: String, created_s: i64 },
}

/// An answer under way.
#[derive(Debug, Clone)]
struct Asked {
    at_ms: UnixMs,
    saw: Option<SubscriptionSnapshot>,
}

#[derive(Debug)]
struct Play {
    now_ms: UnixMs,
    /// Stripe's clock against ours.
    skew_ms: i64,
    /// How wrong the time on an answer is.
    date_s: i64,
    events: u32,
    truth: Option<SubscriptionSnapshot>,
    untold: Vec<Event>,
    told: Vec<Event>,
    facts: Facts,
    owed: u32,
    asked: Option<Asked>,
}

impl Play {
    fn new(dice: &mut Dice) -> Self {
        Self {
            now_ms: START_MS + dice.roll(1_000) as i64,
            skew_ms: dice.pick(&[0, 0, -5_400, 700, 9_300]),
            date_s: dice.pick(&[0, 0, 0, 90_000, -90_000]),
            events: 0,
            truth: None,
            untold: Vec::new(),
            told: Vec::new(),
            facts: Facts::about("cus_1"),
            owed: 0,
            asked: None,
        }
    }

    fn stripe_s(&self) -> i64 {
        (self.now_ms + self.skew_ms).div_euclid(1_000)
    }

    /// Stripe changes its mind, and makes events of it.
    fn change(&mut self, dice: &mut Dice) {
        let before = self.truth.clone();
        if before.as_ref().is_some_and(|truth| truth.status.is_final()) {
            return;
        }
        self.events += 1;
        let statuses: &[&str] = if before.is_some() {
            &["trialing", "active", "active", "past_due", "unpaid", "paused", "hibernating", "canceled"]
        } else {
            &["incomplete", "trialing", "active"]
        };
        let status = SubscriptionStatus::from_name(dice.pick(statuses));
        let price = dice.pick(&["price_basic_monthly", "price_premium_monthly", "unheard_of"]);
        let invoice = before.as_ref().and_then(|before| before.latest_invoice.clone());
        let waited = before.as_ref().is_some_and(|before| before.status.waits_for_payment());
        if let (true, SubscriptionStatus::Active, Some(invoice)) = (waited, &status, &invoice) {
            self.untold.push(Event::Paid { invoice: invoice.clone(), created_s: self.stripe_s() });
        }
        let truth = SubscriptionSnapshot {
            id: SUBSCRIPTION.to_owned(),
            latest_invoice: if waited { invoice } else { Some(format!("in_{}", self.events)) },
            status,
            prices: vec![price.to_owned()],
            period_end_s: None,
            cancel_at_s: None,
            event_created_s: self.stripe_s(),
            event_id: format!("evt_{}", self.events),
        };
        self.untold.push(Event::Changed(truth.clone()));
        self.truth = Some(truth);
    }

    fn tell(&mut self, dice: &mut Dice, tiers: &Tiers) {
        let again = dice.roll(4) == 0 && !self.told.is_empty();
        if !again && self.untold.is_empty() {
            return;
        }
        let event = if again {
            let place = dice.roll(self.told.len() as u64) as usize;
            self.told[place].clone()
        } else {
            let place = dice.roll(self.untold.len() as u64) as usize;
            let event = self.untold.swap_remove(place);
            self.told.push(event.clone());
            event
        };
        match event {
            Event::Changed(snapshot) => {
                if self.facts.subscription_told(snapshot, Road::Brought, tiers, self.now_ms)
                    == Told::ToConfirm
                {
                    self.owed += 1;
                }
            }
            Event::Paid { invoice, created_s } => {
                let subscription = Some(SUBSCRIPTION.to_owned());
                let waiting = self.facts.invoice_told(&invoice, subscription, created_s, self.now_ms);
                self.owed += waiting.len() as u32;
            }
        }
    }

    /// Stripe is asked, looks, or its answer arrives.
    fn confirm(&mut self) {
        let (now_ms, stripe_s, truth) = (self.now_ms, self.stripe_s() + self.date_s, self.truth.clone());
        match &mut self.asked {
            None if self.owed > 0 => self.asked = Some(Asked { at_ms: now_ms, saw: None }),
            None => {}
            Some(asked) if asked.saw.is_none() => asked.saw = truth,
            Some(Asked { at_ms, saw }) => {
                let took_s = (now_ms - *at_ms) / 1_000 + 1;
                let from_s = stripe_s - took_s;
                let shown = Shown { subscription: saw.clone(), asked_ms: *at_ms, from_s, until_s: stripe_s };
                if self.facts.subscription_confirmed(SUBSCRIPTION, shown, now_ms) == Confirmed::Settled {
                    self.owed -= 1;
                }
                self.asked = None;
            }
        }
    }

    fn rank(&self, tiers: &Tiers) -> Option<i64> {
        let known = self.facts.subscriptions.get(SUBSCRIPTION)?;
        rank(&self.facts.status_of(known), &known.prices, tiers)
    }

    fn step(&mut self, dice: &mut Dice, tiers: &Tiers) {
        self.now_ms += dice.pick(&[0, 0, 1, 150, 400, 1_000, 2_500, 60_000]);
        let before = self.rank(tiers);
        let seen = self.asked.as_ref().and_then(|asked| asked.saw.clone());
        match dice.roll(8) {
            0..=1 => self.change(dice),
            2..=4 => self.tell(dice, tiers),
            _ => self.confirm(),
        }
        let after = self.rank(tiers);
        if after < before {
            let shown = seen.and_then(|seen| rank(&seen.status, &seen.prices, tiers));
            assert_eq!(after, shown, "taken away, and Stripe has not said so: {self:#?}");
        }
    }

    fn finish(&mut self, dice: &mut Dice, tiers: &Tiers) {
        while !self.untold.is_empty() || self.owed > 0 {
            self.now_ms += 1;
            if !self.untold.is_empty() {
                self.tell(dice, tiers);
            }
            self.confirm();
        }
        let known = self.facts.subscriptions.get(SUBSCRIPTION);
        let of = |one: &SubscriptionSnapshot| (one.status.clone(), one.prices.clone());
        let counts = known.map(|known| (self.facts.status_of(known), known.prices.clone()));
        assert_eq!(counts, self.truth.as_ref().map(of), "{self:#?}");
        assert!(self.facts.confirmations.values().all(|known| known.claim.is_none()), "{self:#?}");
    }

    fn floor_is_there(&self, tiers: &Tiers) {
        let enabled = access(&self.facts, tiers, self.now_ms).features.enabled;
        assert!(FLOOR.iter().all(|floor| enabled.iter().any(|feature| feature == floor)), "{self:#?}");
    }
}

/// How many histories are played.
fn histories() -> u64 {
    option_env!("HISTORIES").map_or(20_000, |text| text.parse().expect("a number"))
}

#[test]
fn nothing_is_taken_away_unconfirmed_and_in_the_end_stripe_is_right() {
    let histories = histories();
    let tiers = shipped();
    let (mut confirmed, mut kept) = (0_u64, 0_u64);
    for seed in 0..histories {
        let mut dice = Dice(seed);
        let mut play = Play::new(&mut dice);
        for _ in 0..4 + dice.roll(28) {
            play.step(&mut dice, &tiers);
            play.floor_is_there(&tiers);
        }
        confirmed += u64::from(play.facts.confirmations.values().any(|known| known.confirmed_s.is_some()));
        kept += u64::from(play.facts.confirmations.values().any(|known| known.claim.is_some()));
        play.finish(&mut dice, &tiers);
    }
    println!(
        "{histories} histories; {confirmed} of them were confirmed on the way, {kept} ended with a claim"
    );
    assert!(confirmed > histories / 10 && kept > histories / 10, "{confirmed} {kept}");
}

/// Tells `events` in some order, some of them twice, to somebody who cannot ask Stripe.
fn told_without_a_key(events: &[Event], dice: &mut Dice, tiers: &Tiers) -> Facts {
    let mut facts = Facts::about("cus_1");
    let mut order: Vec<&Event> = events.iter().chain(events.iter().filter(|_| dice.roll(4) == 0)).collect();
    for place in (1..order.len()).rev() {
        order.swap(place, dice.roll(place as u64 + 1) as usize);
    }
    for (event, learned_ms) in order.into_iter().zip(START_MS..) {
        let before = facts.subscriptions.get(SUBSCRIPTION).cloned();
        let rank_before = before.as_ref().and_then(|one| rank(&facts.status_of(one), &one.prices, tiers));
        match event {
            Event::Changed(snapshot) => facts.subscription_changed(snapshot.clone(), learned_ms),
            Event::Paid { invoice, created_s } => {
                facts.invoice_paid(invoice, Some(SUBSCRIPTION.to_owned()), *created_s, learned_ms);
            }
        }
        let after = facts.subscriptions.get(SUBSCRIPTION);
        let rank_after = after.and_then(|one| rank(&facts.status_of(one), &one.prices, tiers));
        if rank_after < rank_before {
            let Event::Changed(told) = event else { panic!("a payment took something away: {facts:#?}") };
            let old = before.is_some_and(|before| told.event_created_s < before.event_created_s);
            assert!(!old || told.status.is_final(), "old news took something away: {told:#?} {facts:#?}");
        }
    }
    facts
}

#[test]
fn without_a_key_old_news_takes_nothing_away_and_the_order_makes_no_difference() {
    let tiers = shipped();
    for seed in 0..histories() / 4 {
        let mut dice = Dice(seed);
        let mut play = Play::new(&mut dice);
        for _ in 0..2 + dice.roll(8) {
            play.now_ms += dice.pick(&[0, 0, 400, 1_000, 60_000]);
            play.change(&mut dice);
        }
        let tellings = [(); 2].map(|()| told_without_a_key(&play.untold, &mut dice, &tiers));
        let [one, other] = &tellings;
        assert_eq!(one.subscriptions, other.subscriptions, "history {seed}");
        let tier = |facts| access(facts, &tiers, START_MS + 1_000).tier;
        assert_eq!(tier(one), tier(other), "history {seed}");
    }
}
