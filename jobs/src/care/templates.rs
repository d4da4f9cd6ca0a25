//! The texts that people in need read, by language (003, grace period messaging). They are read once, checked as a
//! whole and only then used: a text that does not name the crisis line, that is too long or that would show a brace
//! to somebody in need is refused before the daemon starts.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use serde::Deserialize;

use super::{
    home::{language, locale_tag},
    phrases::{KEYS, Phrase, WORDS, names_in, placeholders_of},
};

/// The longest title, in characters; a push notification shows about as much.
pub const TITLE_CHARS_MAX: usize = 60;

/// The longest body, in characters, with everything filled in: three parts of a text message.
pub const BODY_CHARS_MAX: usize = 480;

/// The language of whoever speaks none of the others.
pub const FALLBACK_LANGUAGE: &str = "en";

/// The languages that are built in, and their texts.
const BUILT_IN: [(&str, &str); 2] = [
    ("en", include_str!("../../../config/messages/en/messages.toml")),
    ("de", include_str!("../../../config/messages/de/messages.toml")),
];

/// The texts of one language.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    #[serde(default)]
    words: BTreeMap<String, String>,
    #[serde(default)]
    actions: BTreeMap<String, String>,
    #[serde(default)]
    messages: BTreeMap<String, Template>,
}

/// Title and body with placeholders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// The first line.
    pub title: String,
    /// The rest.
    pub body: String,
}

/// The texts of every language. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates(Arc<BTreeMap<String, Texts>>);

/// A text that nobody in need should read.
#[derive(Debug, thiserror::Error)]
pub enum TemplatesError {
    /// No TOML, or not of the expected shape.
    #[error("the messages of `{0}` cannot be read")]
    Toml(String, #[source] toml::de::Error),
    /// Folders are named by languages.
    #[error("`{0}` is no language, such as de or pt-BR")]
    NotALanguage(String),
    /// Nothing asks for it, so it is probably a slip.
    #[error("the messages of `{0}` have `{1}`, which nothing asks for")]
    Unknown(String, String),
    /// The rule that it breaks.
    #[error("the messages of `{0}`: {1} {2}")]
    Against(String, String, &'static str),
}

/// The built-in texts.
#[allow(clippy::expect_used)] // Compiled in; a test reads them.
static SHIPPED: LazyLock<Templates> = LazyLock::new(|| {
    BUILT_IN
        .into_iter()
        .try_fold(Templates(Arc::default()), |templates, (locale, text)| templates.with(locale, text))
        .expect("the built-in messages keep the rules")
});

impl Default for Templates {
    fn default() -> Self {
        SHIPPED.clone()
    }
}

impl Templates {
    /// The same with those texts of `locale` that `text` (TOML) holds; a new language says the rest in English.
    pub fn with(mut self, locale: &str, text: &str) -> Result<Self, TemplatesError> {
        let tag = locale_tag(locale).ok_or_else(|| TemplatesError::NotALanguage(locale.to_owned()))?;
        let given: Texts =
            toml::from_str(text).map_err(|error| TemplatesError::Toml(locale.to_owned(), error))?;
        let known = self.0.get(&tag).or_else(|| self.0.get(FALLBACK_LANGUAGE)).cloned().unwrap_or_default();
        let texts = known.with(given);
        texts.check(locale)?;
        Arc::make_mut(&mut self.0).insert(tag, texts);
        Ok(self)
    }

    /// The texts for `locale`: its own, else those of its language, else English. Answers with their tag too.
    pub fn of(&self, locale: Option<&str>) -> (&str, &Texts) {
        static NOTHING: Texts =
            Texts { words: BTreeMap::new(), actions: BTreeMap::new(), messages: BTreeMap::new() };
        let of = |tag: &str| self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(tag));
        let found = locale.and_then(|locale| of(locale).or_else(|| of(&language(locale))));
        found
            .or_else(|| of(FALLBACK_LANGUAGE))
            .map_or((FALLBACK_LANGUAGE, &NOTHING), |(tag, texts)| (tag, texts))
    }

    /// The tags of all languages.
    pub fn locales(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Texts {
    /// A word or the label of a button.
    pub fn word(&self, key: &str) -> &str {
        self.words.get(key).or_else(|| self.actions.get(key)).map_or("", String::as_str)
    }

    /// The text of a message.
    pub(super) fn template(&self, key: &str) -> Template {
        self.messages.get(key).cloned().unwrap_or_default()
    }

    fn with(mut self, given: Self) -> Self {
        self.words.extend(given.words);
        self.actions.extend(given.actions);
        self.messages.extend(given.messages);
        self
    }

    fn check(&self, locale: &str) -> Result<(), TemplatesError> {
        let names = self.words.keys().chain(self.actions.keys()).chain(self.messages.keys());
        let known = |name: &&String| WORDS.iter().chain(&KEYS).any(|known| known == name);
        if let Some(name) = names.clone().find(|name| !known(name)) {
            return Err(TemplatesError::Unknown(locale.to_owned(), name.clone()));
        }
        let against =
            |what: &str, rule| Err(TemplatesError::Against(locale.to_owned(), what.to_owned(), rule));
        for word in WORDS {
            if self.word(word).trim().is_empty() {
                return against(word, "is missing or empty");
            }
            if self.word(word).chars().count() > TITLE_CHARS_MAX {
                return against(word, "is too long");
            }
            let (names, rule) = names_in(word);
            if names.iter().any(|name| !self.word(word).contains(name)) {
                return against(word, rule);
            }
            let rest = names.iter().fold(self.word(word).to_owned(), |rest, name| rest.replace(name, ""));
            if rest.contains(['{', '}']) {
                return against(word, rule);
            }
        }
        for key in KEYS {
            let template = self.template(key);
            if template.title.trim().is_empty() || template.body.trim().is_empty() {
                return against(key, "is missing or empty");
            }
            if !template.body.contains("{reach}") {
                return against(key, "does not name the crisis line (`{reach}`)");
            }
            let longest = Phrase::longest(key, self);
            if longest.title.chars().count() > TITLE_CHARS_MAX
                || longest.body.chars().count() > BODY_CHARS_MAX
            {
                return against(key, "is too long");
            }
            if longest.title.contains(['{', '}']) || longest.body.contains(['{', '}']) {
                return against(key, placeholders_of(key));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_texts_keep_the_rules_and_say_everything_in_each_language() {
        let templates = Templates::default();
        assert_eq!(templates.locales().collect::<Vec<_>>(), ["de", "en"]);
        for (locale, text) in BUILT_IN {
            let texts: Texts = toml::from_str(text).unwrap();
            texts.check(locale).unwrap();
            assert_eq!(texts.messages.len(), KEYS.len());
        }
    }

    #[test]
    fn a_language_nobody_wrote_falls_back_to_its_neighbour_and_then_to_english() {
        let templates = Templates::default();
        let tag = |locale| templates.of(locale).0;
        assert_eq!((tag(Some("de")), tag(Some("de-AT")), tag(Some("DE-at"))), ("de", "de", "de"));
        assert_eq!((tag(Some("sw")), tag(None), tag(Some("en-GB"))), ("en", "en", "en"));
        let templates = templates.with("de-AT", "[words]\nday_one = \"ein Tag\"").unwrap();
        assert_eq!((templates.of(Some("de_AT")).0, templates.of(Some("de-at")).0), ("en", "de-AT"));
    }

    #[test]
    fn single_texts_are_replaced_and_the_others_stay() {
        let french = "[messages.recovered]\ntitle = \"Tout va bien\"\nbody = \"Rien à faire. {reach}.\"";
        let templates = Templates::default().with("fr", french).unwrap();
        assert_eq!(templates.of(Some("fr")).1.template("recovered").title, "Tout va bien");
        let english = templates.of(Some("en")).1.template("grace_ended");
        assert_eq!(templates.of(Some("fr-CA")).1.template("grace_ended"), english);
    }

    #[test]
    fn a_text_that_nobody_in_need_should_read_is_refused() {
        let template = |body: &str| format!("[messages.recovered]\ntitle = \"Good\"\nbody = \"{body}\"");
        let long = format!("{} {{reach}}", "x".repeat(BODY_CHARS_MAX));
        for (locale, text) in [
            ("en", template("All is well.")),
            ("en", template("All is well, {name}. {reach}.")),
            ("en", template("{days} left. {reach}.")),
            ("en", template(&long)),
            ("en", template(" ")),
            ("en", template("{reach}").replace("Good", " ")),
            ("en", template("{reach}").replace("Good", &"x".repeat(61))),
            ("en", template("{reach}").replace("recovered", "recoverd")),
            ("en", "[words]\nday_one = \"\"".to_owned()),
            ("en", "[words]\ncall = \"Call somebody\"".to_owned()),
            ("en", "[words]\ncall_or_text = \"Call or text\"".to_owned()),
            ("en", "[words]\ncall_and_text = \"Call {hotline}\"".to_owned()),
            ("en", "[words]\ncall_and_text = \"Text {text}\"".to_owned()),
            ("en", "[actions]\ncall_hotline = \"Call\"".to_owned()),
            ("en", "[words]\ncall = \"Call {hotline} {now}\"".to_owned()),
            ("en", "[words]\nday_other = \"some days\"".to_owned()),
            ("en", "[words]\nsomebody = \"{person}\"".to_owned()),
            ("en", format!("[actions]\nbreathe = \"{}\"", "x".repeat(61))),
            ("en", "[messages]\nrecovered = 1".to_owned()),
            ("e n", template("{reach}")),
        ] {
            assert!(Templates::default().with(locale, &text).is_err(), "{locale} {text}");
        }
        assert!(Templates::default().with("en", &template("Good. {reach}.")).is_ok());
    }

    #[test]
    fn the_longest_that_is_shown_is_just_short_enough() {
        let (title, word) = ("x".repeat(TITLE_CHARS_MAX), "x".repeat(TITLE_CHARS_MAX));
        let message = |title: &str, body_x: usize| {
            let body = "x".repeat(body_x);
            format!("[messages.recovered]\ntitle = \"{title}\"\nbody = \"{body} {{reach}}\"")
        };
        let with = |text: &str| Templates::default().with("en", text).ok();
        assert!(with(&message(&title, 1)).is_some());
        assert!(with(&format!("[actions]\nbreathe = \"{word}\"")).is_some());
        let longest = (1..BODY_CHARS_MAX).rev().find_map(|body_x| with(&message("Good", body_x))).unwrap();
        let phrase = Phrase::longest("recovered", longest.of(None).1);
        assert_eq!(phrase.body.chars().count(), BODY_CHARS_MAX);
    }

    #[test]
    fn whoever_writes_a_placeholder_too_many_is_told_which_there_are() {
        for key in KEYS {
            for name in ["{reach}", "{chat}", "{days}", "{person}", "{since}", "{severity}"] {
                let text = format!("[messages.{key}]\ntitle = \"Good\"\nbody = \"{{reach}} {name}\"");
                let may_be_there = Templates::default().with("en", &text).is_ok();
                assert_eq!(placeholders_of(key).contains(&format!("`{name}`")), may_be_there, "{key} {name}");
            }
        }
    }
}
