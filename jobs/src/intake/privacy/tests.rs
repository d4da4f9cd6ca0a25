//! Dropping, on texts that are made to trip it.

use serde_json::{Value, json};

use super::*;

fn dropped(paths: &[&str], text: &str) -> String {
    let paths = DropPaths::new(paths.iter().copied()).unwrap();
    String::from_utf8(paths.apply(&Bytes::from(text.to_owned())).to_vec()).unwrap()
}

#[test]
fn a_field_goes_with_its_comma_and_everything_else_stays_as_it_is() {
    for (text, left) in [
        (r#"{"x":1}"#, "{}"),
        (r#"{"x":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"a":1,"x":2}"#, r#"{"a":1}"#),
        (r#"{"a":1,"x":2,"b":3}"#, r#"{"a":1,"b":3}"#),
        (r#"{"x":1,"x":2,"a":3}"#, r#"{"a":3}"#),
        (r#"{"x":[{"x":1},",}"],"a":"x"}"#, r#"{"a":"x"}"#),
        (r#"{"a":{"x":{"b":[1,{"x":2}]}},"c":[{"x":1},{"d":1,"x":2}]}"#, r#"{"a":{},"c":[{},{"d":1}]}"#),
        (r#"{"a":["x","x",["x"]],"x":-1.5e3}"#, r#"{"a":["x","x",["x"]]}"#),
        (r#"{"\u0078":1,"a":"\"x\":1"}"#, r#"{"a":"\"x\":1"}"#),
        (r#"{"x":"\\","a":1,"x":null}"#, r#"{"a":1}"#),
        (r#"{"a":1}"#, r#"{"a":1}"#),
        (r#"[{"x":1},2]"#, "[{},2]"),
        ("7", "7"),
    ] {
        assert_eq!(dropped(&["x"], text), left, "{text}");
    }
    let pretty = "{\n  \"a\": 1,\n  \"x\": {\n    \"b\": [ 1 , 2 ]\n  },\n  \"c\": 2\n}\n";
    assert_eq!(dropped(&["x"], pretty), "{\n  \"a\": 1,\n  \"c\": 2\n}\n");
    let first = "{\n  \"x\" : null ,\n  \"c\": 2\n}\n";
    assert_eq!(serde_json::from_str::<Value>(&dropped(&["x"], first)).unwrap(), json!({ "c": 2 }));
}

#[test]
fn a_path_of_several_names_is_found_through_lists_and_nowhere_else() {
    let text = r#"{"card":{"last4":1},"sources":{"data":[{"card":{"last4":2,"a":1}},[{"last4":3}]]}}"#;
    assert_eq!(
        dropped(&["card.last4"], text),
        r#"{"card":{},"sources":{"data":[{"card":{"a":1}},[{"last4":3}]]}}"#
    );
    assert_eq!(
        dropped(&["sources.data.last4"], text),
        r#"{"card":{"last4":1},"sources":{"data":[{"card":{"last4":2,"a":1}},[{}]]}}"#
    );
    assert_eq!(dropped(&["sources.data"], text), r#"{"card":{"last4":1},"sources":{}}"#);
}

#[test]
fn a_hundred_thousand_levels_of_nesting_cost_no_stack() {
    let deep = format!(
        "{{\"a\":{}{},\"x\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000),
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(dropped(&["x"], &deep).len(), 200_006);
}

#[test]
fn what_the_rules_need_cannot_be_dropped() {
    for path in ["customer", "id", "data", "items.data", "data.object", "metadata"] {
        assert_eq!(DropPaths::new([path]), Err(DropPathError::Needed(path.to_owned())), "{path}");
    }
    for path in ["", ".", "a.", "a b", "a.*", "a..b"] {
        assert_eq!(DropPaths::new([path]), Err(DropPathError::Malformed(path.to_owned())), "{path}");
    }
    assert!(DropPaths::new(["sources.data", "metadata.email"]).is_ok());
}

/// The same, done on a tree.
fn without(value: Value, name: &str) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(key, _)| key != name)
            .map(|(key, value)| (key, without(value, name)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(|item| without(item, name)).collect::<Vec<_>>().into(),
        other => other,
    }
}

fn json_value() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let word = prop::sample::select(vec!["x", "a", "b", "x,", "}x", "\"x\":", "\\", "é{"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn dropping_from_the_text_is_dropping_from_the_tree(value in json_value(), pretty in proptest::bool::ANY) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let left: Value = serde_json::from_str(&dropped(&["x"], &text)).unwrap();
        proptest::prop_assert_eq!(left, without(value, "x"));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0_u8..128, 0..60)) {
        let paths = DropPaths::new(["x", "a.b"]).unwrap();
        let _ = paths.apply(&Bytes::from(bytes));
    }
}
