//! Values written as plain text, in variables and credentials: the setting's kind says how to read them.

use figment::value::Value;
use toml::de::DeTable;

use super::file::toml_value;
use crate::schema::Kind;

/// What separates the items of a list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Separator {
    Comma,
    LineEnd,
}

/// Reads `text` as a value of `kind`. What does not fit stays a text; the check of the setting will say so.
///
/// The error says what is wrong with a TOML array or table without quoting it.
pub(super) fn parse(text: &str, kind: Kind, separator: Separator) -> Result<Value, String> {
    Ok(match kind {
        Kind::Integer => number(text).map_or_else(|| text.into(), Value::from),
        Kind::Boolean => boolean(text).map_or_else(|| text.into(), Value::from),
        Kind::List(_) if text.trim_start().starts_with('[') => toml("array", text)?,
        Kind::Numbers | Kind::Texts if text.trim_start().starts_with('{') => toml("table", text)?,
        Kind::List(item) => {
            let items = split(text, separator).map(|part| parse(part, *item, separator));
            Value::from(items.collect::<Result<Vec<Value>, String>>()?)
        }
        _ => text.into(),
    })
}

fn number(text: &str) -> Option<u64> {
    text.trim().replace('_', "").parse().ok()
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The items between the separators. Blanks after a comma belong to it, but white space at the ends of the
/// whole text stays: in a secret it is a mistake to be told, not to be hidden.
fn split(text: &str, separator: Separator) -> impl Iterator<Item = &str> {
    let pattern = match separator {
        Separator::Comma => ',',
        Separator::LineEnd => '\n',
    };
    let parts = text.split(pattern).enumerate().map(move |(index, part)| match separator {
        Separator::Comma if index > 0 => part.trim_start_matches([' ', '\t']),
        Separator::Comma => part,
        Separator::LineEnd => part.strip_suffix('\r').unwrap_or(part),
    });
    parts.filter(|part| !part.is_empty())
}

/// `text`, which is to be one `what` of TOML.
fn toml(what: &str, text: &str) -> Result<Value, String> {
    let document = format!("value = {text}");
    let table =
        DeTable::parse(&document).map_err(|error| format!("it is not a TOML {what}: {}", error.message()))?;
    match table.get_ref().get("value") {
        Some(value) if table.get_ref().len() == 1 => Ok(toml_value(value.get_ref())),
        _ => Err(format!("it is more than one TOML {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRETS: Kind = Kind::List(&Kind::Secret);

    fn items(text: &str, separator: Separator) -> Vec<String> {
        let value = parse(text, SECRETS, separator).unwrap();
        value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_kind_decides_how_a_text_is_read() {
        assert_eq!(parse("1_000", Kind::Integer, Separator::Comma).unwrap().to_u128(), Some(1_000));
        assert_eq!(parse("1000", Kind::Secret, Separator::Comma).unwrap().as_str(), Some("1000"));
        assert_eq!(parse("Yes", Kind::Boolean, Separator::Comma).unwrap().to_bool(), Some(true));
        assert_eq!(parse("many", Kind::Integer, Separator::Comma).unwrap().as_str(), Some("many"));
    }

    #[test]
    fn a_list_is_separated_by_commas_or_line_ends_or_written_in_toml() {
        assert_eq!(items("a, b,c", Separator::Comma), ["a", "b", "c"]);
        assert_eq!(items("a\nb,c\r\n\nd", Separator::LineEnd), ["a", "b,c", "d"]);
        assert_eq!(items(r#"["a,b", 'c']"#, Separator::Comma), ["a,b", "c"]);
        assert!(items("", Separator::Comma).is_empty());
    }

    #[test]
    fn numbers_by_name_are_a_table_of_toml() {
        let read = |text| parse(text, Kind::Numbers, Separator::Comma);
        let table = read(" { a = 1, b = 0.5 }").unwrap();
        assert_eq!(table.find_ref("b").unwrap().to_num().unwrap().to_f64(), Some(0.5));
        assert_eq!(read("a = 1").unwrap().as_str(), Some("a = 1"), "its check says what is wrong");
        assert!(read("{ a = 1 }\nother = 2").unwrap_err().contains("more than one TOML table"));
    }

    #[test]
    fn white_space_at_the_ends_is_kept_to_be_refused() {
        assert_eq!(items(" a, b ", Separator::Comma), [" a", "b "]);
    }

    #[test]
    fn a_broken_array_is_an_error_that_does_not_quote_it() {
        for text in [r#"["hidden"#, "[\"a\"]\nother = \"hidden\""] {
            let error = parse(text, SECRETS, Separator::Comma).unwrap_err();
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
