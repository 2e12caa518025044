//! What became of messages: by endpoint, by message, in numbers; and what is taken out again.
//!
//! **Invariant:** as `end_to_end.rs`.
//! **Next:** `isolation.rs`.

use std::time::Duration;

use hooklog_storage::{
    Cursor, CursorState, EventId, NewAttempt, Outcome, Progress, SubscriptionId, Timestamp, Trigger,
};
use serde_json::{Value, json};

use super::end_to_end::{APPS, application, ids, publish};
use super::harness::Harness;

const DUE: Timestamp = Timestamp::from_millis(1_790_000_005_000);

fn attempt(event: &str, endpoint: &str, outcome: Outcome) -> Progress {
    let event: EventId = event.parse().expect("an id");
    Progress::Attempt(NewAttempt {
        event,
        subscription: endpoint.parse().expect("an id"),
        url: "http://a/".into(),
        number: 0,
        started: event.timestamp(),
        duration: Duration::from_millis(1),
        status_code: Some(500),
        response: "a private answer".to_owned(),
        outcome,
        trigger: Trigger::Scheduled,
    })
}

/// The items as `id: status, nextAttempt`.
fn statuses(list: &Value) -> Vec<(String, u64, bool)> {
    let data = list["data"].as_array().expect("a list").iter();
    let text = |item: &Value, key: &str| item[key].as_str().expect("a text").to_owned();
    data.map(|item| {
        let status = item["status"].as_u64().expect("a number");
        let words = ["success", "pending", "fail"];
        let word = words[usize::try_from(status).expect("is small")];
        assert_eq!(text(item, "statusText"), word);
        (text(item, "id"), status, item["nextAttempt"].is_string())
    })
    .collect()
}

struct Scene {
    server: Harness,
    endpoint: String,
    /// Delivered, to be retried, failed for good, not attempted, oldest first.
    events: Vec<String>,
}

async fn scene() -> Scene {
    let server = Harness::start().await;
    application(&server, "a").await;
    let body = r#"{"url":"http://a/","uid":"e"}"#;
    let all = format!("{APPS}/a/endpoint");
    let mut events = Vec::new();
    // Came before the endpoint, so it is none of its business.
    publish(&server, "a", json!({ "eventType": "x", "payload": {} })).await;
    let endpoint = server.call("POST", &all, body).await.is(201).id();
    for (n, kind) in ["x", "y", "x", "x"].iter().enumerate() {
        let body = json!({ "eventType": kind, "payload": { "n": n }, "tags": [format!("t{n}")] });
        events.push(publish(&server, "a", body).await);
    }
    let retry = Outcome::Retry(hooklog_storage::Retry::failed(1, DUE));
    let mut second = attempt(&events[0], &endpoint, Outcome::Delivered);
    if let Progress::Attempt(second) = &mut second {
        second.number = 1;
    }
    let made = vec![
        attempt(&events[0], &endpoint, retry),
        second,
        attempt(&events[1], &endpoint, retry),
        attempt(&events[2], &endpoint, Outcome::Exhausted),
    ];
    server.log.record(made).await.expect("is recorded");
    Scene {
        server,
        endpoint,
        events,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_lists_its_messages() {
    let Scene {
        server,
        endpoint,
        events,
    } = scene().await;
    let path = format!("{APPS}/a/endpoint/e/msg");
    let [delivered, pending, failed, awaited] = [0, 1, 2, 3].map(|at| events[at].clone());
    let list = server.get(&path).await.is(200).body;
    let expected = vec![
        (awaited.clone(), 1, false),
        (failed.clone(), 2, false),
        (pending.clone(), 1, true),
        (delivered.clone(), 0, false),
    ];
    assert_eq!(statuses(&list), expected);
    assert_eq!(list["data"][3]["payload"]["n"], 0);
    assert_eq!(list["data"][3]["tags"], json!(["t0"]));
    for (query, expected) in [
        ("status=1", vec![&awaited, &pending]),
        ("status=0", vec![&delivered]),
        ("status=3", vec![]),
        ("event_types=y", vec![&pending]),
        ("tag=t2", vec![&failed]),
        ("channel=c", vec![]),
        ("before=2020-01-01T00:00:00Z", vec![]),
        ("limit=1", vec![&awaited]),
    ] {
        let list = server.get(&format!("{path}?{query}")).await.is(200).body;
        let expected: Vec<String> = expected.into_iter().cloned().collect();
        assert_eq!(ids(&list), expected, "{query}");
    }
    let bare = server
        .get(&format!("{path}?with_content=false"))
        .await
        .is(200)
        .body;
    assert_eq!(bare["data"][0]["payload"], json!({}));
    server.get(&format!("{path}?status=9")).await.is(422);
    let next = format!("{path}?limit=2&iterator={failed}");
    let next = server.get(&next).await.is(200).body;
    assert_eq!(ids(&next), [pending.clone(), delivered.clone()]);
    let back = format!("{path}?limit=2&iterator=-{delivered}");
    let back = server.get(&back).await.is(200).body;
    assert_eq!(ids(&back), [failed.clone(), pending.clone()]);
    // What its cursor has passed without an attempt was not for it.
    let id: SubscriptionId = endpoint.parse().expect("an id");
    let floor = server.log.end();
    let cursor = Cursor {
        floor,
        settled: Vec::new(),
        state: CursorState::Behind,
    };
    let passed = vec![Progress::Cursor(id, cursor)];
    server.log.record(passed).await.expect("is recorded");
    let list = server.get(&path).await.is(200).body;
    assert_eq!(ids(&list), [failed, pending, delivered]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_lists_its_endpoints() {
    let Scene {
        server,
        endpoint,
        events,
    } = scene().await;
    let all = format!("{APPS}/a/endpoint");
    // Too late for these messages, or not for their type.
    let late = r#"{"url":"http://late/"}"#;
    server.call("POST", &all, late).await.is(201);
    for (event, status, has_next) in [
        (&events[0], 0, false),
        (&events[1], 1, true),
        (&events[2], 2, false),
        (&events[3], 1, false),
    ] {
        let path = format!("{APPS}/a/msg/{event}/endpoint");
        let list = server.get(&path).await.is(200).body;
        assert_eq!(statuses(&list), [(endpoint.clone(), status, has_next)]);
        assert_eq!(list["data"][0]["url"], "http://a/");
        assert_eq!(list["done"], true);
    }
    server
        .get(&format!("{APPS}/a/msg/absent/endpoint"))
        .await
        .is(404);
    // Lists of older SDKs.
    for (path, count) in [
        (format!("{APPS}/a/msg/{}/attempt", events[0]), 2),
        (format!("{APPS}/a/msg/{}/endpoint/e/attempt", events[0]), 2),
        (
            format!("{APPS}/a/msg/{}/endpoint/e/attempt?status=0", events[0]),
            1,
        ),
        (format!("{APPS}/a/attempt/endpoint/e?tag=t0"), 2),
        (format!("{APPS}/a/attempt/endpoint/e?tag=t3"), 0),
    ] {
        let list = server.get(&path).await.is(200).body;
        assert_eq!(ids(&list).len(), count, "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_an_endpoint_are_counted_once() {
    let Scene { server, events, .. } = scene().await;
    let path = format!("{APPS}/a/endpoint/e/stats");
    let stats = server.get(&path).await.is(200).body;
    let expected = json!({ "success": 1, "pending": 1, "sending": 0, "fail": 1, "canceled": 0 });
    assert_eq!(stats, expected);
    let before = format!("{path}?since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z");
    assert_eq!(server.get(&before).await.is(200).body["success"], 0);
    for query in ["until=2200-01-01T00:00:00Z", "since=2020-01-01T00:00:00Z"] {
        let refused = server.get(&format!("{path}?{query}")).await.is(400);
        assert_eq!(refused.body["code"], "invalid_range");
    }
    server.get(&format!("{path}?since=yesterday")).await.is(422);
    // The attempts themselves: as many as there are, by when they were made.
    let path = format!("{APPS}/a/endpoint/e/attempt-stats");
    let list = server.get(&format!("{APPS}/a/attempt/endpoint/e")).await;
    let list = list.is(200).body;
    let made = list["data"].as_array().expect("a list");
    let last: EventId = events[3].parse().expect("an id");
    let time = |millis| jiff::Timestamp::from_millisecond(millis).expect("a time");
    let last = last.timestamp().as_millis();
    let (low, high) = (time(last - 60_000), time(last + 60_000));
    let within = format!("{path}?since={low}&until={high}");
    let stats = server.get(&within).await.is(200).body;
    let failed = made.iter().filter(|attempt| attempt["status"] == 2).count();
    let expected = json!({ "success": made.len() - failed, "fail": failed, "canceled": 0 });
    assert!(failed > 1, "more than messages");
    assert_eq!(stats, expected);
    let before = format!("{path}?since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z");
    let none = json!({ "success": 0, "fail": 0, "canceled": 0 });
    assert_eq!(server.get(&before).await.is(200).body, none);
    let turned = format!("{path}?since={high}&until={low}");
    let refused = server.get(&turned).await.is(400);
    assert_eq!(refused.body["code"], "invalid_range");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_is_taken_out_for_good() {
    let Scene { server, events, .. } = scene().await;
    let message = format!("{APPS}/a/msg/{}", events[0]);
    let attempts = format!("{APPS}/a/attempt/msg/{}", events[0]);
    let list = server.get(&attempts).await.is(200).body;
    let attempt = list["data"][0]["id"].as_str().expect("one").to_owned();
    let delete = async |path: &str| server.call("DELETE", path, "").await;
    delete(&format!("{message}/content")).await.is(204);
    delete(&format!("{message}/content")).await.is(204);
    delete(&format!("{message}/attempt/{attempt}/content"))
        .await
        .is(204);
    let gone = json!({ "expired": true });
    assert_eq!(server.get(&message).await.is(200).body["payload"], gone);
    for list in ["msg", "endpoint/e/msg"] {
        let list = server
            .get(&format!("{APPS}/a/{list}?tag=t0"))
            .await
            .is(200)
            .body;
        assert_eq!(list["data"][0]["payload"], gone);
    }
    let one = server
        .get(&format!("{message}/attempt/{attempt}"))
        .await
        .is(200)
        .body;
    assert_eq!(one["response"], "EXPUNGED");
    let list = server.get(&attempts).await.is(200).body;
    let responses = ["EXPUNGED", "a private answer"];
    assert_eq!(
        [0, 1].map(|at| list["data"][at]["response"].clone()),
        responses
    );
    let resend = format!("{message}/endpoint/e/resend");
    let refused = server.call("POST", &resend, "").await.is(400);
    assert_eq!(refused.body["code"], "missing_payload");
    delete(&format!("{APPS}/a/msg/absent/content"))
        .await
        .is(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_payloads_are_taken_out_at_once() {
    let Scene { server, events, .. } = scene().await;
    application(&server, "b").await;
    let strange = publish(&server, "b", json!({ "eventType": "x", "payload": {} })).await;
    let named = json!({ "eventType": "x", "payload": {}, "eventId": "by-uid" });
    let named = publish(&server, "a", named).await;
    let path = format!("{APPS}/a/msg/bulk-expunge");
    let bulk = async |ids: Value| {
        let body = json!({ "ids": ids }).to_string();
        server.call("POST", &path, &body).await
    };
    let asked = json!([events[0], events[1], "by-uid", "absent", strange, "no name"]);
    let told = bulk(asked).await.is(200).body;
    let expected = json!({ "results": { &events[0]: "expunged", &events[1]: "expunged",
        "by-uid": "expunged", "absent": "not-found", &strange: "not-found", "no name": "not-found" } });
    assert_eq!(told, expected);
    let gone = json!({ "expired": true });
    for (id, is_gone) in [
        (&events[0], true),
        (&events[1], true),
        (&named, true),
        (&events[2], false),
    ] {
        let shown = server.get(&format!("{APPS}/a/msg/{id}")).await.is(200).body;
        assert_eq!(shown["payload"] == gone, is_gone, "{id}");
    }
    let kept = server
        .get(&format!("{APPS}/b/msg/{strange}"))
        .await
        .is(200)
        .body;
    assert_eq!(kept["payload"], json!({}));
    assert_eq!(
        server.call("POST", &path, "{}").await.is(200).body["results"],
        json!({})
    );
    bulk(json!(vec!["x"; 251])).await.is(422);
    bulk(json!("x")).await.is(422);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_example_goes_to_one_endpoint() {
    let Scene { server, .. } = scene().await;
    let other = r#"{"url":"http://b/","uid":"f"}"#;
    server
        .call("POST", &format!("{APPS}/a/endpoint"), other)
        .await
        .is(201);
    let kind = json!({ "name": "x", "description": "d",
        "schemas": { "1": { "examples": [{ "n": 1 }, { "n": 2 }] } } });
    server
        .call("POST", "/api/v1/event-type", &kind.to_string())
        .await
        .is(201);
    let path = format!("{APPS}/a/endpoint/e/send-example");
    let send = async |body: Value| server.call("POST", &path, &body.to_string()).await;
    let sent = send(json!({ "eventType": "x", "exampleIndex": 1 }))
        .await
        .is(200);
    has_payload(&sent.body, &json!({ "n": 2 }));
    let ping = send(json!({ "eventType": "svix.ping" })).await.is(200);
    has_payload(&ping.body, &json!({ "success": true }));
    let own = send(json!({ "eventType": "x", "payload": { "own": 1 } }))
        .await
        .is(200);
    has_payload(&own.body, &json!({ "own": 1 }));
    send(json!({ "eventType": "unknown" })).await.is(404);
    let none = send(json!({ "eventType": "x", "exampleIndex": 7 }))
        .await
        .is(400);
    assert_eq!(none.body["code"], "invalid_scheme");
    // It is parked for the one endpoint, by hand, and for nobody else.
    let state = server.log.delivery_state().expect("is read");
    let parked: Vec<_> = state
        .retries
        .iter()
        .filter(|(.., r)| r.trigger == Trigger::Manual)
        .collect();
    assert_eq!(parked.len(), 3);
    let list = server
        .get(&format!("{APPS}/a/endpoint/f/msg"))
        .await
        .is(200)
        .body;
    assert_eq!(ids(&list), Vec::<String>::new());
    assert_eq!(
        server
            .get(&format!("{APPS}/a/msg/{}", sent.id()))
            .await
            .is(200)
            .id(),
        sent.id()
    );
    server.stop().await;
}

#[track_caller]
fn has_payload(message: &Value, payload: &Value) {
    assert_eq!(&message["payload"], payload, "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_anyone_would_get_it_is_told() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let path = format!("{APPS}/a/msg/precheck/active");
    let active = async |body: Value| {
        let reply = server.call("POST", &path, &body.to_string()).await.is(200);
        reply.body["active"].as_bool().expect("a flag")
    };
    assert!(!active(json!({ "eventType": "x" })).await);
    let body = r#"{"url":"http://a/","uid":"e","channels":["c"]}"#;
    server
        .call("POST", &format!("{APPS}/a/endpoint"), body)
        .await
        .is(201);
    assert!(!active(json!({ "eventType": "x" })).await);
    assert!(active(json!({ "eventType": "x", "channels": ["b", "c"] })).await);
    let off = r#"{"disabled":true}"#;
    server
        .call("PATCH", &format!("{APPS}/a/endpoint/e"), off)
        .await
        .is(200);
    assert!(!active(json!({ "eventType": "x", "channels": ["c"] })).await);
    server.call("POST", &path, "{}").await.is(422);
    server.stop().await;
}
