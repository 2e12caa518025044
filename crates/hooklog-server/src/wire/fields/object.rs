//! From the bytes of a body to its fields or items, without a look into their values.
//!
//! **Invariant:** nesting, fields and the items that are kept are bounded before anything is made of
//! them; a name that is there twice is refused.
//! **Next:** `../message.rs`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Fields;

/// Most fields of one body: four times those of the largest resource.
const FIELDS_MAX: usize = 64;
impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &RawValue>()? {
                    if fields.len() == FIELDS_MAX {
                        return Err(A::Error::custom(format!("more than {FIELDS_MAX} fields")));
                    }
                    if let Some((_, twice)) = fields.iter().find(|(other, _)| *other == key) {
                        let value = twice.get().chars().take(32).collect::<String>();
                        return Err(A::Error::custom(format!("a field is given twice: {value}")));
                    }
                    fields.push((key, value));
                }
                fields.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// The first items of a list, at most so many; the others are counted.
pub(super) struct Items(pub(super) usize);

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

/// How many brackets open, in strings and outside of them. In pieces that one byte can count, which the
/// compiler makes sixteen counters at a time of: a tenth of the instructions of a plain count.
fn brackets(json: &[u8]) -> usize {
    let is_open = |byte: &u8| u8::from(matches!(byte, b'{' | b'['));
    let counts = json.chunks(usize::from(u8::MAX));
    let counts = counts.map(|piece| piece.iter().map(is_open).sum::<u8>());
    counts.map(usize::from).sum()
}

/// Whether brackets outside of strings nest deeper than `limit`. Whether they match is for the
/// parser to say.
pub(super) fn is_deeper_than(json: &[u8], limit: usize) -> bool {
    // Most bodies have fewer brackets than that altogether, and counting them is quick.
    if brackets(json) <= limit {
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
