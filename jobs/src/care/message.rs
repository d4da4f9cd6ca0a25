//! The few words that go with a crisis or a grace period (003, grace period messaging): supportive, never pressing, and
//! always with the crisis line in sight.

use serde::Serialize;

use super::{
    document::AccessDocument,
    grace::GraceReason,
    occasion::Occasion,
    phrases::{Phrase, Values},
    resources::CrisisResources,
    templates::{Templates, Texts},
};

/// Words for a person, and what they can do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The first line.
    pub title: String,
    /// The rest.
    pub body: String,
    /// Always `supportive`.
    pub tone: &'static str,
    /// Always `low`: nothing here asks for haste.
    pub urgency: &'static str,
    /// What to offer, the most helpful first.
    pub actions: Vec<Action>,
}

/// Something to offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// What stands on the button.
    pub text: String,
    /// What the app does.
    pub action: &'static str,
    /// `primary`, `secondary` or `emergency`.
    pub style: &'static str,
}

const TONE: &str = "supportive";
const URGENCY: &str = "low";

/// Why emergency access is open in a crisis, also where no crisis is recorded yet.
const IN_CRISIS: &str = GraceReason::CrisisDetected.name();

/// What the app does, and how a button for it looks, by the label's key.
const ACTIONS: [(&str, &str, &str); 6] = [
    ("call_hotline", "call_hotline", "emergency"),
    ("crisis_support", "activate_crisis_button", "emergency"),
    ("continue", "navigate_to_home", "primary"),
    ("update_payment", "navigate_to_payment", "secondary"),
    ("safety_plan", "navigate_to_safety_plan", "primary"),
    ("breathe", "navigate_to_breathing", "secondary"),
];

impl Message {
    /// The words for `occasion`, with `days` left, for somebody who speaks `locale` and can turn to `resources`.
    /// Answers with the language too.
    pub fn of(
        occasion: Occasion,
        days: i64,
        templates: &Templates,
        locale: Option<&str>,
        resources: &CrisisResources,
    ) -> (String, Self) {
        let (tag, texts) = templates.of(locale);
        let values = Values { days: Some(days), ..Values::default() };
        let Phrase { title, body } = Phrase::of(occasion.key(), texts, resources, values);
        let offered = offered(occasion).iter().filter_map(|label| action(label, texts, resources));
        let message = Self { title, body, tone: TONE, urgency: URGENCY, actions: offered.collect() };
        (tag.to_owned(), message)
    }

    /// The words that go with `document`: about the crisis, also where it has only opened emergency access so far; else
    /// about the grace period, else none.
    pub fn with(document: &AccessDocument, templates: &Templates, locale: Option<&str>) -> Option<Self> {
        let opened = document.emergency.active && document.emergency.reason == Some(IN_CRISIS);
        let occasion = if document.crisis.active || opened {
            Occasion::CrisisActive
        } else {
            Occasion::GraceStarted(GraceReason::from_name(document.grace.reason?)?)
        };
        let days = document.grace.remaining_days;
        Some(Self::of(occasion, days, templates, locale, &document.crisis_resources).1)
    }
}

/// In a crisis nothing is said about money, and afterwards nothing that did not bring the grace period about.
fn offered(occasion: Occasion) -> &'static [&'static str] {
    match occasion {
        Occasion::CrisisActive => &["call_hotline", "crisis_support", "safety_plan", "breathe"],
        _ if occasion.is_about_money() => &["continue", "crisis_support", "update_payment"],
        _ => &["continue", "crisis_support"],
    }
}

fn action(label: &str, texts: &Texts, resources: &CrisisResources) -> Option<Action> {
    let (_, action, style) = ACTIONS.into_iter().find(|(known, ..)| *known == label)?;
    let text = texts.word(label).replace("{hotline}", &resources.hotline);
    Some(Action { text, action, style })
}
