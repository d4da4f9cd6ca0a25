//! The few words that go with a crisis or a grace period (crisis safety protocols, grace period messaging): supportive,
//! never pressing, and always with the crisis line in sight.

use std::borrow::Cow;

use serde::Serialize;

use super::{document::GraceView, grace::GraceReason, resources::CrisisResources};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// What stands on the button.
    pub text: Cow<'static, str>,
    /// What the app does.
    pub action: &'static str,
    /// `primary`, `secondary` or `emergency`.
    pub style: &'static str,
}

const TONE: &str = "supportive";

const CRISIS_SUPPORT: Action =
    Action { text: Cow::Borrowed("Crisis Support"), action: "activate_crisis_button", style: "emergency" };
const CONTINUE: Action =
    Action { text: Cow::Borrowed("Continue Your Practice"), action: "navigate_to_home", style: "primary" };
const UPDATE_PAYMENT: Action = Action {
    text: Cow::Borrowed("Update Payment (Optional)"),
    action: "navigate_to_payment",
    style: "secondary",
};
const SAFETY_PLAN: Action = Action {
    text: Cow::Borrowed("Open Your Safety Plan"),
    action: "navigate_to_safety_plan",
    style: "primary",
};
const BREATHE: Action =
    Action { text: Cow::Borrowed("Breathe With Me"), action: "navigate_to_breathing", style: "secondary" };

/// For somebody in a crisis. Says nothing about money.
pub fn in_crisis(resources: &CrisisResources) -> Message {
    let chat = resources.chat_url.trim_start_matches("https://").trim_end_matches('/');
    let call = Action {
        text: Cow::Owned(format!("Call {}", resources.hotline)),
        action: "call_hotline",
        style: "emergency",
    };
    Message {
        title: "You Are Not Alone",
        body: format!(
            "Help is here right now. {} at any time, day or night, or chat at {chat}. Your safety plan, your emergency \
             contacts and your exercises are open for you, for as long as you need them.",
            reach(resources)
        ),
        tone: TONE,
        actions: vec![call, CRISIS_SUPPORT, SAFETY_PLAN, BREATHE],
    }
}

/// How to reach somebody, as in "Call or text 988".
fn reach(resources: &CrisisResources) -> String {
    let CrisisResources { hotline, text, .. } = resources;
    if hotline == text { format!("Call or text {hotline}") } else { format!("Call {hotline} or text {text}") }
}

/// For somebody in a grace period; `None` if there is none.
pub fn in_grace(grace: &GraceView, resources: &CrisisResources) -> Option<Message> {
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
             period. Crisis support is always there, around the clock. {}.",
            reach(resources)
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
    use crate::care::resources::CRISIS_RESOURCES;

    fn grace(reason: GraceReason, remaining_days: i64) -> GraceView {
        GraceView { active: true, reason: Some(reason.name()), remaining_days, ..GraceView::default() }
    }

    fn all() -> Vec<Message> {
        let of_grace =
            GraceReason::ALL.iter().filter_map(|reason| in_grace(&grace(*reason, 3), &CRISIS_RESOURCES));
        of_grace.chain([in_crisis(&CRISIS_RESOURCES)]).collect()
    }

    #[test]
    fn the_crisis_line_of_the_configuration_is_the_one_that_is_named() {
        let resources = CrisisResources { hotline: "112".into(), text: "113".into(), ..CRISIS_RESOURCES };
        let message = in_crisis(&resources);
        assert!(
            message.body.contains("Call 112 or text 113") && !message.body.contains("988 "),
            "{message:?}"
        );
        assert_eq!(message.actions[0].text, "Call 112");
        let message = in_grace(&grace(GraceReason::PaymentFailure, 3), &resources).unwrap();
        assert!(message.body.contains("112") && !message.body.contains("988"), "{message:?}");
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
        for message in [
            in_crisis(&CRISIS_RESOURCES),
            in_grace(&grace(GraceReason::CrisisDetected, 30), &CRISIS_RESOURCES).unwrap(),
        ] {
            assert!(!message.actions.contains(&UPDATE_PAYMENT));
            assert!(!message.body.contains("pay"));
        }
    }

    #[test]
    fn the_last_day_is_one_day() {
        let body =
            |days| in_grace(&grace(GraceReason::PaymentFailure, days), &CRISIS_RESOURCES).unwrap().body;
        assert!(body(1).contains(" 1 day remaining"));
        assert!(body(7).contains(" 7 days remaining"));
    }
}
