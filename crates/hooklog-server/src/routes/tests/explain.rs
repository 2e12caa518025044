//! Explanations over a socket: why a message was or was not delivered, lag, what was given up.
//!
//! **Invariant:** what is told follows from what is on record.
//! **Next:** `filter.rs`.

use std::time::Duration;

use hooklog_storage::{
    Cursor, CursorState, Health, NewAttempt, Offset, Outcome, Progress, Timestamp, Trigger,
};
use serde_json::{Value, json};

use super::end_to_end::{APPS, application, publish};
use super::harness::Harness;

const AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn attempt(event: &str, endpoint: &str, outcome: Outcome) -> Progress {
    Progress::Attempt(NewAttempt {
        event: event.parse().expect("an id"),
        subscription: endpoint.parse().expect("an id"),
        url: "http://a/".into(),
        number: 0,
        started: AT,
        duration: Duration::from_millis(12),
        status_code: Some(500),
        response: "nope".to_owned(),
        outcome,
        trigger: Trigger::Scheduled,
    })
}

fn cursor(endpoint: &str, floor: u64, state: CursorState) -> Progress {
    let cursor = Cursor {
        floor: Offset::new(floor),
        settled: Vec::new(),
        state,
    };
    Progress::Cursor(endpoint.parse().expect("an id"), cursor)
}

async fn endpoint(server: &Harness, uid: &str, more: Value) -> String {
    let mut body = json!({ "url": "https://example.com", "uid": uid });
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    let path = format!("{APPS}/a/endpoint");
    server
        .call("POST", &path, &body.to_string())
        .await
        .is(201)
        .id()
}

/// An endpoint (its uid and what is said of it), what is on record of the first message, and what is
/// told.
type Case = (
    &'static str,
    Value,
    Option<Outcome>,
    &'static str,
    &'static str,
);

fn cases() -> [Case; 8] {
    let retry = Outcome::Retry(hooklog_storage::Retry::failed(1, AT));
    [
        (
            "took",
            json!({}),
            Some(Outcome::Delivered),
            "delivered",
            "the endpoint took it",
        ),
        (
            "gave-up",
            json!({}),
            Some(Outcome::Exhausted),
            "failed",
            "given up",
        ),
        (
            "retries",
            json!({}),
            Some(retry),
            "waiting",
            "attempt 2 is due at 2026-09-21T14:13:20.000Z",
        ),
        (
            "behind",
            json!({}),
            None,
            "waiting",
            "not reached yet: the endpoint is 0 places",
        ),
        ("passed", json!({}), None, "missed", "passed over"),
        (
            "filter",
            json!({ "filter": { "n": 2 } }),
            None,
            "unwanted",
            "its filter does not match: n $eq 2 does not hold for 1",
        ),
        (
            "channel",
            json!({ "channels": ["c"] }),
            None,
            "unwanted",
            "no channel of the event",
        ),
        (
            "off",
            json!({ "disabled": true }),
            None,
            "waiting",
            "the endpoint is disabled since",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_says_where_a_message_stands() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let cases = cases();
    let mut ids = Vec::new();
    for (uid, more, ..) in &cases {
        ids.push(endpoint(&server, uid, more.clone()).await);
    }
    let event = publish(
        &server,
        "a",
        json!({ "eventType": "x", "payload": { "n": 1 } }),
    )
    .await;
    let late = endpoint(&server, "late", json!({})).await;
    let mut progress = Vec::new();
    for ((uid, _, outcome, ..), id) in cases.iter().zip(&ids) {
        progress.extend(outcome.map(|outcome| attempt(&event, id, outcome)));
        let floor = u64::from(!matches!(*uid, "behind" | "off"));
        progress.push(cursor(id, floor, CursorState::Behind));
    }
    progress.push(cursor(&late, 1, CursorState::CaughtUp));
    server.log.record(progress).await.expect("is recorded");
    let path = format!("{APPS}/a/msg/{event}/trace?order=ascending");
    let told = server.get(&path).await.is(200).body;
    let late = ("late", json!({}), None, "missed", "published before");
    for ((uid, _, _, status, why), told) in cases
        .iter()
        .chain([&late])
        .zip(told["data"].as_array().expect("a list"))
    {
        assert_eq!(
            (&told["endpointUid"], &told["status"]),
            (&json!(uid), &json!(status))
        );
        let said = told["why"].as_str().expect("a text");
        assert!(said.starts_with(why), "{uid}: {said}");
        assert_eq!(
            told.get("nextAttempt").is_some(),
            *uid == "retries",
            "{uid}"
        );
    }
    dead_letters(&server, &event).await;
    server.stop().await;
}

/// What was given up, and not asked for again.
async fn dead_letters(server: &Harness, event: &str) {
    let dead = |uid: &'static str| async move {
        let path = format!("{APPS}/a/endpoint/{uid}/dead-letter");
        let list = server.get(&path).await.is(200).body;
        list["data"].as_array().expect("a list").clone()
    };
    let letters = dead("gave-up").await;
    assert_eq!(
        (letters.len(), &letters[0]["msgId"], &letters[0]["response"]),
        (1, &json!(event), &json!("nope"))
    );
    assert!(dead("took").await.is_empty() && dead("retries").await.is_empty());
    // Asked for again, it is none any more.
    let resend = format!("{APPS}/a/msg/{event}/endpoint/gave-up/resend");
    server.call("POST", &resend, "").await.is(202);
    assert!(dead("gave-up").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_tells_how_far_it_is_behind() {
    let server = Harness::start().await;
    application(&server, "a").await;
    application(&server, "b").await;
    let id = endpoint(&server, "e", json!({ "filter": { "n": { "$gte": 2 } } })).await;
    for (app, n) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
        publish(
            &server,
            app,
            json!({ "eventType": "x", "payload": { "n": n } }),
        )
        .await;
    }
    let health = Health {
        down_since: Some(AT),
        probe_at: Some(AT),
        ..Health::default()
    };
    let subscription = id.parse().expect("an id");
    let row = Progress::Health(subscription, health);
    server.log.record(vec![row]).await.expect("is recorded");
    let path = format!("{APPS}/a/endpoint/e/lag");
    for (floor, places, messages, bytes) in [(0, 4, 2, 14), (2, 2, 1, 7), (4, 0, 0, 0)] {
        let stands = cursor(&id, floor, CursorState::Behind);
        server.log.record(vec![stands]).await.expect("is recorded");
        let told = server.get(&path).await.is(200).body;
        let (cursor, at_least, parked) = (&told["cursor"], &told["atLeast"], &told["parked"]);
        assert_eq!(
            (cursor, at_least, parked),
            (&json!(floor), &json!(false), &json!(0))
        );
        let counts = [&told["places"], &told["messages"], &told["bytes"]];
        assert_eq!(
            counts,
            [&json!(places), &json!(messages), &json!(bytes)],
            "{floor}"
        );
        assert_eq!(told["oldest"].is_null(), messages == 0);
        assert_eq!(told["downSince"], "2026-09-21T14:13:20.000Z");
        assert_eq!(told["pausedUntil"], json!(null));
    }
    commands(&server, &id).await;
    server.stop().await;
}

/// Two commands of operators: a delivery that failed is tried now, or settled as it is.
async fn commands(server: &Harness, id: &str) {
    let event = publish(
        server,
        "a",
        json!({ "eventType": "x", "payload": { "n": 5 } }),
    )
    .await;
    // 2100-01-01T00:00:00Z
    let far = Timestamp::from_millis(4_102_444_800_000);
    let later = Outcome::Retry(hooklog_storage::Retry::failed(1, far));
    let failed = attempt(&event, id, later);
    server.log.record(vec![failed]).await.expect("is recorded");
    let trace = format!("{APPS}/a/msg/{event}/trace");
    let told = server.get(&trace).await.is(200).body;
    let why = told["data"][0]["why"].as_str().expect("a text").to_owned();
    assert!(
        why.starts_with("the endpoint is down since 2026-09-21T14:13:20.000Z"),
        "{why}"
    );
    assert!(
        why.ends_with("attempt 2 is due at 2100-01-01T00:00:00.000Z"),
        "{why}"
    );
    let delivery = format!("{APPS}/a/msg/{event}/endpoint/e");
    for (command, is_skipped) in [("retry-now", false), ("skip", true)] {
        server
            .call("POST", &format!("{delivery}/{command}"), "")
            .await
            .is(202);
        let state = server
            .log
            .delivery_state_of(id.parse().expect("an id"))
            .expect("is read");
        let (_, offset, retry) = state.retries[0];
        assert_eq!(offset.get(), 4);
        assert!(
            retry.due < far && retry.is_skipped == is_skipped,
            "{command}: {retry:?}"
        );
    }
}
