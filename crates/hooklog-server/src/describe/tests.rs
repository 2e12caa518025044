//! The description against the table of routes, and against itself.
//!
//! **Invariant:** a route without an operation, or the other way round, does not get past here.
//! **Next:** `tests/describe.rs` of the workspace, which lets others judge it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::routes::Access;

/// Every operation: path, method, what is said of it.
fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("an item").iter();
        item.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

/// What `#/a/b` leads to.
fn resolve(reference: &str) -> Option<&'static Value> {
    DOCUMENT.pointer(reference.strip_prefix('#')?)
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let routes: BTreeMap<(String, String), Access> = routes::all()
        .map(|(path, method, access)| {
            let path = path.replace("{*", "{");
            ((path, method.as_str().to_ascii_lowercase()), access)
        })
        .collect();
    assert!(routes.len() > 80, "{} routes", routes.len());
    let described: BTreeSet<(String, String)> = operations()
        .map(|(path, method, _)| (path.to_owned(), method.to_owned()))
        .collect();
    let of_table: BTreeSet<_> = routes.keys().cloned().collect();
    let missing: Vec<_> = of_table.difference(&described).collect();
    assert!(
        missing.is_empty(),
        "routes without an operation: {missing:?}"
    );
    let surplus: Vec<_> = described.difference(&of_table).collect();
    assert!(
        surplus.is_empty(),
        "operations without a route: {surplus:?}"
    );
    // One that names no route is left out of the document, so it is looked for here.
    let count: usize = groups().iter().map(|(_, _, all)| all.len()).sum();
    assert_eq!(
        count,
        routes.len(),
        "operations that name no route, or one twice"
    );
    for (path, method, operation) in operations() {
        let access = routes[&(path.to_owned(), method.to_owned())];
        let expected = match access {
            Access::Public => json!([]),
            _ => json!([{"bearer": []}]),
        };
        assert_eq!(operation["security"], expected, "{method} {path}");
    }
}

#[test]
fn operations_say_what_they_are() {
    let (mut ids, mut tags) = (BTreeSet::new(), BTreeSet::new());
    for (path, method, operation) in operations() {
        let what = format!("{method} {path}");
        let id = operation["operationId"].as_str().expect("an id");
        assert!(ids.insert(id), "{what}: {id} is there twice");
        assert!(
            operation["summary"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{what}"
        );
        tags.insert(operation["tags"][0].as_str().expect("a tag"));
        let named: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().expect("a name"))
            .collect();
        let in_path: BTreeSet<&str> = parameters::parts(path).collect();
        assert_eq!(named, in_path, "{what}");
        let answers = operation["responses"].as_object().expect("answers");
        let is_offered = operation["x-not-offered"] != true;
        assert_eq!(
            answers.keys().any(|status| status.starts_with(['2', '3'])),
            is_offered,
            "{what}"
        );
        assert!(is_offered || answers.contains_key("501"), "{what}");
        let refusals = answers
            .iter()
            .filter(|(status, _)| status.as_str() >= "400" && *status != "431");
        let mut count = 0;
        for (status, answer) in refusals {
            count += 1;
            let answer = answer["$ref"]
                .as_str()
                .map_or(Some(answer), resolve)
                .expect("resolves");
            let schema = &answer["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "{what}: {status} has no schema");
        }
        assert!(count >= 3, "{what}: {count} refusals");
        let is_public = operation["security"] == json!([]);
        assert_eq!(answers.contains_key("401"), !is_public, "{what}");
    }
    let listed = DOCUMENT["tags"].as_array().expect("tags").iter();
    let listed: BTreeSet<&str> = listed
        .map(|tag| tag["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(tags, listed);
}

/// Calls `look` with every object of a value, and where it is.
fn walk(value: &Value, place: &str, look: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) => {
            look(place, value);
            for (name, field) in fields {
                walk(field, &format!("{place}/{name}"), look);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &format!("{place}/{index}"), look);
            }
        }
        _ => {}
    }
}

#[test]
fn references_lead_somewhere_and_every_schema_is_used() {
    let mut used = BTreeSet::new();
    walk(&DOCUMENT, "", &mut |place, value| {
        if let Some(reference) = value["$ref"].as_str() {
            assert!(resolve(reference).is_some(), "{place}: {reference}");
            used.insert(reference.to_owned());
        }
        if let Some(required) = value["required"].as_array() {
            for name in required {
                let name = name.as_str().expect("a name");
                assert!(value["properties"][name].is_object(), "{place}: no {name}");
            }
        }
    });
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
    for kind in ["schemas", "responses"] {
        for name in DOCUMENT["components"][kind]
            .as_object()
            .expect("components")
            .keys()
        {
            let reference = format!("#/components/{kind}/{name}");
            assert!(used.contains(&reference), "{reference} is not used");
        }
    }
}

#[test]
fn the_page_shows_every_route_and_loads_nothing() {
    let page = std::str::from_utf8(&PAGE).expect("is text");
    for (path, method, operation) in operations() {
        let id = operation["operationId"].as_str().expect("an id");
        assert!(page.contains(&format!("id=\"{id}\"")), "{method} {path}");
    }
    for loading in [" src=", "<link", "@import", "url(", "fetch(", "<iframe"] {
        assert!(!page.contains(loading), "{loading}");
    }
    let policy = page::policy();
    assert!(
        policy.starts_with("default-src 'none';") && !policy.contains("http"),
        "{policy}"
    );
    for link in page.split("href=\"#").skip(1) {
        let target = link.split('"').next().expect("a target");
        assert!(
            page.contains(&format!("id=\"{target}\"")),
            "nothing is at #{target}"
        );
    }
    assert!(
        !page.contains("<script><"),
        "the script is as it was written"
    );
}
