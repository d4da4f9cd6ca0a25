//! What may be taken away only once Stripe has confirmed it.
//!
//! Events come late, twice and in any order, and their times are whole seconds. So while Stripe can be asked, an event
//! that would take something away is only a claim: what stood before goes on to stand until Stripe has shown the
//! subscription as it is. What grants something counts at once; where it might be old news (from the same second as
//! what is known, or from before Stripe was asked last), Stripe is asked as well. Whatever Stripe shows counts, for it
//! was asked after everything that had been told until then; and what is told about a time before that is old, and
//! changes nothing unless Stripe, asked once more, says so.

use keepwell_workers::clock::UnixMs;

use super::{
    crisis::Road,
    facts::Facts,
    grace::GraceReason,
    invoice::Invoice,
    subscription::{SubscriptionSnapshot, SubscriptionStatus},
    tiers::Tiers,
    transition::{Change, rank},
};

/// What is known of a subscription beside the snapshot that counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confirmation {
    /// When Stripe showed the snapshot that counts, by Stripe's own clock, in seconds since the Unix epoch.
    pub confirmed_s: Option<i64>,
    /// When the last event was learned. An answer counts only if Stripe was asked after that.
    pub told_ms: Option<UnixMs>,
    /// What would take something away.
    pub claim: Option<SubscriptionSnapshot>,
}

/// What Stripe has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The subscription; `None` if it is gone. Stripe keeps canceled subscriptions, so this hardly happens unless the
    /// key is another account's: what was claimed then counts, and nothing beyond that.
    pub subscription: Option<SubscriptionSnapshot>,
    /// When Stripe was asked, by our clock.
    pub asked_ms: UnixMs,
    /// What was made before this second was in what Stripe looked at, by its own clock, in seconds since the Unix
    /// epoch.
    pub from_s: i64,
    /// What was made after this second was not.
    pub until_s: i64,
}

/// What is to be done about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing more.
    Settled,
    /// Stripe is to be asked.
    ToConfirm,
}

impl Told {
    const fn asking(asks: bool) -> Self {
        if asks { Self::ToConfirm } else { Self::Settled }
    }
}

/// What came of an answer of Stripe's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// It counts.
    Settled,
    /// More was learned since Stripe was asked; it has to be asked again, after this many milliseconds at the
    /// earliest.
    AskAgain {
        /// At least 1.
        after_ms: i64,
    },
}

impl Facts {
    /// An event that came by `road` showed a subscription, and Stripe can be asked whether it still is so.
    pub fn subscription_told(
        &mut self,
        snapshot: SubscriptionSnapshot,
        road: Road,
        tiers: &Tiers,
        learned_ms: UnixMs,
    ) -> Told {
        let id = snapshot.id.clone();
        let Some(known) = self.subscriptions.get(&id).cloned() else {
            // Nothing stood, so nothing is taken away.
            let assumed = self.status_of(&snapshot) != snapshot.status;
            self.subscription_shown(snapshot, Some(road), learned_ms);
            self.confirmation(&id).heard(learned_ms);
            return Told::asking(assumed);
        };
        let shown_later = Some(snapshot.event_created_s) <= self.confirmed_s(&id);
        let (older, newer) = (
            snapshot.event_created_s < known.event_created_s,
            snapshot.event_created_s > known.event_created_s,
        );
        // The end is the end: one that was made before something else was seen makes no sense together with that.
        let ended = snapshot.status.is_final() && !known.status.is_final();
        let senseless = older && ended || newer && known.status.is_final() && !snapshot.status.is_final();
        if snapshot == known {
            return Told::Settled;
        }
        let differs = (&snapshot.status, &snapshot.prices) != (&known.status, &known.prices);
        if older && (shown_later || !senseless) {
            // Old news. Stripe is asked all the same if it says something else: somebody's clock may be wrong.
            if differs {
                self.confirmation(&id).heard(learned_ms);
            }
            return Told::asking(differs);
        }
        self.confirmation(&id).heard(learned_ms);
        let status = self.status_of(&snapshot);
        let before = rank(&self.status_of(&known), &known.prices, tiers);
        let change = Change::between(before, rank(&status, &snapshot.prices, tiers));
        if change == Change::TakesAway {
            self.heed(snapshot.clone(), road, learned_ms);
            self.confirmation(&id).claim(snapshot);
            return Told::ToConfirm;
        }
        let assumed = status != snapshot.status;
        let doubtful = senseless || assumed || (shown_later || !newer) && differs;
        self.confirmation(&id).outdate_claim(&snapshot);
        if change == Change::Grants {
            self.subscriptions.remove(&id);
        }
        self.subscription_shown(snapshot, Some(road), learned_ms);
        Told::asking(doubtful)
    }

    /// An invoice was paid, and Stripe can be asked what that means. A subscription that waited for a payment counts as
    /// active at once; answers with those of which Stripe is to be asked.
    pub fn invoice_told(
        &mut self,
        invoice: &str,
        subscription: Option<String>,
        event_created_s: i64,
        learned_ms: UnixMs,
    ) -> Vec<String> {
        let its_own = |known: &&SubscriptionSnapshot| {
            subscription.as_ref() == Some(&known.id) || known.latest_invoice.as_deref() == Some(invoice)
        };
        let paid: Vec<SubscriptionSnapshot> = self.subscriptions.values().filter(its_own).cloned().collect();
        for known in &paid {
            self.confirmation(&known.id).heard(learned_ms);
        }
        let waits = |known: &SubscriptionSnapshot| {
            known.status.waits_for_payment() && known.event_created_s <= event_created_s
        };
        let waiting = paid.into_iter().filter(waits).map(|known| known.id).collect();
        self.invoice_paid(invoice, subscription, event_created_s, learned_ms);
        waiting
    }

    /// When Stripe showed the subscription `id` last, by its own clock, in seconds since the Unix epoch.
    pub(super) fn confirmed_s(&self, id: &str) -> Option<i64> {
        self.confirmations.get(id).and_then(|known| known.confirmed_s)
    }

    /// Stripe showed the subscription `id` as it is.
    pub fn subscription_confirmed(&mut self, id: &str, shown: Shown, now_ms: UnixMs) -> Confirmed {
        let Some(known) = self.subscriptions.get(id).cloned() else {
            self.subscription_found(id, shown, now_ms);
            return Confirmed::Settled;
        };
        let confirmation = self.confirmation(id);
        if let Some(told_ms) = confirmation.told_ms.filter(|told_ms| *told_ms >= shown.asked_ms) {
            return Confirmed::AskAgain {
                after_ms: told_ms.saturating_sub(shown.asked_ms).saturating_add(1),
            };
        }
        let claim = confirmation.claim.take();
        // Newer than everything that was told before it was asked for, whatever the clocks say.
        let told_s = claim.iter().chain([&known]).map(|snapshot| snapshot.event_created_s);
        let from_s = told_s.chain(self.paid_s(&known, shown.asked_ms)).fold(shown.from_s, i64::max);
        let last = claim.unwrap_or(known);
        // What the event has said of a crisis is not said again.
        let event_id = last.event_id.clone();
        let told_by = (last.status != SubscriptionStatus::Canceled).then_some(Road::Brought);
        let seen = shown.subscription.unwrap_or(last);
        let snapshot = SubscriptionSnapshot { id: id.to_owned(), event_created_s: from_s, event_id, ..seen };
        // Before it is confirmed: what was paid counts until then.
        let opened = self.opens_something(id);
        let confirmation = self.confirmation(id);
        confirmation.confirmed_s = confirmation.confirmed_s.max(Some(from_s.max(shown.until_s)));
        self.subscriptions.remove(id);
        self.subscription_shown(snapshot, told_by, now_ms);
        if opened {
            self.taken_away(id, now_ms);
        }
        Confirmed::Settled
    }

    /// Stripe showed a subscription of which nobody has told: nothing stood, so nothing is taken away.
    fn subscription_found(&mut self, id: &str, shown: Shown, now_ms: UnixMs) {
        let Some(snapshot) = shown.subscription else { return };
        // No event has said it, so its own id stands for one.
        let (event_created_s, event_id) = (shown.from_s, id.to_owned());
        self.subscription_changed(SubscriptionSnapshot { event_created_s, event_id, ..snapshot }, now_ms);
        self.confirmation(id).confirmed_s = Some(shown.until_s);
    }

    /// Stripe was to be asked about the subscription `id` and can be no longer: what was told is all there is.
    pub fn subscription_unconfirmed(&mut self, id: &str, now_ms: UnixMs) {
        if let Some(claim) = self.confirmations.get_mut(id).and_then(|known| known.claim.take()) {
            self.subscription_shown(claim, None, now_ms);
        }
    }

    /// When invoices of `subscription` were paid, of those that were learned before `asked_ms`.
    fn paid_s(&self, subscription: &SubscriptionSnapshot, asked_ms: UnixMs) -> impl Iterator<Item = i64> {
        let its_own = move |(id, invoice): &(&String, &Invoice)| {
            invoice.subscription.as_ref() == Some(&subscription.id)
                || subscription.latest_invoice.as_ref() == Some(id)
        };
        let learned = self.invoices.iter().filter(its_own);
        learned
            .filter(move |(_, invoice)| invoice.learned_ms < asked_ms)
            .filter_map(|(_, invoice)| invoice.paid_s)
    }

    fn confirmation(&mut self, id: &str) -> &mut Confirmation {
        self.confirmations.entry(id.to_owned()).or_default()
    }

    /// What a change says of a crisis counts at once; only what it takes away waits.
    fn heed(&mut self, snapshot: SubscriptionSnapshot, road: Road, learned_ms: UnixMs) {
        let mut told = self.clone();
        told.subscription_shown(snapshot, Some(road), learned_ms);
        let of_crisis = told.graces.into_iter().filter(|(key, _)| key.reason == GraceReason::CrisisDetected);
        self.graces.extend(of_crisis);
        (self.signals, self.vulnerable) = (told.signals, told.vulnerable);
    }
}

impl Confirmation {
    fn heard(&mut self, learned_ms: UnixMs) {
        self.told_ms = self.told_ms.max(Some(learned_ms));
    }

    fn claim(&mut self, snapshot: SubscriptionSnapshot) {
        match &mut self.claim {
            Some(claim) => claim.merge(snapshot),
            None => self.claim = Some(snapshot),
        }
    }

    /// What is newer than a claim has left it behind; but nothing leaves an end behind.
    fn outdate_claim(&mut self, snapshot: &SubscriptionSnapshot) {
        let outdated = |claim: &SubscriptionSnapshot| {
            claim.event_created_s < snapshot.event_created_s && !claim.status.is_final()
        };
        if self.claim.as_ref().is_some_and(outdated) {
            self.claim = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tiers::shipped, *};

    const NOW_MS: UnixMs = 1_700_000_000_000;

    fn snapshot(status: &str, created_s: i64) -> SubscriptionSnapshot {
        SubscriptionSnapshot {
            id: "sub_1".into(),
            status: SubscriptionStatus::from_name(status),
            prices: vec!["price_premium_monthly".into()],
            period_end_s: None,
            cancel_at_s: None,
            latest_invoice: Some("in_1".into()),
            event_created_s: created_s,
            event_id: format!("evt_{status}_{created_s}"),
        }
    }

    fn told(facts: &mut Facts, status: &str, created_s: i64) -> Told {
        facts.subscription_told(snapshot(status, created_s), Road::Brought, &shipped(), NOW_MS)
    }

    fn counts(facts: &Facts) -> String {
        facts.status_of(&facts.subscriptions["sub_1"]).name().to_owned()
    }

    #[test]
    fn what_only_a_payment_makes_active_is_confirmed() {
        let mut facts = Facts::about("cus_1");
        assert!(facts.invoice_told("in_1", None, 20, NOW_MS).is_empty());
        assert_eq!(told(&mut facts, "past_due", 10), Told::ToConfirm);
        assert_eq!(told(&mut facts, "unpaid", 15), Told::ToConfirm);
        assert_eq!(counts(&facts), "active");
        assert_eq!(facts.invoice_told("in_1", None, 30, NOW_MS), ["sub_1"]);
    }

    #[test]
    fn a_claim_that_was_left_behind_is_dropped_and_an_end_never_is() {
        for (claimed, dropped) in [("past_due", true), ("canceled", false)] {
            let mut facts = Facts::about("cus_1");
            assert_eq!(told(&mut facts, "active", 10), Told::Settled);
            assert_eq!(told(&mut facts, claimed, 20), Told::ToConfirm);
            told(&mut facts, "active", 30);
            assert_eq!(facts.confirmations["sub_1"].claim.is_none(), dropped, "{claimed}");
            assert_eq!(counts(&facts), "active");
        }
    }

    #[test]
    fn a_subscription_that_is_gone_is_what_was_claimed_of_it_and_no_less() {
        let gone = Shown { subscription: None, asked_ms: NOW_MS + 1, from_s: 40, until_s: 41 };
        let mut facts = Facts::about("cus_1");
        told(&mut facts, "active", 10);
        facts.subscription_confirmed("sub_1", gone.clone(), NOW_MS + 2);
        assert_eq!(counts(&facts), "active", "a key of another account knows nothing");
        told(&mut facts, "canceled", 50);
        facts.subscription_confirmed("sub_1", gone, NOW_MS + 2);
        assert_eq!(counts(&facts), "canceled");
    }

    #[test]
    fn a_subscription_of_which_nobody_told_is_learned_from_stripe() {
        let shown = |subscription| Shown { subscription, asked_ms: NOW_MS + 1, from_s: 40, until_s: 41 };
        let mut facts = Facts::about("cus_1");
        facts.subscription_confirmed("sub_1", shown(None), NOW_MS + 2);
        assert!(facts.subscriptions.is_empty());
        facts.subscription_confirmed("sub_1", shown(Some(snapshot("active", 0))), NOW_MS + 2);
        assert_eq!(counts(&facts), "active");
        let learned = &facts.subscriptions["sub_1"];
        assert_eq!((learned.event_created_s, learned.event_id.as_str()), (40, "sub_1"));
        // What was told before that is old.
        assert_eq!(told(&mut facts, "past_due", 30), Told::ToConfirm);
        assert_eq!(counts(&facts), "active");
    }

    #[test]
    fn a_wrong_time_on_an_answer_keeps_nobody_from_what_was_paid_for() {
        let shown = |status: &str, time_s| Shown {
            subscription: Some(snapshot(status, 0)),
            asked_ms: NOW_MS + 1,
            from_s: time_s,
            until_s: time_s,
        };
        let mut facts = Facts::about("cus_1");
        told(&mut facts, "active", 10);
        told(&mut facts, "past_due", 20);
        facts.subscription_confirmed("sub_1", shown("past_due", i64::MAX), NOW_MS + 2);
        assert_eq!(told(&mut facts, "active", 30), Told::ToConfirm);
        facts.subscription_confirmed("sub_1", shown("active", i64::MIN), NOW_MS + 3);
        assert_eq!(counts(&facts), "active");
    }
}
