//! From a text with placeholders to words for one person.

use super::{
    crisis::Severity,
    resources::CrisisResources,
    templates::{Template, Texts},
};

/// Every message there is.
pub const KEYS: [&str; 12] = [
    "crisis_active",
    "payment_failure",
    "subscription_canceled",
    "system_error",
    "crisis_detected",
    "grace_extended",
    "grace_ending_soon",
    "grace_ended",
    "recovered",
    "contact_minimal",
    "contact_standard",
    "contact_detailed",
];

/// Every word and every label of a button.
pub const WORDS: [&str; 15] = [
    "day_one",
    "day_other",
    "call_or_text",
    "call_and_text",
    "call",
    "somebody",
    "critical",
    "high",
    "moderate",
    "call_hotline",
    "crisis_support",
    "continue",
    "update_payment",
    "safety_plan",
    "breathe",
];

/// What is filled in. What a message does not ask for is left empty by whoever makes it, and is then no placeholder
/// of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'v> {
    /// Days that remain.
    pub days: Option<i64>,
    /// Who needs somebody.
    pub person: Option<&'v str>,
    /// Since when, as people write it.
    pub since: Option<&'v str>,
    /// How severe.
    pub severity: Option<Severity>,
}

/// A text with everything filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// The first line.
    pub title: String,
    /// The rest.
    pub body: String,
}

/// The longest name of a person that is told to a contact, in characters.
pub const PERSON_CHARS_MAX: usize = 60;

/// The most days that a text is checked with.
const DAYS_LONGEST: i64 = 365;

impl Phrase {
    /// The message `key` in the words of `texts`.
    pub fn of(key: &str, texts: &Texts, resources: &CrisisResources, values: Values<'_>) -> Self {
        let Template { title, body } = texts.template(key);
        let mut body = body.replace("{reach}", &reach(texts, resources)).replace("{chat}", &chat(resources));
        if let Some(days) = values.days {
            body = body.replace("{days}", &days_left(texts, days));
        }
        if let Some(severity) = values.severity {
            body = body.replace("{severity}", texts.word(severity.name()));
        }
        if let Some(since) = values.since {
            body = body.replace("{since}", since);
        }
        // Last: whatever a name holds is not filled in again.
        if let Some(person) = values.person {
            body = body.replace("{person}", person);
        }
        Self { title, body }
    }

    /// The longest that `key` can become, for checking.
    pub(super) fn longest(key: &str, texts: &Texts) -> Self {
        let resources = CrisisResources {
            hotline: "+00 0000 000 000".into(),
            text: "+00 0000 000 001".into(),
            chat_url: "https://a-crisis-line.example.org/chat/".into(),
            international: "+00 0000 000 000".into(),
        };
        let severities = Severity::ALL.into_iter();
        let severity = severities.max_by_key(|severity| texts.word(severity.name()).chars().count());
        let person = "x".repeat(PERSON_CHARS_MAX);
        let mut values = Values::default();
        match key {
            "contact_minimal" | "contact_standard" => values.person = Some(&person),
            "contact_detailed" => {
                values = Values {
                    person: Some(&person),
                    since: Some("0000-00-00 00:00 UTC"),
                    severity,
                    days: None,
                }
            }
            "crisis_active" | "grace_ended" | "recovered" => {}
            _ => values.days = Some(DAYS_LONGEST),
        }
        Self::of(key, texts, &resources, values)
    }
}

/// What to say to whoever wrote another placeholder into the text of `key`.
pub(super) const fn placeholders_of(key: &str) -> &'static str {
    match key.as_bytes() {
        b"contact_minimal" | b"contact_standard" => {
            "may hold `{reach}`, `{chat}` and `{person}` in its body, no other brace"
        }
        b"contact_detailed" => {
            "may hold `{reach}`, `{chat}`, `{person}`, `{since}` and `{severity}` in its body, no other brace"
        }
        b"crisis_active" | b"grace_ended" | b"recovered" => {
            "may hold `{reach}` and `{chat}` in its body, no other brace"
        }
        _ => "may hold `{reach}`, `{chat}` and `{days}` in its body, no other brace",
    }
}

/// What a word has to name, and what to say to whoever wrote it otherwise: `{reach}` and the button for calling are
/// made of words, and nobody is to be told to call without being told whom.
pub(super) fn names_in(word: &str) -> (&'static [&'static str], &'static str) {
    match word {
        "call_and_text" => (
            &["{hotline}", "{text}"],
            "does not name the crisis line (`{hotline}` and `{text}`), or holds another brace",
        ),
        "call" | "call_or_text" | "call_hotline" => {
            (&["{hotline}"], "does not name the crisis line (`{hotline}`), or holds another brace")
        }
        "day_other" => (&["{count}"], "does not say how many (`{count}`), or holds another brace"),
        _ => (&[], "may hold no brace"),
    }
}

/// How to reach somebody, as in "Call or text 988".
pub(super) fn reach(texts: &Texts, resources: &CrisisResources) -> String {
    let CrisisResources { hotline, text, .. } = resources;
    let how = match &**text {
        "" => "call",
        text if text == hotline => "call_or_text",
        _ => "call_and_text",
    };
    texts.word(how).replace("{hotline}", hotline).replace("{text}", text)
}

fn chat(resources: &CrisisResources) -> String {
    resources.chat_url.trim_start_matches("https://").trim_end_matches('/').to_owned()
}

fn days_left(texts: &Texts, days: i64) -> String {
    if days == 1 {
        texts.word("day_one").to_owned()
    } else {
        texts.word("day_other").replace("{count}", &days.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{resources::CRISIS_RESOURCES, templates::Templates},
        *,
    };

    #[test]
    fn the_line_is_told_as_it_can_be_reached() {
        let templates = Templates::default();
        let (_, texts) = templates.of(None);
        let told =
            |text: &'static str| reach(texts, &CrisisResources { text: text.into(), ..CRISIS_RESOURCES });
        assert_eq!(told("988"), "Call or text 988");
        assert_eq!(told(""), "Call 988");
        assert!(told("741741").starts_with("Call 988") && told("741741").contains("741741"));
        assert_eq!(chat(&CRISIS_RESOURCES), "988lifeline.org/chat");
    }
}
