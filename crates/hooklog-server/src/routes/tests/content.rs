//! Payloads of any content over a real socket and a real log.
//!
//! **Invariant:** the bytes that came in are the bytes in the log.
//! **Next:** `batches.rs`.

use std::fmt::Write as _;

use hooklog_storage::{Limit, Offset, Record};
use serde_json::json;

use super::end_to_end::{APPS, application};
use super::harness::{Harness, Reply};

/// Everything in the log.
pub(super) fn records(server: &Harness) -> Vec<Record> {
    let limit = Limit {
        items: 10_000,
        bytes: 64 << 20,
    };
    server.log.read(Offset::ZERO, limit).expect("reads")
}

/// Posts bytes; headers come with their ends of lines.
pub(super) async fn post(server: &Harness, path: &str, headers: &str, body: &[u8]) -> Reply {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         {headers}content-length: {}\r\n\r\n",
        server.token,
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    server.raw(&request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_of_messages_are_kept_byte_for_byte() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/msg");
    let payloads = [
        r#"{"b":1,"a":2}"#,
        "{ \"a\" :\t1 ,\n\r\n \"b\" : [ ] }",
        r#"{"n":123456789012345678901234567890,"f":1.00000000000000000001,"e":1E400,"z":-0}"#,
        r#"{"twice":1,"twice":2}"#,
        r#"{"e":"\u00e9\u0000\ud83d\ude00\/","é":"😀","h":"\ud800"}"#,
        "{}",
    ];
    for (index, payload) in payloads.into_iter().enumerate() {
        // First and last in the body, so that a slice and a copy are both taken.
        let pad = " ".repeat(payload.len() * 2);
        for body in [
            format!(r#"{{"eventType":"a.b","payload":{payload}}}"#),
            format!(r#"{{"payload":{payload}{pad},"eventType":"a.b"}}"#),
        ] {
            let reply = server.call("POST", &path, &body).await.is(202);
            let expected = format!("\"payload\":{payload},");
            assert!(reply.text.contains(&expected), "{}", reply.text);
            // Not by a parser: it would not take some of these.
            let id = reply.text.split('"').nth(3).expect("an id");
            let shown = server.get(&format!("{path}/{id}")).await.is(200);
            assert!(shown.text.contains(&expected), "{}", shown.text);
        }
        let records = records(&server);
        assert_eq!(records.len(), (index + 1) * 2);
        for record in records.iter().skip(index * 2) {
            assert_eq!(record.event.payload, payload.as_bytes());
            assert_eq!(record.event.content_type, "application/json");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_any_type_are_events() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/event");
    let cases: [(&str, &[u8], &str); 6] = [
        (
            "application/xml",
            b"<?xml version='1.0'?>\r\n<a b='&amp;'/>",
            r#"{"text":"<?xml version='1.0'?>\r\n<a b='&amp;'/>"}"#,
        ),
        (
            "application/x-www-form-urlencoded",
            b"a=1&b=%20x",
            r#"{"text":"a=1&b=%20x"}"#,
        ),
        (
            "image/png",
            b"\x89PNG\r\n\x1a\n\x00\xff",
            r#"{"base64":"iVBORw0KGgoA/w=="}"#,
        ),
        ("text/plain; charset=utf-8", b"", r#"{"text":""}"#),
        ("application/json", b" {\"a\": 1}", r#"{"a": 1}"#),
        ("application/json", b"[1,2]", r#"{"text":"[1,2]"}"#),
    ];
    for (content_type, body, shown) in cases {
        let headers = format!("content-type: {content_type}\r\n");
        let reply = post(&server, &format!("{path}?event_type=a.b"), &headers, body).await;
        let id = reply.is(202).id();
        let record = records(&server).pop().expect("one");
        assert_eq!(
            (
                record.event.content_type.as_str(),
                &record.event.payload[..]
            ),
            (content_type, body)
        );
        let message = server.get(&format!("{APPS}/{app}/msg/{id}")).await.is(200);
        let payload = format!("\"payload\":{shown}");
        assert!(
            message.text.contains(&payload),
            "{} {payload}",
            message.text
        );
        let is_json = content_type == "application/json";
        assert_eq!(message.body["contentType"].is_null(), is_json);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_beside_a_body_is_said_by_headers_or_by_the_query() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/event");
    let headers = "hooklog-event-type: c.d\r\nhooklog-event-id: e-1\r\nhooklog-channel: x, y\r\n\
                   hooklog-tag: t\r\nhooklog-ordering-key: customer/7 a\r\n\
                   hooklog-header-x-region: eu 1\r\n";
    let first = post(&server, &path, headers, b"\x00").await.is(202);
    assert_eq!(first.body["eventId"], "e-1");
    let by_header = records(&server).pop().expect("one").event;
    assert_eq!(by_header.content_type, "application/octet-stream");
    assert_eq!(by_header.headers[0].name(), "x-region");
    assert_eq!(by_header.headers[0].value(), "eu 1");
    let query =
        "?event_type=c.d&event_id=e-2&channel=x&channel=y&tag=t&ordering_key=customer%2F7%20a";
    let header = "hooklog-header-x-region: eu 1\r\n";
    post(&server, &format!("{path}{query}"), header, b"\x00")
        .await
        .is(202);
    let mut by_query = records(&server).pop().expect("one").event;
    by_query.uid.clone_from(&by_header.uid);
    assert_eq!(by_query, by_header);
    post(&server, &path, headers, b"\x00").await.is(409);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_told_or_read_is_refused() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/event");
    let long = format!("hooklog-header-a: {}\r\n", "x".repeat(4097));
    let mut many = String::new();
    for index in 0..41 {
        write!(many, "hooklog-header-a{index}: b\r\n").expect("writes");
    }
    let cases: [(&str, &str, u16, &str); 16] = [
        ("", "", 422, "event_type"),
        ("?event_type=a%20b", "", 422, "event_type"),
        ("?event_type=a&event_type=b", "", 422, "once"),
        ("?event_type=a", "hooklog-event-type: a\r\n", 422, "too"),
        ("?event_type=a&channel=1,2,3,4,5,6", "", 422, "limit of 5"),
        ("?event_type=a&event_id=msg_1", "", 422, "msg_"),
        (
            "?event_type=a",
            "hooklog-header-Host: b\r\n",
            422,
            "themselves",
        ),
        (
            "?event_type=a",
            "hooklog-header-webhook-id: b\r\n",
            422,
            "themselves",
        ),
        ("?event_type=a", &long, 422, "4096"),
        ("?event_type=a", &many, 422, "more than the limits of 40"),
        ("?event_type=a", "content-encoding: gzip\r\n", 415, "gzip"),
        (
            "?event_type=a",
            "content-type: application/cloudevents+xml\r\n",
            415,
            "only JSON",
        ),
        (
            "?event_type=a",
            "content-type: \r\ncontent-type: a/b\r\n",
            400,
            "once",
        ),
        (
            "?event_type=a",
            "content-type: a/\u{e9}\r\n",
            400,
            "content-type",
        ),
        (
            "?event_type=a",
            "idempotency-key: \"\r\n",
            400,
            "idempotency-key",
        ),
        ("?event_type=a&with_content=x", "", 422, "with_content"),
    ];
    for (query, headers, status, word) in cases {
        let reply = post(&server, &format!("{path}{query}"), headers, b"x")
            .await
            .is(status);
        assert!(
            reply.text.contains(word),
            "{query} {headers}: {}",
            reply.text
        );
    }
    assert!(records(&server).is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoded_body_is_refused_everywhere() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/event");
    let encoded = post(
        &server,
        &format!("{APPS}/{app}/msg"),
        "content-encoding: br\r\n",
        b"{}",
    )
    .await;
    assert!(encoded.is(415).head.contains("accept-encoding: identity"));
    let plain = "content-encoding: identity\r\n";
    post(&server, &format!("{path}?event_type=a"), plain, b"x")
        .await
        .is(202);
    assert_eq!(records(&server).len(), 1);
    server
        .call("POST", &format!("{APPS}/other/event?event_type=a"), "x")
        .await
        .is(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_event_is_told_by_all_that_was_said_about_it() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/event?event_type=a");
    let key = "idempotency-key: k\r\n";
    let first = post(&server, &path, key, b"<a/>").await.is(202);
    let again = post(&server, &path, key, b"<a/>").await.is(202);
    assert_eq!(again.text, first.text);
    let others = [
        (format!("{path}&channel=x"), key.to_owned(), b"<a/>"),
        (format!("{path}&tag=x"), key.to_owned(), b"<a/>"),
        (
            path.clone(),
            format!("{key}content-type: text/xml\r\n"),
            b"<a/>",
        ),
        (
            path.clone(),
            format!("{key}hooklog-header-a: b\r\n"),
            b"<a/>",
        ),
        (path.clone(), key.to_owned(), b"<b/>"),
    ];
    for (path, headers, body) in others {
        let refused = post(&server, &path, &headers, body).await.is(422);
        assert_eq!(
            refused.body["detail"][0]["type"], "idempotency_key_reused",
            "{path} {headers}"
        );
    }
    assert_eq!(records(&server).len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_xml_for_those_who_prefer_it() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/msg");
    let token = server.token.clone();
    let call = |accept: &'static str, method: &'static str, path: String, body: String| {
        let (server, token) = (&server, &token);
        async move {
            let headers = format!("accept: {accept}\r\n");
            server
                .call_with(&headers, token, method, &path, &body)
                .await
        }
    };
    let body = r#"{"eventType":"a.b","payload":{"big":12345678901234567890123,"x":"<"}}"#;
    let made = call("application/xml", "POST", path.clone(), body.to_owned())
        .await
        .is(202);
    assert!(
        made.head.contains("content-type: application/xml"),
        "{}",
        made.head
    );
    assert!(made.head.contains("vary: accept"), "{}", made.head);
    let number =
        r#"<number key="big">12345678901234567890123</number><string key="x">&lt;</string>"#;
    assert!(made.text.contains(number), "{}", made.text);
    let list = call(
        "application/xml, application/json;q=0.5",
        "GET",
        path.clone(),
        String::new(),
    )
    .await;
    assert!(list.is(200).text.contains("<data><message><id>msg_"));
    let json = call(
        "application/xml;q=0.5, */*",
        "GET",
        path.clone(),
        String::new(),
    )
    .await
    .is(200);
    assert!(json.body["data"][0]["id"].is_string() && json.head.contains("vary: accept"));

    let missing = format!("{APPS}/other");
    let problem = call("application/xml", "GET", missing.clone(), String::new())
        .await
        .is(404);
    assert!(
        problem
            .head
            .contains("content-type: application/problem+xml")
    );
    assert_eq!(
        problem.text,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><problem xmlns=\"urn:ietf:rfc:7807\">\
         <type>about:blank</type><title>Not Found</title><status>404</status>\
         <detail>Entity not found</detail><code>not_found</code></problem>"
    );
    let accept = "application/json, application/problem+json";
    let problem = call(accept, "POST", path, "{}".to_owned()).await.is(422);
    assert!(
        problem
            .head
            .contains("content-type: application/problem+json")
    );
    assert_eq!(
        problem.body,
        json!({
            "type": "about:blank", "title": "Unprocessable Entity", "status": 422,
            "detail": "body.eventType: field required",
            "errors": [{"loc": ["body", "eventType"], "msg": "field required", "type": "value_error"}],
        })
    );
    let plain = call("application/json", "GET", missing, String::new())
        .await
        .is(404);
    assert_eq!(
        plain.body,
        json!({"code": "not_found", "detail": "Entity not found"})
    );
    server.stop().await;
}
