use std::collections::VecDeque;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

#[test]
fn the_detail_of_every_error_shape_is_one_line() {
    let cases = [
        (
            r#"{"code":"not_found","detail":"Entity not found"}"#,
            "Entity not found",
        ),
        (
            r#"{"detail":[{"loc":["body","eventType"],"msg":"is missing","type":"value_error"},
                {"loc":["body","channels",0],"msg":"is empty","type":"value_error"}]}"#,
            "body.eventType: is missing; body.channels.0: is empty",
        ),
        ("<h1>\nBad Gateway</h1>", "<h1> Bad Gateway</h1>"),
        ("", ""),
    ];
    for (answer, expected) in cases {
        assert_eq!(detail(answer.as_bytes()), expected);
    }
}

#[test]
fn waits_are_obeyed_within_a_bound() {
    let cases = [
        (None, 1),
        (Some("0"), 0),
        (Some("7"), 7),
        (Some("86400"), 30),
        (Some("x"), 1),
    ];
    for (value, seconds) in cases {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        }
        assert_eq!(
            retry_after(&headers),
            Duration::from_secs(seconds),
            "{value:?}"
        );
    }
}

/// Gives one answer per connection, and returns how many were asked for.
async fn serve(mut answers: VecDeque<&'static str>) -> (Url, tokio::task::JoinSet<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move {
        let mut served = 0;
        while let Some(answer) = answers.pop_front() {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            served += 1;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        served
    });
    (url.parse().unwrap(), server)
}

const OK: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

macro_rules! unavailable {
    ($status:literal, $header:literal, $body:literal) => {
        concat!(
            "HTTP/1.1 ",
            $status,
            "\r\nconnection: close\r\n",
            $header,
            "\r\n",
            $body
        )
    };
}

#[tokio::test]
async fn only_an_answer_that_asks_for_it_is_tried_again() {
    let cases = [
        (unavailable!("503 x", "retry-after: 0\r\n", "later"), None),
        (unavailable!("429 x", "retry-after: 0\r\n", ""), None),
        (
            unavailable!(
                "503 x",
                "",
                r#"{"code":"out_of_service","detail":"the log is stopped: disk full"}"#
            ),
            Some("503 Service Unavailable: the log is stopped: disk full"),
        ),
        (
            unavailable!("503 x", "", "upstream timed out"),
            Some("503 Service Unavailable: upstream timed out"),
        ),
    ];
    for (first, expected) in cases {
        let (url, mut server) = serve([first, OK].into()).await;
        let client = Client::new(&url, "token").unwrap();
        let path = ["app", "demo", "msg"];
        let result = client.call(Method::POST, &path, None, Bytes::new()).await;
        match expected {
            None => {
                result.unwrap();
                assert_eq!(server.join_next().await.unwrap().unwrap(), 2, "{first}");
            }
            Some(text) => {
                let error = result.unwrap_err();
                assert_eq!(error.to_string(), text);
                assert!(error.is_final(), "{first}");
            }
        }
    }
}

#[test]
fn the_code_of_a_busy_server_is_understood_without_the_header() {
    let cases = [
        (503, r#"{"code":"busy","detail":"queue is full"}"#, true),
        (503, r#"{"code":"out_of_service","detail":"busy"}"#, false),
        (503, "busy", false),
        (500, r#"{"code":"busy","detail":""}"#, false),
        (429, "", true),
    ];
    for (status, answer, expected) in cases {
        let status = StatusCode::from_u16(status).unwrap();
        let found = is_later(status, &HeaderMap::new(), answer.as_bytes());
        assert_eq!(found, expected, "{status} {answer}");
    }
}
