use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn condition(text: &str) -> Condition {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn payload() -> Value {
    json!({
        "type": "invoice.paid",
        "amount": 100,
        "rate": 1.5,
        "big": 9_007_199_254_740_993_u64,
        "at": "2026-11-22T08:00:00Z",
        "none": null,
        "customer": {"name": "Ada", "tags": ["vip", "eu"]},
        "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 20}],
        "empty": [],
        "a.b": "dotted",
    })
}

/// Conditions on [`payload`], and whether they hold.
const CASES: &[(&str, bool)] = &[
    (r#"{"type": "invoice.paid"}"#, true),
    (r#"{"type": "invoice"}"#, false),
    (r#"{"type": {"$eq": "invoice.paid"}}"#, true),
    (r#"{"amount": 100.0}"#, true),
    (r#"{"amount": "100"}"#, false),
    (r#"{"big": 9007199254740993}"#, true),
    (r#"{"big": 9007199254740992}"#, false),
    (r#"{"amount": {"$neq": 100}}"#, false),
    (r#"{"missing": {"$neq": 100}}"#, true),
    (r#"{"amount": {"$gt": 99, "$lt": 101}}"#, true),
    (r#"{"amount": {"$gt": 100}}"#, false),
    (r#"{"amount": {"$gte": 100, "$lte": 100}}"#, true),
    (r#"{"amount": {"$gt": "9"}}"#, false),
    (r#"{"rate": {"$gt": 1}}"#, true),
    (
        r#"{"at": {"$gte": "2026-11-22", "$lt": "2026-11-23"}}"#,
        true,
    ),
    (r#"{"amount": {"$in": [1, 100]}}"#, true),
    (r#"{"amount": {"$in": [1, 2]}}"#, false),
    (r#"{"amount": {"$nin": [1, 2]}}"#, true),
    (r#"{"missing": {"$nin": [1, 2]}}"#, true),
    (r#"{"type": {"$startsWith": "invoice."}}"#, true),
    (r#"{"type": {"$startsWith": ["order.", "invoice."]}}"#, true),
    (r#"{"type": {"$endsWith": ".failed"}}"#, false),
    (r#"{"amount": {"$startsWith": "1"}}"#, false),
    (r#"{"none": {"$exist": true}}"#, true),
    (r#"{"none": null}"#, true),
    (r#"{"missing": null}"#, false),
    (r#"{"missing": {"$exist": false}}"#, true),
    (r#"{"type": {"$exist": false}}"#, false),
    (r#"{"customer": {"name": "Ada"}}"#, true),
    (r#"{"customer.name": "Ada"}"#, true),
    (
        r#"{"customer": {"$eq": {"tags": ["vip", "eu"], "name": "Ada"}}}"#,
        true,
    ),
    (r#"{"customer.tags": "eu"}"#, true),
    (r#"{"customer.tags": ["vip", "eu"]}"#, true),
    (r#"{"customer.tags": ["eu", "vip"]}"#, false),
    (r#"{"customer.tags": {"$in": ["us", "eu"]}}"#, true),
    (r#"{"customer.tags": {"$nin": ["us", "eu"]}}"#, false),
    (r#"{"customer.tags": {"$neq": "eu"}}"#, false),
    (r#"{"items.sku": "b"}"#, true),
    (r#"{"items.0.sku": "b"}"#, false),
    (r#"{"items.1.sku": "b"}"#, true),
    (r#"{"items.2": {"$exist": false}}"#, true),
    (r#"{"items": {"sku": "a", "n": 1}}"#, true),
    (r#"{"items.n": {"$gt": 10}}"#, true),
    (r#"{"items.n": {"$gt": 20}}"#, false),
    (r#"{"empty.x": {"$exist": false}}"#, true),
    (r#"{"a\\.b": "dotted"}"#, true),
    (r#"{"type.more": "x"}"#, false),
    (
        r#"{"$or": [{"amount": 1}, {"type": {"$startsWith": "inv"}}]}"#,
        true,
    ),
    (r#"{"$or": [{"amount": 1}, {"amount": 2}]}"#, false),
    (
        r#"{"$and": [{"amount": 100}, {"rate": 1.5}], "type": "x"}"#,
        false,
    ),
    (r#"{"$not": {"amount": 100}}"#, false),
    (r#"{"amount": {"$not": {"$gt": 100}}}"#, true),
    (r#"{"amount": {"$or": [{"$lt": 5}, {"$gte": 100}]}}"#, true),
];

#[test]
fn operators_hold_as_documented() {
    let payload = payload();
    for &(text, expected) in CASES {
        let condition = condition(text);
        assert_eq!(condition.matches(&payload), expected, "{text}");
        assert_eq!(condition.explain(&payload).is_ok(), expected, "{text}");
        let copy: Condition =
            serde_json::from_str(&serde_json::to_string(&condition).unwrap()).unwrap();
        assert_eq!(copy, condition);
    }
}

#[test]
fn what_does_not_hold_is_named() {
    let payload = json!({"amount": 20, "tags": ["a", "b"], "long": "x".repeat(200)});
    let cases = [
        (
            r#"{"amount": {"$gte": 100}}"#,
            "amount $gte 100 does not hold for 20",
        ),
        (
            r#"{"tags": "c"}"#,
            r#"tags $eq "c" does not hold for ["a","b"]"#,
        ),
        (
            r#"{"data": {"id": 7}}"#,
            "data.id $eq 7 does not hold: there is no such field",
        ),
        (
            r#"{"$or": [{"amount": 1}, {"amount": 2}]}"#,
            "the payload $or does not hold for {\"amount\":20,\"long\":\"xxxxx",
        ),
        (
            r#"{"amount": 20, "tags.x": 1}"#,
            "tags.x $eq 1 does not hold for",
        ),
        (
            r#"{"amount": {"$not": {"$lt": 50}}}"#,
            "amount $not does not hold for 20",
        ),
    ];
    for (text, expected) in cases {
        let said = condition(text).explain(&payload).unwrap_err().to_string();
        assert!(said.starts_with(expected), "{text}: {said}");
        assert!(said.len() < 200, "{said}");
    }
}

#[test]
fn what_has_no_meaning_is_refused() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(40), "}".repeat(40));
    let many = format!(r#"{{"a": {{"$in": [{}1]}}}}"#, "1,".repeat(300));
    let long = format!(r#"{{"a": "{}"}}"#, "x".repeat(BYTES_MAX));
    let cases = [
        (
            "",
            "is not JSON: EOF while parsing a value at line 1 column 0",
        ),
        ("7", "the filter: must be an object"),
        ("{}", "the filter: must not be empty"),
        (r#"{"a": {}}"#, "a: must not be empty"),
        (
            r#"{"a": {"$regex": "x"}}"#,
            "a.$regex: is no operator; there are $eq $neq",
        ),
        (
            r#"{"a": {"$gt": true}}"#,
            "a.$gt: must be a number or a string",
        ),
        (
            r#"{"a": {"$in": 1}}"#,
            "a.$in: must be an array with at least one value",
        ),
        (
            r#"{"a": {"$startsWith": [1]}}"#,
            "a.$startsWith: must be a string or an array of strings",
        ),
        (r#"{"a": {"$exist": 1}}"#, "a.$exist: must be true or false"),
        (r#"{"$or": []}"#, "$or: must not be empty"),
        (r#"{"$or": [1]}"#, "$or.0: must be an object"),
        (r#"{"$and": {}}"#, "$and: must be an array of conditions"),
        (r#"{"a..b": 1}"#, "a..b: has an empty step"),
        (&deep, "is nested deeper than 32"),
        (&many, "has more than 256 comparisons"),
        (&long, "has 16393 bytes, more than the limit of 16384"),
    ];
    for (text, expected) in cases {
        let error = text.parse::<Condition>().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_equals_itself_and_negations_disagree(payload in any_json(), other in any_json()) {
        let whole = json!({"v": payload});
        let equals = condition(&json!({"v": {"$eq": payload}}).to_string());
        prop_assert!(equals.matches(&whole));
        for (one, two) in [("$eq", "$neq"), ("$in", "$nin")] {
            let operand = if one == "$in" { json!([other]) } else { other.clone() };
            let positive = condition(&json!({"v": {one: operand}}).to_string());
            let negative = condition(&json!({"v": {two: operand}}).to_string());
            let denied = condition(&json!({"$not": {"v": {one: operand}}}).to_string());
            prop_assert_ne!(positive.matches(&whole), negative.matches(&whole));
            prop_assert_eq!(negative.matches(&whole), denied.matches(&whole));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[\\[\\]{}\"$a.:,0-9 ]{0,40}") {
        if let Ok(condition) = text.parse::<Condition>() {
            let _ = condition.matches(&Value::Null);
        }
    }
}
