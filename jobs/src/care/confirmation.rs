//! What may be taken away only once Stripe has confirmed it.
//!
//! Events come late, twice and in any order, and their times are whole seconds. So while Stripe can be asked, an event
//! that would take something away is only a claim: what stood before goes on to stand until Stripe has shown the
//! subscription as it is. What grants something counts at once; where it might be old news (from the same second as
//! what is known, or from before Stripe was asked last), Stripe is asked as well. Whatever Stripe shows counts, for it
//! was asked after everything that had been told until then; and what was told about a time before that is old.

use keepwell_workers::clock::UnixMs;

use super::{
    facts::Facts,
    grace::GraceReason,
    subscription::SubscriptionSnapshot,
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
    /// An event showed a subscription, and Stripe can be asked whether it still is so.
    pub fn subscription_told(
        &mut self,
        snapshot: SubscriptionSnapshot,
        tiers: &Tiers,
        learned_ms: UnixMs,
    ) -> Told {
        let id = snapshot.id.clone();
        let Some(known) = self.subscriptions.get(&id).cloned() else {
            // Nothing stood, so nothing is taken away.
            let assumed = self.status_of(&snapshot) != snapshot.status;
            self.subscription_changed(snapshot, learned_ms);
            self.confirmation(&id).heard(learned_ms);
            return if assumed { Told::ToConfirm } else { Told::Settled };
        };
        let shown_later = Some(snapshot.event_created_s) <= self.confirmed_s(&id);
        let (older, newer) = (
            snapshot.event_created_s < known.event_created_s,
            snapshot.event_created_s > known.event_created_s,
        );
        // The end is the end: one that was made before something else was seen makes no sense together with that.
        let ended = snapshot.status.is_final() && !known.status.is_final();
        let senseless = older && ended || newer && known.status.is_final() && !snapshot.status.is_final();
        if snapshot == known || older && (shown_later || !senseless) {
            return Told::Settled;
        }
        self.confirmation(&id).heard(learned_ms);
        let status = self.status_of(&snapshot);
        let before = rank(&self.status_of(&known), &known.prices, tiers);
        let change = Change::between(before, rank(&status, &snapshot.prices, tiers));
        if change == Change::TakesAway {
            self.heed(snapshot.clone(), learned_ms);
            self.confirmation(&id).claim(snapshot);
            return Told::ToConfirm;
        }
        let differs = (&snapshot.status, &snapshot.prices) != (&known.status, &known.prices);
        let assumed = status != snapshot.status;
        let doubtful = senseless || assumed || (shown_later || !newer) && differs;
        self.confirmation(&id).outdate_claim(&snapshot);
        if change == Change::Grants {
            self.subscriptions.remove(&id);
        }
        self.subscription_changed(snapshot, learned_ms);
        if doubtful { Told::ToConfirm } else { Told::Settled }
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
        let Some(known) = self.subscriptions.get(id).cloned() else { return Confirmed::Settled };
        let confirmation = self.confirmation(id);
        if let Some(told_ms) = confirmation.told_ms.filter(|told_ms| *told_ms >= shown.asked_ms) {
            return Confirmed::AskAgain {
                after_ms: told_ms.saturating_sub(shown.asked_ms).saturating_add(1),
            };
        }
        let claim = confirmation.claim.take();
        // Newer than everything that was told before it was asked for, whatever the clocks say.
        let told_s = claim.as_ref().map(|claim| claim.event_created_s).max(Some(known.event_created_s));
        let from_s = told_s.map_or(shown.from_s, |told_s| told_s.max(shown.from_s));
        let last = claim.unwrap_or(known);
        // What the event has said of a crisis is not said again.
        let event_id = last.event_id.clone();
        let seen = shown.subscription.unwrap_or(last);
        let snapshot = SubscriptionSnapshot { id: id.to_owned(), event_created_s: from_s, event_id, ..seen };
        let confirmation = self.confirmation(id);
        confirmation.confirmed_s = confirmation.confirmed_s.max(Some(from_s.max(shown.until_s)));
        self.subscriptions.remove(id);
        self.subscription_changed(snapshot, now_ms);
        Confirmed::Settled
    }

    /// Stripe was to be asked about the subscription `id` and can be no longer: what was told is all there is.
    pub fn subscription_unconfirmed(&mut self, id: &str, now_ms: UnixMs) {
        if let Some(claim) = self.confirmations.get_mut(id).and_then(|known| known.claim.take()) {
            self.subscription_changed(claim, now_ms);
        }
    }

    fn confirmation(&mut self, id: &str) -> &mut Confirmation {
        self.confirmations.entry(id.to_owned()).or_default()
    }

    /// What a change says of a crisis counts at once; only what it takes away waits.
    fn heed(&mut self, snapshot: SubscriptionSnapshot, learned_ms: UnixMs) {
        let mut told = self.clone();
        told.subscription_changed(snapshot, learned_ms);
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
