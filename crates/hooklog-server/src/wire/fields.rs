//! A JSON object as its fields: parsed once, values kept as the text they came in.
//!
//! **Invariant:** values borrow from the body, so a payload can be stored byte for byte and without
//! a copy. The number of fields and the depth are bounded; a field given twice is refused, since
//! two readers could choose differently.
//! **Next:** `fields/object.rs`, how they are found; `wire/message.rs`, the busiest user.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::str::FromStr;

use hooklog_storage::{NameError, Timestamp};
use serde::de::{DeserializeOwned, Deserializer as _};
use serde_json::Value;
use serde_json::value::RawValue;

use self::object::{Items, is_deeper_than};
use super::Issue;
use crate::brief::quoted;

mod object;

/// Deepest nesting: what `serde_json` and other common parsers take by default, so receivers can
/// read what we accepted.
const DEPTH_MAX: usize = 128;
/// Most bytes of all keys and values of a metadata map (the API family's bound).
pub(super) const METADATA_BYTES_MAX: usize = 4096;

/// The fields of one JSON object.
///
/// In a list, sorted by name: a search that tells names apart by their lengths takes a fifth of the
/// instructions of one in a map, and a message looks for fifteen.
#[derive(Debug)]
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The fields of the object that `body` is.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Issue> {
        if is_deeper_than(body, DEPTH_MAX) {
            return Err(Issue::json(format!("nested deeper than {DEPTH_MAX}")));
        }
        // Looked at as a whole, that it is UTF-8 costs a third of what it costs value by value. What is
        // not is parsed all the same, for the error to say where.
        let parsed = match std::str::from_utf8(body) {
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_slice(body),
        };
        parsed.map_err(|error| Issue::json(error.to_string()))
    }

    /// As [`parse`](Self::parse), but no body at all is an object without fields.
    pub(crate) fn parse_or_empty(body: &'a [u8]) -> Result<Self, Issue> {
        if body.is_empty() {
            Ok(Self(Vec::new()))
        } else {
            Self::parse(body)
        }
    }

    /// The names of all fields.
    pub(crate) fn names_of_all(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
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
        self.0.iter().any(|(own, _)| own == name)
    }

    /// The value's text, unless absent or null.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let field = self.0.iter().find(|(own, _)| own == name);
        let value = field.map(|(_, value)| *value);
        value.filter(|value| value.get() != "null")
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
        let own;
        let text = if let Some(text) = self.raw(name).and_then(literal) {
            text
        } else if let Some(text) = self.value::<String>(name)? {
            own = text;
            &own
        } else {
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

/// What a text says that has no escapes.
fn literal(value: &RawValue) -> Option<&str> {
    let text = value.get().strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
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

#[cfg(test)]
mod tests;
