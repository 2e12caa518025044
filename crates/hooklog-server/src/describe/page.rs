//! The description as a page for people, made of the document once.
//!
//! **Invariant:** the page loads nothing: style and script stand in it, and its policy names their
//! hashes and no host. Whatever comes from the document is escaped.
//! **Next:** `describe/page/words.rs`.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::words::{code, escape, kind, limits, text};
use super::parameters;

mod words;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// What a browser may load for the page: what stands in it.
pub(super) fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// The page.
pub(super) fn of(document: &Value) -> String {
    let info = &document["info"];
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Hooklog API</title><style>{STYLE}</style></head><body><header><h1>{} API</h1>\
         <p class=\"note\">Version {}, <a href=\"/api/v1/openapi.json\">OpenAPI document</a></p>",
        text(&info["title"]),
        text(&info["version"]),
    );
    let about = info["description"].as_str().unwrap_or_default();
    for paragraph in about.split("\n\n") {
        push(&mut out, format_args!("<p>{}</p>", code(paragraph)));
    }
    out.push_str(
        "<pre>TOKEN=$(hooklog token)\nAPI=http://127.0.0.1:8071\n\
         AUTH=\"authorization: Bearer $TOKEN\"</pre>\
         <input id=\"find\" type=\"search\" placeholder=\"Find a route\" aria-label=\"Find a route\" hidden>",
    );
    out.push_str("<nav>");
    for tag in list(&document["tags"]) {
        let (id, name) = (anchor(tag), text(&tag["name"]));
        push(&mut out, format_args!("<a href=\"#{id}\">{name}</a> "));
    }
    out.push_str("<a href=\"#schemas\">Schemas</a></nav></header><main>");
    for tag in list(&document["tags"]) {
        section(&mut out, document, tag);
    }
    schemas(&mut out, document);
    push(
        &mut out,
        format_args!("</main><script>{SCRIPT}</script></body></html>\n"),
    );
    out
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a string does not fail.
    let _infallible = out.write_fmt(text);
}

/// What is at a place; null if nothing is.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// What is referred to by name.
fn component<'a>(document: &'a Value, kind: &str, name: &str) -> &'a Value {
    at(document, &format!("/components/{kind}/{name}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn anchor(tag: &Value) -> String {
    let name = tag["name"].as_str().unwrap_or_default();
    name.to_ascii_lowercase().replace(' ', "-")
}

fn section(out: &mut String, document: &Value, tag: &Value) {
    push(
        out,
        format_args!(
            "<section id=\"{}\"><h2>{}</h2><p>{}</p>",
            anchor(tag),
            text(&tag["name"]),
            text(&tag["description"]),
        ),
    );
    for (path, item) in entries(&document["paths"]) {
        for method in ["get", "post", "put", "patch", "delete"] {
            let operation = &item[method];
            if at(operation, "/tags/0") == &tag["name"] {
                self::operation(out, document, path, method, operation);
            }
        }
    }
    out.push_str("</section>");
}

fn operation(out: &mut String, document: &Value, path: &str, method: &str, operation: &Value) {
    let id = text(&operation["operationId"]);
    push(
        out,
        format_args!(
            "<details class=\"route\" id=\"{id}\"><summary><b class=\"{method}\">{}</b> \
             <code>{}</code> <span>{}</span></summary>",
            method.to_ascii_uppercase(),
            escape(path).replace('/', "/<wbr>"),
            code(operation["summary"].as_str().unwrap_or_default()),
        ),
    );
    if let Some(about) = operation["description"].as_str() {
        push(out, format_args!("<p>{}</p>", code(about)));
    }
    push(
        out,
        format_args!(
            "<p class=\"note\">For {}; <code>{id}</code></p>",
            text(&operation["x-access"])
        ),
    );
    parameters_of(out, operation);
    let body = &operation["requestBody"];
    for (media_type, form) in entries(&body["content"]) {
        let needed = if body["required"] == true {
            ""
        } else {
            ", may be left out"
        };
        push(
            out,
            format_args!(
                "<h4>Body <code>{}</code>{needed}: {}</h4>",
                escape(media_type),
                kind(&form["schema"])
            ),
        );
        if let Some(name) = reference(&form["schema"]) {
            fields(out, component(document, "schemas", name));
        }
    }
    push(
        out,
        format_args!("<pre>{}</pre>", escape(&curl(path, method, operation))),
    );
    answers(out, document, operation);
    out.push_str("</details>");
}

/// The name of the schema that is referred to.
fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

fn parameters_of(out: &mut String, operation: &Value) {
    let mut all = list(&operation["parameters"]).peekable();
    if all.peek().is_none() {
        return;
    }
    out.push_str("<h4>Parameters</h4><table>");
    for parameter in all {
        push(
            out,
            format_args!(
                "<tr><td><code>{}</code><br><i>{}</i></td><td>{}{}</td><td>{}</td></tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                kind(&parameter["schema"]),
                limits(&parameter["schema"]),
                code(parameter["description"].as_str().unwrap_or_default()),
            ),
        );
    }
    out.push_str("</table>");
}

/// The fields of an object.
fn fields(out: &mut String, schema: &Value) {
    for part in list(&schema["allOf"]) {
        fields(out, part);
        if reference(part).is_some() {
            push(out, format_args!("<p>and the fields of {}</p>", kind(part)));
        }
    }
    let required = |name: &str| list(&schema["required"]).any(|one| one == name);
    let mut all = entries(&schema["properties"]).peekable();
    if all.peek().is_none() {
        return;
    }
    out.push_str("<table>");
    for (name, field) in all {
        let mark = if required(name) { " <b>needed</b>" } else { "" };
        push(
            out,
            format_args!(
                "<tr><td><code>{}</code>{mark}</td><td>{}{}</td><td>{}</td></tr>",
                escape(name),
                kind(field),
                limits(field),
                code(field["description"].as_str().unwrap_or_default()),
            ),
        );
    }
    out.push_str("</table>");
}

fn answers(out: &mut String, document: &Value, operation: &Value) {
    out.push_str("<h4>Answers</h4><table>");
    for (status, answer) in entries(&operation["responses"]) {
        let shared = reference(answer).map(|name| component(document, "responses", name));
        let answer = shared.unwrap_or(answer);
        let forms = entries(&answer["content"]).filter(|(_, form)| !form["schema"].is_null());
        let forms = forms.filter(|(name, _)| !name.contains("problem"));
        let forms: Vec<String> = forms.map(|(_, form)| kind(&form["schema"])).collect();
        push(
            out,
            format_args!(
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(status),
                forms.join(", "),
                code(answer["description"].as_str().unwrap_or_default()),
            ),
        );
    }
    out.push_str("</table>");
}

fn schemas(out: &mut String, document: &Value) {
    out.push_str("<section id=\"schemas\"><h2>Schemas</h2>");
    for (name, schema) in entries(at(document, "/components/schemas")) {
        push(
            out,
            format_args!(
                "<details id=\"schema-{0}\"><summary><code>{0}</code></summary><p>{1}{2} {3}</p>",
                escape(name),
                kind(schema),
                limits(schema),
                code(schema["description"].as_str().unwrap_or_default()),
            ),
        );
        fields(out, schema);
        out.push_str("</details>");
    }
    out.push_str("</section>");
}

/// A line for a shell.
fn curl(path: &str, method: &str, operation: &Value) -> String {
    let mut line = "curl ".to_owned();
    if method != "get" {
        push(
            &mut line,
            format_args!("-X {} ", method.to_ascii_uppercase()),
        );
    }
    let mut place = path.to_owned();
    for part in parameters::parts(path) {
        place = place.replace(&format!("{{{part}}}"), parameters::example(part));
    }
    push(&mut line, format_args!("\"$API{place}\""));
    if list(&operation["security"]).next().is_some() {
        line.push_str(" -H \"$AUTH\"");
    }
    let mut forms = entries(at(operation, "/requestBody/content"));
    if let Some((media_type, form)) = forms.find(|(_, form)| !form["example"].is_null()) {
        let example = match &form["example"] {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let quoted = example.replace('\'', "'\\''");
        push(
            &mut line,
            format_args!(" -H 'content-type: {media_type}' -d '{quoted}'"),
        );
    }
    line
}
