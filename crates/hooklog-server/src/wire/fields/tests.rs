//! Fields of bodies: what is read, and what is refused.
//!
//! **Invariant:** payloads keep their bytes, and every refusal names its reason.
//! **Next:** `object.rs`.

use hooklog_storage::Channel;

use super::*;

#[test]
fn values_keep_their_bytes() {
    let body = br#" { "pay\u006coad" : { "b":1.0,  "a" : "\u00e9" } , "x":null } "#;
    let fields = Fields::parse(body).expect("parses");
    let payload = fields.raw("payload").expect("is there").get();
    assert_eq!(payload, r#"{ "b":1.0,  "a" : "\u00e9" }"#);
    assert!(
        body.as_ptr_range().contains(&payload.as_ptr()),
        "borrowed from the body"
    );
    assert!(fields.has("x") && fields.raw("x").is_none() && !fields.has("y"));
}

#[test]
fn whole_numbers_may_have_a_point() {
    let body = br#"{"a":60.0,"b":[1.0,2],"c":1e3,"d":60.5,"e":-1.0,"f":1e40,"g":"60.0"}"#;
    let fields = Fields::parse(body).expect("parses");
    assert_eq!(fields.value::<u16>("a").expect("whole"), Some(60));
    assert_eq!(fields.value("b").expect("whole"), Some(vec![1_u64, 2]));
    assert_eq!(fields.value::<u64>("c").expect("whole"), Some(1000));
    for name in ["d", "e", "f", "g"] {
        let issue = fields.value::<u64>(name).expect_err(name);
        assert!(issue.msg.starts_with("invalid"), "{name}: {}", issue.msg);
    }
}

#[test]
fn bad_bodies_are_refused() {
    let wide = format!(
        "{{{}}}",
        (0..65)
            .map(|n| format!("\"{n}\":1"))
            .collect::<Vec<_>>()
            .join(",")
    );
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128));
    let cases: [(&[u8], &str); 10] = [
        (b"", "EOF"),
        (b"[]", "expected an object"),
        (b"null", "expected an object"),
        (b"{\"a\":1", "EOF"),
        (b"{\"a\":1} x", "trailing"),
        (b"{\"a\":1,\"a\":2}", "twice"),
        (b"{\"a\":\"\xff\"}", "unicode"),
        (b"{\"a\":\"\\x\"}", "escape"),
        (wide.as_bytes(), "more than 64 fields"),
        (deep.as_bytes(), "deeper than 128"),
    ];
    for (body, reason) in cases {
        let issue = Fields::parse(body).expect_err("is refused");
        assert!(
            issue.msg.contains(reason),
            "{}: {}",
            String::from_utf8_lossy(body),
            issue.msg
        );
    }
    let brackets_in_text = format!("{{\"a\":\"{}\\\"{}\"}}", "[".repeat(200), "{".repeat(200));
    assert!(Fields::parse(brackets_in_text.as_bytes()).is_ok());
}

#[test]
fn of_a_long_list_only_the_begin_is_kept() {
    for (count, limit) in [(0, 3), (2, 3), (3, 3), (4, 3), (1_000_000, 1_000)] {
        let body = format!("[{}]", vec!["1"; count].join(","));
        let (items, counted) = Fields::list(body.as_bytes(), limit).expect("a list");
        assert_eq!((items.len(), counted), (count.min(limit), count));
        assert!(items.capacity() <= limit * 2, "{}", items.capacity());
    }
}

#[test]
fn values_are_checked_by_kind() {
    let body = br#"{"t":"a\u0001","n":7,"e":[],"c":["a b"],"ok":["a"],"m":{},"y":{"a":1}}"#;
    let fields = Fields::parse(body).expect("parses");
    assert!(fields.text("t", 10).is_err(), "control character");
    assert!(fields.text("n", 10).is_err(), "not a text");
    assert!(fields.names::<Channel>("e", 3).is_err(), "empty list");
    assert!(fields.names::<Channel>("c", 3).is_err(), "not a name");
    assert!(
        fields
            .names::<Channel>("ok", 3)
            .is_ok_and(|names| names.is_some())
    );
    assert!(
        fields
            .names::<Channel>("absent", 3)
            .is_ok_and(|names| names.is_none())
    );
    assert!(
        fields.refuse(&["m", "absent", "e"]).is_ok(),
        "ask for nothing"
    );
    assert!(fields.refuse(&["y"]).is_err(), "asks for something");
}
