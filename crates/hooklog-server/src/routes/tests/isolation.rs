//! Several tenants side by side: every route of the table, with another's token.
//!
//! **Invariant:** what is another's looks like what does not exist, on every route; an application's
//! token reaches its own application and nothing else. A new route is tried without being named here.
//! **Next:** `settings.rs`.

use serde_json::{Value, json};

use super::super::{Access, BASE, ROUTES};
use super::end_to_end::{APPS, application, publish};
use super::harness::{Harness, mint, organisation};
use crate::token::Subject;

/// Things of one tenant, by the names that patterns use.
struct Things(Vec<(&'static str, String)>);

impl Things {
    fn path(&self, pattern: &str) -> String {
        let mut path = format!("{BASE}{pattern}");
        for (name, id) in &self.0 {
            path = path.replace(&format!("{{{name}}}"), id);
        }
        path.replace("{*rest}", "a/b")
    }
}

async fn things(server: &Harness) -> Things {
    let app = application(server, "theirs").await;
    let kind = json!({ "name": "their.kind", "description": "d", "featureFlags": ["beta"] });
    let types = format!("{BASE}/event-type");
    server.call("POST", &types, &kind.to_string()).await.is(201);
    let url = json!({ "url": "http://a/" }).to_string();
    let endpoints = format!("{APPS}/{app}/endpoint");
    let endpoint = server.call("POST", &endpoints, &url).await.is(201).id();
    let body = json!({ "eventType": "x", "payload": { "their": "secret" } });
    let msg = publish(server, &app, body).await;
    let made = super::attempts::three_attempts(&msg, &endpoint);
    server.log.record(made).await.expect("is recorded");
    let list = server.get(&format!("{APPS}/{app}/attempt/msg/{msg}")).await;
    let attempt = list.body["data"][0]["id"].as_str().expect("one").to_owned();
    let recover = format!("{endpoints}/{endpoint}/recover");
    let since = json!({ "since": "2020-01-01T00:00:00Z" }).to_string();
    let task = server.call("POST", &recover, &since).await.is(202).id();
    Things(vec![
        ("task", task),
        ("app", app),
        ("endpoint", endpoint),
        ("msg", msg),
        ("attempt", attempt),
        ("name", "their.kind".to_owned()),
    ])
}

/// A body that every route takes far enough to look for what the path names.
fn body(pattern: &str) -> Value {
    let is_named = pattern == "/event-type/{name}";
    json!({
        "name": if is_named { "their.kind" } else { "my.kind" }, "description": "d", "url": "http://a/", "eventType": "x",
        "payload": {}, "headers": {}, "since": "2026-01-01T00:00:00Z",
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_reaches_into_another_organisation() {
    let server = Harness::start().await;
    let things = things(&server).await;
    let stranger = "org_000000000000000000000000001".parse().expect("an id");
    let stranger = mint(Subject::Organisation(stranger));
    let own = application(&server, "customer").await;
    let customer = mint(Subject::Application {
        application: own.parse().expect("an id"),
        organisation: organisation().organisation().expect("a tenant"),
    });
    let before = server.get(&things.path("/app/{app}/msg/{msg}")).await;
    let (mut tried, mut refused) = (0, 0);
    // Whoever logs out is out; the description holds nothing of anyone, and speaks of secrets.
    let others = ["/auth/logout", "/openapi.json"];
    let tried_routes = ROUTES.iter().filter(|(path, _)| !others.contains(path));
    for &(pattern, routes) in tried_routes {
        for route in routes {
            let (path, method) = (things.path(pattern), route.method.as_str());
            for (whose, token) in [("stranger", &stranger), ("customer", &customer)] {
                let body = body(pattern).to_string();
                let reply = server.call_as(token, method, &path, &body).await;
                let shown = format!("{method} {path} as {whose}: {reply:?}");
                tried += 1;
                assert!(!reply.text.contains("secret"), "{shown}");
                if route.access == Access::Public {
                    continue;
                }
                if route.access == Access::Operator
                    || (route.access == Access::Org && whose == "customer")
                {
                    assert_eq!(reply.status, 403, "{shown}");
                    refused += 1;
                    continue;
                }
                let names_another = ["{app}", "{name}", "{task}"]
                    .iter()
                    .any(|part| pattern.contains(part));
                // An event type of that name may be the stranger's own, and PUT makes one.
                let makes_its_own = pattern == "/event-type/{name}" && method == "PUT";
                if names_another && !makes_its_own {
                    assert!([404, 501].contains(&reply.status), "{shown}");
                    refused += 1;
                } else if let Some(data) = reply.body["data"].as_array() {
                    // What it made itself on the way here.
                    let own = |item: &Value| {
                        item["featureFlags"].is_array() || item["task"] == "application.stats"
                    };
                    assert!(data.iter().all(own), "{shown}");
                }
                // The stranger may have made something of that name for itself; it goes again.
                if makes_its_own {
                    let gone = format!("{path}?expunge=true");
                    server.call_as(token, "DELETE", &gone, "").await.is(204);
                }
            }
        }
    }
    assert!(tried > 100 && refused > 80, "{tried} {refused}");
    // Nothing of it changed.
    let after = server.get(&things.path("/app/{app}/msg/{msg}")).await;
    assert_eq!((after.status, &after.body), (200, &before.body));
    for pattern in ["/app/{app}/endpoint/{endpoint}", "/event-type/{name}"] {
        server.get(&things.path(pattern)).await.is(200);
    }
    server.stop().await;
}
