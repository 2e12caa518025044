//! Schemas that stand by themselves: what one refers to comes with it, as `definitions`.
//!
//! **Invariant:** before a schema is copied its bytes are counted against what one event type, and all
//! of a document, may have, so what is in memory is bounded whatever refers to what.
//! **Next:** `../event_type.rs`.

use serde_json::{Map, Value};

use super::super::event_type::SCHEMAS_BYTES_MAX;
use super::{HOPS_MAX, Sizes, components};

/// Where references to other schemas lead in a document, and in a schema by itself.
const COMPONENTS: &str = "#/components/schemas/";
const DEFINITIONS: &str = "#/definitions/";

/// Keywords with schemas by name: a name in them is no keyword.
const BY_NAME: [&str; 5] = [
    "properties",
    "patternProperties",
    "definitions",
    "$defs",
    "dependentSchemas",
];
/// Keywords with values, in which `$ref` means nothing.
const VALUES: [&str; 5] = ["example", "examples", "default", "const", "enum"];

/// Makes schemas of one document stand by themselves.
pub(super) struct Bundler<'a> {
    schemas: Option<&'a Map<String, Value>>,
    sizes: Sizes<'a>,
    bytes_left: usize,
}

impl<'a> Bundler<'a> {
    /// Of a document, all of whose schemas may take so many bytes.
    pub(super) fn new(document: &'a Value, bytes_max: usize) -> Self {
        Self {
            schemas: components(document),
            sizes: Sizes::new(),
            bytes_left: bytes_max,
        }
    }

    /// A copy of a schema, with what it refers to.
    pub(super) fn bundle(&mut self, schema: &Value) -> Result<Value, String> {
        let mut one = One {
            bytes_left: SCHEMAS_BYTES_MAX,
            wanted: Vec::new(),
        };
        let schemas = self.schemas;
        let mut root = schema;
        // What is only a reference is what it refers to, so that its examples are on top.
        for _ in 0..HOPS_MAX {
            let Some(name) = only_reference(root) else {
                break;
            };
            let found = schemas.and_then(|schemas| schemas.get(&decoded(name)));
            root = found.ok_or_else(|| nowhere(name))?;
        }
        self.charge(&mut one, size(root))?;
        let mut root = one.copy(root)?;
        let mut definitions = Map::new();
        while let Some(name) = one.wanted.pop() {
            if definitions.contains_key(&name) {
                continue;
            }
            let found = schemas.and_then(|schemas| schemas.get_key_value(&name));
            let (name, schema) = found.ok_or_else(|| nowhere(&name))?;
            let bytes = *self
                .sizes
                .entry(name.as_str())
                .or_insert_with(|| size(schema) + name.len());
            self.charge(&mut one, bytes)?;
            definitions.insert(name.clone(), one.copy(schema)?);
        }
        if let (Value::Object(keywords), false) = (&mut root, definitions.is_empty()) {
            match keywords.get_mut("definitions") {
                Some(Value::Object(own)) => own.extend(definitions),
                Some(_) | None => {
                    keywords.insert("definitions".to_owned(), Value::Object(definitions));
                }
            }
        }
        Ok(root)
    }

    fn charge(&mut self, one: &mut One, bytes: usize) -> Result<(), String> {
        let left = one.bytes_left.checked_sub(bytes);
        one.bytes_left = left.ok_or_else(|| {
            format!(
                "its schema has, with what it refers to, more than the limit of \
                 {SCHEMAS_BYTES_MAX} bytes"
            )
        })?;
        self.spend_bytes(bytes)
    }

    /// Counts a value that goes with a schema.
    pub(super) fn spend(&mut self, value: &Value) -> Result<(), String> {
        self.spend_bytes(size(value))
    }

    fn spend_bytes(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or_else(|| {
            let limit = super::BYTES_MAX;
            format!("all schemas so far have, with what they refer to, more than {limit} bytes")
        })?;
        Ok(())
    }
}

/// One schema that is put together.
struct One {
    bytes_left: usize,
    /// The schemas that are referred to.
    wanted: Vec<String>,
}

impl One {
    /// A copy of a schema whose references lead to `definitions`.
    fn copy(&mut self, schema: &Value) -> Result<Value, String> {
        match schema {
            Value::Object(keywords) => {
                let copied = keywords.iter().map(|(keyword, value)| {
                    let value = self.keyword(keyword, value)?;
                    Ok((keyword.clone(), value))
                });
                copied.collect::<Result<_, String>>().map(Value::Object)
            }
            Value::Array(items) => {
                let copied = items.iter().map(|item| self.copy(item));
                copied.collect::<Result<_, String>>().map(Value::Array)
            }
            value => Ok(value.clone()),
        }
    }

    fn keyword(&mut self, keyword: &str, value: &Value) -> Result<Value, String> {
        if VALUES.contains(&keyword) {
            return Ok(value.clone());
        }
        match value {
            Value::String(text) if keyword == "$ref" => self.reference(text).map(Value::String),
            Value::Object(named) if BY_NAME.contains(&keyword) => {
                let copied = named
                    .iter()
                    .map(|(name, schema)| Ok((name.clone(), self.copy(schema)?)));
                copied.collect::<Result<_, String>>().map(Value::Object)
            }
            value => self.copy(value),
        }
    }

    fn reference(&mut self, text: &str) -> Result<String, String> {
        if !text.starts_with('#') {
            // Elsewhere; whoever reads the schema may know it.
            return Ok(text.to_owned());
        }
        let name = text.strip_prefix(COMPONENTS);
        let name = name
            .filter(|name| !name.contains('/'))
            .ok_or_else(|| format!("its reference {text:?} is not to a schema of `components`"))?;
        self.wanted.push(decoded(name));
        Ok(format!("{DEFINITIONS}{name}"))
    }
}

/// The name in a schema that is a reference and nothing else.
fn only_reference(schema: &Value) -> Option<&str> {
    let keywords = schema.as_object().filter(|keywords| keywords.len() == 1)?;
    let name = keywords.get("$ref")?.as_str()?.strip_prefix(COMPONENTS)?;
    (!name.contains('/')).then_some(name)
}

/// A part of a JSON pointer as the name that it stands for (RFC 6901).
fn decoded(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

fn nowhere(name: &str) -> String {
    format!("it refers to the schema {name:?}, which the document does not have")
}

/// How many bytes a value takes as JSON.
fn size(value: &Value) -> usize {
    struct Count(usize);

    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        // Nothing refuses to be counted; what did would be too large.
        Err(_) => usize::MAX,
    }
}
