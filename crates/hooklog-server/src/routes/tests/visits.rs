//! What each request leaves: an id, a line in the access log, and its trace with the event.
//!
//! **Invariant:** no line of the log holds a secret of a request.
//! **Next:** `slow_clients.rs`.

use std::fmt::Write as _;
use std::sync::Arc;

use hooklog_storage::{Header, Limit};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::content::{post, records};
use super::harness::{Harness, PATIENCE};
use crate::{ACCESS_LOG_TARGET, AccessLog};

/// Keeps the lines of the access log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).expect("writes to a string");
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == ACCESS_LOG_TARGET
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().push(line.0);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Lines {
    /// The line with this text, once it is there.
    async fn with(&self, text: &str) -> String {
        let looking = async {
            loop {
                let found = self
                    .0
                    .lock()
                    .iter()
                    .find(|line| line.contains(text))
                    .cloned();
                match found {
                    Some(line) => return line,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        found.unwrap_or_else(|_| panic!("no {text} in {:#?}", self.0.lock()))
    }
}

// One thread, so that the subscriber of the thread sees everything.
#[tokio::test]
async fn each_request_leaves_one_line_without_secrets() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let server = Harness::start_as(|config| config.access_log = AccessLog::On).await;
    let made = r#"{"name":"a","uid":"secret-uid"}"#;
    let id = "x-request-id: made\r\n";
    let token = server.token.clone();
    server
        .call_with(id, &token, "POST", "/api/v1/app", made)
        .await
        .is(201);
    let line = lines.with("id=\"made\"").await;
    let parts = [
        "remote=127.0.0.1:",
        "subject=\"org_23rb8YdGqMT0qIzpgGwdXfHirMu\" method=POST route=\"/app\" status=201 ",
        "bytes_in=31 bytes_out=",
        "duration_ms=",
    ];
    for part in parts {
        assert!(line.contains(part), "{line}");
    }
    let cases = [
        (
            "GET",
            "/api/v1/app/secret-uid?secret=1",
            token.as_str(),
            "route=\"/app/{app}\" status=200",
        ),
        ("GET", "/secret/path", &token, "route=\"-\" status=404"),
        (
            "GET",
            "/api/v1/event-type",
            "secret-token",
            "subject=\"-\" method=GET route=\"/event-type\" status=401",
        ),
        (
            "HEAD",
            "/api/v1/health/ping",
            "",
            "route=\"/health/ping\" status=204",
        ),
        (
            "OPTIONS",
            "/api/v1/app",
            "",
            "method=OPTIONS route=\"-\" status=200",
        ),
    ];
    for (method, path, token, expected) in cases {
        server.call_as(token, method, path, "").await;
        lines.with(expected).await;
    }
    // One that goes away in the middle of its body.
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let head = format!(
        "POST /api/v1/event-type HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
         content-length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.expect("is sent");
    drop(stream);
    lines.with("route=\"/event-type\" status=400").await;
    server.stop().await;
    let all = lines.0.lock().concat();
    assert_eq!(lines.0.lock().len(), 7, "{all}");
    assert!(!all.contains("secret") && !all.contains(&token), "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_has_an_id() {
    let server = Harness::start().await;
    let id_of = |head: &str| {
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("x-request-id: "));
        line.unwrap_or_else(|| panic!("{head}")).to_owned()
    };
    let given = "x-request-id: 0af7651916cd43dd-b7\r\n";
    let reply = server
        .call_with(given, "", "GET", "/api/v1/nowhere", "")
        .await
        .is(404);
    assert_eq!(id_of(&reply.head), "0af7651916cd43dd-b7");
    let mut made = Vec::new();
    for (headers, path) in [
        ("", "/api/v1/app"),
        ("x-request-id: a b\r\n", "/api/v1/health"),
        ("", "/"),
    ] {
        let reply = server
            .call_with(headers, &server.token, "GET", path, "")
            .await;
        made.push(id_of(&reply.head));
    }
    assert!(made.iter().all(|id| id.len() == 26), "{made:?}");
    assert!(made.is_sorted_by(|a, b| a < b), "{made:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_is_stored_with_its_event() {
    let server = Harness::start().await;
    server
        .call("POST", "/api/v1/app", r#"{"name":"a","uid":"a"}"#)
        .await
        .is(201);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let cases = [
        format!("traceparent: {parent}\r\ntracestate: a=1\r\ntracestate: b=2\r\n"),
        "traceparent: nonsense\r\ntracestate: a=1\r\n".to_owned(),
        String::new(),
    ];
    let message = r#"{"eventType":"a","payload":{}}"#;
    for headers in &cases {
        let path = "/api/v1/app/a/msg";
        server
            .call_with(headers, &server.token, "POST", path, message)
            .await
            .is(202);
    }
    let all = Limit {
        items: 10,
        bytes: 1 << 20,
    };
    let records = server
        .log
        .read(hooklog_storage::Offset::ZERO, all)
        .expect("reads");
    let headers: Vec<Vec<_>> = records
        .iter()
        .map(|record| {
            let headers = record.event.headers.iter();
            headers
                .map(|header| (header.name(), header.value()))
                .collect()
        })
        .collect();
    let expected = vec![("traceparent", parent), ("tracestate", "a=1,b=2")];
    assert_eq!(headers, [expected, vec![], vec![]]);
    server.stop().await;
}

/// The headers of an event of any content type had the trace beside them, whatever there was already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_takes_the_room_that_there_is() {
    let server = Harness::start().await;
    super::end_to_end::application(&server, "a").await;
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
                 tracestate: a=1\r\n";
    let (parent, state) = (11 + 55, 10 + 3);
    let few = |bytes: usize| -> Vec<usize> { vec![bytes / 2, bytes - bytes / 2] };
    // How many bytes each header of the event's own has, and how many of the trace fit in.
    let cases = [
        (vec![10; Header::COUNT_MAX - 2], 2),
        (vec![10; Header::COUNT_MAX - 1], 1),
        (vec![10; Header::COUNT_MAX], 0),
        (few(Header::TOTAL_BYTES_MAX - parent - state), 2),
        (few(Header::TOTAL_BYTES_MAX - parent - state + 1), 1),
        (few(Header::TOTAL_BYTES_MAX), 0),
    ];
    for (own, expected) in cases {
        let mut headers = trace.to_owned();
        for (index, bytes) in own.iter().enumerate() {
            let name = format!("x-{index:02}");
            let value = "v".repeat(bytes - name.len());
            write!(headers, "hooklog-header-{name}: {value}\r\n").expect("to a string");
        }
        let path = "/api/v1/app/a/event?event_type=x";
        post(&server, path, &headers, b"").await.is(202);
        let event = records(&server).pop().expect("one").event;
        assert_eq!(event.headers.len(), own.len() + expected, "{own:?}");
        let bytes: usize = event.headers.iter().map(Header::bytes).sum();
        assert!(bytes <= Header::TOTAL_BYTES_MAX, "{bytes}");
    }
    server.stop().await;
}
