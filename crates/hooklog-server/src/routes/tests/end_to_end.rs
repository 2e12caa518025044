//! The routes over a real socket and a real log.
//!
//! **Invariant:** statuses and shapes are those that SDKs of this API family rely on.
//! **Next:** `attempts.rs`.

use hooklog_storage::{Limit, Offset};
use serde_json::{Value, json};

use super::harness::Harness;

pub(super) const APPS: &str = "/api/v1/app";

pub(super) async fn application(server: &Harness, uid: &str) -> String {
    let body = json!({ "name": uid, "uid": uid }).to_string();
    server.call("POST", APPS, &body).await.is(201).id()
}

pub(super) async fn publish(server: &Harness, app: &str, body: Value) -> String {
    server
        .call("POST", &format!("{APPS}/{app}/msg"), &body.to_string())
        .await
        .is(202)
        .id()
}

pub(super) fn ids(body: &Value) -> Vec<String> {
    let data = body["data"]
        .as_array()
        .unwrap_or_else(|| panic!("no list: {body}"));
    data.iter()
        .map(|item| item["id"].as_str().expect("an id").to_owned())
        .collect()
}

pub(super) async fn count(server: &Harness, path: &str) -> usize {
    ids(&server.get(path).await.is(200).body).len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applications() {
    let server = Harness::start().await;
    let made = server
        .call("POST", APPS, r#"{"name":"One","uid":"one"}"#)
        .await
        .is(201);
    assert!(made.id().starts_with("app_") && made.body["createdAt"].is_string());
    server
        .call("POST", APPS, r#"{"name":"Again","uid":"one"}"#)
        .await
        .is(409);
    let found = r#"{"name":"x","uid":"one"}"#;
    let found = server
        .call("POST", "/api/v1/app?get_if_exists=true", found)
        .await;
    assert_eq!(found.is(200).body, made.body);
    for key in [made.id().as_str(), "one", "one/", "%6Fne"] {
        assert_eq!(
            server.get(&format!("{APPS}/{key}")).await.is(200).id(),
            made.id(),
            "{key}"
        );
    }
    let put = server
        .call("PUT", "/api/v1/app/two", r#"{"name":"Two"}"#)
        .await
        .is(201);
    assert_eq!(put.body["uid"], "two");
    server
        .call("PUT", "/api/v1/app/two", r#"{"name":"Zwei","uid":"two"}"#)
        .await
        .is(200);
    let list = server.get("/api/v1/app/?limit=1").await.is(200).body;
    assert_eq!(
        (ids(&list), &list["done"]),
        (vec![made.id()], &json!(false))
    );
    let iterator = list["iterator"].as_str().expect("goes on");
    let list = server
        .get(&format!("{APPS}?limit=1&iterator={iterator}"))
        .await
        .is(200)
        .body;
    assert_eq!((ids(&list), &list["done"]), (vec![put.id()], &json!(true)));
    let list = server
        .get("/api/v1/app?order=descending")
        .await
        .is(200)
        .body;
    assert_eq!(ids(&list), [put.id(), made.id()]);
    let patched = server
        .call("PATCH", "/api/v1/app/two", r#"{"uid":null}"#)
        .await
        .is(200);
    assert_eq!(
        (&patched.body["uid"], &patched.body["name"]),
        (&Value::Null, &json!("Zwei"))
    );
    server.get("/api/v1/app/two").await.is(404);
    server.call("DELETE", "/api/v1/app/one", "").await.is(204);
    server.get("/api/v1/app/one").await.is(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applications_are_listed_by_their_endpoints() {
    let server = Harness::start().await;
    for (app, endpoints) in [
        ("none", ""),
        ("off", "d"),
        ("mixed", "de"),
        ("on", "e"),
        ("offs", "dd"),
    ] {
        application(&server, app).await;
        for endpoint in endpoints.chars() {
            let body = json!({ "url": "https://example.com", "disabled": endpoint == 'd' });
            let path = format!("{APPS}/{app}/endpoint");
            server.call("POST", &path, &body.to_string()).await.is(201);
        }
    }
    let (any, enabled) = (
        "exclude_apps_with_no_endpoints=true",
        "exclude_apps_with_disabled_endpoints=true",
    );
    for (query, expected) in [
        (any.to_owned(), vec!["off", "mixed", "on", "offs"]),
        (enabled.to_owned(), vec!["none", "mixed", "on"]),
        (format!("{any}&{enabled}"), vec!["mixed", "on"]),
        (
            any.replace("true", "false"),
            vec!["none", "off", "mixed", "on", "offs"],
        ),
    ] {
        for (order, turned) in [("ascending", false), ("descending", true)] {
            let mut expected = expected.clone();
            if turned {
                expected.reverse();
            }
            // Page by page, in both directions.
            let path = format!("{APPS}?{query}&order={order}&limit=1");
            let mut found = Vec::new();
            let mut page = server.get(&path).await.is(200).body;
            loop {
                let uid = |item: &Value| item["uid"].as_str().unwrap_or_default().to_owned();
                found.extend(page["data"].as_array().expect("a list").iter().map(uid));
                if page["done"] == true {
                    break;
                }
                let iterator = page["iterator"].as_str().expect("more").to_owned();
                let next = format!("{path}&iterator={iterator}");
                page = server.get(&next).await.is(200).body;
            }
            assert_eq!(found, expected, "{path}");
        }
    }
    server
        .get(&format!("{APPS}?exclude_apps_with_no_endpoints=maybe"))
        .await
        .is(422);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_types() {
    let server = Harness::start().await;
    let types = "/api/v1/event-type";
    let body = r#"{"name":"user.made","description":"d","schemas":{"1":{"type":"object"}}}"#;
    server.call("POST", types, body).await.is(201);
    server.call("POST", types, body).await.is(409);
    let archived = r#"{"name":"user.old","description":"d","archived":true}"#;
    server.call("POST", types, archived).await.is(201);
    let list = server.get(types).await.is(200).body["data"].clone();
    assert_eq!(
        (&list[0]["name"], &list[0]["schemas"]),
        (&json!("user.made"), &Value::Null)
    );
    assert!(list[1].is_null(), "the archived one is hidden");
    let all = format!("{types}?with_content=true&include_archived=true&limit=1");
    let page = server.get(&all).await.is(200).body;
    assert_eq!(page["data"][0]["schemas"]["1"]["type"], "object");
    let page = server
        .get(&format!("{all}&iterator=user.made"))
        .await
        .is(200)
        .body;
    assert_eq!(
        (&page["data"][0]["name"], &page["done"]),
        (&json!("user.old"), &json!(true))
    );
    server.get(&format!("{types}/user.made")).await.is(200);
    server.get(&format!("{types}/user.gone")).await.is(404);
    server
        .call("DELETE", &format!("{types}/user.made"), "")
        .await
        .is(204);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let kind = r#"{"name":"user.made","description":"d"}"#;
    server
        .call("POST", "/api/v1/event-type", kind)
        .await
        .is(201);
    let all = format!("{APPS}/a/endpoint");
    let unknown = r#"{"url":"https://example.com","eventTypes":["user.gone","user.made"]}"#;
    let refused = server.call("POST", &all, unknown).await.is(422).body;
    assert_eq!(refused["detail"][0]["loc"], json!(["body", "eventTypes"]));
    let message = "The following event types don't exist: user.gone";
    assert_eq!(refused["detail"][0]["msg"], message);
    let forbidden = r#"{"url":"https://forbidden.example/"}"#;
    server.call("POST", &all, forbidden).await.is(422);
    let body = r#"{"url":"https://example.com/h","uid":"e","filterTypes":["user.made"]}"#;
    let made = server.call("POST", &all, body).await.is(201);
    assert_eq!(made.body["eventTypes"], json!(["user.made"]));
    assert!(!made.text.contains("whsec_") && made.body.get("secret").is_none());
    server.call("POST", &all, body).await.is(409);
    let one = format!("{all}/e");
    server.call("PATCH", &one, forbidden).await.is(422);
    server.call("PUT", &one, forbidden).await.is(422);
    let patch = r#"{"disabled":true,"eventTypes":null}"#;
    let patched = server.call("PATCH", &one, patch).await.is(200).body;
    assert_eq!(
        (&patched["disabled"], &patched["filterTypes"]),
        (&json!(true), &Value::Null)
    );
    server
        .call("PUT", &one, r#"{"url":"https://example.com/i","uid":"e"}"#)
        .await
        .is(200);
    assert_eq!(server.get(&one).await.is(200).body["disabled"], false);
    let other = format!("{all}/f");
    server
        .call("PUT", &other, r#"{"url":"https://example.com"}"#)
        .await
        .is(201);
    assert_eq!(count(&server, &all).await, 2);
    server.call("DELETE", &one, "").await.is(204);
    server.get(&one).await.is(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = json!({ "url": "https://example.com", "uid": "e", "secret": given }).to_string();
    server
        .call("POST", &format!("{APPS}/a/endpoint"), &body)
        .await
        .is(201);
    let secret = format!("{APPS}/a/endpoint/e/secret");
    let rotate = format!("{secret}/rotate");
    assert_eq!(
        server.get(&secret).await.is(200).body,
        json!({ "key": given })
    );
    let rotated = server.call("POST", &rotate, "{}").await.is(200);
    assert_ne!(rotated.body["key"], given);
    assert_eq!(server.get(&secret).await.body, rotated.body);
    for _ in 0..9 {
        server.call("POST", &rotate, "").await.is(200);
    }
    let refused = server
        .call("POST", &rotate, r#"{"gracePeriodSeconds":60}"#)
        .await
        .is(400);
    assert_eq!(refused.body["code"], "limit_reached");
    let key = json!({ "key": given, "gracePeriodSeconds": 0 }).to_string();
    assert_eq!(
        server.call("POST", &rotate, &key).await.is(200).body["key"],
        given
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing() {
    let server = Harness::start().await;
    application(&server, "a").await;
    application(&server, "b").await;
    let messages = format!("{APPS}/a/msg");
    let payload = r#"{ "b":1.0, "a":"\u00e9" }"#;
    let body =
        format!(r#"{{"eventType":"x.y","eventId":"id-1","channels":["c"],"payload":{payload}}}"#);
    let made = server.call("POST", &messages, &body).await.is(202);
    assert!(made.text.contains(payload), "byte for byte: {}", made.text);
    assert_eq!(
        server.call("POST", &messages, &body).await.is(409).body["code"],
        "conflict"
    );
    server
        .call("POST", &format!("{APPS}/b/msg"), &body)
        .await
        .is(202);
    for key in [made.id().as_str(), "id-1"] {
        assert_eq!(
            server.get(&format!("{messages}/{key}")).await.is(200).text,
            made.text
        );
    }
    let short = server
        .get(&format!("{messages}/id-1?with_content=false"))
        .await
        .is(200);
    assert_eq!(short.body["payload"], json!({}));
    server
        .get(&format!("{APPS}/b/msg/{}", made.id()))
        .await
        .is(404);
    let limit = Limit {
        items: 1,
        bytes: 1 << 20,
    };
    let stored = server.log.read(Offset::ZERO, limit).expect("reads");
    assert_eq!(stored[0].event.payload, payload.as_bytes());

    let inline = r#"{"eventType":"x","payload":{},"application":{"name":"new","uid":"new"}}"#;
    server
        .call("POST", &format!("{APPS}/new/msg"), inline)
        .await
        .is(202);
    let mismatch = server
        .call("POST", &format!("{APPS}/other/msg"), inline)
        .await
        .is(422);
    assert_eq!(
        mismatch.body["detail"][0]["type"],
        "application_uid_mismatch"
    );
    server
        .call("POST", &format!("{APPS}/gone/msg"), &body)
        .await
        .is(404);
    server.call("POST", &messages, "{").await.is(422);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages() {
    let server = Harness::start().await;
    application(&server, "a").await;
    application(&server, "b").await;
    let mut made = Vec::new();
    for number in 0..7 {
        let kind = if number % 2 == 0 { "even" } else { "odd" };
        let body = json!({ "eventType": kind, "channels": [kind], "payload": { "n": number } });
        made.push(publish(&server, "a", body.clone()).await);
        publish(&server, "b", body).await;
    }
    made.reverse();
    let messages = format!("{APPS}/a/msg");
    let (mut seen, mut query) = (Vec::new(), "limit=3".to_owned());
    loop {
        let page = server
            .get(&format!("{messages}?{query}"))
            .await
            .is(200)
            .body;
        seen.extend(ids(&page));
        if page["done"] == true {
            break;
        }
        query = format!(
            "limit=3&iterator={}",
            page["iterator"].as_str().expect("goes on")
        );
    }
    assert_eq!(seen, made);
    let back = format!("{messages}?limit=2&iterator=-{}", made[3]);
    assert_eq!(ids(&server.get(&back).await.is(200).body), made[1..3]);
    for (query, expected) in [
        ("event_types=odd,none&with_content=false", 3),
        ("event_types=odd&event_types=even", 7),
        ("channel=even", 4),
        ("channel=even&event_types=odd", 0),
        ("before=2020-01-01T00:00:00Z", 0),
        ("after=2020-01-01T00:00:00Z", 7),
        ("after=2200-01-01T00:00:00Z", 0),
        ("tag=x", 0),
    ] {
        assert_eq!(
            count(&server, &format!("{messages}?{query}")).await,
            expected,
            "{query}"
        );
    }
    for (query, status) in [
        ("limit=251", 422),
        ("tag=a%20b", 422),
        ("iterator=msg_x", 422),
    ] {
        server.get(&format!("{messages}?{query}")).await.is(status);
    }
    server.stop().await;
}

/// The second PUT by uid took the uid away, and the third created another endpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_put_again_changes_nothing() {
    let server = Harness::start().await;
    let cases = [
        (format!("{APPS}/shop"), r#"{"name":"Shop"}"#),
        (
            format!("{APPS}/shop/endpoint/books"),
            r#"{"url":"https://example.com"}"#,
        ),
        (
            format!("{APPS}/shop/endpoint/null"),
            r#"{"url":"https://example.com","uid":null}"#,
        ),
    ];
    for (path, body) in cases {
        let made = server.call("PUT", &path, body).await.is(201);
        assert_eq!(path.rsplit('/').next(), made.body["uid"].as_str());
        for _ in 0..2 {
            let again = server.call("PUT", &path, body).await.is(200);
            assert_eq!(
                (again.id(), &again.body["uid"]),
                (made.id(), &made.body["uid"])
            );
        }
        let other = format!("{path}-2");
        let (one, two) = tokio::join!(
            server.call("PUT", &other, body),
            server.call("PUT", &other, body)
        );
        assert_eq!(one.id(), two.id(), "{one:?} {two:?}");
        assert_eq!(one.status.min(two.status), 200);
        assert_eq!(one.status.max(two.status), 201);
    }
    assert_eq!(count(&server, &format!("{APPS}/shop/endpoint")).await, 4);
    server.stop().await;
}
