//! Tests of the CloudEvents binding, held against the examples of its specification.

use super::*;
use crate::testing::record_of;

fn record(content_type: &str, payload: &'static [u8], headers: &[(&str, &str)]) -> Record {
    let mut record = record_of(3, 0);
    record.event.content_type = content_type.to_owned();
    record.event.payload = Bytes::from_static(payload);
    let header = |(name, value): &(&str, &str)| Header::new(name, value).unwrap();
    record.event.headers = headers.iter().map(header).collect();
    record
}

fn text(record: &Record) -> String {
    String::from_utf8(structured(record).unwrap().to_vec()).unwrap()
}

fn find(headers: &[(String, String)], name: &str) -> Vec<String> {
    let found = headers.iter().filter(|(given, _)| given == name);
    found.map(|(_, value)| value.clone()).collect()
}

#[test]
fn an_event_of_which_nothing_is_said_has_all_required_attributes() {
    let record = record("application/json", b"{}", &[]);
    let (id, application) = (record.id.to_string(), record.event.application.to_string());
    let headers = binary(&record);
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", &id),
        ("ce-source", &format!("/app/{application}")),
        ("ce-type", "test.event"),
        ("ce-time", "2023-11-14T22:13:20Z"),
    ] {
        assert_eq!(find(&headers, name), [value], "{name}");
    }
    assert_eq!(headers.len(), 5);
    assert_eq!(
        text(&record),
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/app/{application}","time":"2023-11-14T22:13:20Z","type":"test.event","datacontenttype":"application/json","data":{{}}}}"#
        )
    );
}

#[test]
fn what_the_publisher_said_wins() {
    let record = record(
        "application/json",
        b"1",
        &[
            ("Ce-Id", "A234"),
            ("ce-source", "https://example.com/a"),
            ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("ce-subject", "a second one"),
            ("ce-type", ""),
            ("ce-specversion", "0.3"),
            ("ce-datacontenttype", "text/plain"),
            ("ce-data", "x"),
            ("ce-my_extension", "x"),
            ("traceparent", "00-1-2-01"),
        ],
    );
    let headers = binary(&record);
    let subject = "Euro%20%E2%82%AC%20%F0%9F%98%80";
    for (name, values) in [
        ("ce-id", vec!["A234"]),
        ("ce-source", vec!["https://example.com/a"]),
        ("ce-subject", vec![subject]),
        ("ce-type", vec!["test.event"]),
        ("ce-specversion", vec!["1.0"]),
        ("ce-datacontenttype", vec![]),
        ("ce-data", vec![]),
        ("ce-my_extension", vec!["x"]),
        ("traceparent", vec![]),
    ] {
        assert_eq!(find(&headers, name), values, "{name}");
    }
    let json: serde_json::Value = serde_json::from_str(&text(&record)).unwrap();
    for (name, value) in [
        ("id", "A234"),
        ("source", "https://example.com/a"),
        ("subject", "Euro € 😀"),
        ("type", "test.event"),
        ("specversion", "1.0"),
        ("datacontenttype", "application/json"),
    ] {
        assert_eq!(json[name], value, "{name}");
    }
    // Not a name in the JSON format.
    assert!(json.get("my_extension").is_none() && json.get("traceparent").is_none());
}

#[test]
fn data_is_embedded_byte_for_byte() {
    let cases: [(&str, &[u8], &str); 17] = [
        // Numbers beyond any type, order, duplicates, escapes and space inside stay as they are.
        (
            "application/json",
            br#"{"b":1.00e400, "a":"\u00e9","a":[ ] }"#,
            r#""data":{"b":1.00e400, "a":"\u00e9","a":[ ] }}"#,
        ),
        (
            "Application/VND.x+JSON; charset=utf-8",
            b" null ",
            r#""data":null}"#,
        ),
        ("text/json", b"\"x\"", r#""data":"x"}"#),
        (
            "application/json",
            b"{\"a\":",
            r#""data_base64":"eyJhIjo="}"#,
        ),
        ("application/json", b"\"\xff\"", r#""data_base64":"Iv8i"}"#),
        ("application/json", b"1 2", r#""data_base64":"MSAy"}"#),
        ("text/plain", b"hi", r#""data":"hi"}"#),
        (
            "Application/XML; charset=\"UTF-8\"",
            "<a b=\"é\"/>\n".as_bytes(),
            r#""data":"<a b=\"é\"/>\n"}"#,
        ),
        ("image/svg+xml", b"<svg/>", r#""data":"<svg/>"}"#),
        (
            "application/x-www-form-urlencoded",
            b"a=1&b=%20",
            r#""data":"a=1&b=%20"}"#,
        ),
        // A receiver would write it in that charset, and have other bytes.
        (
            "text/plain; charset=iso-8859-1",
            b"hi",
            r#""data_base64":"aGk="}"#,
        ),
        ("text/plain", b"\xff", r#""data_base64":"/w=="}"#),
        ("text/plain", b"", r#""text/plain"}"#),
        (
            "application/octet-stream",
            b"hi",
            r#""data_base64":"aGk="}"#,
        ),
        ("application/jsonx", b"1", r#""data_base64":"MQ=="}"#),
        ("json", b"1", r#""data_base64":"MQ=="}"#),
        (
            "application/octet-stream",
            b"",
            r#""application/octet-stream"}"#,
        ),
    ];
    for (content_type, payload, end) in cases {
        let text = text(&record(content_type, payload, &[]));
        assert!(text.ends_with(end), "{content_type}: {text}");
        let valid: Result<serde_json::Map<String, serde_json::Value>, _> =
            serde_json::from_str(&text.replace("1.00e400", "1"));
        assert!(valid.is_ok(), "{text}");
    }
}

#[test]
fn values_of_headers_are_decoded_once() {
    for (value, expected) in [
        ("plain", "plain"),
        ("a%20b", "a b"),
        ("%2520", "%20"),
        ("\"a \\\"b\\\" c\"", "a \"b\" c"),
        ("\"a%20b\"", "a b"),
        ("\"", "\""),
        ("100%", "100%"),
        ("%zz%4", "%zz%4"),
        ("%+1", "%+1"),
        // Not UTF-8, so not decoded at all.
        ("a%20%C0%A0", "a%20%C0%A0"),
    ] {
        assert_eq!(decode(value), expected, "{value}");
    }
}
