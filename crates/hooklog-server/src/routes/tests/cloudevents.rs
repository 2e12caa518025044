//! CloudEvents over a real socket and a real log, in all three modes.
//!
//! **Invariant:** the same event is the same in the log, whatever mode it came in.
//! **Next:** `batches.rs`.

use hooklog_storage::Event;
use serde_json::json;

use super::content::{post, records};
use super::end_to_end::{APPS, application};
use super::harness::Harness;

const STRUCTURED: &str = "content-type: application/cloudevents+json; charset=utf-8\r\n";
const BATCH: &str = "content-type: application/cloudevents-batch+json\r\n";
const BINARY: &str =
    "ce-specversion: 1.0\r\nce-id: 7\r\nce-source: /shop\r\nce-type: order.made\r\n";

fn headers(event: &Event) -> Vec<(&str, &str)> {
    let headers = event.headers.iter();
    let mut headers: Vec<_> = headers
        .map(|header| (header.name(), header.value()))
        .collect();
    headers.sort_unstable();
    headers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_makes_the_same_event() {
    let server = Harness::start().await;
    let (one, two) = (
        application(&server, "one").await,
        application(&server, "two").await,
    );
    let path = |app: &str| format!("{APPS}/{app}/event?channel=x");
    let more = "ce-subject: Euro%20%E2%82%AC\r\nce-time: 2026-01-31T12:00:00Z\r\nce-retries: 3\r\n\
                ce-partitionkey: customer/7\r\ncontent-type: application/json\r\n";
    let data = "{ \"b\":1,  \"a\":12345678901234567890123 }";
    let reply = post(
        &server,
        &path(&one),
        &format!("{BINARY}{more}"),
        data.as_bytes(),
    )
    .await
    .is(202);
    let binary = records(&server).pop().expect("one").event;
    assert_eq!(
        headers(&binary),
        [
            ("ce-id", "7"),
            ("ce-partitionkey", "customer/7"),
            ("ce-retries", "3"),
            ("ce-source", "/shop"),
            ("ce-specversion", "1.0"),
            ("ce-subject", "Euro%20%E2%82%AC"),
            ("ce-time", "2026-01-31T12:00:00Z"),
            ("ce-type", "order.made"),
        ]
    );
    assert_eq!(binary.event_type.as_str(), "order.made");
    assert_eq!(
        (&binary.payload[..], binary.content_type.as_str()),
        (data.as_bytes(), "application/json")
    );
    let attributes = "\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/shop\",\"type\":\"order.made\",\
                      \"subject\":\"Euro \\u20ac\",\"time\":\"2026-01-31T12:00:00Z\",\"retries\":3,\
                      \"partitionkey\":\"customer/7\",\"unset\":null";
    let structured = format!("{{{attributes},\"data\":{data}}}");
    // The same source and id are the same event: answered, and not written again.
    let again = post(&server, &path(&one), STRUCTURED, structured.as_bytes())
        .await
        .is(202);
    assert_eq!(again.text, reply.text);
    assert_eq!(records(&server).len(), 1);
    let owner = binary.application;
    let sorted = |mut event: Event| {
        event.headers.sort_by(|a, b| a.name().cmp(b.name()));
        event.application = owner;
        event
    };
    post(&server, &path(&two), STRUCTURED, structured.as_bytes())
        .await
        .is(202);
    let event = records(&server).pop().expect("one").event;
    assert_eq!(sorted(event), sorted(binary.clone()));
    let three = application(&server, "three").await;
    let batch = format!("[{structured}]");
    let reply = post(&server, &path(&three), BATCH, batch.as_bytes())
        .await
        .is(202);
    assert_eq!(reply.body["published"], 1);
    let event = records(&server).pop().expect("one").event;
    assert_eq!(sorted(event), sorted(binary));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_any_kind() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/event");
    let cases: [(&str, &str, &[u8]); 8] = [
        (r#""data":[1, 2]"#, "application/json", b"[1, 2]"),
        (r#""data":"text""#, "application/json", b"\"text\""),
        (
            r#""datacontenttype":"application/vnd.a+json; v=1","data":{"a" : 1}"#,
            "application/vnd.a+json; v=1",
            b"{\"a\" : 1}",
        ),
        (
            r#""datacontenttype":"application/xml","data":"<much wow=\"xml\"/>""#,
            "application/xml",
            b"<much wow=\"xml\"/>",
        ),
        (
            r#""datacontenttype":"image/png","data_base64":"iVBORw==""#,
            "image/png",
            b"\x89PNG",
        ),
        (
            r#""data_base64":"AA==""#,
            "application/octet-stream",
            b"\x00",
        ),
        (r#""data":null"#, "application/octet-stream", b""),
        (
            r#""dataschema":"urn:x","comexample1":true"#,
            "application/octet-stream",
            b"",
        ),
    ];
    for (index, (fields, content_type, payload)) in cases.into_iter().enumerate() {
        let body =
            format!(r#"{{"specversion":"1.0","id":"{index}","source":"s","type":"t",{fields}}}"#);
        post(&server, &path, STRUCTURED, body.as_bytes())
            .await
            .is(202);
        let event = records(&server).pop().expect("one").event;
        assert_eq!(
            (event.content_type.as_str(), &event.payload[..]),
            (content_type, payload),
            "{fields}"
        );
    }
    // Binary mode: any body, and none.
    let png = format!("{BINARY}content-type: image/png\r\n");
    post(&server, &path, &png, b"\x89PNG\xff").await.is(202);
    assert_eq!(
        &records(&server).pop().expect("one").event.payload[..],
        b"\x89PNG\xff"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_cloudevent_is_refused_by_name() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/event");
    let with = |from: &str, to: &str| BINARY.replace(from, to);
    let cases = [
        (with("ce-specversion: 1.0\r\n", ""), "specversion"),
        (with("1.0", "0.3"), "must be 1.0"),
        (with("ce-id: 7\r\n", ""), "ce-id".trim_start_matches("ce-")),
        (with("ce-id: 7", "ce-id: "), "required"),
        (with("ce-source: /shop\r\n", ""), "source"),
        (
            with("order.made", "order%20made"),
            "cannot be an event type",
        ),
        (with("ce-id: 7", "ce-id: 7%C0%A0"), "UTF-8"),
        (with("ce-id: 7", "ce-id: 7%00"), "must not hold"),
        (format!("{BINARY}ce-time: yesterday\r\n"), "RFC 3339"),
        (format!("{BINARY}ce-some-name: x\r\n"), "lower-case letters"),
        (format!("{BINARY}ce-data: x\r\n"), "no name"),
        (format!("{BINARY}ce-datacontenttype: x\r\n"), "content-type"),
        (format!("{BINARY}ce-a: x\r\nce-a: y\r\n"), "twice"),
        (format!("{BINARY}hooklog-event-id: x\r\n"), "source and id"),
    ];
    for (headers, word) in cases {
        let reply = post(&server, &path, &headers, b"{}").await.is(422);
        assert!(reply.text.contains(word), "{headers}: {}", reply.text);
    }
    assert!(records(&server).is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_structured_cloudevent_is_refused_by_name() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/event");
    // A type that is no name of ours needs one beside it.
    let odd = BINARY.replace("order.made", "https://x/order%20made");
    post(
        &server,
        &format!("{path}?event_type=order.made"),
        &odd,
        b"{}",
    )
    .await
    .is(202);
    let event = records(&server).pop().expect("one").event;
    assert!(headers(&event).contains(&("ce-type", "https://x/order%20made")));
    let bodies = [
        ("[]", "object"),
        (
            r#"{"specversion":"1.0","id":1.5,"source":"s","type":"t"}"#,
            "integer",
        ),
        (
            r#"{"specversion":"1.0","id":"1","source":"s","type":"t","x":{}}"#,
            "must be a text",
        ),
        (
            r#"{"specversion":"1.0","id":"1","source":"s","type":"t","Upper":"x"}"#,
            "no name",
        ),
        (
            r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":1,"data_base64":""}"#,
            "together",
        ),
        (
            r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"?"}"#,
            "data_base64",
        ),
        (
            r#"{"specversion":"1.0","id":"1","source":"s","type":"t","datacontenttype":"text/plain","data":1}"#,
            "must be a text",
        ),
        (
            r#"{"specversion":"1.0","id":"1","id":"2","source":"s","type":"t"}"#,
            "twice",
        ),
    ];
    for (body, word) in bodies {
        let reply = post(&server, &path, STRUCTURED, body.as_bytes())
            .await
            .is(422);
        assert!(reply.text.contains(word), "{body}: {}", reply.text);
    }
    assert_eq!(records(&server).len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_tells_of_each() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/event");
    post(&server, &path, BATCH, b"[]").await.is(202);
    let good =
        |id: u8| json!({"specversion": "1.0", "id": id.to_string(), "source": "s", "type": "t"});
    let body = json!([good(1), {"id": "x"}, good(2), 7, good(1)]).to_string();
    let reply = post(&server, &path, BATCH, body.as_bytes()).await.is(207);
    let data = reply.body["data"].as_array().expect("a list");
    assert_eq!(data.len(), 5);
    assert_eq!(
        (&reply.body["published"], &reply.body["failed"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(data[0]["id"], data[4]["id"], "the same source and id");
    assert_eq!(
        (&data[1]["index"], &data[1]["error"]["status"]),
        (&json!(1), &json!(422))
    );
    assert!(
        data[3]["error"]["detail"]
            .as_str()
            .is_some_and(|text| text.contains("object"))
    );
    assert_eq!(records(&server).len(), 2);
    let again = post(&server, &path, BATCH, body.as_bytes()).await.is(207);
    assert_eq!(again.text, reply.text);
    let many = json!(vec![good(9); 1_001]).to_string();
    let reply = post(&server, &path, BATCH, many.as_bytes()).await.is(422);
    assert!(reply.text.contains("has 1001 events"), "{}", reply.text);
    for wrong in ["{}", "[1", "[1] 2", "[1,]", "7"] {
        post(&server, &path, BATCH, wrong.as_bytes()).await.is(422);
    }
    server.stop().await;
}
