//! What applications, endpoints and event types are told, and tell again.
//!
//! **Invariant:** each setting is read back as it was written, and is in the log as the dispatcher
//! reads it; absent keeps, null takes away.
//! **Next:** `tokens.rs`.

use hooklog_storage::{Offset, Ordering, SubscriptionId};
use serde_json::{Value, json};

use super::end_to_end::{APPS, application, publish};
use super::harness::Harness;

/// The fields of `expected` in `found`.
#[track_caller]
fn has(found: &Value, expected: &Value) {
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&found[key], value, "{key} of {found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_types_are_put_changed_archived_and_removed() {
    let server = Harness::start().await;
    let types = "/api/v1/event-type";
    let path = format!("{types}/a.b");
    let steps = [
        ("PATCH", "", json!({ "description": "x" }), 404, json!({})),
        ("DELETE", "", json!({}), 404, json!({})),
        ("PUT", "", json!({}), 422, json!({})),
        (
            "PUT",
            "",
            json!({ "description": "one", "groupName": "g" }),
            201,
            json!({ "name": "a.b", "groupName": "g", "archived": false }),
        ),
        (
            "PUT",
            "",
            json!({ "name": "other", "description": "one" }),
            422,
            json!({}),
        ),
        (
            "PUT",
            "",
            json!({ "description": "two", "schemas": { "1": {} }, "deprecated": true }),
            200,
            json!({ "description": "two", "groupName": null, "deprecated": true }),
        ),
        (
            "PATCH",
            "",
            json!({ "featureFlags": ["x", "y"] }),
            200,
            json!({ "featureFlag": "x", "featureFlags": ["x", "y"], "description": "two",
                "schemas": { "1": {} } }),
        ),
        (
            "PATCH",
            "",
            json!({ "schemas": null, "featureFlags": null, "description": null }),
            200,
            json!({ "schemas": null, "featureFlag": null, "featureFlags": [],
                "description": "two", "deprecated": true }),
        ),
        ("DELETE", "", json!({}), 204, json!({})),
        ("GET", "", json!({}), 200, json!({ "archived": true })),
        (
            "PUT",
            "",
            json!({ "description": "three" }),
            200,
            json!({ "archived": false }),
        ),
        ("DELETE", "?expunge=true", json!({}), 204, json!({})),
        ("GET", "", json!({}), 404, json!({})),
    ];
    for (method, query, body, status, expected) in steps {
        let body = if method == "GET" {
            String::new()
        } else {
            body.to_string()
        };
        let reply = server.call(method, &format!("{path}{query}"), &body).await;
        assert_eq!(reply.status, status, "{method} {body}: {reply:?}");
        has(&reply.body, &expected);
    }
    server.stop().await;
}

fn policy() -> Value {
    json!({ "throttleRate": 10, "retrySchedule": [1, 60], "concurrency": 3,
        "giveUpStatuses": [410], "disableAfterSeconds": 0 })
}

/// The policy and more.
#[expect(clippy::needless_pass_by_value, reason = "it is made for the call")]
fn with(more: Value) -> String {
    let mut body = policy();
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_read_back() {
    let server = Harness::start().await;
    let ours = policy();
    let app = with(json!({ "name": "a", "uid": "a" }));
    let app = server.call("POST", APPS, &app).await.is(201);
    has(&app.body, &ours);
    assert_eq!(app.body["rateLimit"], 10);
    let stored = server
        .log
        .registry()
        .application(app.id().parse().expect("an id"))
        .cloned();
    let policy = stored.expect("is there").policy.clone();
    assert_eq!(policy.throttle_rate.map(Into::into), Some(10_u32));
    assert_eq!(policy.schedule.map(|delays| delays.len()), Some(3));
    let patched = server.call(
        "PATCH",
        "/api/v1/app/a",
        r#"{"throttleRate":null,"concurrency":4}"#,
    );
    let patched = patched.await.is(200).body;
    has(
        &patched,
        &json!({ "throttleRate": null, "rateLimit": null, "concurrency": 4,
        "retrySchedule": [1, 60], "name": "a" }),
    );

    let all = format!("{APPS}/a/endpoint");
    let body = with(
        json!({ "url": "http://a/", "uid": "e", "ordering": "fifoByKey",
        "format": "cloudEventsStructured" }),
    );
    let made = server.call("POST", &all, &body).await.is(201);
    has(&made.body, &ours);
    has(
        &made.body,
        &json!({ "ordering": "fifoByKey", "format": "cloudEventsStructured" }),
    );
    let id: SubscriptionId = made.id().parse().expect("an id");
    let ordering = || {
        server
            .log
            .registry()
            .subscription(id)
            .map(|value| value.ordering)
    };
    assert_eq!(ordering(), Some(Ordering::FifoByKey));
    // SDKs know nothing of what is ours, and a PUT of theirs leaves it.
    let path = format!("{all}/e");
    let put = server
        .call("PUT", &path, r#"{"url":"http://b/"}"#)
        .await
        .is(200);
    has(
        &put.body,
        &json!({ "url": "http://b/", "throttleRate": null, "ordering": "fifoByKey",
        "retrySchedule": [1, 60] }),
    );
    let null = r#"{"ordering":null,"retrySchedule":null,"disabled":true}"#;
    let patched = server.call("PATCH", &path, null).await.is(200).body;
    has(
        &patched,
        &json!({ "ordering": "none", "disabledReason": "owner", "disabled": true }),
    );
    assert!(patched["disabledSince"].is_string() && patched.get("retrySchedule").is_none());
    server
        .call("PATCH", &path, r#"{"startFrom":0}"#)
        .await
        .is(422);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_begins_where_it_is_told() {
    let server = Harness::start().await;
    application(&server, "a").await;
    for n in 0..3 {
        publish(
            &server,
            "a",
            json!({ "eventType": "x", "payload": { "n": n } }),
        )
        .await;
    }
    let all = format!("{APPS}/a/endpoint");
    for (start, expected) in [
        (json!(null), 3),
        (json!("beginning"), 0),
        (json!(2), 2),
        (json!(99), 3),
        (json!("2020-01-01T00:00:00Z"), 0),
        (json!("2200-01-01T00:00:00Z"), 3),
    ] {
        let body = json!({ "url": "http://a/", "startFrom": start }).to_string();
        let id = server.call("POST", &all, &body).await.is(201).id();
        let registry = server.log.registry();
        let value = registry.subscription(id.parse().expect("an id"));
        let found = value.map(|value| value.start);
        assert_eq!(found, Some(Offset::new(expected)), "{start}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_are_kept_and_credentials_not_shown() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let body = json!({ "url": "http://a/", "uid": "e", "headers": { "X-First": "1" } });
    let all = format!("{APPS}/a/endpoint");
    server.call("POST", &all, &body.to_string()).await.is(201);
    let path = format!("{all}/e/headers");
    let shown =
        |headers: Value, sensitive: Value| json!({ "headers": headers, "sensitive": sensitive });
    let get = async || server.get(&path).await.is(200).body;
    assert_eq!(get().await, shown(json!({ "X-First": "1" }), json!([])));
    let put =
        json!({ "headers": { "Authorization": "Basic c2VjcmV0", "X-Two": "2", "x-api-key": "k" } });
    server.call("PUT", &path, &put.to_string()).await.is(204);
    let hidden = json!(["Authorization", "x-api-key"]);
    assert_eq!(get().await, shown(json!({ "X-Two": "2" }), hidden));
    let patch =
        json!({ "headers": { "x-two": "two", "X-API-KEY": null }, "deleteHeaders": ["none"] });
    server
        .call("PATCH", &path, &patch.to_string())
        .await
        .is(204);
    let expected = shown(json!({ "x-two": "two" }), json!(["Authorization"]));
    assert_eq!(get().await, expected);
    let gone = json!({ "headers": {}, "deleteHeaders": ["authorization"] });
    server.call("PATCH", &path, &gone.to_string()).await.is(204);
    assert_eq!(get().await, shown(json!({ "x-two": "two" }), json!([])));
    let many: serde_json::Map<_, _> = (0..40).map(|n| (format!("x-{n}"), json!("v"))).collect();
    for (method, body) in [
        ("PUT", json!({})),
        ("PUT", json!({ "headers": { "Content-Type": "x" } })),
        ("PATCH", json!({ "headers": { "svix-id": "x" } })),
        ("PATCH", json!({ "headers": many })),
    ] {
        let reply = server.call(method, &path, &body.to_string()).await;
        assert_eq!(reply.status, 422, "{method} {body}: {reply:?}");
    }
    // An SDK's PUT of the endpoint knows no headers, and leaves them.
    let url = r#"{"url":"http://b/"}"#;
    server.call("PUT", &format!("{all}/e"), url).await.is(200);
    assert_eq!(get().await, shown(json!({ "x-two": "two" }), json!([])));
    server.stop().await;
}
