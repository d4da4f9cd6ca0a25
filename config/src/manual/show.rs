//! What every setting is, and where that comes from.

use serde::Serialize;

use crate::{load::Loaded, origin::Origin, schema::fields};

/// A setting as `keepwell config show` tells it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Its full name.
    pub key: &'static str,
    /// Its value, with `[redacted]` in the place of secrets; null if it has none.
    pub value: serde_json::Value,
    /// Where the value comes from.
    pub origin: Origin,
}

/// All settings in the order of the manual.
pub fn show(loaded: &Loaded) -> Vec<Setting> {
    // Serializing a configuration cannot fail: it has no maps with strange keys, and its own impls only write
    // texts.
    let config = serde_json::to_value(&loaded.config).unwrap_or_default();
    let value =
        |key: &str| config.pointer(&format!("/{}", key.replace('.', "/"))).cloned().unwrap_or_default();
    fields()
        .map(|field| Setting { key: field.key, value: value(field.key), origin: loaded.origin(field.key) })
        .collect()
}

/// The settings as lines for people: key, value, and the origin of what is no default.
pub fn show_text(settings: &[Setting]) -> String {
    let width = settings.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
    let lines = settings.iter().map(|Setting { key, value, origin }| {
        let value = if value.is_null() { "-".to_owned() } else { value.to_string() };
        match origin {
            Origin::Default | Origin::Unset => format!("{key:<width$}  {value}\n"),
            origin => format!("{key:<width$}  {value}  # {origin}\n"),
        }
    });
    lines.collect()
}
