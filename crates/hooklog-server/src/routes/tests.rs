//! Routes: the table by itself here; over a socket and a real log in the files below.
//!
//! **Invariant:** every pattern of the table is reached.
//! **Next:** `end_to_end.rs`.

use super::*;

mod access;
mod attempts;
mod batches;
mod cloudevents;
mod content;
mod deliveries;
mod description;
mod doors;
mod end_to_end;
mod explain;
mod filter;
mod harness;
mod idempotency;
mod imports;
mod isolation;
mod later;
mod mistakes;
mod operational;
mod polling;
mod rates;
mod settings;
mod since;
mod slow_clients;
mod slow_readers;
mod stopping;
mod streaming;
mod tasks;
mod tokens;
mod usage;
mod visits;

#[test]
fn patterns_do_not_contradict_each_other() {
    let mut table = Router::new();
    for (pattern, routes) in patterns().chain(absent()) {
        table
            .insert(pattern.clone(), routes)
            .unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let path = pattern.replace("{*rest}", "a/b").replace(['{', '}'], "");
        let found = TABLE
            .at(&path)
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(found.value.0, routes.0);
        for (name, _) in found.params.iter() {
            assert!(name == "rest" || part_name(name).is_some(), "{name}");
        }
    }
}

#[test]
fn methods_are_told() {
    let &(_, routes) = TABLE.at("/api/v1/app").expect("is a route").value;
    assert!(choose(routes, &Method::HEAD).is_ok());
    match choose(routes, &Method::DELETE) {
        Err(ApiError::Method { allow }) => assert_eq!(allow, "GET, POST, HEAD, OPTIONS"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn parts_are_decoded() {
    let cases = [
        ("user.created", "user.created"),
        ("a%2Eb%2db", "a.b-b"),
        ("a+b", "a+b"),
        ("100%", "100%"),
        ("%zz%4", "%zz%4"),
        ("%+1", "%+1"),
        ("%ff", ""),
        ("é%C3%A9", "éé"),
    ];
    for (encoded, expected) in cases {
        assert_eq!(decode(encoded), expected, "{encoded}");
    }
}
