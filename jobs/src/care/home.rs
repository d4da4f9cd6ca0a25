//! Where and in which language a person lives, as their devices state it.

use chrono::{DateTime, NaiveDate};
use chrono_tz::Tz;
use keepwell_workers::clock::UnixMs;

/// The longest tag of a language that is taken, in bytes (BCP 47 asks for room for 35 characters).
pub const LOCALE_BYTES_MAX: usize = 35;

/// Something that was stated, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// What.
    pub value: String,
    /// When, as whoever stated it says.
    pub stated_ms: UnixMs,
}

/// Language and time zone of a person. What was stated last counts, in whatever order it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// A BCP 47 tag, as in `de-AT`.
    pub locale: Option<Stated>,
    /// A name of the IANA database, as in `Europe/Vienna`.
    pub time_zone: Option<Stated>,
}

impl Home {
    /// Takes in what a device stated at `stated_ms`. What is no language or no time zone was not stated.
    pub fn stated(&mut self, locale: Option<&str>, time_zone: Option<&str>, stated_ms: UnixMs) {
        let newer = |known: &mut Option<Stated>, value: Option<String>| {
            let Some(value) = value else { return };
            let key = (stated_ms, value.as_str());
            if known.as_ref().is_none_or(|known| (known.stated_ms, known.value.as_str()) < key) {
                *known = Some(Stated { value, stated_ms });
            }
        };
        newer(&mut self.locale, locale.and_then(locale_tag));
        newer(&mut self.time_zone, time_zone.and_then(time_zone_named).map(|zone| zone.name().to_owned()));
    }

    /// The language's tag.
    pub fn locale(&self) -> Option<&str> {
        self.locale.as_ref().map(|stated| stated.value.as_str())
    }

    /// The time zone.
    pub fn time_zone(&self) -> Option<Tz> {
        time_zone_named(&self.time_zone.as_ref()?.value)
    }
}

/// The time zone called `name` in the IANA database.
pub fn time_zone_named(name: &str) -> Option<Tz> {
    name.trim().parse().ok()
}

/// `text` as a language's tag with hyphens (`de_AT` becomes `de-AT`), if it can be one.
pub fn locale_tag(text: &str) -> Option<String> {
    // POSIX appends an encoding: `de_AT.UTF-8`.
    let tag = text.trim().split('.').next().unwrap_or_default().replace('_', "-");
    let plain = tag.len() <= LOCALE_BYTES_MAX && tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    (plain && tag.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(tag)
}

/// The language of a tag, in lower case: `de` of `de-AT`.
pub fn language(tag: &str) -> String {
    tag.split('-').next().unwrap_or_default().to_ascii_lowercase()
}

/// The country of a tag, in upper case: `AT` of `de-AT` and of `de-Latn-AT`.
pub fn country(tag: &str) -> Option<String> {
    let region = |part: &&str| part.len() == 2 && part.chars().all(|c| c.is_ascii_alphabetic());
    tag.split('-').skip(1).find(region).map(str::to_ascii_uppercase)
}

/// The day on which an instant falls in `zone`; `None` outside the years that a calendar can show.
pub fn local_day(at_ms: UnixMs, zone: Tz) -> Option<NaiveDate> {
    Some(DateTime::from_timestamp_millis(at_ms)?.with_timezone(&zone).date_naive())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stated_last_counts_in_whatever_order_it_is_told() {
        let told = [(Some("de-AT"), Some("Europe/Vienna"), 2), (Some("en"), None, 3), (Some("fr"), None, 1)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let mut home = Home::default();
            for index in order {
                let (locale, zone, stated_ms) = told[index];
                home.stated(locale, zone, stated_ms);
                home.stated(locale, zone, stated_ms);
            }
            assert_eq!((home.locale(), home.time_zone()), (Some("en"), Some(chrono_tz::Europe::Vienna)));
        }
        // Of two at the same instant one counts, whichever comes first.
        let both = |one, other| {
            let mut home = Home::default();
            home.stated(Some(one), None, 1);
            home.stated(Some(other), None, 1);
            home
        };
        assert_eq!(both("de", "en"), both("en", "de"));
    }

    #[test]
    fn what_is_no_language_and_no_time_zone_was_not_stated() {
        let mut home = Home::default();
        home.stated(Some("de; DROP"), Some("Middle/Earth"), 1);
        home.stated(Some(&"x".repeat(36)), Some(""), 1);
        home.stated(Some("4"), None, 1);
        assert_eq!(home, Home::default());
        assert_eq!(locale_tag("de_AT.UTF-8").as_deref(), Some("de-AT"));
        assert_eq!(locale_tag(&"x".repeat(35)).as_deref(), Some(&*"x".repeat(35)));
    }

    #[test]
    fn a_tag_names_a_language_and_perhaps_a_country() {
        assert_eq!((language("DE-at"), country("DE-at")), ("de".into(), Some("AT".into())));
        assert_eq!(country("zh-Hant-TW").as_deref(), Some("TW"));
        assert_eq!((country("de"), country("es-419"), country("at")), (None, None, None));
    }
}
