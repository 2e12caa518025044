//! Messages for later over a socket: what is accepted, what is told of them meanwhile, and who sees them.
//!
//! **Invariant:** nobody dispatches here, so whatever waits goes on waiting.
//! **Next:** `explain.rs`.

use std::time::Duration;

use hooklog_storage::{Health, NewAttempt, Outcome, Progress, Retry, Timestamp, Trigger};
use serde_json::{Value, json};

use super::content::post;
use super::end_to_end::{APPS, application, publish};
use super::harness::Harness;
use crate::Limits;
use crate::state::now;
use crate::wire::time_text;

const HOUR: Duration = Duration::from_hours(1);

async fn endpoint(server: &Harness, uid: &str, more: &Value) -> String {
    let mut body = json!({ "url": "https://example.com", "uid": uid });
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    let path = format!("{APPS}/a/endpoint");
    let made = server.call("POST", &path, &body.to_string()).await;
    made.is(201).id()
}

fn message(due: &str) -> Value {
    json!({ "eventType": "x", "payload": { "n": 1 }, "deliverAt": due })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_for_later_is_there_at_once_and_pending() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let due = time_text(now().plus(HOUR));
    endpoint(&server, "e", &json!({})).await;
    endpoint(&server, "skips", &json!({})).await;
    endpoint(&server, "other", &json!({ "channels": ["c"] })).await;
    let path = format!("{APPS}/a/msg");
    let made = server.call("POST", &path, &message(&due).to_string()).await;
    let made = made.is(202).body;
    assert_eq!(made["deliverAt"], due);
    let id = made["id"].as_str().expect("an id");
    // A time that has come is none.
    let past = message("2020-01-01T00:00:00Z").to_string();
    let past = server.call("POST", &path, &past).await.is(202).body;
    assert_eq!(past.get("deliverAt"), None);

    // Whoever reads the log sees it: the list, one message, a poll.
    let listed = server.get(&path).await.is(200).body;
    assert_eq!(listed["data"][1]["deliverAt"], due);
    let one = server.get(&format!("{path}/{id}")).await.is(200).body;
    assert_eq!(one["deliverAt"], due);
    let polled = server.get(&format!("{APPS}/a/poller/p")).await.is(200).body;
    assert_eq!(polled["data"][0]["deliverAt"], due);

    let skip = format!("{APPS}/a/msg/{id}/endpoint/skips/skip");
    server.call("POST", &skip, "").await.is(202);
    let told = server.get(&format!("{path}/{id}/trace")).await.is(200).body;
    let said = |uid: &str| {
        let all = told["data"].as_array().expect("a list").iter();
        let mut of = all.filter(|one| one["endpointUid"] == uid);
        of.next().expect("is listed").clone()
    };
    let waits = said("e");
    assert_eq!(
        (&waits["status"], &waits["nextAttempt"]),
        (&json!("waiting"), &json!(due))
    );
    let why = waits["why"].as_str().expect("a text");
    assert!(why.starts_with(&format!("delayed until {due}")), "{why}");
    let skipped = said("skips")["why"].as_str().expect("a text").to_owned();
    assert!(skipped.starts_with("skipped"), "{skipped}");
    assert_eq!(said("other")["status"], "unwanted");

    // The API family's own words for the same.
    let list = server
        .get(&format!("{path}/{id}/endpoint"))
        .await
        .is(200)
        .body;
    let uids = list["data"].as_array().expect("a list").iter();
    assert_eq!(
        uids.map(|one| one["uid"].clone()).collect::<Vec<_>>(),
        ["e"]
    );
    assert_eq!(list["data"][0]["nextAttempt"], due);
    let list = server
        .get(&format!("{APPS}/a/endpoint/e/msg?status=1"))
        .await;
    let list = list.is(200).body;
    assert_eq!(list["data"][1]["nextAttempt"], due);
    assert_eq!(list["data"][1]["statusText"], "pending");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_too_far_ahead_are_refused_wherever_they_are_said() {
    let server = Harness::start_on(Limits::default(), |config| {
        config.retention.events.age = Some(HOUR * 24);
    });
    let server = server.await;
    application(&server, "a").await;
    let (near, far) = (
        time_text(now().plus(HOUR)),
        time_text(now().plus(HOUR * 25)),
    );
    let limit = "must be at most 86400 s ahead: 2592000 s, or the age at which";
    let path = format!("{APPS}/a/msg");
    for (body, what) in [
        (message(&far), limit),
        (message("tomorrow"), "must be a time"),
    ] {
        let refused = server
            .call("POST", &path, &body.to_string())
            .await
            .is(422)
            .body;
        assert_eq!(refused["detail"][0]["loc"], json!(["body", "deliverAt"]));
        let text = refused["detail"][0]["msg"].as_str().expect("a text");
        assert!(text.starts_with(what), "{text}");
    }
    // One of a batch keeps none of the others out.
    let batch = json!([message(&near), message(&far), message(&near)]).to_string();
    let told = server
        .call("POST", &format!("{path}/batch"), &batch)
        .await
        .body;
    assert_eq!(
        (&told["published"], &told["failed"]),
        (&json!(2), &json!(1))
    );

    let event = format!("{APPS}/a/event?event_type=x");
    let said = |time: &str| format!("hooklog-deliver-at: {time}\r\ncontent-type: text/plain\r\n");
    let made = post(&server, &event, &said(&near), b"hi")
        .await
        .is(202)
        .body;
    assert_eq!(made["deliverAt"], near);
    let refused = post(&server, &event, &said(&far), b"hi").await.is(422).body;
    assert_eq!(
        refused["detail"][0]["loc"],
        json!(["header", "hooklog-deliver-at"])
    );
    let asked = format!("{event}&deliver_at={near}");
    let made = post(&server, &asked, "content-type: text/plain\r\n", b"hi").await;
    assert_eq!(made.is(202).body["deliverAt"], near);
    let twice = post(&server, &asked, &said(&near), b"hi").await;
    twice.is(422);
    let cloud_event = json!({
        "specversion": "1.0", "id": "1", "source": "s", "type": "x", "data": {},
    });
    let headers = "content-type: application/cloudevents+json\r\n";
    let made = post(&server, &asked, headers, cloud_event.to_string().as_bytes()).await;
    assert_eq!(made.is(202).body["deliverAt"], near);
    server.stop().await;
}

/// A delivery that was skipped after an attempt is nowhere said to be pending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skipped_delivery_is_a_failed_one() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let id = endpoint(&server, "e", &json!({})).await;
    let event = publish(&server, "a", json!({ "eventType": "x", "payload": {} })).await;
    let parsed = event.parse::<hooklog_storage::EventId>().expect("an id");
    let started: Timestamp = now();
    let attempt = NewAttempt {
        event: parsed,
        subscription: id.parse().expect("an id"),
        url: "http://a/".into(),
        number: 0,
        started,
        duration: Duration::from_millis(12),
        status_code: Some(500),
        response: "nope".to_owned(),
        outcome: Outcome::Retry(Retry::failed(1, started.plus(HOUR))),
        trigger: Trigger::Scheduled,
    };
    server
        .log
        .record(vec![Progress::Attempt(attempt)])
        .await
        .expect("is recorded");
    let look = async |expected: &str, status: u64| {
        let list = server
            .get(&format!("{APPS}/a/endpoint/e/msg"))
            .await
            .is(200)
            .body;
        assert_eq!(list["data"][0]["statusText"], expected);
        let list = server.get(&format!("{APPS}/a/msg/{event}/endpoint")).await;
        assert_eq!(list.is(200).body["data"][0]["status"], status);
        let stats = server
            .get(&format!("{APPS}/a/endpoint/e/stats"))
            .await
            .is(200)
            .body;
        assert_eq!(stats[expected], 1, "{stats}");
    };
    look("pending", 1).await;
    let skip = format!("{APPS}/a/msg/{event}/endpoint/e/skip");
    server.call("POST", &skip, "").await.is(202);
    look("fail", 2).await;
    let skipped = Progress::Skipped(id.parse().expect("an id"), parsed.offset());
    server.log.record(vec![skipped]).await.expect("is recorded");
    look("fail", 2).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_rate_is_told_so() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let id = endpoint(&server, "e", &json!({ "throttleRate": 2 })).await;
    let body = json!({ "eventType": "x", "payload": {} });
    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(publish(&server, "a", body.clone()).await);
    }
    let since = Timestamp::from_millis(1_790_000_000_000);
    let health = Health {
        throttled_since: Some(since),
        ..Health::default()
    };
    let health = Progress::Health(id.parse().expect("an id"), health);
    server.log.record(vec![health]).await.expect("is recorded");
    let path = format!("{APPS}/a/msg/{}/trace", events[4]);
    let told = server.get(&path).await.is(200).body;
    let why = told["data"][0]["why"].as_str().expect("a text");
    let start = "throttled to 2 a second since 2026-09-21T14:13:20.000Z, with 4 before it: until";
    assert!(why.starts_with(start), "{why}");
    let lag = server
        .get(&format!("{APPS}/a/endpoint/e/lag"))
        .await
        .is(200);
    assert_eq!(lag.body["throttledSince"], "2026-09-21T14:13:20.000Z");
    server.stop().await;
}
