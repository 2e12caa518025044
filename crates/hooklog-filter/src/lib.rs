//! Conditions on JSON payloads, written in JSON.
//!
//! ```
//! use hooklog_filter::Condition;
//!
//! let condition: Condition = r#"{
//!     "type": "invoice.paid",
//!     "data.amount": {"$gte": 100, "$lt": 500},
//!     "$not": {"data.customer.tags": "internal"}
//! }"#.parse()?;
//!
//! let payload = serde_json::json!({"type": "invoice.paid", "data": {"amount": 120}});
//! assert!(condition.matches(&payload));
//!
//! let payload = serde_json::json!({"type": "invoice.paid", "data": {"amount": 20}});
//! let mismatch = condition.explain(&payload).unwrap_err();
//! assert_eq!(mismatch.to_string(), "data.amount $gte 100 does not hold for 20");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | written | holds if |
//! |---|---|
//! | `{"a": 1, "b": 2}` | both hold |
//! | `{"a": {"b": 1}}` or `{"a.b": 1}` | field `b` of field `a` is 1 (a dot in a name: `\.`) |
//! | `{"items.0.sku": "x"}` | the first item's `sku` is `x` |
//! | `"x"`, `{"$eq": "x"}` | it equals; numbers by value, objects and arrays as a whole |
//! | `{"$neq": "x"}` | `$eq` does not hold; so a missing field passes |
//! | `{"$gt": 1}`, `$gte`, `$lt`, `$lte` | both are numbers, or both strings (by bytes, so that times in ISO 8601 compare) |
//! | `{"$in": [1, 2]}`, `{"$nin": [1, 2]}` | it equals one of them; none of them |
//! | `{"$startsWith": "x"}`, `$endsWith` | a string does; of a list of such texts, one |
//! | `{"$exist": true}` | the field is there, `null` included |
//! | `{"$and": […]}`, `{"$or": […]}`, `{"$not": {…}}` | all, one, not |
//!
//! A condition on a field that holds an array holds if it holds for one of its elements (or, for
//! `$eq` and its kin, for the array as a whole); `$neq` and `$nin` hold if it holds for none. On a
//! path through an array of objects one object suffices, for those two as well; `$not` around the
//! whole says "none of them".
//!
//! **Invariant:** evaluating costs at most the condition's nodes times the elements of the arrays
//! on its paths; a condition is bounded in bytes, nodes and depth. No I/O.
//! **Next:** `parse.rs`, then `evaluate.rs`.

#![deny(missing_docs)]

mod evaluate;
mod parse;
mod path;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use evaluate::Mismatch;
pub use parse::ParseError;

use parse::Node;

/// Most bytes of a condition's text: a page or two, and far below what one value of a store holds.
pub const BYTES_MAX: usize = 16 << 10;
/// Most comparisons and combinations of a condition; each costs about a hash lookup per event.
pub const NODES_MAX: usize = 256;
/// Deepest nesting: half of what parsers of JSON allow by default, and no stack to fear for.
pub const DEPTH_MAX: usize = 32;

/// A condition, ready to be evaluated. Cloning is cheap, and one that is not there takes a pointer's
/// room in whatever has it; serialised as its text.
#[derive(Clone)]
pub struct Condition(Arc<Parsed>);

struct Parsed {
    text: Box<str>,
    root: Node,
}

impl Condition {
    /// Its text, as it was written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

impl FromStr for Condition {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(Self(Arc::new(Parsed {
            root: parse::parse(text)?,
            text: text.into(),
        })))
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Condition {}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({})", self.as_str())
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
