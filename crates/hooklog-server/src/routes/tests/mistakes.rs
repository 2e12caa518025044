//! Mistakes that are as large as a body may be, over a socket.
//!
//! **Invariant:** what is said about them is small, for errors are in no pool of memory.
//! **Next:** `filter.rs`.

use super::content::post;
use super::end_to_end::{APPS, application};
use super::harness::Harness;

/// Any error with any text of ours fits in it, as problem details in XML too, which say it twice.
const SMALL: usize = 8 << 10;

/// Requests with a large mistake in them: method, path, headers, body.
fn cases(large: &str) -> Vec<(&'static str, &'static str, &'static str, String)> {
    let event = r#""specversion":"1.0","id":"1","source":"s""#;
    let json = "content-type: application/json\r\n";
    let cloud = "content-type: application/cloudevents+json\r\n";
    vec![
        (
            "PATCH",
            "/endpoint/e",
            json,
            format!(r#"{{"throttleRate":"{large}"}}"#),
        ),
        (
            "PATCH",
            "/endpoint/e",
            json,
            format!(r#"{{"channels":["{large}"]}}"#),
        ),
        (
            "PATCH",
            "/endpoint/e",
            json,
            format!(r#"{{"disabled":"{large}"}}"#),
        ),
        (
            "PUT",
            "/endpoint/e/headers",
            json,
            format!(r#"{{"headers":"{large}"}}"#),
        ),
        ("POST", "/msg", json, format!("\"{large}\"")),
        (
            "POST",
            "/msg",
            json,
            format!(r#"{{"transformationsParams":{{"{large}":1}}}}"#),
        ),
        (
            "POST",
            "/event",
            cloud,
            format!(r#"{{{event},"type":"{large}"}}"#),
        ),
        (
            "POST",
            "/event",
            cloud,
            format!(r#"{{{event},"{large}":""}}"#),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_about_a_large_mistake_is_small() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let endpoint = r#"{"url":"http://a/","uid":"e"}"#;
    let endpoints = format!("{APPS}/a/endpoint");
    server.call("POST", &endpoints, endpoint).await.is(201);
    for letter in ["\u{80}", "<", "\\u0001"] {
        let large = letter.repeat(100_000 / letter.len());
        for (method, path, content_type, body) in cases(&large) {
            for form in ["", "accept: application/problem+xml\r\n"] {
                let headers = format!(
                    "{content_type}{form}authorization: Bearer {}\r\n",
                    server.token
                );
                let length = body.len();
                let request = format!(
                    "{method} {APPS}/a{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\
                     content-length: {length}\r\n\r\n{body}"
                );
                let reply = server.raw(request.as_bytes()).await;
                let start: String = body.chars().take(40).collect();
                assert!(
                    matches!(reply.status, 400 | 422),
                    "{method} {path} {start}: {}",
                    reply.status
                );
                assert!(reply.text.len() < SMALL, "{start}: {}", reply.text.len());
            }
        }
    }
    // In a query and in headers as well.
    let large = "%C2%80".repeat(1_000);
    let path = format!("{APPS}/a/event?event_type=x&channel={large}");
    let reply = post(&server, &path, "content-type: text/plain\r\n", b"").await;
    assert!(reply.is(422).text.len() < 1 << 10);
    let encoding = format!("content-encoding: {}\r\n", "x".repeat(6_000));
    let reply = post(&server, &format!("{APPS}/a/msg"), &encoding, b"").await;
    assert!(reply.is(415).text.len() < 1 << 10);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_still_said() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let large = "x".repeat(10_000);
    let body = format!(r#"{{"url":"http://a/","throttleRate":"{large} at line {large}"}}"#);
    let reply = server
        .call("POST", &format!("{APPS}/a/endpoint"), &body)
        .await;
    let reply = reply.is(422);
    let text = reply.body["detail"][0]["msg"].as_str().expect("a text");
    assert!(text.starts_with("invalid type: string \"xxx"), "{text}");
    assert!(text.ends_with("x\", expected u32"), "{text}");
    server.stop().await;
}
