//! XML against the JSON that it was made of: read back by a parser of its own and compared.
//!
//! **Invariant:** nothing of a user's JSON is lost on the way, be it the digits of a number.
//! **Next:** the end.

use expect_test::{Expect, expect};
use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

use super::*;

#[track_caller]
fn check(json: &str, pattern: &str, expected: &Expect) {
    let xml = of_json(json, Names::of_route(pattern)).expect("writes");
    let xml = String::from_utf8(xml).expect("is text");
    expected.assert_eq(&xml);
}

#[test]
fn messages_lists_and_errors() {
    check(
        r#"{"id":"msg_1","eventId":null,"eventType":"a.b","payload":{"a":[1,true,null,"<&>"]},"channels":["x","y"],"timestamp":"t"}"#,
        "/app/{app}/msg/{msg}",
        &expect![[
            r#"<?xml version="1.0" encoding="UTF-8"?><message xmlns="urn:hooklog:v1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><id>msg_1</id><eventId xsi:nil="true"/><eventType>a.b</eventType><payload><map xmlns="http://www.w3.org/2005/xpath-functions"><array key="a"><number>1</number><boolean>true</boolean><null/><string>&lt;&amp;&gt;</string></array></map></payload><channels><item>x</item><item>y</item></channels><timestamp>t</timestamp></message>"#
        ]],
    );
    check(
        r#"{"data":[{"name":"One","metadata":{},"rateLimit":7}],"iterator":null,"done":true}"#,
        "/app",
        &expect![[
            r#"<?xml version="1.0" encoding="UTF-8"?><list xmlns="urn:hooklog:v1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><data><application><name>One</name><metadata><map xmlns="http://www.w3.org/2005/xpath-functions"></map></metadata><rateLimit>7</rateLimit></application></data><iterator xsi:nil="true"/><done>true</done></list>"#
        ]],
    );
    check(
        r#"{"payload":{"data":"x"},"schemas":null,"a b":"\u0000 \r","headers":"h"}"#,
        "/app/{app}/msg",
        &expect![[
            r#"<?xml version="1.0" encoding="UTF-8"?><message xmlns="urn:hooklog:v1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><payload><map xmlns="http://www.w3.org/2005/xpath-functions"><string key="data">x</string></map></payload><schemas xsi:nil="true"/><field name="a b" escaped="true">\u0000 \r</field><headers><string xmlns="http://www.w3.org/2005/xpath-functions">h</string></headers></message>"#
        ]],
    );
    let problem =
        r#"{"type":"about:blank","status":422,"errors":[{"loc":["body","a"],"msg":"m"}]}"#;
    let xml = of_json(problem, Names::PROBLEM).expect("writes");
    expect![[r#"<?xml version="1.0" encoding="UTF-8"?><problem xmlns="urn:ietf:rfc:7807"><type>about:blank</type><status>422</status><errors><i><loc><i>body</i><i>a</i></loc><msg>m</msg></i></errors></problem>"#]]
        .assert_eq(&String::from_utf8(xml).expect("is text"));
}

/// JSON again, of what is inside the payload.
fn json_of(xml: &str) -> String {
    let mut reader = Reader::from_str(xml);
    let mut out = String::new();
    // For each open element: how it ends, and whether something is in it.
    let mut open: Vec<(&'static str, bool)> = Vec::new();
    let mut text = None;
    let attribute = |start: &BytesStart<'_>, name: &str| {
        let found = start.try_get_attribute(name).expect("attributes");
        found.map(|found| {
            let value = found.normalized_value(XmlVersion::Explicit1_0);
            value.expect("a value").into_owned()
        })
    };
    let quote = |text: &str, escaped: bool| {
        if escaped {
            format!("\"{text}\"")
        } else {
            serde_json::to_string(text).expect("a text")
        }
    };
    loop {
        let event = reader.read_event().expect("well-formed");
        let is_empty = matches!(event, Event::Empty(_));
        match event {
            Event::Eof => return out,
            Event::Start(start) | Event::Empty(start) => {
                let tag = start.name().as_ref().to_owned();
                if !["map", "array", "string", "number", "boolean", "null"].contains(&&*tag) {
                    continue;
                }
                if let Some((_, filled)) = open.last_mut() {
                    if *filled {
                        out.push(',');
                    }
                    *filled = true;
                }
                if let Some(key) = attribute(&start, "key") {
                    out += &quote(&key, attribute(&start, "escaped-key").is_some());
                    out.push(':');
                }
                let escaped = attribute(&start, "escaped").is_some();
                match tag.as_str() {
                    "map" => (out.push('{'), open.push(("}", false))),
                    "array" => (out.push('['), open.push(("]", false))),
                    "null" => (out.push_str("null"), ()),
                    _ if is_empty => (out.push_str("\"\""), ()),
                    tag => (text = Some((tag.to_owned(), escaped, String::new())), ()),
                };
            }
            Event::Text(part) => {
                if let Some((_, _, text)) = &mut text {
                    text.push_str(&part);
                }
            }
            Event::GeneralRef(reference) => {
                if let Some((_, _, text)) = &mut text {
                    let name: &str = &reference;
                    let value = quick_xml::escape::unescape(&format!("&{name};"))
                        .expect("known")
                        .into_owned();
                    text.push_str(&value);
                }
            }
            Event::End(end) => match (end.name().as_ref(), text.take()) {
                (_, Some((tag, escaped, text))) if tag == "string" => out += &quote(&text, escaped),
                (_, Some((_, _, text))) => out += &text,
                ("map" | "array", None) => out += open.pop().expect("is open").0,
                _ => {}
            },
            _ => {}
        }
    }
}

#[test]
fn payloads_come_back_whole() {
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let cases = [
        r#"{"b":1,"a":2,"b":3}"#,
        "[12345678901234567890123456789,1.0,-0,1e400,0.10]",
        r#"{"":"","k\"<&>'":"<a>&amp;</a>"}"#,
        r#"["\u0000","a\u001fb\\","\ud800","\ufffe",{"\u0001k":"v"}]"#,
        r#"["é€😀","\n\t\r"," lead","trail "]"#,
        r#"{"\n\t\r":[[],{},[{}]]}"#,
        r#""text""#,
        "true",
        &deep,
    ];
    for payload in cases {
        let json = format!(r#"{{"payload":{payload}}}"#);
        let xml = of_json(&json, Names::of_route("/app/{app}/msg")).expect("writes");
        let again = json_of(std::str::from_utf8(&xml).expect("is text"));
        // The same tokens, texts by what they stand for.
        let told = |json: &str| -> Vec<String> {
            let own = |token: Token<'_>| match token {
                Token::Key(raw) | Token::Text(raw) => format!("{:?}", text(raw)),
                token => format!("{token:?}"),
            };
            Tokens::new(json).map(own).collect()
        };
        assert_eq!(
            told(&again),
            told(payload),
            "{}",
            String::from_utf8_lossy(&xml)
        );
    }
    // With whitespace it is the same.
    let spaced = "{ \"payload\" :\n { \"a\" : [ 1 , 2 ] } }";
    let xml = of_json(spaced, Names::of_route("/app/{app}/msg")).expect("writes");
    assert_eq!(
        json_of(std::str::from_utf8(&xml).expect("text")),
        r#"{"a":[1,2]}"#
    );
}

#[test]
fn what_grows_too_much_is_refused() {
    let digits = format!("{{\"payload\":[{}0]}}", "0,".repeat(4 << 20));
    let refused = of_json(&digits, Names::of_route("/app"));
    assert!(matches!(refused, Err(XmlError::TooLarge { .. })));
}
