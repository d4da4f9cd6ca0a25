//! The manual of one setting.

use std::fmt;

use serde::Serialize;

use super::{default_toml, doc_lines, example, show::show};
use crate::{
    layers::legacy::LEGACY_VARIABLES,
    load::Loaded,
    origin::Origin,
    schema::{Field, fields, sections},
    suggest::{did_you_mean, nearest_key},
};

/// What `keepwell config explain` tells about a setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Its full name.
    pub key: &'static str,
    /// What it does: the text of its doc comment.
    pub doc: String,
    /// What values look like, and their bounds.
    pub values: String,
    /// What applies if nobody sets it, as TOML; `None` if it is then without a value or follows from
    /// something else.
    pub default: Option<String>,
    /// A value to imitate, as TOML.
    pub example: Option<String>,
    /// The variables that set it, the strongest first.
    pub variables: Vec<String>,
    /// Its value now, with `[redacted]` in the place of secrets.
    pub value: Option<serde_json::Value>,
    /// Where that value comes from.
    pub origin: Option<Origin>,
}

/// There is no setting of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no setting `{key}`; {}", did_you_mean(*.suggestion, "`keepwell config show` lists all of them"))]
pub struct UnknownKey {
    /// The name that was asked for.
    pub key: String,
    /// What may have been meant.
    pub suggestion: Option<&'static str>,
}

/// The manual of the setting `key`, or of all settings of a section (`stripe`). With `loaded`, also their
/// values now.
pub fn explain(key: &str, loaded: Option<&Loaded>) -> Result<Vec<Explanation>, UnknownKey> {
    let section = sections().find(|section| !section.name.is_empty() && section.name == key);
    let chosen: Vec<&'static Field> = match section {
        Some(section) => section.fields.iter().collect(),
        None => fields().filter(|field| field.key == key).collect(),
    };
    if chosen.is_empty() {
        return Err(UnknownKey { key: key.to_owned(), suggestion: nearest_key(key) });
    }
    let settings = loaded.map(show).unwrap_or_default();
    let explained = chosen.into_iter().map(|field| {
        let setting = settings.iter().find(|setting| setting.key == field.key);
        Explanation {
            key: field.key,
            doc: doc_lines(field.doc).collect::<Vec<_>>().join("\n"),
            values: values(field),
            default: default_toml(field),
            example: example(field),
            variables: variables(field),
            value: setting.map(|setting| setting.value.clone()),
            origin: setting.map(|setting| setting.origin.clone()),
        }
    });
    Ok(explained.collect())
}

/// What values of `field` look like, bounds included.
pub(super) fn values(field: &Field) -> String {
    match field.bounds {
        Some(bounds) => format!("{} from {} to {}", field.kind, bounds.min, bounds.max),
        None => field.kind.to_string(),
    }
}

/// The variables that set `field`, the strongest first.
pub(super) fn variables(field: &Field) -> Vec<String> {
    let legacy = LEGACY_VARIABLES.iter().rev().filter(|variable| variable.effect.key() == Some(field.key));
    std::iter::once(field.variable()).chain(legacy.map(|variable| variable.name.to_owned())).collect()
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n\n{}\n", self.key, self.doc)?;
        writeln!(f, "  takes        {}", self.values)?;
        if let Some(default) = &self.default {
            writeln!(f, "  default      {default}")?;
        }
        if let Some(example) = &self.example {
            writeln!(f, "  for example  {example}")?;
        }
        writeln!(f, "  environment  {}", self.variables.join(", "))?;
        writeln!(f, "  credential   {}", self.key)?;
        if let (Some(value), Some(origin)) = (&self.value, &self.origin) {
            match value {
                serde_json::Value::Null => writeln!(f, "  now          not set")?,
                value => writeln!(f, "  now          {value} ({origin})")?,
            }
        }
        Ok(())
    }
}
