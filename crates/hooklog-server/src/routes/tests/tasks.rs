//! Background tasks over a socket: what is made, shown, listed, cancelled, and by whom. Here nobody
//! runs them.
//!
//! **Invariant:** a task is seen by its tenant alone.
//! **Next:** `access.rs`.

use hooklog_storage::OrganisationId;
use serde_json::{Value, json};

use super::end_to_end::{APPS, application, ids, publish};
use super::harness::{Harness, mint};
use crate::token::Subject;

const TASKS: &str = "/api/v1/background-task";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_made_shown_listed_and_cancelled() {
    let server = Harness::start().await;
    application(&server, "a").await;
    for _ in 0..3 {
        publish(&server, "a", json!({ "eventType": "x", "payload": {} })).await;
    }
    let endpoint = format!("{APPS}/a/endpoint");
    let body = json!({ "url": "https://example.com", "uid": "e" }).to_string();
    server.call("POST", &endpoint, &body).await.is(201);
    let since = json!({ "since": "2020-01-01T00:00:00Z" });
    let bulk = json!({ "since": "2020-01-01T00:00:00Z", "until": "2200-01-01T00:00:00Z",
        "eventTypes": ["x"], "channel": "c", "tag": "t", "status": 2, "statusCodeClass": 500 });
    let cases: [(&str, &Value, &str); 3] = [
        ("recover", &since, "endpoint.recover"),
        ("replay-missing", &since, "endpoint.replay"),
        ("bulk-replay", &bulk, "endpoint.bulk-replay"),
    ];
    let mut made = Vec::new();
    for (route, body, kind) in cases {
        let path = format!("{endpoint}/e/{route}");
        let task = server
            .call("POST", &path, &body.to_string())
            .await
            .is(202)
            .body;
        assert_eq!(
            (&task["status"], &task["task"]),
            (&json!("running"), &json!(kind))
        );
        assert_eq!(
            (&task["data"]["done"], &task["data"]["total"]),
            (&json!(0), &json!(3))
        );
        let id = task["id"].as_str().expect("an id").to_owned();
        assert_eq!(
            server.get(&format!("{TASKS}/{id}")).await.is(200).body,
            task
        );
        made.push(id);
    }
    // Nothing lies between the two, so nothing is to be done.
    let empty = json!({ "since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z" });
    let path = format!("{endpoint}/e/recover");
    let done = server
        .call("POST", &path, &empty.to_string())
        .await
        .is(202)
        .body;
    assert_eq!(done["status"], "finished");
    made.push(done["id"].as_str().expect("an id").to_owned());

    listed_and_cancelled(&server, made).await;
    server.stop().await;
}

async fn listed_and_cancelled(server: &Harness, mut made: Vec<String>) {
    made.reverse();
    let page = server.get(&format!("{TASKS}?limit=3")).await.is(200).body;
    assert_eq!(
        (ids(&page), &page["done"]),
        (made[..3].to_vec(), &json!(false))
    );
    let rest = format!(
        "{TASKS}?iterator={}",
        page["iterator"].as_str().expect("more")
    );
    assert_eq!(ids(&server.get(&rest).await.is(200).body), made[3..]);
    let of_kind = format!("{TASKS}?task=endpoint.recover&status=running");
    assert_eq!(ids(&server.get(&of_kind).await.is(200).body), made[3..]);

    let path = format!("{TASKS}/{}", made[1]);
    let cancelled = server
        .call("POST", &format!("{path}/cancel"), "")
        .await
        .is(200)
        .body;
    assert_eq!(cancelled["status"], "failed");
    assert_eq!(cancelled["data"]["reason"], "cancelled");
    let stranger = mint(Subject::Organisation(OrganisationId::from_bytes([9; 20])));
    server.call_as(&stranger, "GET", &path, "").await.is(404);
    let nothing = server
        .call_as(&stranger, "GET", TASKS, "")
        .await
        .is(200)
        .body;
    assert_eq!(nothing["data"], json!([]));
}

/// It was answered 202, and the task failed a second later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_endpoint_is_told_at_once() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let endpoint = format!("{APPS}/a/endpoint");
    let body = json!({ "url": "https://example.com", "disabled": true }).to_string();
    let made = server.call("POST", &endpoint, &body).await.is(201).body;
    let id = made["id"].as_str().expect("an id");
    let since = json!({ "since": "2020-01-01T00:00:00Z" }).to_string();
    for route in ["recover", "replay-missing", "bulk-replay"] {
        let path = format!("{endpoint}/{id}/{route}");
        let refused = server.call("POST", &path, &since).await.is(409).body;
        let expected = format!(
            "A conflict has occurred: endpoint {id} is disabled: enable it, then start this again"
        );
        assert_eq!(refused, json!({ "code": "conflict", "detail": expected }));
    }
    let none = server.get(TASKS).await.is(200).body;
    assert_eq!(none["data"], json!([]));
    let enable = json!({ "disabled": false }).to_string();
    let own = format!("{endpoint}/{id}");
    server.call("PATCH", &own, &enable).await.is(200);
    let recover = format!("{own}/recover");
    server.call("POST", &recover, &since).await.is(202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_task_cannot_mean_is_refused() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let endpoint = format!("{APPS}/a/endpoint");
    let body = json!({ "url": "https://example.com", "uid": "e" }).to_string();
    server.call("POST", &endpoint, &body).await.is(201);
    let at = "2020-01-01T00:00:00Z";
    let cases = [
        ("recover", json!({}), "since"),
        ("recover", json!({ "since": "yesterday" }), "since"),
        (
            "replay-missing",
            json!({ "since": at, "until": at }),
            "until",
        ),
        ("bulk-replay", json!({ "since": at, "status": 1 }), "status"),
        (
            "bulk-replay",
            json!({ "since": at, "statusCodeClass": 404 }),
            "statusCodeClass",
        ),
        (
            "bulk-replay",
            json!({ "since": at, "eventTypes": [] }),
            "eventTypes",
        ),
    ];
    for (route, body, field) in cases {
        let path = format!("{endpoint}/e/{route}");
        let refused = server
            .call("POST", &path, &body.to_string())
            .await
            .is(422)
            .body;
        assert_eq!(refused["detail"][0]["loc"][1], field, "{body}");
    }
    server.get(&format!("{TASKS}?status=done")).await.is(422);
    server.get(&format!("{TASKS}/qtask_x")).await.is(404);
    server.stop().await;
}
