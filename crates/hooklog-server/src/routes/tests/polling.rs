//! Polls: by iterator, by a consumer's cursor, with and without patience.
//!
//! **Invariant:** whatever a client or the server forgets, what was not said to be done comes again,
//! and nothing is skipped.
//! **Next:** `streaming.rs`.

use std::time::Duration;

use hooklog_storage::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::end_to_end::{APPS, application, ids, publish};
use super::harness::{Harness, PATIENCE, Reply, SECRET, mint, organisation};
use crate::state::now;
use crate::token::{self, Subject};
use crate::{Limits, TokenKey};

async fn make(server: &Harness, app: &str, kinds: &str) -> Vec<String> {
    let mut made = Vec::new();
    for word in kinds.split_whitespace() {
        let (kind, channel) = word.split_once('@').unwrap_or((word, ""));
        let mut body = json!({ "eventType": kind, "payload": { "word": word } });
        if !channel.is_empty() {
            body["channels"] = json!([channel]);
        }
        made.push(publish(server, app, body).await);
    }
    made
}

fn iterator(reply: &Reply) -> String {
    reply.body["iterator"].as_str().expect("a place").to_owned()
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let mut lines = reply.head.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

async fn with(server: &Harness, headers: &str, path: &str) -> Reply {
    server
        .call_with(headers, &server.token, "GET", path, "")
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_iterator_leads_through_everything_once() {
    let server = Harness::start().await;
    application(&server, "a").await;
    application(&server, "b").await;
    let made = make(&server, "a", "x@main y x x").await;
    make(&server, "b", "x x").await;
    let poll = format!("{APPS}/a/poller/books");
    let first = server.get(&format!("{poll}?limit=3")).await.is(200);
    assert_eq!(
        (ids(&first.body), &first.body["done"]),
        (made[..3].to_vec(), &json!(false))
    );
    let message = &first.body["data"][0];
    for (field, expected) in [
        ("eventType", json!("x")),
        ("payload", json!({ "word": "x@main" })),
        ("channels", json!(["main"])),
        ("eventId", Value::Null),
        ("headers", Value::Null),
        ("tags", Value::Null),
        ("deliverAt", Value::Null),
    ] {
        assert_eq!(message.get(field), Some(&expected), "{field}");
    }
    assert!(message["timestamp"].is_string() && message.get("offset").is_none());
    let second = format!("{poll}?iterator={}", iterator(&first));
    let second = server.get(&second).await.is(200);
    assert_eq!(
        (ids(&second.body), &second.body["done"]),
        (made[3..].to_vec(), &json!(true))
    );
    // Where nothing comes the place stays, whatever happens elsewhere.
    let rest = format!("{poll}?iterator={}", iterator(&second));
    let nothing = server.get(&rest).await.is(200);
    make(&server, "b", "x").await;
    assert_eq!(server.get(&rest).await.text, nothing.text);
    assert_eq!(ids(&nothing.body).len(), 0);
    let more = make(&server, "a", "x").await;
    assert_eq!(ids(&server.get(&rest).await.is(200).body), more);
    // A message's id is a place, too.
    let behind = format!("{poll}?iterator={}", made[2]);
    assert_eq!(
        ids(&server.get(&behind).await.is(200).body),
        [made[3].clone(), more[0].clone()]
    );
    for (query, expected) in [
        ("event_type=y", vec![&made[1]]),
        ("event_types=y,z", vec![&made[1]]),
        ("channel=main", vec![&made[0]]),
        ("event_type=y&channel=main", vec![]),
        ("after=2200-01-01T00:00:00Z", vec![]),
        ("after=2020-01-01T00:00:00Z&limit=1", vec![&made[0]]),
    ] {
        let found = server.get(&format!("{poll}?{query}")).await.is(200).body;
        assert_eq!(ids(&found).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    for query in [
        "iterator=nonsense",
        "iterator=pos_99",
        "limit=251",
        "limit=0",
        "after=now",
        "event_type=no%20name",
    ] {
        server.get(&format!("{poll}?{query}")).await.is(422);
    }
    server
        .get(&format!("{APPS}/gone/poller/books"))
        .await
        .is(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_an_endpoint_takes_what_that_takes() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let kind = r#"{"name":"y","description":"d"}"#;
    server
        .call("POST", "/api/v1/event-type", kind)
        .await
        .is(201);
    let endpoint = r#"{"url":"https://example.com","uid":"ys","eventTypes":["y"],"disabled":true}"#;
    let path = format!("{APPS}/a/endpoint");
    let endpoint = server.call("POST", &path, endpoint).await.is(201).id();
    let made = make(&server, "a", "x y@main y").await;
    for sink in ["ys", endpoint.as_str()] {
        let all = format!("{APPS}/a/poller/{sink}");
        assert_eq!(
            ids(&server.get(&all).await.is(200).body),
            made[1..],
            "{sink}"
        );
        let one = format!("{APPS}/a/polling-endpoint/{sink}/consumer/c?channel=main");
        assert_eq!(
            ids(&server.get(&one).await.is(200).body),
            made[1..2],
            "{sink}"
        );
    }
    server
        .call("DELETE", &format!("{path}/{endpoint}"), "")
        .await
        .is(204);
    server
        .get(&format!("{APPS}/a/poller/{endpoint}"))
        .await
        .is(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_moves_when_it_asks_for_what_comes_next() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let made = make(&server, "a", "x x x x x").await;
    let path = format!("{APPS}/a/poller/books/consumer/one");
    let two = format!("{path}?limit=2");
    // A client that dies before it asks on gets the same again.
    let first = server.get(&two).await.is(200);
    for _ in 0..2 {
        assert_eq!(server.get(&two).await.is(200).text, first.text);
    }
    assert_eq!(ids(&first.body), made[..2]);
    let next = format!("{two}&iterator={}", iterator(&first));
    let second = server.get(&next).await.is(200);
    assert_eq!(ids(&second.body), made[2..4]);
    // Its answer was lost: the retry gets it again, and so does one that forgot everything.
    assert_eq!(server.get(&next).await.is(200).text, second.text);
    assert_eq!(server.get(&two).await.is(200).text, second.text);
    // An older iterator shows what it showed and takes nothing back.
    let old = format!("{two}&iterator={}", made[0]);
    assert_eq!(ids(&server.get(&old).await.is(200).body), made[1..3]);
    assert_eq!(server.get(&two).await.is(200).text, second.text);
    // Another consumer, and the same name of another sink, have cursors of their own.
    for other in ["books/consumer/two", "tools/consumer/one"] {
        let other = format!("{APPS}/a/poller/{other}?limit=2");
        assert_eq!(ids(&server.get(&other).await.is(200).body), made[..2]);
    }

    let seek = format!("{path}/seek");
    let body = r#"{"after":"2020-01-01T00:00:00Z"}"#;
    let sought = server.call("POST", &seek, body).await.is(200);
    assert_eq!(iterator(&sought), "pos_0");
    assert_eq!(server.get(&two).await.is(200).text, first.text);
    let body = r#"{"after":"2200-01-01T00:00:00Z"}"#;
    server.call("POST", &seek, body).await.is(200);
    assert!(ids(&server.get(&two).await.is(200).body).is_empty());
    for bad in ["{}", r#"{"after":"soon"}"#, r#"{"after":7}"#, "["] {
        server.call("POST", &seek, bad).await.is(422);
    }
    server.call("DELETE", &path, "").await.is(204);
    server.call("DELETE", &path, "").await.is(404);
    assert_eq!(
        server.get(&two).await.is(200).text,
        first.text,
        "it begins anew"
    );
    server
        .get(&format!(
            "{APPS}/a/poller/books/consumer/{}",
            "c".repeat(120)
        ))
        .await
        .is(422);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_of_the_second_kind_moves_by_commits() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let made = make(&server, "a", "x x x").await;
    let path = format!("{APPS}/a/polling-endpoint/books/consumer/one");
    let commit = |offset: Value| {
        let body = json!({ "offset": offset }).to_string();
        let (server, path) = (&server, format!("{path}/commit"));
        async move { server.call("POST", &path, &body).await }
    };
    commit(json!(0)).await.is(404);
    let first = server.get(&format!("{path}?limit=2")).await.is(200);
    assert_eq!(
        (ids(&first.body), &first.body["done"]),
        (made[..2].to_vec(), &json!(false))
    );
    assert!(first.body.get("iterator").is_none());
    let offset = first.body["data"][1]["offset"].clone();
    assert_eq!(
        ids(&server.get(&path).await.is(200).body),
        made,
        "none is committed"
    );
    commit(offset).await.is(204);
    assert_eq!(ids(&server.get(&path).await.is(200).body), made[2..]);
    commit(json!(0)).await.is(204);
    assert_eq!(
        ids(&server.get(&path).await.is(200).body),
        made[2..],
        "never back"
    );
    for bad in [json!(3), json!(-1), json!("2"), json!(1.5), Value::Null] {
        commit(bad).await.is(422);
    }
    commit(json!(2)).await.is(204);
    let nothing = server.get(&path).await.is(200);
    assert_eq!(nothing.text, r#"{"data":[],"done":true}"#);

    // The other kind of the same name has the same cursor.
    let other = format!("{APPS}/a/poller/books/consumer/one");
    assert!(ids(&server.get(&other).await.is(200).body).is_empty());
    let late = format!("{APPS}/a/polling-endpoint/books/consumer/late");
    let latest = format!("{late}?starting_position=latest");
    assert!(ids(&server.get(&latest).await.is(200).body).is_empty());
    let more = make(&server, "a", "x").await;
    assert_eq!(ids(&server.get(&latest).await.is(200).body), more);
    for position in ["middle", ""] {
        let path = format!("{late}?starting_position={position}");
        server.get(&path).await.is(422);
    }
    // A name that nothing can have is a mistake, not a polling endpoint.
    let bad = server.get(&format!("{APPS}/a/poller/a%20b")).await.is(422);
    assert_eq!(bad.body["detail"][0]["loc"], json!(["path", "sink"]));
    server
        .get(&format!("{late}?lease_duration_ms=1000"))
        .await
        .is(501);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_passes_what_a_filter_leaves_out() {
    let server = Harness::start().await;
    let app = application(&server, "a").await;
    let app = app.parse().expect("an id");
    // More than one look looks at.
    for _ in 0..12 {
        let event = || hooklog_storage::Event::new(app, "x".parse().expect("a name"), "{}");
        let events = (0..500).map(|_| event()).collect();
        server.log.append(events).await.expect("is taken");
    }
    let made = make(&server, "a", "y").await;
    let path = format!("{APPS}/a/polling-endpoint/ys/consumer/one?event_type=y");
    let first = server.get(&path).await.is(200);
    assert_eq!(first.text, r#"{"data":[],"done":false}"#);
    assert_eq!(ids(&server.get(&path).await.is(200).body), made);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_waits_for_its_application() {
    let limits = Limits {
        poll_wait_max: Duration::from_secs(2),
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    application(&server, "a").await;
    application(&server, "b").await;
    for path in [
        "poller/s",
        "poller/s/consumer/c",
        "polling-endpoint/s/consumer/d",
    ] {
        // From where there is nothing yet.
        let place = server
            .get(&format!("{APPS}/a/poller/s?limit=250"))
            .await
            .is(200);
        let at = iterator(&place);
        if path == "polling-endpoint/s/consumer/d" {
            let latest = format!("{APPS}/a/{path}?starting_position=latest");
            server.get(&latest).await.is(200);
        }
        let path = format!("{APPS}/a/{path}?iterator={at}&event_type=x");
        let waiting = with(&server, "prefer: wait=600\r\n", &path);
        let published = async {
            make(&server, "b", "x").await;
            make(&server, "a", "other").await;
            make(&server, "a", "x").await
        };
        let (answer, made) = tokio::join!(waiting, published);
        let answer = answer.is(200);
        // Cut to the bound, which is what is said.
        assert_eq!(header(&answer, "preference-applied"), Some("wait=2"));
        if !ids(&answer.body).is_empty() {
            assert_eq!(ids(&answer.body), made, "{path}");
        }
        assert_eq!(ids(&answer.body), made, "it came within the wait");
    }
    // Nothing comes: an empty answer when the time is over.
    let place = iterator(&server.get(&format!("{APPS}/b/poller/s")).await.is(200));
    let path = format!("{APPS}/b/poller/s?iterator={place}");
    let started = tokio::time::Instant::now();
    let nothing = with(&server, "prefer: respond-async, wait=1\r\n", &path).await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(ids(&nothing.is(200).body).len(), 0);
    let at_once = with(&server, "prefer: wait=0\r\n", &path).await.is(200);
    assert_eq!(header(&at_once, "preference-applied"), None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_has_is_not_sent_again() {
    let limits = Limits {
        poll_wait_max: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    application(&server, "a").await;
    let made = make(&server, "a", "x").await;
    let poll = format!("{APPS}/a/poller/s");
    let first = server.get(&poll).await.is(200);
    assert_eq!(header(&first, "cache-control"), Some("private, no-cache"));
    for path in [
        poll.clone(),
        format!("{poll}?iterator={}", iterator(&first)),
    ] {
        let first = server.get(&path).await.is(200);
        let tag = header(&first, "etag").expect("a tag");
        let condition = format!("if-none-match: \"x\", {tag}\r\n");
        for wait in ["", "prefer: wait=5\r\n"] {
            let same = with(&server, &format!("{condition}{wait}"), &path).await;
            let same = same.is(304);
            assert_eq!((header(&same, "etag"), same.text.as_str()), (Some(tag), ""));
        }
        make(&server, "a", "y").await;
        with(&server, &condition, &path).await.is(200);
    }
    let one = format!("{APPS}/a/msg/{}", made[0]);
    let first = server.get(&one).await.is(200);
    assert_eq!(header(&first, "cache-control"), Some("private, max-age=60"));
    let condition = format!(
        "if-none-match: {}\r\n",
        header(&first, "etag").expect("a tag")
    );
    with(&server, &condition, &one).await.is(304);
    let other = format!("{one}?with_content=false");
    with(&server, &condition, &other).await.is(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_are_bounded_and_a_stop_answers_them() {
    let limits = Limits {
        waiters_max: 3,
        waiters_per_holder_max: 2,
        ..Limits::default()
    };
    let server = Harness::start_with(limits).await;
    let app = application(&server, "a").await;
    let own = Subject::Application {
        application: app.parse().expect("an id"),
        organisation: organisation().organisation().expect("one's"),
    };
    let own = mint(own);
    let request = |token: &str| {
        format!(
            "GET {APPS}/a/poller/s HTTP/1.1\r\nhost: a\r\nprefer: wait=40\r\n\
             authorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        )
    };
    let mut waiting = JoinSet::new();
    let mut refused = Vec::new();
    // One more than may wait, of each: whichever comes last is refused.
    for token in [&server.token, &server.token, &server.token, &own, &own] {
        let (address, request) = (server.address, request(token));
        waiting.spawn(async move {
            use tokio::io::AsyncWriteExt;
            let mut stream = tokio::net::TcpStream::connect(address)
                .await
                .expect("connects");
            stream.write_all(request.as_bytes()).await.expect("is sent");
            super::harness::read_reply(&mut stream).await
        });
    }
    let two = async {
        while refused.len() < 2 {
            let reply = waiting.join_next().await.expect("five were asked");
            refused.push(reply.expect("no panic"));
        }
    };
    tokio::time::timeout(PATIENCE, two).await.expect("in time");
    let mut statuses: Vec<u16> = refused.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert!(
        statuses == [429, 503] || statuses == [503, 503],
        "{refused:?}"
    );
    for reply in &refused {
        assert_eq!(header(reply, "retry-after"), Some("1"), "{reply:?}");
    }
    // Without a wish to wait there is always an answer.
    server.get(&format!("{APPS}/a/poller/s")).await.is(200);
    server.stop().await;
    for reply in waiting.join_all().await {
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(
            (reply.body["data"].clone(), &reply.body["done"]),
            (json!([]), &json!(true))
        );
    }
}

/// A poll that waited was answered with what came after its token had ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_poll_outlives_its_token() {
    let server = Harness::start_as(|config| {
        config.limits.waiters_per_holder_max = 1;
        // Whoever finds no room asks again at once, some hundred times if the other came first.
        config.rate_limits.application = None;
    });
    let server = server.await;
    let app = application(&server, "a").await;
    let subject = Subject::Application {
        application: app.parse().expect("an id"),
        organisation: organisation().organisation().expect("one's"),
    };
    let begin = Timestamp::from_millis(now().as_millis() - 10_000);
    let key = TokenKey::new(SECRET).expect("long enough");
    for (number, end) in ["/api/v1/auth/logout", "/api/v1/auth/app/a/expire-all"]
        .into_iter()
        .enumerate()
    {
        let life = |seconds| Duration::from_secs(3_600 + 10 * number as u64 + seconds);
        let own = token::mint(&key, subject, begin, life(0)).expect("signs");
        let other = token::mint(&key, subject, begin, life(1)).expect("signs");
        let path = format!("{APPS}/a/poller/s");
        let place = iterator(&server.get(&path).await.is(200));
        let path = format!("{path}?iterator={place}");
        let waits = async {
            loop {
                let wait = "prefer: wait=40\r\n";
                let answer = server.call_with(wait, &own, "GET", &path, "").await;
                // One that asks whether it waits may have been quicker.
                if answer.status != 429 {
                    return answer;
                }
            }
        };
        let ends = async {
            // It waits once there is no room for another one.
            let probe = async || {
                let probe = server.call_with("prefer: wait=0\r\n", &other, "GET", &path, "");
                probe.await.is(200);
                let wait = "prefer: wait=1\r\n";
                server
                    .call_with(wait, &other, "GET", &path, "")
                    .await
                    .status
            };
            while probe().await != 429 {}
            let by = if number == 0 { &own } else { &server.token };
            let ended = server.call_as(by, "POST", end, "").await;
            assert!(ended.status < 300, "{ended:?}");
            make(&server, "a", "x").await;
        };
        let (answer, ()) = tokio::join!(waits, ends);
        answer.is(401);
    }
    server.stop().await;
}
