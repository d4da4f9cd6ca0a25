//! `example.toml`: every setting with its manual, commented out.

use super::{
    default_toml, doc_lines, example,
    explain::{values, variables},
};
use crate::schema::{Field, sections};

const HEADER: &str = "\
# Every setting of keepwell. Copy what you need to /etc/keepwell/keepwell.toml and remove the `#` in front.
#
# A line `#key = value` shows the default, or an example where it says so; everything works without any of
# them. Each setting can also come from a systemd credential of its name (LoadCredential=stripe.api_key:/path)
# or from the environment variable named with it; the environment wins over credentials, and both win over
# this file.
#
# Generated from the doc comments in config/src/settings and from config/default.toml. Write it anew with:
# cargo run --package keepwell-config --example generate-example -- config/example.toml
";

/// The text of `example.toml`.
pub fn example_toml() -> String {
    let mut text = HEADER.to_owned();
    for section in sections() {
        text.push('\n');
        if !section.name.is_empty() {
            for line in doc_lines(section.doc) {
                text.push_str(&comment(line));
            }
            text.extend(["[", section.name, "]\n\n"]);
        }
        let fields: Vec<String> = section.fields.iter().map(entry).collect();
        text.push_str(&fields.join("\n"));
    }
    text
}

fn entry(field: &Field) -> String {
    let mut text: String = doc_lines(field.doc).map(comment).collect();
    text.push_str(&comment(&format!("Takes: {}.", values(field))));
    text.push_str(&comment(&format!("Environment: {}.", variables(field).join(", "))));
    let default = default_toml(field);
    let default_is_telling = default.as_deref().is_some_and(|default| !["[]", "{}"].contains(&default));
    let value = match example(field) {
        Some(example) if !default_is_telling => {
            let derived = default.is_none() && !field.optional;
            text.push_str(if derived { "# For example:\n" } else { "# Not set by default; for example:\n" });
            example
        }
        _ => default.unwrap_or_default(),
    };
    text.extend(["#", field.name(), " = ", &value, "\n"]);
    text
}

fn comment(line: &str) -> String {
    if line.is_empty() { "#\n".to_owned() } else { format!("# {line}\n") }
}
