//! Attempts over a real socket and a real log.
//!
//! **Invariant:** as `end_to_end.rs`.
//! **Next:** `access.rs`.

use std::time::Duration;

use hooklog_storage::{Expired, NewAttempt, Offset, Outcome, Progress, Retry, Timestamp, Trigger};
use serde_json::json;

use super::end_to_end::{APPS, application, count, ids, publish};
use super::harness::Harness;

/// No answer, a 503, a success.
pub(super) fn three_attempts(event: &str, endpoint: &str) -> Vec<Progress> {
    let due = Timestamp::from_millis(1_790_000_005_000);
    let made = [
        (None, Outcome::Retry(Retry::failed(1, due))),
        (Some(503), Outcome::Retry(Retry::failed(2, due))),
        (Some(204), Outcome::Delivered),
    ];
    let progress = (0..).zip(made).map(|(number, (status_code, outcome))| {
        Progress::Attempt(NewAttempt {
            event: event.parse().expect("an id"),
            subscription: endpoint.parse().expect("an id"),
            url: "http://a/".into(),
            number,
            started: Timestamp::from_millis(1_790_000_000_000),
            duration: Duration::from_millis(12),
            status_code,
            response: "nope".to_owned(),
            outcome,
            trigger: Trigger::Scheduled,
        })
    });
    progress.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_tells_what_it_missed() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let body = r#"{"url":"http://a/"}"#;
    let endpoints = format!("{APPS}/a/endpoint");
    let id = server.call("POST", &endpoints, body).await.is(201).id();
    let path = format!("{endpoints}/{id}");
    assert_eq!(server.get(&path).await.is(200).body.get("expired"), None);
    let expired = Expired {
        range: Offset::new(3)..Offset::new(9),
        at: Timestamp::from_millis(1_790_000_000_000),
    };
    let missed = Progress::Expired(id.parse().expect("an id"), expired);
    server.log.record(vec![missed]).await.expect("is recorded");
    let told = json!({ "firstOffset": 3, "lastOffset": 8, "at": "2026-09-21T14:13:20.000Z" });
    assert_eq!(server.get(&path).await.is(200).body["expired"], told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let body = r#"{"url":"http://a/"}"#;
    let endpoint = server
        .call("POST", &format!("{APPS}/a/endpoint"), body)
        .await
        .is(201)
        .id();
    let event = publish(&server, "a", json!({ "eventType": "x", "payload": {} })).await;
    let made = three_attempts(&event, &endpoint);
    server.log.record(made).await.expect("is recorded");
    let by_event = format!("{APPS}/a/attempt/msg/{event}");
    let by_endpoint = format!("{APPS}/a/attempt/endpoint/{endpoint}");
    for list in [&by_event, &by_endpoint] {
        let all = server.get(list).await.is(200).body;
        let codes = all["data"].as_array().expect("a list").iter();
        let codes: Vec<_> = codes
            .map(|item| item["responseStatusCode"].as_u64())
            .collect();
        assert_eq!(codes, [Some(204), Some(503), Some(0)], "newest first");
        for (filter, expected) in [
            ("status=0", 1),
            ("status=2", 2),
            ("status=1", 0),
            ("status_code_class=500", 1),
            ("status_code_class=0", 1),
            ("event_types=x", 3),
            ("event_types=y", 0),
            ("channel=c", 0),
            ("after=2200-01-01T00:00:00Z", 0),
            ("limit=2", 2),
            // SDKs send it unasked.
            ("expanded_statuses=true&with_content=false", 3),
        ] {
            assert_eq!(
                count(&server, &format!("{list}?{filter}")).await,
                expected,
                "{filter}"
            );
        }
        for wrong in ["status=9", "with_msg=null&channel=nobody"] {
            server.get(&format!("{list}?{wrong}")).await.is(422);
        }
        let path = format!("{list}?with_msg=true&limit=2");
        let shown = server.get(&path).await.is(200).body;
        for item in shown["data"].as_array().expect("a list") {
            // Never its payload.
            let message = &item["msg"];
            assert_eq!(
                (&message["id"], &message["payload"]),
                (&json!(event), &json!({}))
            );
            assert_eq!(message["eventType"], "x");
        }
        let without = server.get(&format!("{list}?with_msg=false")).await.is(200);
        assert!(!without.text.contains("\"msg\":"), "{}", without.text);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_attempt_and_one_more() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let body = r#"{"url":"http://a/"}"#;
    let endpoint = server
        .call("POST", &format!("{APPS}/a/endpoint"), body)
        .await
        .is(201)
        .id();
    let event = publish(&server, "a", json!({ "eventType": "x", "payload": {} })).await;
    let made = three_attempts(&event, &endpoint);
    server.log.record(made).await.expect("is recorded");
    let by_event = format!("{APPS}/a/attempt/msg/{event}");
    let one = ids(&server.get(&by_event).await.body)[0].clone();
    let path = format!("{APPS}/a/msg/{event}/attempt/{one}");
    assert_eq!(server.get(&path).await.is(200).id(), one);
    let other = publish(&server, "a", json!({ "eventType": "x", "payload": {} })).await;
    server
        .get(&format!("{APPS}/a/msg/{other}/attempt/{one}"))
        .await
        .is(404);
    server
        .get(&format!("{by_event}?endpoint_id=unknown"))
        .await
        .is(404);
    assert_eq!(
        count(&server, &format!("{by_event}?endpoint_id={endpoint}")).await,
        3
    );
    let resend = format!("{APPS}/a/msg/{event}/endpoint/{endpoint}/resend");
    assert_eq!(server.call("POST", &resend, "").await.is(202).text, "{}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_in_a_window() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let body = r#"{"url":"http://a/"}"#;
    let all = format!("{APPS}/a/endpoint");
    let endpoint = server.call("POST", &all, body).await.is(201).id();
    let event = publish(&server, "a", json!({ "eventType": "x", "payload": {} })).await;
    // One a minute and hour from 12:00 on, each recorded out of turn by a little.
    let start: jiff::Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
    let mut made = Vec::new();
    for hour in [1, 0, 2, 4, 3, 5, 7, 6] {
        let mut one = three_attempts(&event, &endpoint).remove(0);
        if let Progress::Attempt(attempt) = &mut one {
            attempt.started = Timestamp::from_millis(start.as_millisecond() + hour * 3_000_000);
        }
        made.push(one);
    }
    server.log.record(made).await.expect("is recorded");
    let list = format!("{APPS}/a/attempt/endpoint/{endpoint}");
    for (query, expected) in [
        ("after=2026-01-01T12:00:00Z", 8),
        ("after=2026-01-01T13:40:00Z", 6),
        ("after=2026-01-01T17:50:00Z", 1),
        ("after=2026-01-01T17:51:00Z", 0),
        ("before=2026-01-01T12:00:00Z", 0),
        ("before=2026-01-01T12:01:00Z", 1),
        ("before=2026-01-01T13:40:00Z", 2),
        ("before=2027-01-01T00:00:00Z", 8),
        ("after=2026-01-01T13:40:00Z&before=2026-01-01T15:20:00Z", 2),
    ] {
        let found = count(&server, &format!("{list}?{query}")).await;
        assert_eq!(found, expected, "{query}");
    }
    let since = format!("{list}?limit=3&after=2020-01-01T00:00:00Z");
    let (mut seen, mut query) = (Vec::new(), since.clone());
    loop {
        let page = server.get(&query).await.is(200).body;
        seen.splice(0..0, ids(&page));
        if page["done"] == true {
            break;
        }
        let newer = page["prevIterator"].as_str().expect("a way on");
        query = format!("{since}&iterator={newer}");
    }
    assert_eq!(seen, ids(&server.get(&list).await.is(200).body));
    server.stop().await;
}
