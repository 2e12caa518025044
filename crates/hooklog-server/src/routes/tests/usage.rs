//! Counts of deliveries and payloads of a whole application over a socket. Here nobody counts: the
//! dispatcher's tests do.
//!
//! **Invariant:** as `tasks.rs`.
//! **Next:** `visits.rs`.

use std::collections::BTreeMap;

use hooklog_storage::{AttemptSeq, CountStep};
use serde_json::{Value, json};

use super::end_to_end::{APPS, application, publish};
use super::harness::{Harness, mint};
use crate::token::Subject;

const TASKS: &str = "/api/v1/background-task";
const USAGE: &str = "/api/v1/stats/usage/app";
const SINCE: &str = "2020-01-01T00:00:00Z";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_are_counted_by_a_task() {
    let server = Harness::start().await;
    let (one, two) = (
        application(&server, "one").await,
        application(&server, "two").await,
    );
    let count = async |body: Value| server.call("POST", USAGE, &body.to_string()).await;
    // There is nothing to look at, so it is done.
    let asked =
        json!({ "since": SINCE, "until": "2021-01-01T00:00:00Z", "appIds": ["one", two, "x"] });
    let task = count(asked).await.is(202).body;
    assert_eq!(
        (&task["status"], &task["task"], &task["unresolvedAppIds"]),
        (
            &json!("finished"),
            &json!("application.stats"),
            &json!(["x"])
        )
    );
    let path = format!("{TASKS}/{}", task["id"].as_str().expect("an id"));
    let shown = server.get(&path).await.is(200).body;
    let row = |id: &str, uid: &str, count: u64| json!({ "appId": id, "appUid": uid, "messageDestinations": count });
    assert_eq!(
        shown["data"]["appStats"],
        json!([row(&one, "one", 0), row(&two, "two", 0)])
    );
    let of_all = count(json!({ "since": SINCE })).await.is(202).body;
    assert_eq!(of_all["unresolvedAppIds"], json!([]));

    // One that runs shows no counts until it has all of them.
    let Subject::Organisation(owner) = super::harness::organisation() else {
        panic!("a tenant");
    };
    let range = AttemptSeq::ZERO..AttemptSeq::new(9);
    let task = server.log.create_count(owner, None, range.clone()).await;
    let id = task.expect("is made").id;
    let path = format!("{TASKS}/{id}");
    let shown = server.get(&path).await.is(200).body;
    assert_eq!(
        (&shown["status"], &shown["data"]["total"]),
        (&json!("running"), &json!(9))
    );
    assert_eq!(shown["data"].get("appStats"), None);
    let step = CountStep {
        from: range.start,
        next: range.end,
        more: BTreeMap::from([(one.parse().expect("an id"), 5)]),
    };
    server.log.advance_count(id, step).await.expect("is taken");
    let shown = server.get(&path).await.is(200).body;
    assert_eq!(shown["data"]["appStats"], json!([row(&one, "one", 5)]));
    let kind = format!("{TASKS}?task=application.stats&status=finished");
    let listed = server.get(&kind).await.is(200).body;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(3));

    let cases = [
        (json!({}), "since"),
        (json!({ "since": SINCE, "until": SINCE }), "until"),
        (json!({ "since": SINCE, "appIds": [] }), "appIds"),
        (
            json!({ "since": SINCE, "appIds": vec!["one"; 2001] }),
            "appIds",
        ),
        (json!({ "since": SINCE, "appIds": ["x", "y"] }), "appIds"),
    ];
    for (body, field) in cases {
        let refused = count(body).await.is(422).body;
        assert_eq!(refused["detail"][0]["loc"][1], field);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_payloads_of_an_application_are_taken_out_at_once() {
    let server = Harness::start().await;
    for app in ["a", "b"] {
        application(&server, app).await;
    }
    let message = |n: u64| json!({ "eventType": "x", "payload": { "n": n } });
    for n in 0..3 {
        publish(&server, "a", message(n)).await;
    }
    let kept = publish(&server, "b", message(7)).await;
    let path = format!("{APPS}/a/msg/expunge-all-contents");
    let task = server.call("POST", &path, "").await.is(202).body;
    assert_eq!(
        (&task["status"], &task["task"]),
        (&json!("finished"), &json!("application.purge_content"))
    );
    let shown = format!("{TASKS}/{}", task["id"].as_str().expect("an id"));
    assert_eq!(server.get(&shown).await.is(200).body, task);
    let later = publish(&server, "a", message(3)).await;
    let list = server.get(&format!("{APPS}/a/msg")).await.is(200).body;
    let payloads: Vec<&Value> = list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|value| &value["payload"])
        .collect();
    let gone = json!({ "expired": true });
    assert_eq!(payloads, [&json!({ "n": 3 }), &gone, &gone, &gone]);
    let polled = server.get(&format!("{APPS}/a/poller/p")).await.is(200).body;
    assert_eq!(
        (&polled["data"][0]["payload"], &polled["data"][3]["id"]),
        (&gone, &json!(later))
    );
    let other = server
        .get(&format!("{APPS}/b/msg/{kept}"))
        .await
        .is(200)
        .body;
    assert_eq!(other["payload"], json!({ "n": 7 }));
    // An application's own token does not do it.
    let id = server.get(&format!("{APPS}/a")).await.is(200).id();
    let customer = mint(Subject::Application {
        application: id.parse().expect("an id"),
        organisation: super::harness::organisation()
            .organisation()
            .expect("a tenant"),
    });
    server.call_as(&customer, "POST", &path, "").await.is(403);
    server
        .call("POST", &path.replace("/a/", "/absent/"), "")
        .await
        .is(404);
    server.stop().await;
}
