//! Crisis lines by country: a number that cannot be dialled from where somebody is helps nobody. Everything is made
//! ready beforehand, so that the answer takes a look into a map (003: hotline data within 50 ms).

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;

use super::{
    home::{country, language, locale_tag},
    resources::{CRISIS_RESOURCES, CrisisResources},
};

/// The built-in lines, in the shape that a file of one's own has too.
pub const CRISIS_LINES_TOML: &str = include_str!("../../../config/crisis-lines.toml");

/// Languages that a browser asks for; more are not looked at.
const LANGUAGES_MAX: usize = 32;

/// Whom to turn to, by country.
pub type CrisisLines = ByCountry<CrisisResources>;

/// Something for each country, and for everybody else.
#[derive(Debug, Clone)]
pub struct ByCountry<T> {
    elsewhere: Arc<T>,
    countries: BTreeMap<String, Arc<T>>,
    languages: BTreeMap<String, String>,
}

/// The text does not describe crisis lines.
#[derive(Debug, thiserror::Error)]
pub enum CrisisLinesError {
    /// No TOML, or not of the expected shape.
    #[error("the crisis lines cannot be read")]
    Toml(#[from] toml::de::Error),
    /// Countries are named by two letters.
    #[error("`{0}` is no country of two letters, such as DE")]
    NotACountry(String),
    /// A line without a number or an address is none.
    #[error("the crisis lines of {0} have an empty {1}")]
    Empty(String, &'static str),
    /// Chats are opened by a browser.
    #[error("the chat_url of {0} does not begin with https://")]
    NotAnAddress(String),
    /// One language leads to one country.
    #[error("the language `{0}` is named twice")]
    LanguageTwice(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineFile {
    hotline: String,
    #[serde(default)]
    text: Option<String>,
    chat_url: String,
    #[serde(default)]
    international: Option<String>,
    #[serde(default)]
    languages: Vec<String>,
}

impl CrisisLines {
    /// Reads the lines in `text` (TOML); `elsewhere` is for those whose country is not in it.
    pub fn from_toml(text: &str, elsewhere: CrisisResources) -> Result<Self, CrisisLinesError> {
        let file: BTreeMap<String, LineFile> = toml::from_str(text)?;
        let mut lines = Self::only(elsewhere);
        for (country, line) in file {
            if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
                return Err(CrisisLinesError::NotACountry(country));
            }
            for name in &line.languages {
                let name = name.to_ascii_lowercase();
                if lines.languages.insert(name.clone(), country.clone()).is_some() {
                    return Err(CrisisLinesError::LanguageTwice(name));
                }
            }
            let resources = line.resources(&country, &lines.elsewhere)?;
            lines.countries.insert(country, Arc::new(resources));
        }
        Ok(lines)
    }
}

impl<T> ByCountry<T> {
    /// `elsewhere`, for everybody.
    pub fn only(elsewhere: T) -> Self {
        Self { elsewhere: Arc::new(elsewhere), countries: BTreeMap::new(), languages: BTreeMap::new() }
    }

    /// The same with `made` of everything.
    pub fn map<U>(&self, made: impl Fn(&T) -> U) -> ByCountry<U> {
        let each = |(country, of): (&String, &Arc<T>)| (country.clone(), Arc::new(made(of)));
        ByCountry {
            elsewhere: Arc::new(made(&self.elsewhere)),
            countries: self.countries.iter().map(each).collect(),
            languages: self.languages.clone(),
        }
    }

    /// For whoever asks from a country, or, if that is not known, with an `Accept-Language`.
    pub fn of(&self, country: Option<&str>, accept_language: Option<&str>) -> &Arc<T> {
        let asked = country.map(|country| country.trim().to_ascii_uppercase());
        if let Some(lines) = asked.and_then(|asked| self.countries.get(&asked)) {
            return lines;
        }
        let tags = accept_language.map(preferred).unwrap_or_default();
        tags.iter().find_map(|tag| self.of_tag(tag)).unwrap_or(&self.elsewhere)
    }

    /// For somebody whose device speaks `locale`.
    pub fn of_locale(&self, locale: Option<&str>) -> &Arc<T> {
        locale.and_then(|tag| self.of_tag(tag)).unwrap_or(&self.elsewhere)
    }

    /// Every answer there is.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        std::iter::once(&self.elsewhere).chain(self.countries.values())
    }

    /// A country that is named and not in the list says no more than that the language's country is not meant.
    fn of_tag(&self, tag: &str) -> Option<&Arc<T>> {
        match country(tag) {
            Some(country) => self.countries.get(&country),
            None => self.countries.get(self.languages.get(&language(tag))?),
        }
    }
}

impl Default for CrisisLines {
    fn default() -> Self {
        Self::only(CRISIS_RESOURCES)
    }
}

impl LineFile {
    fn resources(
        self,
        country: &str,
        elsewhere: &CrisisResources,
    ) -> Result<CrisisResources, CrisisLinesError> {
        let given = |text: &Option<String>| text.as_deref().is_none_or(|text| !text.trim().is_empty());
        for (name, given) in [
            ("hotline", !self.hotline.trim().is_empty()),
            ("text", given(&self.text)),
            ("international", given(&self.international)),
        ] {
            if !given {
                return Err(CrisisLinesError::Empty(country.to_owned(), name));
            }
        }
        if !self.chat_url.starts_with("https://") {
            return Err(CrisisLinesError::NotAnAddress(country.to_owned()));
        }
        Ok(CrisisResources {
            hotline: self.hotline.into(),
            text: self.text.unwrap_or_default().into(),
            chat_url: self.chat_url.into(),
            international: self.international.map_or_else(|| elsewhere.international.clone(), Into::into),
        })
    }
}

/// The tags of an `Accept-Language`, the most wanted first.
fn preferred(accept_language: &str) -> Vec<String> {
    let mut tags: Vec<(f64, String)> = accept_language
        .split(',')
        .take(LANGUAGES_MAX)
        .filter_map(|item| {
            let (tag, weight) = item.split_once(';').unwrap_or((item, ""));
            let weight = weight.trim().strip_prefix("q=").map_or(Some(1.0), |text| text.trim().parse().ok());
            Some((weight.filter(|weight: &f64| *weight > 0.0)?, locale_tag(tag)?))
        })
        .collect();
    // Stable, so that of equals the first one stays first.
    tags.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    tags.into_iter().map(|(_, tag)| tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> CrisisLines {
        let elsewhere = CrisisResources { hotline: "112".into(), ..CRISIS_RESOURCES };
        CrisisLines::from_toml(CRISIS_LINES_TOML, elsewhere).unwrap()
    }

    #[test]
    fn a_country_that_is_named_counts_before_a_language() {
        let lines = shipped();
        for (country, accept_language, hotline) in [
            (Some("at"), Some("de-DE"), "142"),
            (Some("US"), None, "988"),
            (None, Some("de-DE,de;q=0.9,en;q=0.8"), "0800 111 0 111"),
            (None, Some("en-GB;q=0.5, fr-FR"), "3114"),
            (None, Some("de"), "0800 111 0 111"),
            (None, Some("de-CH"), "143"),
            // Somebody in Liechtenstein speaks German and cannot dial the German number.
            (None, Some("de-LI"), "112"),
            (None, Some("en"), "112"),
            (None, Some("nl;q=0, *;q=0.1, sv"), "112"),
            (None, Some(";;,q=;\u{1F680}"), "112"),
            (Some("ZZ"), Some("fr"), "3114"),
            (Some("ZZ"), None, "112"),
            (None, None, "112"),
        ] {
            let found = lines.of(country, accept_language);
            assert_eq!(found.hotline, hotline, "{country:?} {accept_language:?}");
        }
        assert_eq!(lines.of_locale(Some("de-AT")).hotline, "142");
        assert_eq!((&*lines.of_locale(None).hotline, &*lines.of_locale(Some("sv")).hotline), ("112", "112"));
    }

    #[test]
    fn every_line_can_be_called_from_abroad_and_only_a_line_that_takes_texts_has_a_number_for_them() {
        let lines = shipped();
        assert!(lines.iter().all(|line| !line.hotline.is_empty() && !line.international.is_empty()));
        assert_eq!((&*lines.of(Some("US"), None).text, &*lines.of(Some("DE"), None).text), ("988", ""));
        assert_eq!(lines.of(Some("DE"), None).international, CRISIS_RESOURCES.international);
        assert_eq!(lines.iter().count(), 12);
    }

    #[test]
    fn lines_that_would_leave_somebody_without_help_are_refused() {
        let read = |text: &str| CrisisLines::from_toml(text, CRISIS_RESOURCES);
        assert!(read("[DE]\nhotline = \"1\"\ninternational = \"2\"\nchat_url = \"https://x\"").is_ok());
        for text in [
            "[de]\nhotline = \"1\"\nchat_url = \"https://x\"",
            "[DEU]\nhotline = \"1\"\nchat_url = \"https://x\"",
            "[DE]\nhotline = \" \"\nchat_url = \"https://x\"",
            "[DE]\nhotline = \"1\"\ntext = \"\"\nchat_url = \"https://x\"",
            "[DE]\nhotline = \"1\"\ninternational = \"\"\nchat_url = \"https://x\"",
            "[DE]\nhotline = \"1\"\nchat_url = \"javascript:alert(1)\"",
            "[DE]\nhotline = \"1\"\nchat_url = \"https://x\"\nphone = \"2\"",
            "[DE]\nchat_url = \"https://x\"",
            "[DE]\nhotline = \"1\"\nchat_url = \"https://x\"\nlanguages = [\"de\", \"DE\"]",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
