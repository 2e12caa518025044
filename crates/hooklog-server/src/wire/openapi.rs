//! The webhooks of an `OpenAPI` 3 document, as event types in JSON.
//!
//! **Invariant:** a schema stands by itself afterwards: what it refers to in the document comes with
//! it. The number of webhooks, the bytes of each and of all are bounded; depth is bounded by the parser.
//! **Next:** `wire/openapi/bundle.rs`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

mod bundle;

use self::bundle::Bundler;

/// Most webhooks of one document: several times what the largest public catalogues have.
const WEBHOOKS_MAX: usize = 1_000;
/// Most bytes of all schemas with what they refer to: twice a body's, for many may refer to the same.
const BYTES_MAX: usize = 4 << 20;
/// References that lead to references: nobody nests them on purpose.
const HOPS_MAX: usize = 8;
/// Methods in the order in which they are looked for: a webhook is a POST.
const METHODS: [&str; 8] = [
    "post", "put", "patch", "get", "delete", "options", "head", "trace",
];

/// The webhooks of a document, each as `take` makes it of the event type that it is, in the form of a
/// body; or what is wrong with the first that is none. One form is there at a time.
pub(super) fn webhooks<T>(
    document: &Value,
    mut take: impl FnMut(&Value) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let version = document.get("openapi").and_then(Value::as_str);
    if !version.is_some_and(|version| version.starts_with("3.")) {
        return Err("must be an OpenAPI 3 document: `openapi` is not `3.…`".to_owned());
    }
    let places = ["webhooks", "x-webhooks"];
    let mut places = places.iter().filter_map(|name| document.get(name));
    let webhooks = places.find_map(|value| value.as_object().filter(|all| !all.is_empty()));
    let Some(webhooks) = webhooks else {
        return Err("has no `webhooks`, and no `x-webhooks`".to_owned());
    };
    if webhooks.len() > WEBHOOKS_MAX {
        let count = webhooks.len();
        return Err(format!(
            "has {count} webhooks, more than the limit of {WEBHOOKS_MAX}"
        ));
    }
    let mut bundler = Bundler::new(document, BYTES_MAX);
    let webhook = |(name, item): (&String, &Value)| {
        let form = form(document, &mut bundler, name, item);
        form.and_then(|form| take(&form))
            .map_err(|error| format!("webhook {name:?}: {error}"))
    };
    webhooks.iter().map(webhook).collect()
}

/// One as an event type.
fn form(
    document: &Value,
    bundler: &mut Bundler<'_>,
    name: &str,
    item: &Value,
) -> Result<Value, String> {
    let item = resolve(document, item)?;
    let operation = METHODS.iter().find_map(|method| item.get(method));
    let operation = operation.ok_or("has no operation, as `post`")?;
    let word = |key| operation.get(key).or_else(|| item.get(key));
    // An empty text says nothing.
    let said = |key| word(key).filter(|value| value.as_str() != Some(""));
    let description = said("description").or_else(|| said("summary"));
    let flags = match (word("x-svix-feature-flags"), word("x-svix-feature-flag")) {
        (Some(flags), _) => flags.clone(),
        (None, Some(flag)) => json!([flag]),
        (None, None) => Value::Null,
    };
    let schema = schema(document, bundler, operation)?;
    Ok(json!({
        "name": name,
        "description": description.cloned().unwrap_or_else(|| json!("")),
        "deprecated": operation.get("deprecated"),
        "schemas": schema.map(|schema| json!({"1": schema})),
        "featureFlags": flags,
        "groupName": word("x-svix-group-name"),
    }))
}

/// The schema of the body, with an example if there is one.
fn schema(
    document: &Value,
    bundler: &mut Bundler<'_>,
    operation: &Value,
) -> Result<Option<Value>, String> {
    let Some(body) = operation.get("requestBody") else {
        return Ok(None);
    };
    let body = resolve(document, body)?;
    let Some(kinds) = body.get("content").and_then(Value::as_object) else {
        return Ok(None);
    };
    let is_json = |kind: &&String| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind == "application/json" || kind.ends_with("+json")
    };
    let kind = kinds.keys().find(is_json).and_then(|kind| kinds.get(kind));
    let Some((kind, schema)) = kind.and_then(|kind| Some((kind, kind.get("schema")?))) else {
        return Ok(None);
    };
    let mut schema = bundler.bundle(schema)?;
    if let Value::Object(keywords) = &mut schema
        && !keywords.contains_key("examples")
        && let Some(examples) = examples(document, kind)?
    {
        bundler.spend(&examples)?;
        keywords.insert("examples".to_owned(), examples);
    }
    Ok(Some(schema))
}

/// The examples of a body beside its schema, as JSON Schema has them.
fn examples(document: &Value, kind: &Value) -> Result<Option<Value>, String> {
    if let Some(example) = kind.get("example") {
        return Ok(Some(json!([example])));
    }
    let Some(named) = kind.get("examples").and_then(Value::as_object) else {
        return Ok(None);
    };
    let mut values = Vec::new();
    for example in named.values() {
        values.extend(resolve(document, example)?.get("value").cloned());
    }
    Ok((!values.is_empty()).then_some(Value::Array(values)))
}

/// What stands at the end of references within the document, if it is one.
fn resolve<'a>(document: &'a Value, mut value: &'a Value) -> Result<&'a Value, String> {
    for _ in 0..HOPS_MAX {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
            return Ok(value);
        };
        let pointed = reference.strip_prefix('#');
        value = pointed
            .and_then(|pointer| document.pointer(pointer))
            .ok_or_else(|| format!("{reference:?} leads nowhere in the document"))?;
    }
    Err(format!(
        "its references lead over more than {HOPS_MAX} others"
    ))
}

/// How many bytes values take as JSON, each written once.
type Sizes<'a> = HashMap<&'a str, usize>;

/// The object that a document has its schemas in.
fn components(document: &Value) -> Option<&Map<String, Value>> {
    document.pointer("/components/schemas")?.as_object()
}

#[cfg(test)]
mod tests;
