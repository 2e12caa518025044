//! Conditions on payloads: tried, stored, shown, changed, enforced by name.
//!
//! **Invariant:** what cannot be understood is refused with the place in the condition.
//! **Next:** `idempotency.rs`.

use serde_json::{Value, json};

use super::end_to_end::{APPS, application, publish};
use super::harness::Harness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_is_tried_against_a_sample() {
    let server = Harness::start().await;
    application(&server, "a").await;
    application(&server, "b").await;
    let message = json!({ "eventType": "x", "payload": { "amount": 99 } });
    let own = publish(&server, "a", message.clone()).await;
    let foreign = publish(&server, "b", message).await;
    let condition = json!({ "amount": { "$gte": 100 } });
    let no = json!({ "matches": false, "reason":
        "its filter does not match: amount $gte 100 does not hold for 99" });
    let cases: [(Value, u16, Value); 7] = [
        (
            json!({ "filter": condition, "payload": { "amount": 100 } }),
            200,
            json!({ "matches": true }),
        ),
        (
            json!({ "filter": condition, "payload": { "amount": 99 } }),
            200,
            no.clone(),
        ),
        (json!({ "filter": condition, "msgId": own }), 200, no),
        (
            json!({ "filter": condition, "msgId": foreign }),
            422,
            json!("is no message of this application"),
        ),
        (
            json!({ "filter": condition }),
            422,
            json!("or `msgId` is required"),
        ),
        (json!({ "payload": {} }), 422, json!("field required")),
        (
            json!({ "filter": { "a": { "$regex": "x" } }, "payload": {} }),
            422,
            json!(
                "a.$regex: is no operator; there are $eq $neq $gt $gte $lt $lte $in $nin $startsWith $endsWith $exist $and $or $not"
            ),
        ),
    ];
    for (body, status, expected) in cases {
        let path = format!("{APPS}/a/filter/test");
        let said = server
            .call("POST", &path, &body.to_string())
            .await
            .is(status)
            .body;
        match status {
            200 => assert_eq!(said, expected, "{body}"),
            _ => assert_eq!(said["detail"][0]["msg"], expected, "{body}"),
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_keeps_its_condition_as_it_was_written() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let path = format!("{APPS}/a/endpoint");
    let made = json!({ "url": "https://example.com", "uid": "e", "filter": { "b": 1, "a": [2] } });
    let made = server.call("POST", &path, &made.to_string()).await.is(201);
    assert!(
        made.text.contains(r#""filter":{"b":1,"a":[2]}"#)
            || made.body["filter"] == json!({ "b": 1, "a": [2] })
    );
    let path = format!("{path}/e");
    let changed = server
        .call(
            "PATCH",
            &path,
            &json!({ "description": "kept" }).to_string(),
        )
        .await
        .is(200)
        .body;
    assert_eq!(changed["filter"], json!({ "b": 1, "a": [2] }));
    let changed = server
        .call(
            "PATCH",
            &path,
            &json!({ "filter": { "c": true } }).to_string(),
        )
        .await
        .is(200)
        .body;
    assert_eq!(changed["filter"], json!({ "c": true }));
    let changed = server
        .call("PATCH", &path, &json!({ "filter": null }).to_string())
        .await
        .is(200)
        .body;
    assert!(changed.get("filter").is_none(), "{changed}");
    server
        .call("PATCH", &path, &json!({ "filter": {} }).to_string())
        .await
        .is(422);
    server.stop().await;
}
