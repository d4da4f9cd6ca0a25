//! Whom to turn to in a crisis: answered to anybody, at any time, from memory.

use std::borrow::Cow;

use serde::Serialize;

/// The crisis lines (crisis safety protocols, 988 hotline integration).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CrisisResources {
    /// The number to call.
    pub hotline: Cow<'static, str>,
    /// The number to text.
    pub text: Cow<'static, str>,
    /// Where to chat.
    pub chat_url: Cow<'static, str>,
    /// The number to call from other countries.
    pub international: Cow<'static, str>,
}

/// The 988 Suicide & Crisis Lifeline: what is told unless the configuration names others.
pub const CRISIS_RESOURCES: CrisisResources = CrisisResources {
    hotline: Cow::Borrowed("988"),
    text: Cow::Borrowed("988"),
    chat_url: Cow::Borrowed("https://988lifeline.org/chat/"),
    international: Cow::Borrowed("+1-800-273-8255"),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crisis_lines_are_spelled_as_people_dial_them() {
        assert_eq!(
            serde_json::to_value(CRISIS_RESOURCES).unwrap(),
            serde_json::json!({
                "hotline": "988",
                "text": "988",
                "chat_url": "https://988lifeline.org/chat/",
                "international": "+1-800-273-8255",
            })
        );
    }
}
