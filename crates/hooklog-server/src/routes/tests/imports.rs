//! Event types from `OpenAPI` over a socket: what is made, changed and archived, and what is only told.
//!
//! **Invariant:** what is refused, or only told, changes nothing.
//! **Next:** `isolation.rs`.

use serde_json::{Value, json};

use super::harness::{Harness, Reply};

const TYPES: &str = "/api/v1/event-type";

fn document(webhooks: &Value) -> Value {
    json!({ "openapi": "3.1.0", "webhooks": webhooks })
}

async fn import(server: &Harness, body: &Value) -> Reply {
    let path = format!("{TYPES}/import/openapi");
    server.call("POST", &path, &body.to_string()).await
}

/// Names and whether they are archived.
async fn types(server: &Harness) -> Vec<(String, bool)> {
    let path = format!("{TYPES}?include_archived=true");
    let list = server.get(&path).await.is(200).body;
    let shown = |value: &Value| {
        let name = value["name"].as_str().expect("a name").to_owned();
        (name, value["archived"] == true)
    };
    list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(shown)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_become_event_types() {
    let server = Harness::start().await;
    for name in ["kept", "old"] {
        let new = json!({ "name": name, "description": name }).to_string();
        server.call("POST", TYPES, &new).await.is(201);
    }
    let path = format!("{TYPES}/old");
    server.call("DELETE", &path, "").await.is(204);
    let content = json!({ "application/json": {
        "schema": { "type": "object" }, "example": { "id": 7 } } });
    let body = json!({ "content": content });
    let spec = document(&json!({
        "invoice.paid": { "post": { "description": "Paid", "requestBody": body } },
        "old": { "post": { "summary": "As new", "x-svix-group-name": "g" } },
    }));
    let dry = json!({ "spec": spec, "dryRun": true, "replaceAll": true });
    let told = import(&server, &dry).await.is(200).body;
    let schemas = json!({ "1": { "type": "object", "examples": [{ "id": 7 }] } });
    let expected = json!({ "data": { "modified": [], "archived": ["kept"], "to_modify": [
        { "name": "invoice.paid", "description": "Paid", "deprecated": false, "schemas": schemas,
            "featureFlag": null, "featureFlags": [], "groupName": null },
        { "name": "old", "description": "As new", "deprecated": false, "schemas": null,
            "featureFlag": null, "featureFlags": [], "groupName": "g" },
    ] } });
    assert_eq!(told, expected);
    let before = [("kept".to_owned(), false), ("old".to_owned(), true)];
    assert_eq!(types(&server).await, before);

    let raw = json!({ "specRaw": spec.to_string() });
    let done = import(&server, &raw).await.is(200).body;
    let expected = json!({ "data": { "modified": ["invoice.paid", "old"], "to_modify": null,
        "archived": [] } });
    assert_eq!(done, expected);
    let all = ["invoice.paid", "kept", "old"].map(|name| (name.to_owned(), false));
    assert_eq!(types(&server).await, all);
    let made = server.get(&format!("{TYPES}/invoice.paid")).await.is(200);
    assert_eq!(
        (&made.body["schemas"], &made.body["description"]),
        (&schemas, &json!("Paid"))
    );
    // The same again is no change, but that the others go.
    let all = json!({ "spec": spec, "replaceAll": true });
    let done = import(&server, &all).await.is(200).body;
    let expected = json!({ "data": { "modified": [], "to_modify": null, "archived": ["kept"] } });
    assert_eq!(done, expected);
    let archived = |name: &str| (name.to_owned(), name == "kept");
    let after = ["invoice.paid", "kept", "old"].map(archived);
    assert_eq!(types(&server).await, after);

    let bad = document(&json!({ "a": { "post": {} }, "no spaces": { "post": {} } }));
    let cases = [
        (json!({}), 400, "code"),
        (json!({ "spec": spec, "specRaw": "{}" }), 400, "code"),
        (json!({ "spec": bad }), 422, "spec"),
        (json!({ "specRaw": "openapi: 3.1.0" }), 422, "specRaw"),
        (
            json!({ "spec": document(&json!({})), "replaceAll": true }),
            422,
            "spec",
        ),
    ];
    for (body, status, word) in cases {
        let refused = import(&server, &body).await.is(status);
        assert!(refused.text.contains(word), "{refused:?}");
    }
    assert_eq!(types(&server).await, after, "nothing was changed");
    server.stop().await;
}
