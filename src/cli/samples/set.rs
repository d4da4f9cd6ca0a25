//! `--set path=value`: changes one place of a JSON value.

use serde_json::{Map, Value};

/// The longest array that is filled up with `null` to reach an index.
const ITEMS_MAX: usize = 1_000;

/// A place and what shall stand there.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Setting {
    path: Vec<String>,
    value: Value,
}

impl Setting {
    /// Reads `items.data.0.quantity=2`: names and indexes separated by dots, then JSON, or else a text as it
    /// is.
    pub(in super::super) fn parse(text: &str) -> Result<Self, String> {
        let (path, value) =
            text.split_once('=').ok_or("write it as path=value, for example metadata.crisisMode=true")?;
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err("the path has a name that is empty".to_owned());
        }
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok(Self { path, value })
    }

    /// Puts the value there, making what is missing on the way.
    pub(in super::super) fn apply(&self, object: &mut Value) -> Result<(), String> {
        let mut place = object;
        for name in &self.path {
            place = step(place, name).ok_or_else(|| {
                format!("`{}` does not lead anywhere: there is no `{name}`", self.path.join("."))
            })?;
        }
        *place = self.value.clone();
        Ok(())
    }
}

fn step<'v>(place: &'v mut Value, name: &str) -> Option<&'v mut Value> {
    if place.is_null() {
        *place = Value::Object(Map::new());
    }
    match place {
        Value::Object(fields) => Some(fields.entry(name).or_insert(Value::Null)),
        Value::Array(items) => {
            let index: usize = name.parse().ok().filter(|index| *index < ITEMS_MAX)?;
            if index >= items.len() {
                items.resize(index + 1, Value::Null);
            }
            items.get_mut(index)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(object: Value, setting: &str) -> Result<Value, String> {
        let mut object = object;
        Setting::parse(setting)?.apply(&mut object).map(|()| object)
    }

    #[test]
    fn a_value_is_json_or_else_a_text() {
        assert_eq!(set(json!({}), "a=1"), Ok(json!({ "a": 1 })));
        assert_eq!(set(json!({}), "a=past_due"), Ok(json!({ "a": "past_due" })));
        assert_eq!(set(json!({}), "a=\"1\""), Ok(json!({ "a": "1" })));
        assert_eq!(set(json!({ "a": 1 }), "a=null"), Ok(json!({ "a": null })));
        assert_eq!(set(json!({}), "a=b=c"), Ok(json!({ "a": "b=c" })));
    }

    #[test]
    fn a_path_goes_through_objects_and_arrays_and_makes_what_is_missing() {
        let object = json!({ "items": { "data": [{ "id": "si_1" }] } });
        assert_eq!(
            set(object, "items.data.0.quantity=2"),
            Ok(json!({ "items": { "data": [{ "id": "si_1", "quantity": 2 }] } }))
        );
        assert_eq!(
            set(json!({ "metadata": null }), "metadata.crisisMode=\"true\""),
            Ok(json!({ "metadata": { "crisisMode": "true" } }))
        );
        assert_eq!(set(json!({ "a": [] }), "a.1=true"), Ok(json!({ "a": [null, true] })));
    }

    #[test]
    fn a_path_that_leads_nowhere_is_refused() {
        for (object, setting) in [
            (json!({ "a": 1 }), "a.b=2"),
            (json!({ "a": [] }), "a.b=2"),
            (json!({ "a": [] }), "a.99999999=2"),
            (json!({}), "a"),
            (json!({}), "=1"),
            (json!({}), "a..b=1"),
        ] {
            assert!(set(object, setting).is_err(), "{setting}");
        }
    }
}
