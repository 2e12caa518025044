//! Webhooks of documents as event types, and documents that are none.
//!
//! **Invariant:** as `../openapi.rs`.
//! **Next:** `../event_type.rs`.

use expect_test::expect;

use super::*;

fn taken(document: &Value) -> Result<Vec<(String, Value)>, String> {
    webhooks(document, |form| {
        let name = form["name"].as_str().expect("a name");
        Ok((name.to_owned(), form.clone()))
    })
}

/// The schema of the one webhook with this body and these components.
fn schema_of(schema: &Value, components: &Value) -> Result<Value, String> {
    let content = json!({"application/json": {"schema": schema}});
    let document = json!({
        "openapi": "3.1.0",
        "webhooks": {"a": {"post": {"requestBody": {"content": content}}}},
        "components": {"schemas": components},
    });
    let mut all = taken(&document)?;
    Ok(all.remove(0).1["schemas"]["1"].take())
}

#[test]
fn webhooks_are_event_types() {
    let document = json!({
        "openapi": "3.1.0",
        "info": {"title": "Pets", "version": "1"},
        "webhooks": {
            "pet.new": {"post": {
                "description": "A pet is new", "summary": "New", "deprecated": true,
                "x-svix-feature-flags": ["beta", "pets"], "x-svix-group-name": "pets",
                "requestBody": {"$ref": "#/components/requestBodies/Pet"},
            }},
            "pet.gone": {"summary": "A pet is gone", "put": {"x-svix-feature-flag": "beta"}},
            "pet.moved": {"$ref": "#/components/pathItems/Moved"},
        },
        "components": {
            "requestBodies": {"Pet": {"content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/vnd.pet+json; charset=utf-8": {
                    "schema": {"$ref": "#/components/schemas/Pet"},
                    "examples": {"one": {"$ref": "#/components/examples/Rex"}, "two": {}},
                },
            }}},
            "examples": {"Rex": {"value": {"name": "Rex"}}},
            "pathItems": {"Moved": {"post": {"description": ""}}},
            "schemas": {"Pet": {"type": "object", "properties": {"name": {"type": "string"}}}},
        },
    });
    let shown: Vec<String> = taken(&document)
        .expect("is taken")
        .iter()
        .map(|(name, form)| format!("{name}: {form}"))
        .collect();
    expect![[r#"
        pet.gone: {"deprecated":null,"description":"A pet is gone","featureFlags":["beta"],"groupName":null,"name":"pet.gone","schemas":null}
        pet.moved: {"deprecated":null,"description":"","featureFlags":null,"groupName":null,"name":"pet.moved","schemas":null}
        pet.new: {"deprecated":true,"description":"A pet is new","featureFlags":["beta","pets"],"groupName":"pets","name":"pet.new","schemas":{"1":{"examples":[{"name":"Rex"}],"properties":{"name":{"type":"string"}},"type":"object"}}}"#]]
    .assert_eq(&shown.join("\n"));
    // OpenAPI 3.0 has no webhooks of its own.
    let older = json!({"openapi": "3.0.3", "webhooks": {}, "x-webhooks": {"a": {"post": {}}}});
    assert_eq!(taken(&older).expect("is taken").len(), 1);
}

#[test]
fn schemas_come_with_what_they_refer_to() {
    let components = json!({
        "Tree": {"type": "object", "properties": {
            "left": {"$ref": "#/components/schemas/Tree"},
            "leaf": {"$ref": "#/components/schemas/A~1b"},
            "$ref": {"type": "string"},
            "example": {"$ref": "#/components/schemas/A~1b"},
        }},
        "A/b": {"enum": [{"$ref": "#/components/schemas/Unused"}]},
        "Alias": {"$ref": "#/components/schemas/Tree"},
        "Unused": {"type": "null"},
    });
    let cases = [
        json!({"$ref": "#/components/schemas/Alias"}),
        json!({"type": "array", "items": [{"$ref": "#/components/schemas/A~1b"}]}),
        json!({"definitions": {"own": {}}, "allOf": [{"$ref": "#/components/schemas/A~1b"}]}),
        json!({"$ref": "https://example.com/schema.json"}),
        json!(true),
    ];
    let shown: Vec<String> = cases
        .iter()
        .map(|schema| schema_of(schema, &components).expect("stands").to_string())
        .collect();
    expect![[r##"
        {"definitions":{"A/b":{"enum":[{"$ref":"#/components/schemas/Unused"}]},"Tree":{"properties":{"$ref":{"type":"string"},"example":{"$ref":"#/definitions/A~1b"},"leaf":{"$ref":"#/definitions/A~1b"},"left":{"$ref":"#/definitions/Tree"}},"type":"object"}},"properties":{"$ref":{"type":"string"},"example":{"$ref":"#/definitions/A~1b"},"leaf":{"$ref":"#/definitions/A~1b"},"left":{"$ref":"#/definitions/Tree"}},"type":"object"}
        {"definitions":{"A/b":{"enum":[{"$ref":"#/components/schemas/Unused"}]}},"items":[{"$ref":"#/definitions/A~1b"}],"type":"array"}
        {"allOf":[{"$ref":"#/definitions/A~1b"}],"definitions":{"A/b":{"enum":[{"$ref":"#/components/schemas/Unused"}]},"own":{}}}
        {"$ref":"https://example.com/schema.json"}
        true"##]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn what_is_no_document_says_why() {
    let hooks = |webhooks: Value| json!({"openapi": "3.1.0", "webhooks": webhooks});
    let body = |schema: Value| {
        let content = json!({"application/json": {"schema": schema}});
        hooks(json!({"a": {"post": {"requestBody": {"content": content}}}}))
    };
    let many = (0..=WEBHOOKS_MAX).map(|n| (format!("a{n}"), json!({"post": {}})));
    let around = json!({"a": {"$ref": "#/webhooks/b"}, "b": {"$ref": "#/webhooks/a"}});
    let cases = [
        json!({}),
        json!({"swagger": "2.0", "webhooks": {"a": {"post": {}}}}),
        json!({"openapi": 3.1, "webhooks": {"a": {"post": {}}}}),
        hooks(json!({})),
        hooks(json!([])),
        hooks(json!({"a": {}})),
        hooks(json!({"a": {"$ref": "other.json#/a"}})),
        hooks(around),
        hooks(Value::Object(many.collect())),
        body(json!({"$ref": "#/components/schemas/Gone"})),
        body(json!({"items": {"$ref": "#/components/schemas/Gone"}})),
        body(json!({"items": {"$ref": "#/components/schemas/A/properties/b"}})),
        body(json!({"description": "x".repeat(64 << 10)})),
    ];
    let refusals: Vec<String> = cases
        .iter()
        .map(|document| taken(document).expect_err("is refused"))
        .collect();
    expect![[r##"
        must be an OpenAPI 3 document: `openapi` is not `3.…`
        must be an OpenAPI 3 document: `openapi` is not `3.…`
        must be an OpenAPI 3 document: `openapi` is not `3.…`
        has no `webhooks`, and no `x-webhooks`
        has no `webhooks`, and no `x-webhooks`
        webhook "a": has no operation, as `post`
        webhook "a": "other.json#/a" leads nowhere in the document
        webhook "a": its references lead over more than 8 others
        has 1001 webhooks, more than the limit of 1000
        webhook "a": it refers to the schema "Gone", which the document does not have
        webhook "a": it refers to the schema "Gone", which the document does not have
        webhook "a": its reference "#/components/schemas/A/properties/b" is not to a schema of `components`
        webhook "a": its schema has, with what it refers to, more than the limit of 65536 bytes"##]]
    .assert_eq(&refusals.join("\n"));
}

#[test]
fn many_references_to_large_schemas_are_bounded() {
    let part = json!({"description": "x".repeat(20 << 10)});
    let refer = |to: &str| json!({"$ref": format!("#/components/schemas/{to}")});
    let names = ["a", "b", "c", "d"];
    let components: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), part.clone()))
        .collect();
    let of = |count: usize| json!({"oneOf": names[..count].iter().map(|n| refer(n)).collect::<Vec<_>>()});
    let components = Value::Object(components);
    schema_of(&of(3), &components).expect("fits");
    let refused = schema_of(&of(4), &components).expect_err("is refused");
    assert!(refused.contains("65536"), "{refused}");
    // Each fits, and all together do not.
    let content = json!({"application/json": {"schema": of(3)}});
    let hook = json!({"post": {"requestBody": {"content": content}}});
    let hooks = (0..100).map(|n| (format!("a{n}"), hook.clone()));
    let document = json!({
        "openapi": "3.1.0",
        "webhooks": hooks.collect::<Map<_, _>>(),
        "components": {"schemas": components},
    });
    let refused = taken(&document).expect_err("is refused");
    assert!(refused.contains("more than 4194304 bytes"), "{refused}");
    // So do their examples.
    let content = json!({"application/json": {"schema": {}, "examples": {
        "a": {"$ref": "#/components/examples/Large"} } }});
    let hook = json!({"post": {"requestBody": {"content": content}}});
    let hooks = (0..100).map(|n| (format!("a{n}"), hook.clone()));
    let document = json!({
        "openapi": "3.1.0",
        "webhooks": hooks.collect::<Map<_, _>>(),
        "components": {"examples": {"Large": {"value": "x".repeat(60 << 10)}}},
    });
    let refused = taken(&document).expect_err("is refused");
    assert!(refused.contains("more than 4194304 bytes"), "{refused}");
}

#[test]
fn the_first_that_is_not_taken_ends_it() {
    let hooks = ["a", "b", "c"].map(|name| (name.to_owned(), json!({"post": {}})));
    let hooks: Map<_, _> = hooks.into_iter().collect();
    let document = json!({"openapi": "3.1.0", "webhooks": hooks});
    let mut seen = 0;
    let refused = webhooks(&document, |_| {
        seen += 1;
        if seen == 2 {
            Err("no".to_owned())
        } else {
            Ok(())
        }
    });
    assert_eq!((refused, seen), (Err("webhook \"b\": no".to_owned()), 2));
}
