//! Requests to import, and what of a document is no event type.
//!
//! **Invariant:** as `../import.rs`.
//! **Next:** `../openapi.rs`.

use expect_test::expect;

use super::*;

fn refusal(body: &str) -> String {
    let owner = OrganisationId::from_bytes([1; 20]);
    let parsed = Fields::parse(body.as_bytes()).expect("an object");
    let import = match ImportIn::parse(&parsed) {
        Ok(import) => import,
        Err(ImportError::Count) => return "not one document".to_owned(),
        Err(ImportError::Issue(issue)) => return issue.to_string(),
    };
    match import.event_types(owner) {
        Ok(all) => format!("{} event types", all.len()),
        Err(issue) => issue.to_string(),
    }
}

#[test]
fn requests_are_taken_or_say_why_not() {
    let of = |name: &str, post: &str| {
        format!(r#"{{"spec":{{"openapi":"3.1.0","webhooks":{{"{name}":{{"post":{post}}}}}}}}}"#)
    };
    let deep = format!("{}{}", r#"{"a":"#.repeat(130), "}".repeat(130)).replace('"', "\\\"");
    let bodies = [
        "{}".to_owned(),
        r#"{"spec":{},"specRaw":"{}"}"#.to_owned(),
        r#"{"spec":[]}"#.to_owned(),
        r#"{"specRaw":"openapi: 3.1.0\nwebhooks: {}\n"}"#.to_owned(),
        r#"{"specRaw":"{\"openapi\":"}"#.to_owned(),
        r#"{"specRaw":"{\"a\":1,\"a\":2}"}"#.to_owned(),
        format!(r#"{{"specRaw":"{deep}"}}"#),
        r#"{"spec":null,"specRaw":" {\"openapi\":\"3.0.0\",\"x-webhooks\":{\"a\":{\"get\":{}}}}"}"#
            .to_owned(),
        of("a", "{}"),
        of("no spaces", "{}"),
        of("a", r#"{"description":7}"#),
        of("a", r#"{"description":"\u0001"}"#),
        of("a", r#"{"x-svix-feature-flags":[""]}"#),
        of("a", r#"{"x-svix-group-name":{}}"#),
        r#"{"spec":{"openapi":"3.1.0","webhooks":{"a":{"post":{}}}},"dryRun":"yes"}"#.to_owned(),
    ];
    let refusals: Vec<String> = bodies.iter().map(|body| refusal(body)).collect();
    expect![[r#"
        not one document
        not one document
        body.spec: must be a JSON object; YAML is not read here: convert it first, as by `yq -o json`
        body.specRaw: must be a JSON object; YAML is not read here: convert it first, as by `yq -o json`
        body.specRaw: is no JSON: body: EOF while parsing a value at line 1 column 11
        body.specRaw: is no JSON: body: a field is given twice: 1 at line 1 column 13
        body.specRaw: is no JSON: body: nested deeper than 128
        1 event types
        1 event types
        body.spec: webhook "no spaces": body.name: may hold only letters, digits, `-`, `_` and `.`, but holds ' '
        body.spec: webhook "a": body.description: invalid type: integer `7`, expected a string
        body.spec: webhook "a": body.description: must not hold control characters
        body.spec: webhook "a": body.featureFlags: must have at most 32 texts of 1 to 256 bytes without control characters, 2048 bytes altogether
        body.spec: webhook "a": body.groupName: invalid type: map, expected a string
        body.dryRun: invalid type: string "yes", expected a boolean"#]].assert_eq(&refusals.join("\n"));
}
