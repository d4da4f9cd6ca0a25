//! The few words that go with a crisis or a grace period (crisis safety protocols, grace period messaging): supportive,
//! never pressing, and always with the crisis line in sight.

use serde::Serialize;

use super::{document::GraceView, grace::GraceReason};

/// Words for a person, and what they can do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The first line.
    pub title: &'static str,
    /// The rest.
    pub body: String,
    /// Always `supportive`.
    pub tone: &'static str,
    /// What to offer, the most helpful first.
    pub actions: Vec<Action>,
}

/// Something to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Action {
    /// What stands on the button.
    pub text: &'static str,
    /// What the app does.
    pub action: &'static str,
    /// `primary`, `secondary` or `emergency`.
    pub style: &'static str,
}

const TONE: &str = "supportive";

const CRISIS_SUPPORT: Action =
    Action { text: "Crisis Support", action: "activate_crisis_button", style: "emergency" };
const CONTINUE: Action =
    Action { text: "Continue Your Practice", action: "navigate_to_home", style: "primary" };
const UPDATE_PAYMENT: Action =
    Action { text: "Update Payment (Optional)", action: "navigate_to_payment", style: "secondary" };
const CALL_988: Action = Action { text: "Call 988", action: "call_hotline", style: "emergency" };
const SAFETY_PLAN: Action =
    Action { text: "Open Your Safety Plan", action: "navigate_to_safety_plan", style: "primary" };
const BREATHE: Action =
    Action { text: "Breathe With Me", action: "navigate_to_breathing", style: "secondary" };

/// For somebody in a crisis. Says nothing about money.
pub fn in_crisis() -> Message {
    Message {
        title: "You Are Not Alone",
        body: "Help is here right now. Call or text 988 at any time, day or night, or chat at 988lifeline.org/chat. \
               Your safety plan, your emergency contacts and your exercises are open for you, for as long as you need \
               them."
            .to_owned(),
        tone: TONE,
        actions: vec![CALL_988, CRISIS_SUPPORT, SAFETY_PLAN, BREATHE],
    }
}

/// For somebody in a grace period; `None` if there is none.
pub fn in_grace(grace: &GraceView) -> Option<Message> {
    let reason = GraceReason::from_name(grace.reason?)?;
    let why = match reason {
        GraceReason::PaymentFailure => "While the payment is being sorted out, your care goes on.",
        GraceReason::SubscriptionCanceled => "Although your subscription has ended, your care goes on.",
        GraceReason::SystemError => "Something on our side did not work as it should. Your care goes on.",
        GraceReason::CrisisDetected => "You have been through a hard time. Your care goes on.",
    };
    let days = match grace.remaining_days {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    let about_money = matches!(reason, GraceReason::PaymentFailure | GraceReason::SubscriptionCanceled);
    Some(Message {
        title: "Your Therapeutic Journey Continues",
        body: format!(
            "{why} Take your time, there is no pressure: your wellbeing comes first. {days} remaining in your grace \
             period. Crisis support is always there, around the clock: call or text 988."
        ),
        tone: TONE,
        actions: [CONTINUE, CRISIS_SUPPORT]
            .into_iter()
            .chain(about_money.then_some(UPDATE_PAYMENT))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grace(reason: GraceReason, remaining_days: i64) -> GraceView {
        GraceView { active: true, reason: Some(reason.name()), remaining_days, ..GraceView::default() }
    }

    fn all() -> Vec<Message> {
        let of_grace = GraceReason::ALL.iter().filter_map(|reason| in_grace(&grace(*reason, 3)));
        of_grace.chain([in_crisis()]).collect()
    }

    #[test]
    fn the_crisis_line_is_always_in_sight() {
        for message in all() {
            assert!(message.body.contains("988"), "{message:?}");
            assert!(message.actions.contains(&CRISIS_SUPPORT), "{message:?}");
        }
    }

    #[test]
    fn nobody_is_pressed() {
        let pressing = ["must", "immediately", "lose", "urgent", "final", "overdue", "!"];
        for message in all() {
            let body = message.body.to_lowercase();
            assert!(pressing.iter().all(|word| !body.contains(word)), "{body}");
        }
    }

    #[test]
    fn money_is_not_mentioned_in_a_crisis() {
        for message in [in_crisis(), in_grace(&grace(GraceReason::CrisisDetected, 30)).unwrap()] {
            assert!(!message.actions.contains(&UPDATE_PAYMENT));
            assert!(!message.body.contains("pay"));
        }
    }

    #[test]
    fn the_last_day_is_one_day() {
        let body = |days| in_grace(&grace(GraceReason::PaymentFailure, days)).unwrap().body;
        assert!(body(1).contains(" 1 day remaining"));
        assert!(body(7).contains(" 7 days remaining"));
    }
}
