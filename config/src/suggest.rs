//! What somebody may have meant.

use crate::schema::{Field, fields, sections};

/// Below this likeness a suggestion is more puzzling than none. Found by trying: `pool.slot`,
/// `KEEPWELL_SERVER_LISTEN` and `prod` find their way, `cache.size` finds nothing.
const LIKENESS_MIN: f64 = 0.62;

/// The candidate that `word` resembles most, if it resembles any.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let prefix_of = |candidate: &str| word.len() >= 3 && candidate.starts_with(word);
    candidates
        .into_iter()
        .map(|candidate| {
            let likeness = strsim::normalized_damerau_levenshtein(word, candidate);
            (if prefix_of(candidate) { likeness.max(0.9) } else { likeness }, candidate)
        })
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// The setting or section that somebody may have meant by `key`.
pub(crate) fn nearest_key(key: &str) -> Option<&'static str> {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    // In a section that exists, only the name can be misspelt, and a section's name says nothing about
    // likeness.
    let neighbours =
        sections().find(|known| known.name == section && !section.is_empty()).map(|known| known.fields);
    let near = if let Some(neighbours) = neighbours {
        let near = nearest(name, neighbours.iter().map(Field::name));
        neighbours.iter().find(|field| Some(field.name()) == near).map(|field| field.key)
    } else {
        let section_names = sections().map(|section| section.name).filter(|name| !name.is_empty());
        nearest(key, fields().map(|field| field.key).chain(section_names))
    };
    let in_another_section = || {
        let mut same = fields().filter(|field| field.name() == name);
        same.next().filter(|_| same.next().is_none()).map(|field| field.key)
    };
    near.or_else(in_another_section)
}

/// The variable that somebody may have meant by `name`.
pub(crate) fn nearest_variable(name: &str) -> Option<String> {
    let variables: Vec<String> = fields().map(Field::variable).collect();
    // What all of them begin with says nothing about likeness.
    let rest = |variable| str::strip_prefix(variable, Field::VARIABLE_PREFIX).unwrap_or(variable);
    nearest(rest(name), variables.iter().map(|variable| rest(variable)))
        .map(|near| format!("{}{near}", Field::VARIABLE_PREFIX))
}

/// "did you mean …" as a way out, or `otherwise`.
pub(crate) fn did_you_mean(suggestion: Option<&str>, otherwise: &str) -> String {
    suggestion.map_or_else(|| otherwise.to_owned(), |suggestion| format!("did you mean `{suggestion}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_the_setting() {
        for (slip, meant) in [
            ("pool.slot", Some("pool.slots")),
            ("pol.slots", Some("pool.slots")),
            ("stripe.webhook_secret", Some("stripe.webhook_secrets")),
            ("stripe.apikey", Some("stripe.api_key")),
            ("server.slots", Some("pool.slots")),
            ("server.x", None),
            ("enviroment", Some("environment")),
            ("databse", Some("database")),
            ("trusted_proxies", Some("server.trusted_proxies")),
            ("cache.size", None),
            ("listen", None),
        ] {
            assert_eq!(nearest_key(slip), meant, "{slip}");
        }
        assert_eq!(nearest("prod", ["development", "staging", "production"]), Some("production"));
    }

    #[test]
    fn a_single_underscore_finds_the_variable() {
        assert_eq!(nearest_variable("KEEPWELL_SERVER_LISTEN").as_deref(), Some("KEEPWELL_SERVER__LISTEN"));
        assert_eq!(nearest_variable("KEEPWELL_XYZ"), None);
    }
}
