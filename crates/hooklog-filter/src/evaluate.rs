//! Whether a condition holds for a payload, and if not, which part of it.
//!
//! **Invariant:** `explain` and `matches` never disagree: one is the other with its reason.
//! **Next:** nothing; the caller is `subscription.rs` of the log.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use crate::Condition;
use crate::parse::{Node, Operator};
use crate::path::{Path, Step};

/// Longest part of a payload's value that is shown: it is a hint, not the payload.
const SHOWN_CHARS_MAX: usize = 80;

/// The first part of a condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where in the payload, as `data.amount`.
    pub path: String,
    /// What should hold there, as `$gte 100`.
    pub expected: String,
    /// What is there, shortened; `None` if nothing is.
    pub found: Option<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            expected,
            found,
        } = self;
        match found {
            Some(found) => write!(f, "{path} {expected} does not hold for {found}"),
            None => write!(f, "{path} {expected} does not hold: there is no such field"),
        }
    }
}

impl Condition {
    /// Whether it holds for a payload.
    pub fn matches(&self, payload: &Value) -> bool {
        holds(&self.0.root, Some(payload))
    }

    /// The same, and if not, why.
    pub fn explain(&self, payload: &Value) -> Result<(), Mismatch> {
        if self.matches(payload) {
            return Ok(());
        }
        Err(reason(&self.0.root, Some(payload), &Path::default()))
    }
}

/// Whether `node` holds for `value`; `None` is a field that is not there.
fn holds(node: &Node, value: Option<&Value>) -> bool {
    match node {
        Node::All(nodes) => nodes.iter().all(|node| holds(node, value)),
        Node::Any(nodes) => nodes.iter().any(|node| holds(node, value)),
        Node::Not(node) => !holds(node, value),
        Node::At(path, node) => at(path.steps(), value, &mut |value| holds(node, value)),
        Node::Test(operator, expected) => test(*operator, expected, value),
    }
}

/// Whether `check` holds for what lies at `steps` below `value`: of an array for one of its
/// elements, unless the step is an index.
fn at(
    steps: &[Step],
    value: Option<&Value>,
    check: &mut dyn FnMut(Option<&Value>) -> bool,
) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return check(value);
    };
    match value {
        Some(Value::Object(fields)) => at(rest, fields.get(&step.name), check),
        Some(Value::Array(items)) => match step.index {
            Some(index) => at(rest, items.get(index), check),
            // An empty array has no such field.
            None if items.is_empty() => at(rest, None, check),
            None => items.iter().any(|item| at(steps, Some(item), check)),
        },
        _ => check(None),
    }
}

fn test(operator: Operator, expected: &Value, value: Option<&Value>) -> bool {
    match operator {
        Operator::Exist => expected.as_bool() == Some(value.is_some()),
        Operator::Neq => !test(Operator::Eq, expected, value),
        Operator::Nin => !test(Operator::In, expected, value),
        Operator::Eq
        | Operator::Gt
        | Operator::Gte
        | Operator::Lt
        | Operator::Lte
        | Operator::In
        | Operator::StartsWith
        | Operator::EndsWith => match value {
            Some(found) if compare(operator, expected, found) => true,
            Some(Value::Array(items)) => items.iter().any(|item| compare(operator, expected, item)),
            Some(_) | None => false,
        },
    }
}

fn compare(operator: Operator, expected: &Value, found: &Value) -> bool {
    let ordered = || order(found, expected);
    match operator {
        Operator::Eq => equal(expected, found),
        Operator::In => within(expected).iter().any(|value| equal(value, found)),
        Operator::Gt => ordered().is_some_and(Ordering::is_gt),
        Operator::Gte => ordered().is_some_and(Ordering::is_ge),
        Operator::Lt => ordered().is_some_and(Ordering::is_lt),
        Operator::Lte => ordered().is_some_and(Ordering::is_le),
        Operator::StartsWith | Operator::EndsWith => {
            let Some(text) = found.as_str() else {
                return false;
            };
            let mut affixes = within(expected).iter().filter_map(Value::as_str);
            match operator {
                Operator::StartsWith => affixes.any(|affix| text.starts_with(affix)),
                _ => affixes.any(|affix| text.ends_with(affix)),
            }
        }
        // They are made of the others.
        Operator::Neq | Operator::Nin | Operator::Exist => false,
    }
}

/// The values of a list, or the one that stands alone.
fn within(expected: &Value) -> &[Value] {
    match expected {
        Value::Array(list) => list,
        one => std::slice::from_ref(one),
    }
}

/// Equality of JSON values: `1` equals `1.0`, also inside of arrays and objects.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), Value::Number(_)) => order(left, right) == Some(Ordering::Equal),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| equal(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same = |(key, value)| right.get(key).is_some_and(|other| equal(value, other));
            left.len() == right.len() && left.iter().all(same)
        }
        _ => left == right,
    }
}

/// The order of two numbers or two strings. Integers of 64 bits are compared exactly, all other
/// numbers as doubles, which is what most receivers make of them.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i128(), right.as_i128()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// Why `node`, which does not hold, does not.
fn reason(node: &Node, value: Option<&Value>, path: &Path) -> Mismatch {
    match node {
        Node::All(nodes) => match nodes.iter().find(|node| !holds(node, value)) {
            Some(first) => reason(first, value, path),
            None => mismatch(path, "$and", value),
        },
        Node::Any(_) => mismatch(path, "$or", value),
        Node::Not(_) => mismatch(path, "$not", value),
        Node::At(below, inner) => {
            let path = path.join(below);
            // Of several elements none fits; one of them would be a poor example.
            if fans_out(below.steps(), value) {
                return mismatch(&path, &expectation(inner), value);
            }
            let mut why = None;
            at(below.steps(), value, &mut |value| {
                why = Some(reason(inner, value, &path));
                false
            });
            why.unwrap_or_else(|| mismatch(&path, &expectation(inner), value))
        }
        Node::Test(..) => mismatch(path, &expectation(node), value),
    }
}

/// Whether several values lie at `steps`.
fn fans_out(steps: &[Step], value: Option<&Value>) -> bool {
    let mut count = 0;
    at(steps, value, &mut |_| {
        count += 1;
        count > 1
    })
}

fn expectation(node: &Node) -> String {
    match node {
        Node::Test(operator, expected) => format!("{} {}", operator.name(), shortened(expected)),
        Node::All(_) => "$and".to_owned(),
        Node::Any(_) => "$or".to_owned(),
        Node::Not(_) => "$not".to_owned(),
        Node::At(path, inner) => format!("{path} {}", expectation(inner)),
    }
}

fn mismatch(path: &Path, expected: &str, value: Option<&Value>) -> Mismatch {
    Mismatch {
        path: path.to_string(),
        expected: expected.to_owned(),
        found: value.map(shortened),
    }
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
