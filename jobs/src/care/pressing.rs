//! Words that press somebody (003, `paymentStressReduction`): no text for people in need or for their contacts has one.

use super::{
    home::language,
    phrases::{KEYS, WORDS},
    templates::Templates,
};

/// Words that press somebody, by language. A stem stands for all that begin with it.
pub const PRESSING: [(&str, &[&str]); 2] = [
    (
        "en",
        &[
            "must",
            "immediately",
            "lose",
            "lost",
            "losing",
            "urgent",
            "final",
            "overdue",
            "asap",
            "act now",
            "failed",
            "failure",
            "terminat",
            "suspend",
            "expire",
            "deadline",
            "last chance",
            "warning",
            "debt",
            "owe ",
            "owed",
            "hurry",
            "only 1",
            "only 2",
            "or else",
            "required",
            "have to",
            "need to pay",
            "!",
        ],
    ),
    (
        "de",
        &[
            "musst",
            "müssen",
            "sofort",
            "verlier",
            "verlor",
            "dringend",
            "letzte",
            "überfällig",
            "mahnung",
            "schuld",
            "frist",
            "gesperrt",
            "sperr",
            "gekündigt",
            "kündig",
            "fehlgeschlagen",
            "gescheitert",
            "warnung",
            "beeil",
            "nur noch",
            "sonst",
            "zwingend",
            "zahlungsverzug",
            "!",
        ],
    ),
];

/// A text that presses somebody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the messages of `{locale}`: {key} presses somebody: it says `{word}`")]
pub struct Pressing {
    /// The tag of its language.
    pub locale: String,
    /// Its name: a message, a word or the label of a button.
    pub key: &'static str,
    /// What of it presses.
    pub word: &'static str,
}

/// The texts among `templates` that press somebody, each with the first word that does. Of a language that
/// [`PRESSING`] does not have nobody can say.
pub fn pressing(templates: &Templates) -> Vec<Pressing> {
    let mut found = Vec::new();
    for locale in templates.locales() {
        let (_, texts) = templates.of(Some(locale));
        let spoken = language(locale);
        let Some((_, words)) = PRESSING.iter().find(|(known, _)| spoken.eq_ignore_ascii_case(known)) else {
            continue;
        };
        let messages = KEYS.map(|key| (key, texts.template(key))).into_iter();
        let messages = messages.map(|(key, template)| (key, format!("{} {}", template.title, template.body)));
        let labels = WORDS.into_iter().map(|key| (key, texts.word(key).to_owned()));
        for (key, text) in messages.chain(labels) {
            let text = text.to_lowercase();
            if let Some(word) = words.iter().copied().find(|word| text.contains(word)) {
                found.push(Pressing { locale: locale.to_owned(), key, word });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_that_presses_is_found_by_its_name_whatever_it_is_for() {
        for (locale, word, says) in [("en", "must", "You MUST pay"), ("de-AT", "sofort", "Sofort zahlen")] {
            for key in KEYS {
                for (title, body) in [(says, "{reach}"), ("Good", &*format!("{says}. {{reach}}."))] {
                    let text = format!("[messages.{key}]\ntitle = \"{title}\"\nbody = \"{body}\"");
                    let templates = Templates::default().with(locale, &text).unwrap();
                    let found = Pressing { locale: locale.to_owned(), key, word };
                    assert!(pressing(&templates).contains(&found), "{text}: {:?}", pressing(&templates));
                }
            }
        }
        let label = "[actions]\nupdate_payment = \"Last chance to pay\"";
        let found = pressing(&Templates::default().with("en-GB", label).unwrap());
        let [found] = &found[..] else { panic!("one: {found:?}") };
        assert!(
            found.to_string().contains("`en-GB`: update_payment presses somebody: it says `last chance`")
        );
    }

    #[test]
    fn of_a_language_without_a_list_nothing_is_said() {
        let french = "[messages.recovered]\ntitle = \"Vite\"\nbody = \"must {reach}.\"";
        assert_eq!(pressing(&Templates::default().with("fr", french).unwrap()), []);
    }
}
