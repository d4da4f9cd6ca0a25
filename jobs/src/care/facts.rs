//! What is known about a person, and what an event teaches.
//!
//! Everything here is kept so that the same events lead to the same access in whatever order they come and however
//! often: snapshots are merged by a total order, "paid" is final, signals are a set. Only the instants at which grace
//! periods start depend on when something is learned and applied, and those only ever move the end further away.

use std::collections::{BTreeMap, BTreeSet};

use keepwell_workers::clock::UnixMs;

use super::{
    confirmation::Confirmation,
    crisis::{Road, Severity, Signal, Source},
    definitions::Definitions,
    grace::{DAY_MS, Grace, GraceHandling, GraceKey, GraceReason, days},
    home::Home,
    invoice::Invoice,
    subscription::{Grants, SubscriptionSnapshot, SubscriptionStatus},
};

/// How long invoices and closed grace periods are remembered, in milliseconds: three times the 30 days for which Stripe
/// still gives out an event.
pub const REMEMBERED_MS: i64 = 90 * DAY_MS;

/// What is known about one person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whom it is about.
    pub customer: String,
    /// Grows with everything that is learned; 0 for somebody unknown.
    pub version: i64,
    /// A payment method was saved.
    pub payment_method_on_file: bool,
    /// Was in a crisis, and the grace period that came with it has not ended.
    pub vulnerable: bool,
    /// The newest "resolved".
    pub resolved_ms: Option<UnixMs>,
    /// By id.
    pub subscriptions: BTreeMap<String, SubscriptionSnapshot>,
    /// What Stripe has confirmed of them, or is to be asked, by the subscription's id.
    pub confirmations: BTreeMap<String, Confirmation>,
    /// By id.
    pub invoices: BTreeMap<String, Invoice>,
    /// By reason and cause.
    pub graces: BTreeMap<GraceKey, Grace>,
    /// By the id of what brought them.
    pub signals: BTreeMap<String, Signal>,
    /// What the rules mean by their words. Not known about the person, but asked for with everything that is.
    pub definitions: Definitions,
    /// In which language and time zone the person lives.
    pub home: Home,
    /// Until when operators do not look at payments. Nothing about the person either, and never remembered with it.
    pub waived_until_ms: Option<UnixMs>,
    /// When what is learned now is applied, which may be long after it was recorded: no grace period begins before
    /// that, so that none is over before anybody had it. Nothing about the person either.
    pub applied_ms: UnixMs,
}

/// A payment that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentFailure {
    /// The invoice that stays unpaid.
    pub invoice: String,
    /// What it is for.
    pub subscription: Option<String>,
    /// How often payment was attempted.
    pub attempt_count: i64,
    /// When the event was made, in seconds since the Unix epoch.
    pub event_created_s: i64,
    /// The event's id.
    pub event_id: String,
    /// By which road the event came.
    pub road: Road,
}

impl Facts {
    /// Nothing yet about `customer`.
    pub fn about(customer: &str) -> Self {
        Self { customer: customer.to_owned(), ..Self::default() }
    }

    /// A subscription was seen. Trouble with its payment and its end begin grace periods.
    pub fn subscription_changed(&mut self, snapshot: SubscriptionSnapshot, learned_ms: UnixMs) {
        self.subscription_shown(snapshot, Some(Road::Brought), learned_ms);
    }

    /// The same as an event says that came by the road `told_by`: a cancellation that was fetched counts when it was
    /// made, as a payment does that failed, and its grace begins now. `None` if an event has said it before: what that
    /// says of a crisis is not said again, though it may be so long over that it is not remembered.
    pub(crate) fn subscription_shown(
        &mut self,
        snapshot: SubscriptionSnapshot,
        told_by: Option<Road>,
        learned_ms: UnixMs,
    ) {
        let (id, opened) = (snapshot.id.clone(), self.opens_something(&snapshot.id));
        self.subscription_seen(snapshot, told_by, learned_ms);
        if opened {
            self.taken_away(&id, learned_ms);
        }
    }

    /// The subscription `id` opened something until now. If it does no longer, grace for what became of it that has
    /// ended meanwhile begins anew: nobody needed it while it lasted, and nobody falls at once because something was
    /// told or confirmed late.
    pub(super) fn taken_away(&mut self, id: &str, learned_ms: UnixMs) {
        let Some(known) = self.subscriptions.get(id).filter(|_| !self.opens_something(id)) else { return };
        let Some(reason) = known.status.rule().begins else { return };
        let cause = match reason {
            GraceReason::PaymentFailure => known.trouble(),
            _ => &known.id,
        };
        let (key, grace) = (GraceKey { reason, cause: cause.clone() }, self.new_grace(reason, learned_ms));
        if let Some(ended) = self.graces.get_mut(&key).filter(|known| known.is_over_at(grace.started_ms)) {
            ended.restart(grace);
        }
    }

    /// Whether the subscription `id` opens anything by itself.
    pub(super) fn opens_something(&self, id: &str) -> bool {
        let known = self.subscriptions.get(id);
        known.is_some_and(|known| self.status_of(known).grants() != Grants::Nothing)
    }

    fn subscription_seen(
        &mut self,
        snapshot: SubscriptionSnapshot,
        told_by: Option<Road>,
        learned_ms: UnixMs,
    ) {
        if snapshot.status.is_payment_trouble() {
            let cause = snapshot.trouble().clone();
            self.payment_trouble(cause, Some(snapshot.id.clone()), snapshot.event_created_s, learned_ms);
        }
        if snapshot.status == SubscriptionStatus::Canceled {
            if let Some(road) = told_by {
                let canceled = Signal {
                    source: Source::Cancellation,
                    severity: Severity::High,
                    at_ms: road.event_time_ms(snapshot.event_created_s, learned_ms),
                    only_in_crisis: true,
                };
                self.signalled(snapshot.event_id.clone(), canceled, learned_ms);
            }
            let key = GraceKey { reason: GraceReason::SubscriptionCanceled, cause: snapshot.id.clone() };
            let (grace, handling) =
                (self.new_grace(key.reason, learned_ms), self.handling(key.reason, learned_ms));
            match self.graces.get_mut(&key) {
                None => _ = self.graces.insert(key, grace),
                Some(known) => known.take_in(grace, handling),
            }
        }
        match self.subscriptions.get_mut(&snapshot.id) {
            Some(known) => known.merge(snapshot),
            None => _ = self.subscriptions.insert(snapshot.id.clone(), snapshot),
        }
    }

    /// An invoice was paid: whatever its failures began is over.
    pub fn invoice_paid(
        &mut self,
        invoice: &str,
        subscription: Option<String>,
        event_created_s: i64,
        learned_ms: UnixMs,
    ) {
        let paid = Invoice { subscription, paid_s: Some(event_created_s), failed_s: None, learned_ms };
        self.invoices.entry(invoice.to_owned()).or_default().merge(paid);
    }

    /// A payment failed. Begins a grace period, unless the invoice is known to be paid; in a crisis it makes it more
    /// severe to have it fail again and again. Told late it counts as of now, unless the invoice was paid since then:
    /// it troubles nobody any more, and is a part of that time alone in which it failed. What was fetched counts when
    /// it was made, paid or not, however long ago that is: nobody is in a crisis anew because of what stands in a
    /// history. Its grace begins now all the same.
    pub fn payment_failed(&mut self, failure: PaymentFailure, learned_ms: UnixMs) {
        let PaymentFailure { invoice, subscription, attempt_count, event_created_s, event_id, road } =
            failure;
        // What is paid is as much a part of the past as what stands in a history.
        let is_past = self.is_paid_since(&invoice, Some(event_created_s));
        let road = if is_past { Road::Fetched } else { road };
        let signal = Signal {
            source: if attempt_count > 1 { Source::RepeatedFailure } else { Source::PaymentFailure },
            severity: if attempt_count > 1 { Severity::High } else { Severity::Moderate },
            at_ms: road.event_time_ms(event_created_s, learned_ms),
            only_in_crisis: true,
        };
        self.signalled(event_id, signal, learned_ms);
        self.payment_trouble(invoice.clone(), subscription.clone(), event_created_s, learned_ms);
        let failed = Invoice { subscription, paid_s: None, failed_s: Some(event_created_s), learned_ms };
        self.invoices.entry(invoice).or_default().merge(failed);
    }

    /// Something of ours failed for this person; in a crisis that makes it more severe.
    pub fn system_failed(&mut self, id: String, at_ms: UnixMs, learned_ms: UnixMs) {
        self.troubled(id, Source::ToolFailure, at_ms, learned_ms);
        let crisis = self.crisis(learned_ms);
        let granted = days(GraceReason::SystemError, crisis.map(|crisis| crisis.severity));
        self.running_grace(GraceReason::SystemError, granted, learned_ms);
    }

    /// The end of a grace period may have come: it is extended for whoever is vulnerable, and for everybody while
    /// payments are waived, and closed otherwise.
    pub fn grace_ended(&mut self, key: &GraceKey, now_ms: UnixMs) {
        let recovered = self.has_recovered(key);
        let protections = [self.vulnerable_until_ms(key), self.protected_until_ms(key)];
        let [vulnerable_until_ms, protected_until_ms] =
            protections.map(|until_ms| until_ms.filter(|_| !recovered));
        let Some(grace) = self.graces.get_mut(key).filter(|grace| !grace.closed && grace.ends_ms <= now_ms)
        else {
            return;
        };
        let expired_ms = grace.ends_ms;
        let in_vulnerable_time = grace.ends_ms(vulnerable_until_ms, now_ms) > expired_ms;
        grace.ends_ms = grace.ends_ms(protected_until_ms, now_ms);
        if in_vulnerable_time {
            self.expired_in_vulnerable_time(key, expired_ms, now_ms);
        }
        let Some(grace) = self.graces.get_mut(key).filter(|grace| grace.ends_ms <= now_ms) else { return };
        grace.closed = true;
        if key.reason == GraceReason::CrisisDetected {
            self.vulnerable = false;
        }
    }

    /// Forgets what can no longer make a difference.
    pub fn forget_old(&mut self, now_ms: UnixMs) {
        let old_ms = now_ms.saturating_sub(REMEMBERED_MS);
        let counting: BTreeSet<String> =
            self.subscriptions.values().filter_map(|known| self.payment_of(known).cloned()).collect();
        self.invoices.retain(|id, invoice| invoice.learned_ms >= old_ms || counting.contains(id));
        self.graces.retain(|_, grace| !grace.closed || grace.ends_ms >= old_ms);
        self.forget_old_signals(now_ms);
    }

    /// The status that counts: a paid invoice makes a subscription active before Stripe says so itself.
    pub fn status_of(&self, subscription: &SubscriptionSnapshot) -> SubscriptionStatus {
        let is_paid = self.payment_of(subscription).is_some();
        if is_paid { SubscriptionStatus::Active } else { subscription.status.clone() }
    }

    /// The invoice that was paid last of those that make `subscription` active, if it waits for a payment.
    fn payment_of(&self, subscription: &SubscriptionSnapshot) -> Option<&String> {
        if !subscription.status.waits_for_payment() {
            return None;
        }
        let seen_s = subscription.event_created_s;
        let confirmed_s = self.confirmed_s(&subscription.id).filter(|confirmed_s| *confirmed_s >= seen_s);
        let makes_up = |(id, invoice): &(&String, &Invoice)| {
            let its_own = invoice.subscription.as_deref() == Some(&subscription.id)
                || subscription.latest_invoice.as_ref() == Some(*id);
            // What was paid before Stripe showed it is in what Stripe showed.
            let since = match confirmed_s {
                Some(confirmed_s) => invoice.paid_s > Some(confirmed_s),
                None => invoice.paid_s >= Some(seen_s),
            };
            its_own && since
        };
        let payments = self.invoices.iter().filter(makes_up);
        payments.max_by_key(|(_, invoice)| invoice.paid_s).map(|(id, _)| id)
    }

    /// Whether what began the grace period is over, or [was nothing](Facts::was_nothing).
    pub fn has_recovered(&self, key: &GraceKey) -> bool {
        let Some(grace) = self.graces.get(key) else { return true };
        let subscription = grace.subscription.as_ref().and_then(|id| self.subscriptions.get(id));
        match key.reason {
            GraceReason::CrisisDetected | GraceReason::SystemError => false,
            GraceReason::SubscriptionCanceled => self.has_running_subscription(),
            GraceReason::PaymentFailure => {
                self.is_paid_since(&key.cause, grace.trouble_s)
                    || self.was_nothing(key)
                    || subscription.is_some_and(|known| {
                        is_running(&known.status) && Some(known.event_created_s) > grace.trouble_s
                            || known.status.is_final() && self.has_running_subscription()
                    })
            }
        }
    }

    /// Whether what began the grace period was nothing: whose first payment fails has nothing to keep.
    pub fn was_nothing(&self, key: &GraceKey) -> bool {
        let subscription = self.graces.get(key).and_then(|grace| grace.subscription.as_ref());
        subscription.and_then(|id| self.subscriptions.get(id)).is_some_and(|known| known.status.never_began())
    }

    /// Until when a grace period that ends is extended: while the person is vulnerable, and while operators do not look
    /// at payments, because nobody can set right then what it waits for. `None` if it is not.
    pub fn protected_until_ms(&self, key: &GraceKey) -> Option<UnixMs> {
        self.vulnerable_until_ms(key).max(self.waived_until_ms)
    }

    /// Until when the person is vulnerable: during a crisis and for as long as the grace period lasts that came with
    /// it, and in a high-risk period. The grace period of the crisis itself covers all of the crisis and is not
    /// extended because of it.
    fn vulnerable_until_ms(&self, key: &GraceKey) -> Option<UnixMs> {
        if key.reason == GraceReason::CrisisDetected {
            return None;
        }
        self.crisis_grace_ends_ms().max(self.high_risk_ends_ms())
    }

    /// Sees to every grace period whose end has come.
    pub fn close_ended_graces(&mut self, now_ms: UnixMs) {
        // The one that came with a crisis last, because it protects the others.
        let keys: Vec<GraceKey> = self.graces.keys().rev().cloned().collect();
        for key in keys {
            self.grace_ended(&key, now_ms);
        }
    }

    /// Whether the invoice was paid at or after the trouble. Paid is final, so a failure told late changes nothing.
    fn is_paid_since(&self, invoice: &str, trouble_s: Option<i64>) -> bool {
        self.invoices.get(invoice).is_some_and(|invoice| invoice.is_paid() && invoice.paid_s >= trouble_s)
    }

    /// Whether a subscription is active or on trial.
    pub fn has_running_subscription(&self) -> bool {
        self.subscriptions.values().any(|subscription| is_running(&self.status_of(subscription)))
    }

    fn new_grace(&self, reason: GraceReason, learned_ms: UnixMs) -> Grace {
        let days = days(reason, self.crisis(learned_ms).map(|crisis| crisis.severity));
        Grace::starting(self.begins_ms(learned_ms), days)
    }

    /// When a grace period begins because of something that was learned at `learned_ms`.
    fn begins_ms(&self, learned_ms: UnixMs) -> UnixMs {
        learned_ms.max(self.applied_ms)
    }

    fn payment_trouble(
        &mut self,
        cause: String,
        subscription: Option<String>,
        trouble_s: i64,
        learned_ms: UnixMs,
    ) {
        let key = GraceKey { reason: GraceReason::PaymentFailure, cause };
        let (recovered, handling) = (self.has_recovered(&key), self.handling(key.reason, learned_ms));
        let trouble_s = Some(trouble_s);
        let grace = Grace { subscription, trouble_s, ..self.new_grace(key.reason, learned_ms) };
        match self.graces.get_mut(&key) {
            None => _ = self.graces.insert(key, grace),
            Some(known) if recovered && known.trouble_s < trouble_s => known.restart(grace),
            Some(known) => known.take_in(grace, handling),
        }
    }

    /// Grace whose cause may come back for ever is one period: it goes on from the last time, or begins anew.
    pub(super) fn running_grace(&mut self, reason: GraceReason, days: i64, learned_ms: UnixMs) {
        let key = GraceKey { reason, cause: reason.name().to_owned() };
        let grace = Grace::starting(self.begins_ms(learned_ms), days);
        match self.graces.get_mut(&key) {
            None => _ = self.graces.insert(key, grace),
            Some(known) if known.is_over_at(grace.started_ms) => known.restart(grace),
            Some(known) => known.take_in(grace, GraceHandling::Extend),
        }
    }

    fn handling(&self, reason: GraceReason, learned_ms: UnixMs) -> GraceHandling {
        GraceHandling::of(reason, self.crisis(learned_ms).map(|crisis| crisis.severity))
    }

    /// Whatever else runs lasts at least as long as the grace that came with the crisis ([`GraceHandling`]).
    pub(super) fn put_care_first(&mut self) {
        let of_crisis = |key: &GraceKey| key.reason == GraceReason::CrisisDetected;
        let ends = self.graces.iter().filter(|(key, _)| of_crisis(key)).map(|(_, grace)| grace.ends_ms);
        let Some(ends_ms) = ends.max() else { return };
        for (_, grace) in self.graces.iter_mut().filter(|(key, grace)| !of_crisis(key) && !grace.closed) {
            grace.ends_ms = grace.ends_ms.max(ends_ms);
        }
    }
}

fn is_running(status: &SubscriptionStatus) -> bool {
    matches!(status, SubscriptionStatus::Active | SubscriptionStatus::Trialing)
}
