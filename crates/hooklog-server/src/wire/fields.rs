//! A JSON object as its fields: parsed once, values kept as the text they came in.
//!
//! **Invariant:** values borrow from the body, so a payload can be stored byte for byte and without
//! a copy. The number of fields and the depth are bounded; a field given twice is refused, since
//! two readers could choose differently.
//! **Next:** `wire/message.rs`, the busiest user.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use hooklog_storage::{NameError, Timestamp};
use serde::Deserialize;
use serde::de::{
    DeserializeOwned, Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Issue;
use crate::brief::quoted;

/// Most fields of one body: four times those of the largest resource.
const FIELDS_MAX: usize = 64;
/// Deepest nesting: what `serde_json` and other common parsers take by default, so receivers can
/// read what we accepted.
const DEPTH_MAX: usize = 128;
/// Most bytes of all keys and values of a metadata map (the API family's bound).
pub(super) const METADATA_BYTES_MAX: usize = 4096;

/// The fields of one JSON object.
#[derive(Debug)]
pub(crate) struct Fields<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Fields<'a> {
    /// The fields of the object that `body` is.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Issue> {
        if is_deeper_than(body, DEPTH_MAX) {
            return Err(Issue::json(format!("nested deeper than {DEPTH_MAX}")));
        }
        serde_json::from_slice(body).map_err(|error| Issue::json(error.to_string()))
    }

    /// As [`parse`](Self::parse), but no body at all is an object without fields.
    pub(crate) fn parse_or_empty(body: &'a [u8]) -> Result<Self, Issue> {
        if body.is_empty() {
            Ok(Self(BTreeMap::new()))
        } else {
            Self::parse(body)
        }
    }

    /// The names of all fields.
    pub(crate) fn names_of_all(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AsRef::as_ref)
    }

    /// The first items of the list that `body` is, at most `limit`, and how many it has.
    pub(crate) fn list(body: &'a [u8], limit: usize) -> Result<(Vec<&'a RawValue>, usize), Issue> {
        if is_deeper_than(body, DEPTH_MAX) {
            return Err(Issue::json(format!("nested deeper than {DEPTH_MAX}")));
        }
        let mut list = serde_json::Deserializer::from_slice(body);
        let found = list.deserialize_seq(Items(limit));
        let found = found.and_then(|found| list.end().map(|()| found));
        found.map_err(|error| Issue::json(error.to_string()))
    }

    /// Every field, be it null.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// Whether the field is there, be it null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value's text, unless absent or null.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0
            .get(name)
            .copied()
            .filter(|value| value.get() != "null")
    }

    /// The value, unless absent or null.
    pub(crate) fn value<T: DeserializeOwned>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, Issue> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let error = match serde_json::from_str(raw.get()) {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        let whole = serde_json::from_str(raw.get()).map(with_whole_numbers);
        if let Some(value) = whole
            .ok()
            .and_then(|value| serde_json::from_value(value).ok())
        {
            return Ok(Some(value));
        }
        // Positions are within the value and would mislead.
        let text = error.to_string();
        let text = text
            .rsplit_once(" at line ")
            .map_or(&*text, |(text, _)| text);
        Err(Issue::body(name, text))
    }

    /// A text of at most `limit` bytes without control characters.
    pub(crate) fn text(&self, name: &'static str, limit: usize) -> Result<Option<String>, Issue> {
        let Some(text) = self.value::<String>(name)? else {
            return Ok(None);
        };
        if text.len() > limit {
            let message = format!("has {} bytes, more than the limit of {limit}", text.len());
            return Err(Issue::body(name, message));
        }
        if text.contains(|c| c <= '\u{8}') {
            return Err(Issue::body(name, "must not hold control characters"));
        }
        Ok(Some(text))
    }

    /// A name.
    pub(crate) fn name<T>(&self, name: &'static str) -> Result<Option<T>, Issue>
    where
        T: FromStr<Err = NameError>,
    {
        let Some(text) = self.value::<Cow<'_, str>>(name)? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|error: NameError| Issue::body(name, error.to_string()))
    }

    /// A user's own id, which must not look like one of ours.
    pub(crate) fn uid<T>(&self, name: &'static str, prefix: &str) -> Result<Option<T>, Issue>
    where
        T: FromStr<Err = NameError> + Borrow<str>,
    {
        let uid = self.name::<T>(name)?;
        match uid {
            Some(uid) if uid.borrow().starts_with(prefix) => {
                Err(Issue::body(name, format!("must not start with `{prefix}`")))
            }
            uid => Ok(uid),
        }
    }

    /// Between one and `limit` names.
    pub(crate) fn names<T>(&self, name: &'static str, limit: usize) -> Result<Option<Vec<T>>, Issue>
    where
        T: FromStr<Err = NameError>,
    {
        let Some(texts) = self.value::<Vec<String>>(name)? else {
            return Ok(None);
        };
        if texts.is_empty() || texts.len() > limit {
            let message = format!("must have 1 to {limit} items, but has {}", texts.len());
            return Err(Issue::body(name, message));
        }
        let names = texts.iter().map(|text| {
            text.parse()
                .map_err(|error: NameError| Issue::body(name, format!("{} {error}", quoted(text))))
        });
        names.collect::<Result<_, _>>().map(Some)
    }

    /// A time as of RFC 3339.
    pub(crate) fn time(&self, name: &'static str) -> Result<Option<Timestamp>, Issue> {
        let Some(text) = self.value::<Cow<'_, str>>(name)? else {
            return Ok(None);
        };
        let time: Result<jiff::Timestamp, _> = text.parse();
        let wrong = |_| Issue::body(name, "must be a time as 2026-01-31T12:00:00Z");
        let millis = time.map_err(wrong)?.as_millisecond();
        Ok(Some(Timestamp::from_millis(millis)))
    }

    /// Free key-value pairs; empty if absent or null.
    pub(crate) fn metadata(&self) -> Result<BTreeMap<String, String>, Issue> {
        let map: BTreeMap<String, String> = self.value("metadata")?.unwrap_or_default();
        let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            let message = format!("has {bytes} bytes, more than the limit of {METADATA_BYTES_MAX}");
            return Err(Issue::body("metadata", message));
        }
        Ok(map)
    }

    /// Refuses fields that would have no effect, unless they have a value that asks for none.
    pub(crate) fn refuse(&self, names: &[&'static str]) -> Result<(), Issue> {
        let idle = |value: &RawValue| matches!(value.get(), "{}" | "[]" | "false");
        match names
            .iter()
            .find(|name| self.raw(name).is_some_and(|value| !idle(value)))
        {
            Some(name) => Err(Issue::body(name, "is not supported by this server")),
            None => Ok(()),
        }
    }
}

/// A value whose whole numbers are integers: some languages write 60 as 60.0, and JSON Schema takes
/// both for an integer.
fn with_whole_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            // `{:.0}` writes no fraction and no exponent; what is no 64-bit integer stays as it is.
            let whole = number.as_f64().filter(|float| float.fract() == 0.0);
            let whole = whole.and_then(|float| format!("{float:.0}").parse::<u64>().ok());
            whole.map_or(Value::Number(number), Value::from)
        }
        Value::Array(items) => items.into_iter().map(with_whole_numbers).collect(),
        value => value,
    }
}

/// The issue of a field that must be there.
pub(crate) fn required(name: &'static str) -> impl FnOnce() -> Issue {
    move || Issue::body(name, "field required")
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &RawValue>()? {
                    if fields.len() == FIELDS_MAX {
                        return Err(A::Error::custom(format!("more than {FIELDS_MAX} fields")));
                    }
                    if let Some(twice) = fields.insert(key, value) {
                        let value = twice.get().chars().take(32).collect::<String>();
                        return Err(A::Error::custom(format!("a field is given twice: {value}")));
                    }
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// The first items of a list, at most so many; the others are counted.
struct Items(usize);

impl<'de> Visitor<'de> for Items {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.0 {
            let Some(item) = list.next_element()? else {
                let count = items.len();
                return Ok((items, count));
            };
            items.push(item);
        }
        let mut count = items.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((items, count))
    }
}

/// A key, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether brackets outside of strings nest deeper than `limit`. Whether they match is for the
/// parser to say.
fn is_deeper_than(json: &[u8], limit: usize) -> bool {
    // Most bodies have fewer brackets than that altogether, and counting them is quick.
    let is_open = |byte: &&u8| matches!(byte, b'{' | b'[');
    if json.iter().filter(is_open).count() <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use hooklog_storage::Channel;

    use super::*;

    #[test]
    fn values_keep_their_bytes() {
        let body = br#" { "pay\u006coad" : { "b":1.0,  "a" : "\u00e9" } , "x":null } "#;
        let fields = Fields::parse(body).expect("parses");
        let payload = fields.raw("payload").expect("is there").get();
        assert_eq!(payload, r#"{ "b":1.0,  "a" : "\u00e9" }"#);
        assert!(
            body.as_ptr_range().contains(&payload.as_ptr()),
            "borrowed from the body"
        );
        assert!(fields.has("x") && fields.raw("x").is_none() && !fields.has("y"));
    }

    #[test]
    fn whole_numbers_may_have_a_point() {
        let body = br#"{"a":60.0,"b":[1.0,2],"c":1e3,"d":60.5,"e":-1.0,"f":1e40,"g":"60.0"}"#;
        let fields = Fields::parse(body).expect("parses");
        assert_eq!(fields.value::<u16>("a").expect("whole"), Some(60));
        assert_eq!(fields.value("b").expect("whole"), Some(vec![1_u64, 2]));
        assert_eq!(fields.value::<u64>("c").expect("whole"), Some(1000));
        for name in ["d", "e", "f", "g"] {
            let issue = fields.value::<u64>(name).expect_err(name);
            assert!(issue.msg.starts_with("invalid"), "{name}: {}", issue.msg);
        }
    }

    #[test]
    fn bad_bodies_are_refused() {
        let wide = format!(
            "{{{}}}",
            (0..65)
                .map(|n| format!("\"{n}\":1"))
                .collect::<Vec<_>>()
                .join(",")
        );
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128));
        let cases: [(&[u8], &str); 10] = [
            (b"", "EOF"),
            (b"[]", "expected an object"),
            (b"null", "expected an object"),
            (b"{\"a\":1", "EOF"),
            (b"{\"a\":1} x", "trailing"),
            (b"{\"a\":1,\"a\":2}", "twice"),
            (b"{\"a\":\"\xff\"}", "unicode"),
            (b"{\"a\":\"\\x\"}", "escape"),
            (wide.as_bytes(), "more than 64 fields"),
            (deep.as_bytes(), "deeper than 128"),
        ];
        for (body, reason) in cases {
            let issue = Fields::parse(body).expect_err("is refused");
            assert!(
                issue.msg.contains(reason),
                "{}: {}",
                String::from_utf8_lossy(body),
                issue.msg
            );
        }
        let brackets_in_text = format!("{{\"a\":\"{}\\\"{}\"}}", "[".repeat(200), "{".repeat(200));
        assert!(Fields::parse(brackets_in_text.as_bytes()).is_ok());
    }

    #[test]
    fn of_a_long_list_only_the_begin_is_kept() {
        for (count, limit) in [(0, 3), (2, 3), (3, 3), (4, 3), (1_000_000, 1_000)] {
            let body = format!("[{}]", vec!["1"; count].join(","));
            let (items, counted) = Fields::list(body.as_bytes(), limit).expect("a list");
            assert_eq!((items.len(), counted), (count.min(limit), count));
            assert!(items.capacity() <= limit * 2, "{}", items.capacity());
        }
    }

    #[test]
    fn values_are_checked_by_kind() {
        let body = br#"{"t":"a\u0001","n":7,"e":[],"c":["a b"],"ok":["a"],"m":{},"y":{"a":1}}"#;
        let fields = Fields::parse(body).expect("parses");
        assert!(fields.text("t", 10).is_err(), "control character");
        assert!(fields.text("n", 10).is_err(), "not a text");
        assert!(fields.names::<Channel>("e", 3).is_err(), "empty list");
        assert!(fields.names::<Channel>("c", 3).is_err(), "not a name");
        assert!(
            fields
                .names::<Channel>("ok", 3)
                .is_ok_and(|names| names.is_some())
        );
        assert!(
            fields
                .names::<Channel>("absent", 3)
                .is_ok_and(|names| names.is_none())
        );
        assert!(
            fields.refuse(&["m", "absent", "e"]).is_ok(),
            "ask for nothing"
        );
        assert!(fields.refuse(&["y"]).is_err(), "asks for something");
    }
}
