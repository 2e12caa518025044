//! From a condition's text to a tree of comparisons.
//!
//! **Invariant:** what is written wrong is refused with the place and the reason, here and nowhere
//! later; a tree obeys the bounds of the crate.
//! **Next:** `evaluate.rs`.

use serde_json::{Map, Value};

use crate::path::Path;
use crate::{BYTES_MAX, DEPTH_MAX, NODES_MAX};

/// A condition on one value.
#[derive(Debug)]
pub(crate) enum Node {
    /// All hold.
    All(Vec<Node>),
    /// One holds.
    Any(Vec<Node>),
    /// It does not hold.
    Not(Box<Node>),
    /// It holds for the value at a path below this one.
    At(Path, Box<Node>),
    /// A comparison with this one.
    Test(Operator, Value),
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Eq,
    Neq,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    Nin,
    StartsWith,
    EndsWith,
    Exist,
}

impl Operator {
    const ALL: [(&'static str, Self); 11] = [
        ("$eq", Self::Eq),
        ("$neq", Self::Neq),
        ("$gt", Self::Gt),
        ("$gte", Self::Gte),
        ("$lt", Self::Lt),
        ("$lte", Self::Lte),
        ("$in", Self::In),
        ("$nin", Self::Nin),
        ("$startsWith", Self::StartsWith),
        ("$endsWith", Self::EndsWith),
        ("$exist", Self::Exist),
    ];

    fn parse(key: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|(name, _)| *name == key).map(|(_, found)| *found)
    }

    pub(crate) fn name(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(_, one)| *one == self)
            .map_or("", |(name, _)| name)
    }
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It is not JSON.
    #[error("is not JSON: {reason}")]
    Json {
        /// Where and why.
        reason: String,
    },
    /// It is too long.
    #[error("has {found} bytes, more than the limit of {BYTES_MAX}")]
    Bytes {
        /// Bytes found.
        found: usize,
    },
    /// It has too many parts.
    #[error("has more than {NODES_MAX} comparisons and combinations")]
    Nodes,
    /// It is nested too deep.
    #[error("is nested deeper than {DEPTH_MAX}")]
    Depth,
    /// Something in it has no meaning.
    #[error("{at}: {reason}")]
    Meaning {
        /// Where, as a path into the condition.
        at: String,
        /// What is wrong with it.
        reason: String,
    },
}

pub(crate) fn parse(text: &str) -> Result<Node, ParseError> {
    if text.len() > BYTES_MAX {
        return Err(ParseError::Bytes { found: text.len() });
    }
    let value: Value = serde_json::from_str(text).map_err(|error| ParseError::Json {
        reason: error.to_string(),
    })?;
    let mut parser = Parser {
        at: Vec::new(),
        nodes: 0,
    };
    let Value::Object(fields) = value else {
        return Err(parser.wrong("must be an object, as `{\"data.amount\": {\"$gte\": 100}}`"));
    };
    parser.object(fields)
}

/// Where the parser is, and what it has seen.
struct Parser {
    at: Vec<String>,
    nodes: usize,
}

impl Parser {
    fn wrong(&self, reason: impl Into<String>) -> ParseError {
        let at = if self.at.is_empty() {
            "the filter".to_owned()
        } else {
            self.at.join(".")
        };
        let reason = reason.into();
        ParseError::Meaning { at, reason }
    }

    /// Parses what stands at a key.
    fn within<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(ParseError::Nodes);
        }
        if self.at.len() >= DEPTH_MAX {
            return Err(ParseError::Depth);
        }
        self.at.push(key.to_owned());
        let parsed = parse(self)?;
        self.at.pop();
        Ok(parsed)
    }

    /// What a value means where a condition is expected: an object is one, all else is compared.
    fn condition(&mut self, value: Value) -> Result<Node, ParseError> {
        match value {
            Value::Object(fields) => self.object(fields),
            literal => Ok(Node::Test(Operator::Eq, literal)),
        }
    }

    fn object(&mut self, fields: Map<String, Value>) -> Result<Node, ParseError> {
        if fields.is_empty() {
            return Err(self.wrong("must not be empty; `{\"$exist\": true}` takes any value"));
        }
        let mut nodes = fields
            .into_iter()
            .map(|(key, value)| self.within(&key, |parser| parser.field(&key, value)))
            .collect::<Result<Vec<_>, _>>()?;
        match nodes.pop() {
            Some(only) if nodes.is_empty() => Ok(only),
            last => {
                nodes.extend(last);
                Ok(Node::All(nodes))
            }
        }
    }

    fn field(&mut self, key: &str, value: Value) -> Result<Node, ParseError> {
        match key {
            "$and" => return Ok(Node::All(self.list(value)?)),
            "$or" => return Ok(Node::Any(self.list(value)?)),
            "$not" => return Ok(Node::Not(Box::new(self.condition(value)?))),
            _ => {}
        }
        if let Some(operator) = Operator::parse(key) {
            self.check(operator, &value)?;
            return Ok(Node::Test(operator, value));
        }
        if key.starts_with('$') {
            let known = Operator::ALL.map(|(name, _)| name).join(" ");
            let reason = format!("is no operator; there are {known} $and $or $not");
            return Err(self.wrong(reason));
        }
        let path = Path::parse(key).ok_or_else(|| self.wrong("has an empty step"))?;
        Ok(Node::At(path, Box::new(self.condition(value)?)))
    }

    fn list(&mut self, value: Value) -> Result<Vec<Node>, ParseError> {
        let Value::Array(items) = value else {
            return Err(self.wrong("must be an array of conditions"));
        };
        if items.is_empty() {
            return Err(self.wrong("must not be empty"));
        }
        let items = items.into_iter().enumerate();
        items
            .map(|(index, item)| {
                self.within(&index.to_string(), |parser| match item {
                    Value::Object(fields) => parser.object(fields),
                    _ => Err(parser.wrong("must be an object")),
                })
            })
            .collect()
    }

    fn check(&mut self, operator: Operator, value: &Value) -> Result<(), ParseError> {
        let reason = match operator {
            Operator::Eq | Operator::Neq => return Ok(()),
            Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte => {
                if value.is_number() || value.is_string() {
                    return Ok(());
                }
                "must be a number or a string"
            }
            Operator::In | Operator::Nin => match value.as_array() {
                Some(list) if !list.is_empty() => return self.count(list.len()),
                _ => "must be an array with at least one value",
            },
            Operator::StartsWith | Operator::EndsWith => match value {
                Value::String(_) => return Ok(()),
                Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_string) => {
                    return self.count(list.len());
                }
                _ => "must be a string or an array of strings",
            },
            Operator::Exist => match value {
                Value::Bool(_) => return Ok(()),
                _ => "must be true or false",
            },
        };
        Err(self.wrong(reason))
    }

    /// Values to compare with count like comparisons.
    fn count(&mut self, values: usize) -> Result<(), ParseError> {
        self.nodes += values;
        if self.nodes > NODES_MAX {
            return Err(ParseError::Nodes);
        }
        Ok(())
    }
}
