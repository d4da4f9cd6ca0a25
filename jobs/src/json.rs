//! Reading JSON that comes from outside: only the fields asked for, borrowed where possible.
//!
//! The grammar is checked once, in [`Json::parse`]. After that nothing can fail: a field that is missing, `null`, of
//! another type or out of range is `None`. Nesting costs no stack, and of two fields with the same name the later one
//! counts.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The longest identifier that is taken, in bytes; Stripe promises that its own stay below it.
pub const ID_BYTES_MAX: usize = 255;

/// The bytes are no JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Nothing but white space.
    #[error("the document is empty")]
    Empty,
    /// JSON is UTF-8.
    #[error("the document is not UTF-8")]
    NotUtf8,
    /// Against the grammar.
    #[error("the document is not JSON")]
    NotJson,
}

/// One JSON value, still in its text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// The one value in `bytes`; a byte order mark in front is tolerated, anything behind it is not.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_ascii().is_empty() {
            return Err(JsonError::Empty);
        }
        serde_json::from_str::<&RawValue>(text).map(Self::of).map_err(|_| JsonError::NotJson)
    }

    fn of(raw: &'a RawValue) -> Self {
        Self(raw.get())
    }

    /// The value's text.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// The fields called `names` of an object, in that order, found in one pass; `null` counts as missing.
    pub fn fields<const N: usize>(self, names: [&str; N]) -> [Option<Json<'a>>; N] {
        let mut found = [None; N];
        // What was found before an unreadable key (a lone surrogate) stays found.
        let _ = serde_json::Deserializer::from_str(self.0)
            .deserialize_map(Fields { names: &names, found: &mut found });
        found
    }

    /// The value at the end of a path of object fields.
    pub fn at(self, path: &[&str]) -> Option<Json<'a>> {
        path.iter().try_fold(self, |json, name| {
            let [value] = json.fields([*name]);
            value
        })
    }

    /// The first `count_max` elements of an array; of a Stripe list object, those of its `data`.
    pub fn items(self, count_max: usize) -> Vec<Json<'a>> {
        if self.is_object() {
            return self
                .at(&["data"])
                .filter(|data| !data.is_object())
                .map_or_else(Vec::new, |data| data.items(count_max));
        }
        let mut found = Vec::new();
        let _ = serde_json::Deserializer::from_str(self.0)
            .deserialize_seq(Items { count_max, found: &mut found });
        found
    }

    /// A string's text.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') {
            return serde_json::from_str(self.0).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(inner))
    }

    /// A string fit to be an identifier (see [`is_id`]).
    pub fn id(self) -> Option<Cow<'a, str>> {
        self.text().filter(|text| is_id(text))
    }

    /// Stripe's references: an identifier, or the whole object with its `id`.
    pub fn reference(self) -> Option<Cow<'a, str>> {
        self.id().or_else(|| self.at(&["id"])?.id())
    }

    /// A whole number.
    pub fn integer(self) -> Option<i64> {
        self.0.parse().ok().or_else(|| {
            let number = self.number().filter(|number| number.fract() == 0.0)?;
            // Beyond 2^53 a float no longer says which whole number was meant.
            (number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
        })
    }

    /// A finite number.
    pub fn number(self) -> Option<f64> {
        let number = self.0.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        number.then(|| self.0.parse::<f64>().ok().filter(|number| number.is_finite())).flatten()
    }

    /// `true` or `false`.
    pub fn flag(self) -> Option<bool> {
        self.0.parse().ok()
    }

    /// Whether it says no: `false`, or the text `"false"` in any case.
    pub fn says_no(self) -> bool {
        self.flag()
            .map_or_else(|| self.text().is_some_and(|text| text.eq_ignore_ascii_case("false")), |yes| !yes)
    }

    /// Whether it says yes: `true`, or the text `"true"` in any case, as in Stripe's metadata, which knows only texts.
    pub fn says_yes(self) -> bool {
        self.flag().unwrap_or_else(|| self.text().is_some_and(|text| text.eq_ignore_ascii_case("true")))
    }
}

/// Whether `text` is fit to be an identifier: 1 to [`ID_BYTES_MAX`] bytes, no control characters (PostgreSQL refuses
/// NUL, and no identifier should be able to break a line of a log).
pub fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

struct Fields<'f, 'a, const N: usize> {
    names: &'f [&'f str; N],
    found: &'f mut [Option<Json<'a>>; N],
}

impl<'a, const N: usize> Visitor<'a> for Fields<'_, 'a, N> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(place) = map.next_key_seed(Key(self.names))? {
            if let Some(place) = place {
                let value = Json::of(map.next_value()?);
                self.found[place] = (value.0 != "null").then_some(value);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Key<'f>(&'f [&'f str]);

impl<'a> DeserializeSeed<'a> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

struct Items<'f, 'a> {
    count_max: usize,
    found: &'f mut Vec<Json<'a>>,
}

impl<'a> Visitor<'a> for Items<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        while self.found.len() < self.count_max {
            match items.next_element()? {
                Some(item) => self.found.push(Json::of(item)),
                None => return Ok(()),
            }
        }
        Err(A::Error::custom("enough"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_json_documents_are_read() {
        for (bytes, error) in [
            (&b""[..], JsonError::Empty),
            (b" \n\t", JsonError::Empty),
            (b"\xef\xbb\xbf", JsonError::Empty),
            (b"\"\xff\"", JsonError::NotUtf8),
            (b"{", JsonError::NotJson),
            (b"{} {}", JsonError::NotJson),
            (b"{'a':1}", JsonError::NotJson),
            (b"{\"a\":01}", JsonError::NotJson),
            (b"NaN", JsonError::NotJson),
        ] {
            assert_eq!(Json::parse(bytes), Err(error), "{bytes:?}");
        }
        assert_eq!(Json::parse(b"\xef\xbb\xbf {\"a\":1} ").unwrap().as_str(), "{\"a\":1}");
    }

    #[test]
    fn a_field_of_another_type_or_out_of_range_is_missing() {
        let json =
            Json::parse(br#"{"n":1e999,"big":99999999999999999999,"s":1,"t":"x","l":{},"z":null}"#).unwrap();
        let [number, big, s, t, l, z] =
            json.fields(["n", "big", "s", "t", "l", "z"]).map(Option::<Json>::from);
        assert_eq!((number.unwrap().integer(), number.unwrap().number()), (None, None));
        assert_eq!(big.unwrap().integer(), None);
        assert_eq!((s.unwrap().text(), t.unwrap().integer(), t.unwrap().flag()), (None, None, None));
        assert_eq!(l.unwrap().items(9), []);
        assert_eq!(z, None);
        assert_eq!(json.at(&["t", "deeper"]), None);
    }

    #[test]
    fn of_two_fields_with_one_name_the_later_counts() {
        let json = Json::parse(br#"{"a":1,"a":2,"\u0061":3}"#).unwrap();
        assert_eq!(json.at(&["a"]).unwrap().integer(), Some(3));
    }

    #[test]
    fn numbers_keep_their_value_however_they_are_written() {
        let integer = |text: &'static str| Json::parse(text.as_bytes()).unwrap().integer();
        assert_eq!(integer("9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer("1.5e3"), Some(1500));
        assert_eq!(integer("1.5"), None);
        assert_eq!(integer("-0"), Some(0));
    }

    #[test]
    fn a_hundred_thousand_levels_of_nesting_are_read_without_a_stack() {
        let deep = format!("{{\"deep\":{}{},\"id\":\"x\"}}", "[".repeat(100_000), "]".repeat(100_000));
        let json = Json::parse(deep.as_bytes()).unwrap();
        assert_eq!(json.at(&["id"]).unwrap().id().unwrap(), "x");
    }

    #[test]
    fn identifiers_are_short_and_printable() {
        assert!(is_id("cus_1"));
        assert!(is_id(&"x".repeat(255)));
        for bad in ["", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(!is_id(bad));
        }
        let escaped =
            Json::parse(br#"{"a":"\u0000","b":"\ud800","c":"\u0063us","d":{"id":"cus_2"}}"#).unwrap();
        let [a, b, c, d] = escaped.fields(["a", "b", "c", "d"]).map(|field| field.unwrap().reference());
        assert_eq!((a, b), (None, None));
        assert_eq!((c.unwrap(), d.unwrap()), ("cus".into(), "cus_2".into()));
    }
}
