//! Tokens for customers, their feature flags, and the end of tokens.
//!
//! **Invariant:** a revoked token is refused also after a restart (`commands/access/tests.rs` of
//! storage holds that part).
//! **Next:** `deliveries.rs`.

use hooklog_storage::Timestamp;
use serde_json::{Value, json};

use super::end_to_end::{APPS, application, publish};
use super::harness::{Harness, Reply, SECRET, mint, organisation};
use crate::TokenKey;
use crate::token::{self, Subject};

const AUTH: &str = "/api/v1/auth";

async fn access(server: &Harness, app: &str, body: &Value) -> Reply {
    let path = format!("{AUTH}/app-portal-access/{app}");
    server.call("POST", &path, &body.to_string()).await
}

fn token(reply: &Reply) -> String {
    reply.body["token"].as_str().expect("a token").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn customers_get_tokens_that_reach_their_application() {
    let server = Harness::start().await;
    let own = application(&server, "own").await;
    application(&server, "other").await;
    let made = access(&server, "own", &json!({})).await.is(200);
    let bearer = token(&made);
    let url = format!("http://test/#key={bearer}");
    assert_eq!(made.body["url"].as_str(), Some(url.as_str()));
    let cases = [
        ("GET", "/api/v1/app/own", 200),
        ("GET", "/api/v1/app/own/endpoint", 200),
        ("GET", "/api/v1/app/other", 404),
        ("GET", "/api/v1/app", 403),
        ("POST", "/api/v1/auth/app-portal-access/own", 403),
        ("POST", "/api/v1/auth/app/own/expire-all", 403),
    ];
    for (method, path, status) in cases {
        let reply = server.call_as(&bearer, method, path, "").await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
    }
    let path = format!("{AUTH}/whoami");
    let who = server.call_as(&bearer, "GET", &path, "");
    assert_eq!(who.await.is(200).body["applicationId"], own.as_str());
    let older = format!("{AUTH}/dashboard-access/{own}");
    let older = token(&server.call("POST", &older, "").await.is(200));
    server
        .call_as(&older, "GET", "/api/v1/app/own", "")
        .await
        .is(200);
    // One that is not there is made, if the body says how.
    access(&server, "new", &json!({})).await.is(404);
    let inline = json!({ "application": { "name": "New" } });
    access(&server, "new", &inline).await.is(200);
    access(&server, "new", &inline).await.is(200);
    assert_eq!(
        server.get(&format!("{APPS}/new")).await.is(200).body["name"],
        "New"
    );
    let mismatch = json!({ "application": { "name": "New", "uid": "other-uid" } });
    access(&server, "absent", &mismatch).await.is(422);
    for session in ["", "a\nb", &"x".repeat(257)] {
        let asked = json!({ "sessionId": session });
        access(&server, "own", &asked).await.is(422);
    }
    server.stop().await;
}

/// Kinds of tokens, and which of the calls below each of them may make, in their order.
fn capabilities() -> Vec<(Value, &'static str)> {
    let base = "ViewBase";
    vec![
        (json!({}), "yyyyyyyy"),
        (json!({ "readOnly": false }), "yyyyyyyy"),
        (json!({ "readOnly": true }), "yynnnnnn"),
        (json!({ "capabilities": [base] }), "yynnnnnn"),
        (
            json!({ "capabilities": [base, "ViewEndpointSecret"] }),
            "yyynnnnn",
        ),
        (
            json!({ "capabilities": ["ManageEndpointSecret", base] }),
            "yyyynnnn",
        ),
        (
            json!({ "capabilities": [base, "CreateAttempts"] }),
            "yynnyyyn",
        ),
        (
            json!({ "capabilities": [base, "ManageEndpoint"] }),
            "yyyynnny",
        ),
        (
            json!({ "capabilities": [base, "ManageEndpoint"], "readOnly": true }),
            "yynnnnnn",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capabilities_narrow_a_token() {
    let server = Harness::start().await;
    application(&server, "own").await;
    let endpoint = r#"{"url":"http://a/","uid":"e"}"#;
    let all = "/api/v1/app/own/endpoint";
    server.call("POST", all, endpoint).await.is(201);
    publish(
        &server,
        "own",
        json!({ "eventType": "x", "payload": {}, "eventId": "m" }),
    )
    .await;
    let patch = ("PATCH", "/endpoint/e", r#"{"description":"d"}"#);
    let calls = [
        ("GET", "/endpoint/e", ""),
        ("GET", "/msg/m", ""),
        ("GET", "/endpoint/e/secret", ""),
        ("POST", "/endpoint/e/secret/rotate", "{}"),
        ("POST", "/msg/m/endpoint/e/resend", ""),
        ("GET", "/poller/a/consumer/b", ""),
        ("GET", "/stream?consumer=b", ""),
        patch,
    ];
    for (asked, allowed) in capabilities() {
        let bearer = token(&access(&server, "own", &asked).await.is(200));
        for ((method, path, body), expected) in calls.into_iter().zip(allowed.chars()) {
            // A stream would not end.
            if path.starts_with("/stream") && expected == 'y' {
                continue;
            }
            let path = format!("/api/v1/app/own{path}");
            let reply = server.call_as(&bearer, method, &path, body).await;
            let is_allowed = reply.status < 300;
            assert_eq!(
                is_allowed,
                expected == 'y',
                "{asked}: {method} {path}: {reply:?}"
            );
            assert!(is_allowed || reply.status == 403, "{reply:?}");
        }
        // It may still end itself, and nothing more than an application's.
        server.call_as(&bearer, "GET", APPS, "").await.is(403);
        let logout = format!("{AUTH}/logout");
        server.call_as(&bearer, "POST", &logout, "").await.is(204);
    }
    for wrong in [
        json!(["ManageEndpoint"]),
        json!(["ViewBase", "Everything"]),
        json!(vec!["ViewBase"; 7]),
        json!("ViewBase"),
    ] {
        let asked = json!({ "capabilities": wrong });
        access(&server, "own", &asked).await.is(422);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feature_flags_show_event_types() {
    let server = Harness::start().await;
    application(&server, "own").await;
    let types = "/api/v1/event-type";
    for (name, extra) in [
        ("open", json!({})),
        ("beta", json!({ "featureFlag": "beta" })),
        ("both", json!({ "featureFlags": ["alpha", "beta"] })),
        ("other", json!({ "featureFlags": ["gamma"] })),
    ] {
        let mut body = json!({ "name": name, "description": "d" });
        for (key, value) in extra.as_object().expect("an object") {
            body[key] = value.clone();
        }
        server.call("POST", types, &body.to_string()).await.is(201);
    }
    let plain = token(&access(&server, "own", &json!({})).await.is(200));
    let flags = json!({ "featureFlags": ["beta"] });
    let flagged = token(&access(&server, "own", &flags).await.is(200));
    for (token, seen) in [
        (&server.token, &["beta", "both", "open", "other"][..]),
        (&plain, &["open"]),
        (&flagged, &["beta", "both", "open"]),
    ] {
        let list = server.call_as(token, "GET", types, "").await.is(200).body;
        let names = list["data"].as_array().expect("a list").iter();
        let names: Vec<_> = names.filter_map(|item| item["name"].as_str()).collect();
        assert_eq!(names, seen);
        for name in ["open", "beta", "both", "other"] {
            let status = if seen.contains(&name) { 200 } else { 404 };
            let path = format!("{types}/{name}");
            server.call_as(token, "GET", &path, "").await.is(status);
            // Nor can an endpoint name what its owner does not see.
            let body = json!({ "url": "http://a/", "eventTypes": [name] }).to_string();
            let status = if status == 200 { 201 } else { 422 };
            let path = "/api/v1/app/own/endpoint";
            server.call_as(token, "POST", path, &body).await.is(status);
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_end_before_their_time() {
    let server = Harness::start().await;
    application(&server, "own").await;
    application(&server, "other").await;
    let works = async |token: &str, path: &str| {
        let reply = server.call_as(token, "GET", path, "").await;
        if reply.status == 401 {
            assert_eq!(reply.body["code"], "authentication_failed");
        }
        reply.status
    };
    let (path, logout) = ("/api/v1/app/own", format!("{AUTH}/logout"));
    let one = token(&access(&server, "own", &json!({})).await.is(200));
    // Of the same second, most likely, and a token of its own.
    let two = token(&access(&server, "own", &json!({})).await.is(200));
    let other = token(&access(&server, "other", &json!({})).await.is(200));
    server.call_as(&one, "POST", &logout, "").await.is(204);
    assert_eq!(works(&one, path).await, 401);
    server.call_as(&one, "POST", &logout, "").await.is(401);
    // Neither is one whose signature is spelt otherwise.
    let (signed, signature) = one.rsplit_once('.').expect("has one");
    assert_eq!(works(&format!("{signed}.{signature}="), path).await, 401);
    assert_eq!(works(&two, path).await, 200);
    let expire = format!("{AUTH}/app/own/expire-all");
    // Later, so not yet.
    server
        .call("POST", &expire, r#"{"expiry":3600}"#)
        .await
        .is(200);
    assert_eq!(works(&two, path).await, 200);
    server.call("POST", &expire, "").await.is(200);
    assert_eq!(works(&two, path).await, 401);
    assert_eq!(works(&other, "/api/v1/app/other").await, 200);
    // A new one is good at once.
    let new = token(&access(&server, "own", &json!({})).await.is(200));
    assert_eq!(works(&new, path).await, 200);
    // An organisation logs out as well, and only this token of it.
    let spare = server.token.clone();
    server.call_as(&spare, "POST", &logout, "").await.is(204);
    assert_eq!(works(&spare, "/api/v1/app").await, 401);
    assert_eq!(works(&new, path).await, 200);
    server.stop().await;
}

/// Deleting an application forgot what was revoked of it, and with that every token was good again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_outlives_its_application() {
    let server = Harness::start().await;
    let own = application(&server, "own").await;
    let kept = token(&access(&server, "own", &json!({})).await.is(200));
    let expired = token(&access(&server, "own", &json!({})).await.is(200));
    let foreign = mint(Subject::Application {
        application: own.parse().expect("an id"),
        organisation: "org_35VvTBkE2mbzXLdLxC2Z2pPMWJw".parse().expect("an id"),
    });
    let expire = format!("{AUTH}/app/own/expire-all");
    server.call("POST", &expire, "").await.is(200);
    let after = token(&access(&server, "own", &json!({})).await.is(200));
    let whoami = format!("{AUTH}/whoami");
    let statuses = async || {
        let mut all = Vec::new();
        for bearer in [&kept, &expired, &foreign, &after] {
            for path in ["/api/v1/event-type", &whoami] {
                all.push(server.call_as(bearer, "GET", path, "").await.status);
            }
        }
        all
    };
    let (bad, good) = ([401; 2], [200; 2]);
    assert_eq!(statuses().await, [bad, bad, bad, good].concat());
    server
        .call("DELETE", &format!("{APPS}/own"), "")
        .await
        .is(204);
    assert_eq!(statuses().await, [bad; 4].concat());
    // Who comes with the same name is somebody else.
    application(&server, "own").await;
    assert_eq!(statuses().await, [bad; 4].concat());
    server.stop().await;
}

/// A token whose expiry cannot be written as a time got a 500 here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoami_tells_every_expiry_that_is_taken() {
    let server = Harness::start().await;
    let key = TokenKey::new(SECRET).expect("long enough");
    let last = Timestamp::from_millis(253_370_764_799_000);
    let life = last.since(Timestamp::from_millis(0));
    let begin = Timestamp::from_millis(0);
    let bearer = token::mint(&key, organisation(), begin, life).expect("signs");
    let path = format!("{AUTH}/whoami");
    let told = server.call_as(&bearer, "GET", &path, "").await.is(200);
    assert_eq!(told.body["expiresAt"], "9998-12-31T23:59:59.000Z");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tokens_of_a_session_end_by_themselves() {
    let server = Harness::start().await;
    for app in ["own", "other"] {
        application(&server, app).await;
    }
    let of = async |app: &str, session: &str| {
        let asked = json!({ "sessionId": session });
        token(&access(&server, app, &asked).await.is(200))
    };
    let works = async |token: &str, app: &str| {
        let path = format!("/api/v1/app/{app}");
        server.call_as(token, "GET", &path, "").await.status
    };
    let (one, two, three) = (
        of("own", "1").await,
        of("own", "2").await,
        of("own", "3").await,
    );
    let none = token(&access(&server, "own", &json!({})).await.is(200));
    let other = of("other", "1").await;
    let expire = format!("{AUTH}/app/own/expire-all");
    let expire = async |asked: Value| server.call("POST", &expire, &asked.to_string()).await;
    expire(json!({ "sessionIds": ["1", "2"], "expiry": 3600 }))
        .await
        .is(200);
    assert_eq!(works(&one, "own").await, 200, "later, so not yet");
    expire(json!({ "sessionIds": ["1", "2"] })).await.is(200);
    for (token, app, status) in [
        (&one, "own", 401),
        (&two, "own", 401),
        (&three, "own", 200),
        (&none, "own", 200),
        (&other, "other", 200),
    ] {
        assert_eq!(works(token, app).await, status, "{app}");
    }
    // A new one of the session is good at once, until it is ended as well.
    let again = of("own", "1").await;
    assert_eq!(works(&again, "own").await, 200);
    expire(json!({ "sessionIds": ["1"] })).await.is(200);
    assert_eq!(works(&again, "own").await, 401);
    // Without a session all end.
    expire(json!({ "sessionIds": [] })).await.is(200);
    assert_eq!(
        (works(&three, "own").await, works(&none, "own").await),
        (401, 401)
    );
    for bad in [json!([""]), json!("1"), json!(vec!["x"; 101])] {
        expire(json!({ "sessionIds": bad })).await.is(422);
    }
    server.stop().await;
}
