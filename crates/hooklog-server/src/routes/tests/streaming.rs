//! Streams of events over HTTP/1.1 and HTTP/2.
//!
//! **Invariant:** a stream that broke off goes on behind what came last; one that is read slowly
//! misses nothing and holds nobody up.
//! **Next:** `since.rs`.

use std::time::Duration;

use bytes::Bytes;
use hooklog_storage::Timestamp;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use super::end_to_end::{APPS, application, publish};
use super::harness::{Harness, PATIENCE, SECRET, organisation};
use crate::state::now;
use crate::token::{self, Subject};
use crate::{Limits, TokenKey};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    One,
    Two,
}

/// An event, as the standard's parser would hand it out; and heartbeats.
#[derive(Clone, Debug, Default, PartialEq)]
struct Event {
    name: String,
    data: String,
    /// The last id when it came.
    id: String,
}

impl Event {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or(Value::Null)
    }
}

/// A client of a stream.
struct Listener {
    status: u16,
    headers: http::HeaderMap,
    body: Incoming,
    text: String,
    id: String,
    _connection: JoinSet<()>,
}

async fn listen(server: &Harness, version: Version, path: &str, last: &str) -> Listener {
    listen_as(&server.token, server, version, path, last).await
}

async fn listen_as(
    token: &str,
    server: &Harness,
    version: Version,
    path: &str,
    last: &str,
) -> Listener {
    let socket = TcpSocket::new_v4().expect("a socket");
    // So that one that does not read is soon noticed.
    socket.set_recv_buffer_size(64 << 10).expect("is set");
    let stream = socket.connect(server.address).await.expect("connects");
    let io = TokioIo::new(stream);
    let request = http::Request::get(format!("http://{}{path}", server.address))
        .header("host", "a")
        .header("accept", "text/event-stream")
        .header("authorization", format!("Bearer {token}"))
        .header("last-event-id", last)
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let mut tasks = JoinSet::new();
    let answer = async {
        match version {
            Version::One => {
                let (mut sender, connection) = http1::handshake(io).await.expect("speaks");
                tasks.spawn(async move { drop(connection.await) });
                sender.send_request(request).await
            }
            Version::Two => {
                let handshake = http2::handshake(TokioExecutor::new(), io);
                let (mut sender, connection) = handshake.await.expect("speaks");
                tasks.spawn(async move { drop(connection.await) });
                sender.send_request(request).await
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    let (head, body) = answer.expect("in time").expect("an answer").into_parts();
    Listener {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
        text: String::new(),
        id: String::new(),
        _connection: tasks,
    }
}

impl Listener {
    /// The next block of lines; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.text[looked..].find("\n\n") {
                let rest = self.text.split_off(looked + at + 2);
                let block = std::mem::replace(&mut self.text, rest);
                return Some(block.trim_end_matches('\n').to_owned());
            }
            looked = self.text.len().saturating_sub(1);
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.expect("in time")?.expect("no break");
            let data = frame.into_data().expect("no trailers");
            self.text
                .push_str(std::str::from_utf8(&data).expect("is text"));
        }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let (mut event, mut data) = (Event::default(), Vec::new());
            for line in block.lines() {
                match line.split_once(": ").unwrap_or((line, "")) {
                    ("id", id) => id.clone_into(&mut self.id),
                    ("event", name) => name.clone_into(&mut event.name),
                    ("data", line) => data.push(line),
                    ("retry", millis) => assert_eq!(millis, "1000"),
                    (":", "") => {}
                    other => panic!("{other:?} in {block:?}"),
                }
            }
            if !data.is_empty() {
                event.data = data.join("\n");
                event.id.clone_from(&self.id);
                return Some(event);
            }
        }
    }

    /// Ids of the next events.
    async fn ids(&mut self, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        for _ in 0..count {
            let event = self.next().await.expect("it goes on");
            assert_eq!(event.json()["id"], json!(event.id));
            found.push(event.id);
        }
        found
    }
}

async fn make(server: &Harness, app: &str, kind: &str, count: usize) -> Vec<String> {
    let mut made = Vec::new();
    for _ in 0..count {
        let body = json!({ "eventType": kind, "payload": { "kind": kind } });
        made.push(publish(server, app, body).await);
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_brings_what_comes_and_goes_on_where_it_broke_off() {
    let server = Harness::start().await;
    application(&server, "a").await;
    application(&server, "b").await;
    let path = format!("{APPS}/a/stream");
    for version in [Version::One, Version::Two] {
        let before = make(&server, "a", "before", 2).await;
        let mut stream = listen(&server, version, &path, "").await;
        assert_eq!(stream.status, 200);
        assert_eq!(stream.headers["content-type"], "text/event-stream");
        assert_eq!(stream.headers["cache-control"], "no-cache");
        let start = stream.block().await.expect("a start");
        let start = start.lines().last().expect("lines").to_owned();
        make(&server, "b", "other", 1).await;
        let made = make(&server, "a", "x", 3).await;
        let event = stream.next().await.expect("an event");
        assert_eq!(
            (event.id.as_str(), event.name.as_str()),
            (made[0].as_str(), "")
        );
        let message = event.json();
        assert_eq!(
            (&message["eventType"], &message["payload"]),
            (&json!("x"), &json!({"kind":"x"}))
        );
        assert!(message["offset"].is_u64(), "what a commit takes");
        assert_eq!(stream.ids(2).await, made[1..]);
        drop(stream);
        let later = make(&server, "a", "x", 1).await;
        let all: Vec<_> = made[1..].iter().chain(&later).cloned().collect();
        let start = start.strip_prefix("id: ").expect("an id");
        for (path, last, expected) in [
            (path.clone(), made[0].as_str(), &all[..]),
            (format!("{path}?last_event_id={}", made[0]), "", &all[..]),
            // The header is the newer one.
            (
                format!("{path}?last_event_id={}", before[0]),
                &made[2],
                &later[..],
            ),
            // It broke off before the first event.
            (format!("{path}?event_types=nothing,x"), start, &made[..]),
        ] {
            let mut stream = listen(&server, version, &path, last).await;
            assert_eq!(stream.ids(expected.len()).await, expected, "{path} {last}");
        }
    }
    for (path, last) in [
        (path.as_str(), "nonsense"),
        (path.as_str(), "pos_1000"),
        (&format!("{path}?last_event_id=x"), ""),
        (&format!("{path}?starting_position=x"), ""),
        (&format!("{path}?starting_position="), ""),
        (&format!("{path}?channel=a%20b"), ""),
        (&format!("{path}?sink=a%20b"), ""),
    ] {
        assert_eq!(listen(&server, Version::One, path, last).await.status, 422);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_a_consumer_begins_at_its_cursor() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let made = make(&server, "a", "x", 4).await;
    let path = format!("{APPS}/a/stream?consumer=one&sink=books");
    let mut stream = listen(&server, Version::One, &path, "").await;
    let first = stream.next().await.expect("an event");
    assert_eq!(first.id, made[0]);
    drop(stream);
    // Written is not received: it comes again.
    let mut stream = listen(&server, Version::One, &path, "").await;
    assert_eq!(stream.ids(4).await, made);
    drop(stream);
    // What it says that it had is done, as what it commits.
    let mut stream = listen(&server, Version::One, &path, &made[1]).await;
    assert_eq!(stream.ids(2).await, made[2..]);
    let poll = format!("{APPS}/a/polling-endpoint/books/consumer/one");
    let polled = server.get(&poll).await.is(200).body;
    assert_eq!(polled["data"][0]["id"], json!(made[2]));
    let body = json!({ "offset": polled["data"][0]["offset"] }).to_string();
    server
        .call("POST", &format!("{poll}/commit"), &body)
        .await
        .is(204);
    drop(stream);
    let mut stream = listen(&server, Version::Two, &path, "").await;
    assert_eq!(stream.ids(1).await, made[3..]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_stream_shows_that_it_lives_and_where_it_is() {
    let limits = Limits {
        heartbeat_interval: Duration::from_millis(30),
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    application(&server, "a").await;
    let path = format!("{APPS}/a/stream?event_types=x");
    let mut stream = listen(&server, Version::Two, &path, "").await;
    let start = stream.block().await.expect("a start");
    assert_eq!(stream.block().await.as_deref(), Some(":"));
    make(&server, "a", "other", 3).await;
    // Once it looked at those, who comes again need not.
    let place = loop {
        let block = stream.block().await.expect("it goes on");
        if let Some(place) = block.strip_prefix(":\nid: ") {
            break place.to_owned();
        }
    };
    assert!(
        !start.contains(&place) && place.starts_with("pos_"),
        "{place}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_reads_slowly_misses_nothing_and_holds_nobody_up() {
    let server = Harness::start().await;
    application(&server, "a").await;
    for version in [Version::One, Version::Two] {
        let path = format!("{APPS}/a/stream");
        let mut slow = listen(&server, version, &path, "").await;
        let mut quick = listen(&server, version, &path, "").await;
        // More than sockets and windows hold.
        let large = "x".repeat(400_000);
        let mut made = Vec::new();
        for _ in 0..15 {
            let body = json!({ "eventType": "x", "payload": { "large": large } });
            made.push(publish(&server, "a", body).await);
        }
        assert_eq!(quick.ids(15).await, made);
        assert_eq!(slow.ids(15).await, made, "from the log");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_bounded_and_end_in_good_order() {
    let limits = Limits {
        event_streams_per_holder_max: 2,
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    application(&server, "a").await;
    let path = format!("{APPS}/a/stream");
    let mut one = listen(&server, Version::One, &path, "").await;
    let mut two = listen(&server, Version::Two, &path, "").await;
    assert_eq!(listen(&server, Version::One, &path, "").await.status, 429);
    assert!(one.block().await.is_some() && two.block().await.is_some());
    drop(two);
    let free = async {
        loop {
            let stream = listen(&server, Version::Two, &path, "").await;
            if stream.status == 200 {
                return stream;
            }
        }
    };
    let mut two = tokio::time::timeout(PATIENCE, free).await.expect("in time");
    let made = make(&server, "a", "x", 1).await;
    assert_eq!((one.ids(1).await, two.ids(1).await), (made.clone(), made));
    let ends = async { while one.next().await.is_some() {} };
    tokio::join!(server.stop(), ends);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_when_its_time_is_over() {
    let limits = Limits {
        event_stream_age_max: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    application(&server, "a").await;
    let mut stream = listen(&server, Version::One, &format!("{APPS}/a/stream"), "").await;
    assert_eq!(stream.next().await, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_application() {
    let limits = Limits {
        heartbeat_interval: Duration::from_millis(30),
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    application(&server, "a").await;
    let path = format!("{APPS}/a/stream");
    let mut stream = listen(&server, Version::One, &path, "").await;
    assert!(stream.block().await.is_some());
    let path = format!("{APPS}/a");
    server.call("DELETE", &path, "").await.is(204);
    assert_eq!(stream.next().await, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expired_before_it_was_read_is_told() {
    let keep = |settings: &mut hooklog_storage::Config| {
        settings.retention.events.count = Some(3);
        settings.barrier_interval = Duration::from_millis(20);
    };
    let server = Harness::start_on(Limits::default(), keep).await;
    application(&server, "a").await;
    let made = make(&server, "a", "x", 1).await;
    let path = format!("{APPS}/a/polling-endpoint/s/consumer/c");
    server.get(&path).await.is(200);
    let expires = async {
        while server.log.low().events.get() < 2 {
            make(&server, "a", "x", 5).await;
        }
    };
    let expires = tokio::time::timeout(PATIENCE, expires);
    expires.await.expect("retention looks");
    let low = server.log.low().events.get();
    let polled = server.get(&path).await.is(200).body;
    assert_eq!(polled["expired"]["firstOffset"], json!(0));
    let last = polled["expired"]["lastOffset"].as_u64().expect("an offset");
    assert!(last + 1 >= low, "{polled}");
    assert_eq!(polled["data"][0]["offset"], json!(last + 1));
    let path = format!("{APPS}/a/stream");
    let mut stream = listen(&server, Version::One, &path, &made[0]).await;
    let told = stream.next().await.expect("an event");
    assert_eq!(
        (told.name.as_str(), &told.json()["firstOffset"]),
        ("expired", &json!(1))
    );
    let last = told.json()["lastOffset"].as_u64().expect("an offset");
    assert_eq!(told.id, format!("pos_{}", last + 1));
    let next = stream.next().await.expect("an event").json();
    assert_eq!(next["offset"], json!(last + 1));
    // Who begins anew misses nothing.
    let anew = server.get(&format!("{APPS}/a/poller/s")).await.is(200).body;
    assert!(anew.get("expired").is_none(), "{anew}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_stream_is_not_one_that_nobody_reads() {
    let limits = Limits {
        answer_timeout: Duration::from_millis(500),
        heartbeat_interval: Duration::from_millis(800),
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    application(&server, "a").await;
    for version in [Version::One, Version::Two] {
        let path = format!("{APPS}/a/stream");
        let mut stream = listen(&server, version, &path, "").await;
        assert!(stream.block().await.is_some());
        assert_eq!(stream.block().await.as_deref(), Some(":"), "{version:?}");
        let made = make(&server, "a", "x", 1).await;
        assert_eq!(stream.ids(1).await, made);
    }
    server.stop().await;
}

/// A stream went on for up to an hour after its token had ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_outlives_its_token() {
    let server = Harness::start_with(Limits {
        heartbeat_interval: Duration::from_millis(100),
        ..Limits::default()
    });
    let server = server.await;
    // Clocks may differ by a minute, so this one has a second or two.
    let key = TokenKey::new(SECRET).expect("long enough");
    let mint = |app: &str, ago: i64, life: u64| {
        let subject = Subject::Application {
            application: app.parse().expect("an id"),
            organisation: organisation().organisation().expect("a tenant"),
        };
        let begin = Timestamp::from_millis(now().as_millis() - ago);
        token::mint(&key, subject, begin, Duration::from_millis(life)).expect("signs")
    };
    for (number, version) in [Version::One, Version::Two].into_iter().enumerate() {
        for end in ["logout", "expire", "time"] {
            let uid = format!("{end}{number}");
            let app = application(&server, &uid).await;
            let path = format!("{APPS}/{uid}/stream");
            let own = match end {
                "time" => mint(&app, 60_000, 2_000),
                _ => mint(&app, 3_000_000, 3_600_000),
            };
            let mut stream = listen_as(&own, &server, version, &path, "").await;
            assert_eq!(stream.status, 200, "{end}");
            stream.block().await.expect("a start");
            let made = make(&server, &uid, "x", 1).await;
            assert_eq!(stream.ids(1).await, made);
            let (by, path) = match end {
                "logout" => (&own, "/api/v1/auth/logout".to_owned()),
                "expire" => (&server.token, format!("/api/v1/auth/app/{uid}/expire-all")),
                _ => (&server.token, String::new()),
            };
            if !path.is_empty() {
                let ended = server.call_as(by, "POST", &path, "").await;
                assert!(ended.status < 300, "{ended:?}");
                make(&server, &uid, "x", 1).await;
            }
            // There may be heartbeats, and no event.
            assert_eq!(stream.next().await, None, "{end}");
            let path = format!("{APPS}/{uid}/stream");
            let again = listen_as(&own, &server, version, &path, "").await;
            assert_eq!(again.status, 401);
        }
    }
    server.stop().await;
}
