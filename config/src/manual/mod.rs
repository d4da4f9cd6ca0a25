//! The manual: what is set, what each setting means, and a file to start from.

pub(crate) mod example;
pub(crate) mod explain;
pub(crate) mod show;

use figment::value::Value;

use crate::{
    layers::{Merged, defaults, whole_number},
    schema::Field,
};

/// The built-in value of `field` as TOML.
fn default_toml(field: &Field) -> Option<String> {
    Merged::of([&defaults().0]).value(field.key).map(|value| toml_text(&value))
}

/// The value of `field` to imitate, as TOML. The compiler breaks long ones into lines where it likes.
fn example(field: &Field) -> Option<String> {
    field.example.map(|example| example.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A value as TOML, in one line.
fn toml_text(value: &Value) -> String {
    match value {
        Value::Array(_, items) => {
            let items: Vec<String> = items.iter().map(toml_text).collect();
            format!("[{}]", items.join(", "))
        }
        // No table has anything in it by default.
        Value::Dict(..) => "{}".to_owned(),
        Value::Num(..) => whole_number(value).map_or_else(String::new, |number| number.to_string()),
        Value::Bool(_, truth) => truth.to_string(),
        // JSON's quoting of strings is a part of TOML's.
        other => serde_json::Value::from(other.as_str().unwrap_or_default()).to_string(),
    }
}

/// The lines of a doc comment, each without the blank behind `///`.
fn doc_lines(doc: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    doc.iter().map(|line| line.strip_prefix(' ').unwrap_or(line))
}
