//! Schemas in words, and texts as HTML.
//!
//! **Invariant:** what is returned holds no character of the document that HTML would read as markup.
//! **Next:** `../../dispatch.rs`.

use serde_json::Value;

/// A text between tags or in quotes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A value that is a text.
pub(super) fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

/// A text whose backticks mark code.
pub(super) fn code(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            out.push_str("<code>");
            out.push_str(&escape(part));
            out.push_str("</code>");
        } else {
            out.push_str(&escape(part));
        }
    }
    out
}

/// What kind of value a schema takes.
pub(super) fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
    {
        let name = escape(name);
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Value::Array(schemas) = &schema[several] {
            let word = if several == "allOf" { " and " } else { " or " };
            return schemas.iter().map(kind).collect::<Vec<_>>().join(word);
        }
    }
    if let Value::Array(values) = &schema["enum"] {
        let values = values
            .iter()
            .map(|value| format!("<code>{}</code>", escape(&value.to_string())));
        return values.collect::<Vec<_>>().join(" ");
    }
    if !schema["const"].is_null() {
        return format!("<code>{}</code>", escape(&schema["const"].to_string()));
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(|kind| one(kind, schema)).collect(),
        Value::Null => vec!["anything".to_owned()],
        kind => vec![one(kind, schema)],
    };
    kinds.join(" or ")
}

fn one(kind: &Value, schema: &Value) -> String {
    match (kind.as_str(), schema["format"].as_str()) {
        (Some("array"), _) => format!("list of {}", self::kind(&schema["items"])),
        (Some("string"), Some(format)) => escape(format),
        (Some("string"), None) => "text".to_owned(),
        (Some("integer"), _) => "integer".to_owned(),
        (Some("object"), _) if schema["additionalProperties"].is_object() => {
            format!("object of {}", self::kind(&schema["additionalProperties"]))
        }
        (kind, _) => escape(kind.unwrap_or_default()),
    }
}

/// The limits of a schema.
pub(super) fn limits(schema: &Value) -> String {
    let bounds = [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minLength", "min. length"),
        ("maxLength", "max. length"),
        ("minItems", "at least"),
        ("maxItems", "at most"),
        ("maxProperties", "at most"),
        ("default", "default"),
    ];
    let told = bounds
        .iter()
        .filter_map(|(keyword, words)| match &schema[*keyword] {
            Value::Null => None,
            // The largest number there is says nothing.
            Value::Number(bound) if bound.as_u64() == Some(u64::MAX) => None,
            Value::Number(bound) if *keyword == "minimum" && bound.as_u64() == Some(0) => None,
            bound => Some(format!("{words} {}", escape(&bound.to_string()))),
        });
    let mut told: Vec<String> = told.collect();
    if let Some(pattern) = schema["pattern"].as_str() {
        told.push(format!("<code>{}</code>", escape(pattern)));
    }
    if told.is_empty() {
        String::new()
    } else {
        format!("<br><small>{}</small>", told.join(", "))
    }
}
