//! What a person may use: the best of what subscriptions, grace periods and a crisis open, on top of the floor.

use std::sync::Arc;

use keepwell_workers::clock::UnixMs;

use super::{
    crisis::{Crisis, EMERGENCY_FEATURES, EmergencyLevel},
    document::{
        AccessDocument, CrisisView, EmergencyView, FLOOR_SYNC, FeaturesView, GraceView, SubscriptionView,
        SyncView, UtcTime,
    },
    emergency::{Emergency, Switch},
    facts::Facts,
    grace::{GraceReason, remaining_days},
    message::Message,
    resources::{CRISIS_RESOURCES, CrisisResources},
    running::running_grace,
    subscription::{Grants, SubscriptionSnapshot, SubscriptionStatus},
    templates::Templates,
    tiers::{FLOOR_TIER, SyncFrequency, Tier, Tiers, add_missing},
};

/// What `facts` let the person use at `now_ms`, with the crisis lines of the 988 Lifeline.
pub fn access(facts: &Facts, tiers: &Tiers, now_ms: UnixMs) -> AccessDocument {
    let document = access_with(facts, tiers, &CRISIS_RESOURCES, now_ms);
    let message = Message::with(&document, &Templates::default(), None);
    AccessDocument { message, ..document }
}

/// What `facts` let the person use at `now_ms`; whom to turn to are `resources`. Without a message: see
/// [`Message::with`].
pub fn access_with(
    facts: &Facts,
    tiers: &Tiers,
    resources: &CrisisResources,
    now_ms: UnixMs,
) -> AccessDocument {
    access_in(facts, tiers, resources, &Emergency::default(), now_ms)
}

/// What `facts` let the person use at `now_ms` in an `emergency` of ours or theirs.
pub fn access_in(
    facts: &Facts,
    tiers: &Tiers,
    resources: &CrisisResources,
    emergency: &Emergency,
    now_ms: UnixMs,
) -> AccessDocument {
    let crisis = facts.crisis(now_ms);
    let grace = grace_view(facts, now_ms);
    let waived = emergency.switches.waives_payment(now_ms);
    let counting = counting_subscription(facts, tiers, waived.is_some());
    let bought = counting.as_ref().and_then(|counting| counting.tier);
    let tier =
        bought.into_iter().chain(grace.active.then(|| tiers.grace_period())).max_by_key(|tier| tier.rank);
    let waived = waived.filter(|_| counting.as_ref().is_some_and(Counting::is_waived));
    let opened = Opened::of(crisis, emergency, waived, now_ms);
    let in_need = crisis.is_some() || emergency.granted_until_ms(now_ms).is_some();
    AccessDocument {
        customer: facts.customer.clone(),
        // What operators switch concerns everybody, so every switching makes a new version of every document.
        version: facts.version.saturating_add(emergency.switches.changes(now_ms)),
        as_of: UtcTime(now_ms),
        tier: tier.map_or_else(|| FLOOR_TIER.to_owned(), |tier| tier.name.clone()),
        subscription: counting.map(|counting| counting.view()),
        crisis: crisis_view(crisis),
        features: features(tiers, tier, grace.active, opened.as_ref().map(|opened| opened.level)),
        emergency: opened.map(Opened::view).unwrap_or_default(),
        sync: sync(tier, in_need),
        crisis_resources: resources.clone(),
        message: None,
        grace,
    }
}

/// A subscription, the status that counts, and the tier it opens.
struct Counting<'f> {
    subscription: &'f SubscriptionSnapshot,
    status: SubscriptionStatus,
    tier: Option<&'f Arc<Tier>>,
}

impl Counting<'_> {
    /// Whether its payment is in trouble and only counts because nobody looks at payments now.
    fn is_waived(&self) -> bool {
        self.tier.is_some() && is_in_trouble(&self.status)
    }

    fn view(&self) -> SubscriptionView {
        let time = |seconds: i64| UtcTime(seconds.saturating_mul(1_000));
        SubscriptionView {
            id: self.subscription.id.clone(),
            status: self.status.name().to_owned(),
            period_end: self.subscription.period_end_s.map(time),
            cancel_at: self.subscription.cancel_at_s.map(time),
        }
    }
}

/// Of several subscriptions the one that opens the best tier counts; then one that is not over, then the newest news.
fn counting_subscription<'f>(
    facts: &'f Facts,
    tiers: &'f Tiers,
    payment_is_waived: bool,
) -> Option<Counting<'f>> {
    let counting = facts.subscriptions.values().map(|subscription| {
        let status = facts.status_of(subscription);
        let tier = match status.grants() {
            Grants::Tier => Some(tiers.of_prices(&subscription.prices)),
            Grants::Trial => Some(tiers.trial()),
            Grants::GracePeriod => Some(tiers.grace_period()),
            Grants::Nothing if payment_is_waived && is_in_trouble(&status) => {
                Some(tiers.of_prices(&subscription.prices))
            }
            Grants::Nothing => None,
        };
        Counting { subscription, status, tier }
    });
    counting.max_by_key(|counting| {
        let Counting { subscription, status, tier } = counting;
        (
            tier.map(|tier| tier.rank),
            !status.is_final(),
            subscription.event_created_s,
            subscription.period_end_s,
            subscription.id.as_str(),
        )
    })
}

/// Whether a payment is all that stands between the person and what was bought.
fn is_in_trouble(status: &SubscriptionStatus) -> bool {
    status.waits_for_payment() || status.is_payment_trouble()
}

/// Of several grace periods the latest end counts, and the first reason is told.
fn grace_view(facts: &Facts, now_ms: UnixMs) -> GraceView {
    let Some(grace) = running_grace(facts, now_ms) else { return GraceView::default() };
    GraceView {
        active: true,
        reason: Some(grace.reason.name()),
        started_at: Some(UtcTime(grace.started_ms)),
        ends_at: Some(UtcTime(grace.ends_ms)),
        remaining_days: remaining_days(grace.ends_ms, now_ms, facts.home.time_zone()),
    }
}

/// What emergency access opens, and why.
struct Opened {
    level: EmergencyLevel,
    reason: &'static str,
    since_ms: UnixMs,
    until_ms: Option<UnixMs>,
}

impl Opened {
    /// The highest level that anything opens. Of several reasons the crisis is told, then what was granted without the
    /// database, then what operators have switched on.
    fn of(
        crisis: Option<Crisis>,
        emergency: &Emergency,
        waived: Option<&Switch>,
        now_ms: UnixMs,
    ) -> Option<Self> {
        let of_switch = |switch: &Switch, reason| Self {
            level: EmergencyLevel::Essential,
            reason,
            since_ms: switch.since_ms,
            until_ms: Some(switch.until_ms),
        };
        let crisis = crisis.map(|crisis| Self {
            level: crisis.severity.emergency_level(),
            reason: GraceReason::CrisisDetected.name(),
            since_ms: crisis.since_ms,
            until_ms: None,
        });
        let granted = emergency.granted.filter(|granted| granted.until_ms > now_ms).map(|granted| Self {
            level: granted.level,
            reason: GraceReason::CrisisDetected.name(),
            since_ms: granted.since_ms,
            until_ms: Some(granted.until_ms),
        });
        let everybody = emergency.switches.opens_for_everybody(now_ms);
        let everybody = everybody.map(|switch| of_switch(switch, GraceReason::SystemError.name()));
        let waived = waived.map(|switch| of_switch(switch, GraceReason::PaymentFailure.name()));
        let opened = [crisis, granted, everybody, waived].into_iter().flatten();
        opened.reduce(|told, other| Self { level: told.level.max(other.level), ..told })
    }

    fn view(self) -> EmergencyView {
        EmergencyView {
            active: true,
            level: Some(self.level.name()),
            reason: Some(self.reason),
            since: Some(UtcTime(self.since_ms)),
            until: self.until_ms.map(UtcTime),
        }
    }
}

fn crisis_view(crisis: Option<Crisis>) -> CrisisView {
    crisis.map_or_else(CrisisView::default, |crisis| CrisisView {
        active: true,
        kind: Some(crisis.kind.name()),
        severity: Some(crisis.severity.name()),
        since: Some(UtcTime(crisis.since_ms)),
    })
}

fn features(
    tiers: &Tiers,
    tier: Option<&Arc<Tier>>,
    grace: bool,
    opened: Option<EmergencyLevel>,
) -> FeaturesView {
    let mut enabled = tiers.floor().to_vec();
    if let Some(tier) = tier {
        add_missing(&mut enabled, &tier.features);
    }
    if grace {
        add_missing(&mut enabled, &tiers.grace_period().features);
    }
    if let Some(level) = opened {
        add_missing(&mut enabled, &EMERGENCY_FEATURES);
        if level >= EmergencyLevel::Essential {
            add_missing(&mut enabled, &tiers.grace_period().features);
        }
        if level >= EmergencyLevel::Full {
            add_missing(&mut enabled, &tiers.best().features);
        }
    }
    let disabled = tier.map_or_else(Vec::new, |tier| tier.disabled.clone());
    let disabled = disabled.into_iter().filter(|feature| !enabled.contains(feature)).collect();
    FeaturesView { enabled, disabled }
}

/// In a crisis contacts and the safety plan have to reach every device at once, whatever was bought.
fn sync(tier: Option<&Arc<Tier>>, in_need: bool) -> SyncView {
    if in_need {
        return SyncView { frequency: SyncFrequency::Realtime, data_limit_mb: None };
    }
    tier.map_or(FLOOR_SYNC, |tier| SyncView {
        frequency: tier.sync_frequency,
        data_limit_mb: tier.data_limit_mb,
    })
}
