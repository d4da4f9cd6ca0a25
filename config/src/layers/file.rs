//! TOML files.

use std::{fs::File, io, io::Read as _, path::Path};

use figment::value::{Dict, Value};
use toml::de::{DeTable, DeValue};

use super::{Layer, Read};
use crate::{
    origin::Origin,
    problem::Problem,
    schema::{field, sections},
    suggest::{did_you_mean, nearest_key},
};

/// More than any configuration needs; whatever is longer is the wrong file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How many syntax errors of one file are told: later ones mostly follow from the first.
const SYNTAX_ERRORS_MAX: usize = 5;

const NO_SUCH_SETTING: &str = "see `keepwell config show` or example.toml for all settings";

/// The built-in defaults.
pub(crate) fn defaults() -> Read {
    parse(crate::DEFAULT_TOML, |_| Origin::Default)
}

/// The settings in `text`, which stands in the file at `path`.
pub(crate) fn file_layer(path: &Path, text: &str) -> Read {
    parse(text, |line| Origin::File { path: path.to_owned(), line })
}

/// Reads a whole text file, unless it is too long for one.
pub(crate) fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 1 MiB"));
    }
    Ok(text)
}

fn parse(text: &str, origin_of_line: impl Fn(usize) -> Origin) -> Read {
    let origin_at = |offset: usize| {
        let before = text.get(..offset).unwrap_or(text);
        origin_of_line(before.bytes().filter(|byte| *byte == b'\n').count() + 1)
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problems = errors.iter().take(SYNTAX_ERRORS_MAX).map(|error| {
            // Only the message: the error itself would quote the line, which may hold a secret.
            let what = format!("this is not TOML: {}", error.message());
            Problem::general(what, "correct the line")
                .at(origin_at(error.span().map_or(0, |span| span.start)))
        });
        return (Layer::default(), problems.collect());
    }
    let (mut layer, mut problems) = Read::default();
    for (name, value) in table.get_ref() {
        let section = sections().find(|section| !section.name.is_empty() && section.name == name.get_ref());
        match (section, value.get_ref()) {
            (Some(section), DeValue::Table(settings)) => {
                for (setting, value) in settings {
                    let key = format!("{}.{}", section.name, setting.get_ref());
                    take(&mut layer, &mut problems, &key, value.get_ref(), origin_at(setting.span().start));
                }
            }
            (Some(section), _) => {
                let remedy = format!("write `[{}]` and its settings below", section.name);
                let problem = Problem::of(section.name, "this is a section, not a setting", remedy);
                problems.push(problem.at(origin_at(name.span().start)));
            }
            (None, value) => {
                take(&mut layer, &mut problems, name.get_ref(), value, origin_at(name.span().start));
            }
        }
    }
    (layer, problems)
}

fn take(layer: &mut Layer, problems: &mut Vec<Problem>, key: &str, value: &DeValue<'_>, origin: Origin) {
    match field(key) {
        Some(field) => layer.set(field, toml_value(value), origin),
        None => problems.push(
            Problem::of(key, "there is no such setting", did_you_mean(nearest_key(key), NO_SUCH_SETTING))
                .at(origin),
        ),
    }
}

/// A TOML value as figment knows it. Instants become texts; a number beyond 64 bits stays a text and fails
/// its check.
pub(super) fn toml_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.to_string().into(), Value::from),
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().map_or_else(|_| number.as_str().into(), Value::from)
        }
        DeValue::Boolean(truth) => (*truth).into(),
        DeValue::Datetime(instant) => instant.to_string().into(),
        DeValue::Array(items) => {
            Value::from(items.iter().map(|item| toml_value(item.get_ref())).collect::<Vec<Value>>())
        }
        DeValue::Table(entries) => Value::from(
            entries
                .iter()
                .map(|(name, value)| (name.get_ref().to_string(), toml_value(value.get_ref())))
                .collect::<Dict>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        file_layer(Path::new("k.toml"), text).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_unknown_key_is_told_with_its_line_and_what_was_meant() {
        let told = problems(
            "enviroment = \"staging\"\n\n[pool]\nslot = 3\nslots = 9\n[databse]\nurl = 1\n[server]\nx = 1\n",
        );
        assert_eq!(told.len(), 4, "{told:#?}");
        let all = told.join("\n");
        assert!(all.contains(
            "`enviroment` (k.toml, line 1): there is no such setting; did you mean `environment`?"
        ));
        assert!(all.contains("`pool.slot` (k.toml, line 4)") && all.contains("`pool.slots`"));
        assert!(all.contains("`databse` (k.toml, line 6)") && all.contains("did you mean `database`"));
        assert!(all.contains("`server.x` (k.toml, line 9): there is no such setting; see"));
    }

    #[test]
    fn a_syntax_error_has_a_line_and_quotes_nothing() {
        let told = problems("state_dir = \"x\"\n[stripe]\napi_key = \"hidden\n");
        assert!(told[0].starts_with("k.toml, line 3: this is not TOML"), "{told:?}");
        assert!(!told.concat().contains("hidden"), "{told:?}");
    }

    #[test]
    fn a_section_is_not_a_setting() {
        assert!(problems("server = \"127.0.0.1:1\"")[0].contains("write `[server]`"));
    }

    #[test]
    fn dotted_keys_and_instants_are_understood() {
        let text = "pool.slots = 0x10\n\
                    stripe.webhook_secrets = [{ secret = \"s\", valid_until = 2027-01-31T00:00:00Z }]";
        let (layer, problems) = file_layer(Path::new("k.toml"), text);
        assert!(problems.is_empty());
        assert_eq!(layer.entries["pool.slots"].value.to_i128(), Some(16));
        let secrets = &layer.entries["stripe.webhook_secrets"].value;
        let until = secrets.as_array().unwrap()[0].find_ref("valid_until").unwrap();
        assert_eq!(until.as_str(), Some("2027-01-31T00:00:00Z"));
    }
}
