//! Operational webhooks over a socket: endpoints that no other route shows.
//!
//! **Invariant:** the hidden application is in no list and has no path.
//! **Next:** `access.rs`.

use serde_json::json;

use super::end_to_end::{APPS, application, ids};
use super::harness::Harness;

const HOOKS: &str = "/api/v1/operational-webhook/endpoint";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operational_webhooks_are_made_shown_changed_and_deleted() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let none = server.get(HOOKS).await.is(200).body;
    assert_eq!((&none["data"], &none["done"]), (&json!([]), &json!(true)));
    let wrong = json!({ "url": "https://example.com", "filterTypes": ["invoice.paid"] });
    server.call("POST", HOOKS, &wrong.to_string()).await.is(422);
    let right =
        json!({ "url": "https://example.com", "uid": "ops", "filterTypes": ["endpoint.disabled"] });
    let made = server.call("POST", HOOKS, &right.to_string()).await.is(201);
    assert_eq!(ids(&server.get(HOOKS).await.is(200).body), [made.id()]);
    let path = format!("{HOOKS}/ops");
    let changed = json!({ "url": "https://example.com/2", "filterTypes": null });
    let changed = server
        .call("PUT", &path, &changed.to_string())
        .await
        .is(200)
        .body;
    assert_eq!(
        (&changed["url"], &changed["filterTypes"]),
        (&json!("https://example.com/2"), &json!(null))
    );
    assert!(server.get(&format!("{path}/secret")).await.is(200).body["key"].is_string());
    server
        .call("POST", &format!("{path}/secret/rotate"), "{}")
        .await
        .is(200);

    assert_eq!(
        server.get(APPS).await.is(200).body["data"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    // What happened to an endpoint is in the log by the time that is answered.
    let before = server.log.end();
    let body = json!({ "url": "https://example.com" }).to_string();
    server
        .call("POST", &format!("{APPS}/a/endpoint"), &body)
        .await
        .is(201);
    assert_eq!(server.log.end(), before.plus(1));
    let hidden = server
        .log
        .get_at(before)
        .expect("reads")
        .expect("is there")
        .event
        .application;
    server.get(&format!("{APPS}/{hidden}")).await.is(404);
    server.get(&format!("{APPS}/{hidden}/msg")).await.is(404);
    server.call("DELETE", &path, "").await.is(204);
    server.get(&path).await.is(404);
    server.stop().await;
}
