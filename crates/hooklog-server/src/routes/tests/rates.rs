//! Rate limits over a socket: what is refused, and what every answer says.
//!
//! **Invariant:** limits are so low that time does not matter.
//! **Next:** `slow_clients.rs`.

use serde_json::json;

use super::end_to_end::{APPS, application, publish};
use super::harness::{Harness, Reply, mint, organisation};
use crate::RateLimits;
use crate::token::Subject;

#[track_caller]
fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let mut lines = reply.head.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_gets_its_burst_in_each_class() {
    let server = Harness::start_as(|config| {
        config.rate_limits = RateLimits {
            organisation: None,
            application: Some("2/h,3".parse().expect("is one")),
        };
    })
    .await;
    let own = server
        .call("POST", "/api/v1/app", r#"{"name":"a","uid":"a"}"#)
        .await
        .is(201);
    assert_eq!(header(&own, "ratelimit"), None, "no limit, no headers");
    let token = mint(Subject::Application {
        application: own.id().parse().expect("an id"),
        organisation: organisation().organisation().expect("a tenant"),
    });
    // What is refused or not found costs as well.
    let cases = [
        ("/api/v1/app/a", 200),
        ("/api/v1/app/b", 404),
        ("/api/v1/app", 403),
    ];
    for (left, (path, status)) in [2, 1, 0].into_iter().zip(cases) {
        let reply = server.call_as(&token, "GET", path, "").await.is(status);
        assert_eq!(
            header(&reply, "ratelimit-policy"),
            Some("\"read\";q=3;w=5400")
        );
        let told = header(&reply, "ratelimit").expect("is told");
        assert!(told.starts_with(&format!("\"read\";r={left};t=")), "{told}");
    }
    let refused = server
        .call_as(&token, "GET", "/api/v1/app/a", "")
        .await
        .is(429);
    assert_eq!(refused.body["code"], "rate_limited");
    let wait: u64 = header(&refused, "retry-after")
        .and_then(|text| text.parse().ok())
        .expect("seconds");
    assert!((1_700..=1_800).contains(&wait), "{wait}");
    assert_eq!(
        header(&refused, "ratelimit"),
        Some(&*format!("\"read\";r=0;t={wait}"))
    );
    // Another class, another token, no token.
    let endpoint = r#"{"url":"http://127.0.0.1:9/"}"#;
    server
        .call_as(&token, "POST", "/api/v1/app/a/endpoint", endpoint)
        .await
        .is(201);
    server.get("/api/v1/app/a").await.is(200);
    for _ in 0..5 {
        server
            .call_as("", "GET", "/api/v1/health", "")
            .await
            .is(200);
    }
    server.stop().await;
}

/// `If-None-Match: *` made every read free, and so did the right tag of a full page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_poll_that_found_nothing_costs_nothing() {
    let burst = 40;
    let server = Harness::start_as(|config| {
        config.rate_limits.application = Some(format!("1/h,{burst}").parse().expect("is one"));
    })
    .await;
    let app = application(&server, "a").await;
    let token = mint(Subject::Application {
        application: app.parse().expect("an id"),
        organisation: organisation().organisation().expect("a tenant"),
    });
    let message = json!({ "eventType": "x", "payload": {} });
    let id = publish(&server, "a", message).await;
    let poll = format!("{APPS}/a/poller/s");
    let left = |reply: &Reply| -> u32 {
        let told = header(reply, "ratelimit").expect("is told");
        let left = told.split(['=', ';']).nth(2).expect("a number");
        left.parse().expect("a number")
    };
    let ask = async |path: &str, tag: Option<&str>| {
        let headers = tag.map(|tag| format!("if-none-match: {tag}\r\n"));
        let headers = headers.unwrap_or_default();
        server.call_with(&headers, &token, "GET", path, "").await
    };
    let first = ask(&poll, None).await.is(200);
    let end = first.body["iterator"].as_str().expect("a text");
    let end = format!("{poll}?iterator={end}");
    let mut before = left(&first);
    // By commits nothing moves, so a filter leaves out the same again and again.
    let filtered = format!("{APPS}/a/polling-endpoint/s/consumer/c?event_type=other");
    let after = format!("{poll}?after=2100-01-01T00:00:00Z");
    let one = format!("{APPS}/a/msg/{id}");
    for (path, cost) in [
        (&end, 0),
        (&poll, 1),
        (&filtered, 1),
        (&after, 1),
        (&one, 1),
    ] {
        let first = ask(path, None).await.is(200);
        let tag = header(&first, "etag").expect("a tag");
        assert_eq!(left(&first), before - 1, "{path}");
        before -= 1;
        for (tag, cost) in [(tag, cost), (tag, cost), ("*", 1)] {
            let same = ask(path, Some(tag)).await.is(304);
            assert_eq!(left(&same), before - cost, "{path} {tag}");
            before -= cost;
        }
    }
    // The same bytes, so the same tag; but a consumer is made, or its cursor moves.
    let same = ask(&end, None).await.is(200);
    let tag = header(&same, "etag").expect("a tag");
    let consumer = end.replace('?', "/consumer/new?");
    before = left(&same);
    for cost in [1, 0, 0] {
        let same = ask(&consumer, Some(tag)).await.is(304);
        assert_eq!(left(&same), before - cost);
        before -= cost;
    }
    server.stop().await;
}
