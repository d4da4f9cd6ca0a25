//! What is told late is told as it is by then, or not at all: whether an occasion still is one.

use keepwell_workers::clock::UnixMs;

use super::{
    facts::Facts,
    grace::DAY_MS,
    occasion::{ENDING_SOON_MS, Occasion, is_about_money},
    running::running_grace,
};

/// For how long the begin of a crisis is told, in milliseconds: words that come later meet somebody who has found help,
/// or needs another kind of it. The seeds give no number.
const CRISIS_TOLD_WITHIN_MS: i64 = 60 * 60 * 1_000;

impl Occasion {
    /// How old it may be when it is told, in milliseconds: a day, after which the same thing is told anew if it happens
    /// again, and an hour for a crisis.
    pub const fn told_within_ms(self) -> i64 {
        match self {
            Occasion::CrisisActive => CRISIS_TOLD_WITHIN_MS,
            _ => DAY_MS,
        }
    }

    /// Whether it can still be told to the person whom `facts` are about. In a crisis nothing but the crisis can.
    pub fn still_holds(self, facts: &Facts, now_ms: UnixMs) -> bool {
        if facts.crisis(now_ms).is_some() {
            return self == Occasion::CrisisActive;
        }
        let runs = running_grace(facts, now_ms);
        let has_bought = facts.has_running_subscription();
        match self {
            Occasion::CrisisActive => false,
            Occasion::GraceStarted(reason) | Occasion::GraceExtended(reason) => {
                runs.is_some_and(|runs| runs.reason == reason)
            }
            Occasion::GraceEndingSoon(reason) => runs.is_some_and(|runs| {
                runs.reason == reason && runs.ends_ms.saturating_sub(now_ms) <= ENDING_SOON_MS && !has_bought
            }),
            Occasion::GraceEnded(_) => runs.is_none() && !has_bought,
            Occasion::Recovered => has_bought && runs.is_none_or(|runs| !is_about_money(runs.reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            crisis::{Road, Severity, Signal, Source},
            facts::PaymentFailure,
            grace::GraceReason,
            subscription::{SubscriptionSnapshot, SubscriptionStatus},
        },
        *,
    };

    const NOW_MS: UnixMs = 1_700_000_000_000;

    fn failed() -> Facts {
        let mut facts = Facts::about("cus_1");
        let failure = PaymentFailure {
            invoice: "in_1".into(),
            subscription: None,
            attempt_count: 1,
            event_created_s: NOW_MS / 1_000,
            event_id: "evt_1".into(),
            road: Road::Brought,
        };
        facts.payment_failed(failure, NOW_MS);
        facts
    }

    fn paying(mut facts: Facts) -> Facts {
        let snapshot = SubscriptionSnapshot {
            id: "sub_1".into(),
            status: SubscriptionStatus::Active,
            prices: vec![],
            period_end_s: None,
            cancel_at_s: None,
            latest_invoice: Some("in_1".into()),
            event_created_s: NOW_MS / 1_000,
            event_id: "evt_2".into(),
        };
        facts.subscription_changed(snapshot, NOW_MS);
        facts
    }

    fn paid(mut facts: Facts) -> Facts {
        facts.invoice_paid("in_1", None, NOW_MS / 1_000 + 1, NOW_MS);
        facts
    }

    fn in_crisis(mut facts: Facts) -> Facts {
        let signal = Signal {
            source: Source::Button,
            severity: Severity::Moderate,
            at_ms: NOW_MS,
            only_in_crisis: false,
        };
        facts.signalled("sig_1".into(), signal, NOW_MS);
        facts
    }

    #[test]
    fn what_is_over_is_not_told_any_more() {
        use GraceReason::{PaymentFailure, SystemError};
        let (start_ms, near_ms, end_ms) = (NOW_MS, NOW_MS + 6 * DAY_MS, NOW_MS + 7 * DAY_MS);
        let started = Occasion::GraceStarted(PaymentFailure);
        let (longer, soon) =
            (Occasion::GraceExtended(PaymentFailure), Occasion::GraceEndingSoon(PaymentFailure));
        let ended = Occasion::GraceEnded(PaymentFailure);
        for (occasion, facts, at_ms, holds) in [
            (started, failed(), start_ms, true),
            (started, failed(), end_ms, false),
            (started, paid(failed()), start_ms, false),
            (Occasion::GraceStarted(SystemError), failed(), start_ms, false),
            (longer, failed(), start_ms, true),
            (longer, paid(failed()), start_ms, false),
            (soon, failed(), near_ms, true),
            (soon, failed(), start_ms, false),
            (soon, failed(), end_ms, false),
            (soon, paying(failed()), near_ms, false),
            (ended, failed(), end_ms, true),
            (ended, failed(), near_ms, false),
            (ended, paying(failed()), end_ms, false),
            (Occasion::Recovered, paid(paying(failed())), start_ms, true),
            (Occasion::Recovered, paying(failed()), start_ms, false),
            (Occasion::Recovered, paid(failed()), start_ms, false),
            (Occasion::CrisisActive, failed(), start_ms, false),
        ] {
            assert_eq!(occasion.still_holds(&facts, at_ms), holds, "{occasion:?} {at_ms}");
            let in_crisis = in_crisis(facts);
            assert!(!occasion.still_holds(&in_crisis, start_ms) || occasion == Occasion::CrisisActive);
        }
        assert!(Occasion::CrisisActive.still_holds(&in_crisis(failed()), NOW_MS));
        assert_eq!((started.told_within_ms(), Occasion::CrisisActive.told_within_ms()), (DAY_MS, 3_600_000));
    }
}
