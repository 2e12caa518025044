//! Batches of messages over a real socket and a real log.
//!
//! **Invariant:** every result that says an id is that of an event in the log, and the good ones of a
//! batch are in it whatever the others are.
//! **Next:** `attempts.rs`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::content::{post, records};
use super::end_to_end::{APPS, application};
use super::harness::Harness;
use crate::Limits;

fn message(index: usize) -> String {
    format!(r#"{{"eventType":"a.b","payload":{{"n":{index}}}}}"#)
}

fn ids(body: &Value) -> Vec<String> {
    let data = body["data"].as_array().expect("a list");
    let ids = data.iter().filter_map(|item| item["id"].as_str());
    ids.map(str::to_owned).collect()
}

fn in_log(server: &Harness) -> Vec<String> {
    let records = records(server);
    records.iter().map(|record| record.id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrays_and_lines_in_order_and_in_several_chunks() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/msg/batch");
    let messages: Vec<String> = (0..2_500).map(message).collect();
    let array = format!("[{}]", messages.join(",\n "));
    let reply = server.call("POST", &path, &array).await.is(202);
    assert_eq!(reply.body["published"], 2_500);
    assert_eq!(ids(&reply.body), in_log(&server));
    for (index, record) in records(&server).iter().enumerate() {
        assert_eq!(
            record.event.payload,
            format!("{{\"n\":{index}}}").as_bytes()
        );
    }
    // As lines, and the answer too.
    let lines = messages.join("\n");
    let headers = "accept: application/x-ndjson\r\ncontent-type: application/x-ndjson\r\n";
    let reply = post(&server, &path, headers, lines.as_bytes())
        .await
        .is(202);
    assert!(reply.head.contains("content-type: application/x-ndjson"));
    let mut told: Vec<Value> = reply
        .text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(told.pop(), Some(json!({"published": 2_500, "failed": 0})));
    let told: Vec<_> = told
        .iter()
        .map(|line| line["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(told, in_log(&server)[2_500..]);
    // Nothing at all is a batch as well, and `batch` may be the id of a message.
    for body in ["", "[]", "\n\n"] {
        server.call("POST", &path, body).await.is(202);
    }
    server.get(&path).await.is(404);
    let named = r#"{"eventType":"a","eventId":"batch","payload":{}}"#;
    let id = server
        .call("POST", &format!("{APPS}/{app}/msg"), named)
        .await
        .is(202)
        .id();
    assert_eq!(server.get(&path).await.is(200).id(), id);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_message_loses_none_of_the_others() {
    let limits = Limits {
        body_bytes_max: 1_000,
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/msg/batch");
    let long = format!(
        r#"{{"eventType":"a.b","payload":{{"x":"{}"}}}}"#,
        "y".repeat(1_000)
    );
    let own = r#"{"eventType":"a","payload":{},"application":{"name":"x","uid":"one"}}"#;
    let named = r#"{"eventType":"a","eventId":"e","payload":{}}"#;
    let all = [
        (&*message(0), None),
        ("{\"payload\":{}}", Some(422)),
        ("nonsense", Some(422)),
        (&long, Some(413)),
        (own, Some(422)),
        (named, None),
        (named, Some(409)),
        ("", Some(422)),
        (&message(1), None),
    ];
    let bodies: Vec<_> = all.iter().map(|(body, _)| *body).collect();
    let reply = server
        .call("POST", &path, &format!("[{}]", bodies.join(",")))
        .await
        .is(207);
    let data = reply.body["data"].as_array().expect("a list");
    for (index, ((body, status), result)) in all.iter().zip(data).enumerate() {
        assert_eq!(result["index"], index);
        match status {
            None => assert!(result["id"].is_string(), "{body}: {result}"),
            Some(status) => assert_eq!(result["error"]["status"], *status, "{body}: {result}"),
        }
    }
    assert_eq!(
        (&reply.body["published"], &reply.body["failed"]),
        (&json!(3), &json!(6))
    );
    assert_eq!(ids(&reply.body), in_log(&server));
    // A batch that breaks off says why, and what is published nevertheless.
    let broken = format!("[{},{}", message(7), message(8));
    let reply = server.call("POST", &path, &broken).await.is(400);
    assert_eq!(
        (ids(&reply.body).len(), &reply.body["code"]),
        (1, &json!("generic_error"))
    );
    server
        .call("POST", &format!("{APPS}/other/msg/batch"), "[]")
        .await
        .is(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_bounded() {
    let limits = Limits {
        body_bytes_max: 1_000,
        batch_bytes_max: 10_000,
        batch_items_max: 20,
        body_bytes_in_flight_max: 4_000,
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/msg/batch");
    let many: Vec<_> = (0..21).map(message).collect();
    let reply = server.call("POST", &path, &many.join("\n")).await.is(422);
    assert_eq!((ids(&reply.body).len(), in_log(&server).len()), (20, 20));
    assert!(
        reply.body["detail"]
            .as_str()
            .is_some_and(|text| text.contains("20 messages"))
    );
    // Announced, and not: chunked transfer says no length.
    let large = "x".repeat(10_001);
    server.call("POST", &path, &large).await.is(413);
    let mut chunked = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         transfer-encoding: chunked\r\n\r\n",
        server.token
    );
    let line = format!("{}{}\n", message(5), " ".repeat(700));
    for _ in 0..14 {
        write!(chunked, "{:x}\r\n{line}\r\n", line.len()).expect("writes");
    }
    chunked += "0\r\n\r\n";
    let reply = server.raw(chunked.as_bytes()).await.is(413);
    let published = ids(&reply.body).len();
    assert!((1..14).contains(&published), "{published}");
    assert_eq!(in_log(&server).len(), 20 + published);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_sent_again_publishes_what_is_missing() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/msg/batch");
    let key = "idempotency-key: b-1\r\n";
    let messages: Vec<_> = (0..10).map(message).collect();
    // The connection broke in the middle of it.
    let broken = format!("[{}", messages[..6].join(","));
    let first = post(&server, &path, key, broken.as_bytes()).await.is(400);
    assert_eq!(in_log(&server).len(), 5);
    let whole = format!("[{}]", messages.join(","));
    let second = post(&server, &path, key, whole.as_bytes()).await.is(202);
    assert_eq!(ids(&second.body)[..5], ids(&first.body));
    assert_eq!(ids(&second.body), in_log(&server));
    let third = post(&server, &path, key, whole.as_bytes()).await.is(202);
    assert_eq!(third.text, second.text);
    // Another message at a place that was answered is named.
    let other = whole.replace("{\"n\":3}", "{\"n\":33}");
    let reply = post(&server, &path, key, other.as_bytes()).await.is(207);
    assert_eq!(
        reply.body["data"][3]["error"]["code"],
        "idempotency_key_reused"
    );
    assert_eq!(in_log(&server).len(), 10);
    post(&server, &path, "idempotency-key: \"\r\n", b"[]")
        .await
        .is(400);
    server.stop().await;
}

/// Clients that ask for problem details were told why a batch broke off, and not what is published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_breaks_off_keeps_its_results_in_every_form() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let path = format!("{APPS}/{app}/msg/batch");
    let broken = format!("[{},{{}},{},{}", message(1), message(2), message(3));
    for (accept, kind) in [
        ("application/json", "application/json"),
        ("application/problem+json", "application/problem+json"),
        (
            "application/json, application/problem+json",
            "application/problem+json",
        ),
        ("application/problem+xml", "application/problem+xml"),
        ("application/xml", "application/problem+xml"),
        (
            "application/x-ndjson, application/problem+json",
            "application/x-ndjson",
        ),
    ] {
        let before = in_log(&server).len();
        let headers = format!("accept: {accept}\r\n");
        let reply = post(&server, &path, &headers, broken.as_bytes())
            .await
            .is(400);
        assert!(
            reply.head.contains(&format!("content-type: {kind}\r\n")),
            "{reply:?}"
        );
        let published = in_log(&server).split_off(before);
        assert_eq!(published.len(), 2, "{accept}");
        if kind.ends_with("json") && kind != "application/x-ndjson" {
            assert_eq!(ids(&reply.body), published);
            let data = reply.body["data"].as_array().expect("a list");
            assert_eq!((data.len(), &data[1]["error"]["status"]), (3, &json!(422)));
            let counts = (&reply.body["published"], &reply.body["failed"]);
            assert_eq!(counts, (&json!(2), &json!(1)));
            assert!(reply.body["detail"].is_string() && reply.body["code"] == "generic_error");
        } else {
            let first = match kind {
                "application/x-ndjson" => format!("{{\"index\":0,\"id\":\"{}\"}}", published[0]),
                _ => format!("<data><i><index>0</index><id>{}</id></i>", published[0]),
            };
            let told = [
                first.as_str(),
                &published[1],
                "\"failed\":1",
                "<failed>1</failed>",
            ];
            let found = told.into_iter().filter(|text| reply.text.contains(text));
            assert_eq!(found.count(), 3, "{}", reply.text);
        }
    }
    server.stop().await;
}
