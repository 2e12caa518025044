//! Who reaches what, and what else the door does: CORS, methods, HTTP/2.
//!
//! **Invariant:** what is another's looks like what does not exist.
//! **Next:** `slow_clients.rs`.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::super::ABSENT;
use super::end_to_end::application;
use super::harness::{Harness, PATIENCE, SECRET, mint, organisation};
use crate::token::Subject;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_reach_what_is_theirs() {
    let server = Harness::start().await;
    let make = |uid: &str| format!(r#"{{"name":"{uid}","uid":"{uid}"}}"#);
    let own = server
        .call("POST", "/api/v1/app", &make("own"))
        .await
        .is(201)
        .id();
    server
        .call("POST", "/api/v1/app", &make("other"))
        .await
        .is(201);
    let organisation = organisation().organisation().expect("a tenant");
    let application = own.parse().expect("an id");
    let app = mint(Subject::Application {
        application,
        organisation,
    });
    let stranger = "org_000000000000000000000000001".parse().expect("an id");
    let stranger = mint(Subject::Organisation(stranger));
    let by_id = format!("/api/v1/app/{own}");
    let cases = [
        (app.as_str(), "GET", "/api/v1/app/own", 200),
        (&app, "GET", &by_id, 200),
        (&app, "GET", "/api/v1/app/own/endpoint", 200),
        (&app, "GET", "/api/v1/app/other", 404),
        (&app, "GET", "/api/v1/app/other/endpoint", 404),
        (&app, "GET", "/api/v1/app", 403),
        (&app, "DELETE", "/api/v1/app/own", 403),
        (&app, "POST", "/api/v1/app/own/msg", 403),
        (&stranger, "GET", "/api/v1/app/own", 404),
        (&stranger, "GET", &by_id, 404),
        ("garbage", "GET", "/api/v1/app", 401),
        (SECRET, "GET", "/api/v1/app", 401),
        ("garbage", "GET", "/api/v1/health", 200),
        ("garbage", "HEAD", "/api/v1/health/ping", 204),
        ("garbage", "GET", "/api/v1/nowhere", 404),
        ("garbage", "GET", "/", 404),
        (&server.token, "PUT", "/api/v1/app", 405),
        (
            &server.token,
            "GET",
            "/api/v1/app/own/endpoint/e/transformation",
            501,
        ),
        (&server.token, "POST", "/ingest/api/v1/source", 501),
    ];
    for (token, method, path, status) in cases {
        let reply = server.call_as(token, method, path, "").await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        assert!(
            reply.head.contains("access-control-allow-origin: *"),
            "{reply:?}"
        );
        if status >= 400 {
            let is_json = reply.body["code"].is_string() && reply.body["detail"].is_string();
            assert!(is_json, "{reply:?}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_other_servers_have_is_said_to_be_absent() {
    let server = Harness::start().await;
    for pattern in ABSENT {
        let path = pattern.replace("{*rest}", "a/b").replace(['{', '}'], "");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let path = format!("/api/v1{path}");
            let reply = server.call(method, &path, "{}").await.is(501);
            assert_eq!(reply.body["code"], "not_implemented", "{reply:?}");
            server.call_as("garbage", method, &path, "{}").await.is(401);
        }
    }
    // The names of such paths are still free for what is here.
    let named = r#"{"name":"import","description":""}"#;
    server
        .call("POST", "/api/v1/event-type", named)
        .await
        .is(201);
    server.get("/api/v1/event-type/import").await.is(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_gets_backups_and_nothing_else() {
    let server = Harness::start().await;
    let own = application(&server, "mine").await;
    let operator = mint(Subject::Operator);
    let app = mint(Subject::Application {
        application: own.parse().expect("an id"),
        organisation: organisation().organisation().expect("a tenant"),
    });
    let cases = [
        (operator.as_str(), "GET", "/api/v1/app", 403),
        (&operator, "POST", "/api/v1/app", 403),
        (&operator, "GET", "/api/v1/app/own", 403),
        (&operator, "GET", "/api/v1/app/own/endpoint", 403),
        (&operator, "GET", "/api/v1/event-type", 403),
        (&operator, "GET", "/api/v1/health", 200),
        (&operator, "GET", "/api/v1/operator/backup?since=x", 400),
        (
            &operator,
            "GET",
            "/api/v1/operator/backup?since=9-00000001-0-00000000",
            409,
        ),
        (&operator, "POST", "/api/v1/operator/backup", 405),
        (&server.token, "GET", "/api/v1/operator/backup", 403),
        (&app, "GET", "/api/v1/operator/backup", 403),
        ("garbage", "GET", "/api/v1/operator/backup", 401),
    ];
    for (token, method, path, status) in cases {
        let reply = server.call_as(token, method, path, "").await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_may_call_from_anywhere() {
    let server = Harness::start().await;
    let without = b"GET /api/v1/app HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert_eq!(
        server.raw(without).await.is(401).body["detail"],
        "Invalid token"
    );
    let preflight = b"OPTIONS /api/v1/app HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
        origin: http://b\r\naccess-control-request-headers: x-a, authorization\r\n\r\n";
    let head = server.raw(preflight).await.is(200).head;
    assert!(
        head.contains("access-control-allow-headers: x-a, authorization"),
        "{head}"
    );
    assert!(head.contains("access-control-max-age: 600"), "{head}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_with_prior_knowledge() {
    let server = Harness::start().await;
    let exchange = async {
        let stream = TcpStream::connect(server.address).await.expect("connects");
        let io = TokioIo::new(stream);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (mut sender, connection) = handshake.await.expect("speaks HTTP/2");
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let made = r#"{"name":"a","uid":"a"}"#;
        for (method, body, status) in [("POST", made, 201), ("GET", "", 200), ("HEAD", "", 200)] {
            let request = http::Request::builder()
                .method(method)
                .uri(format!("http://{}/api/v1/app", server.address))
                .header("authorization", format!("Bearer {}", server.token))
                .body(Full::new(Bytes::from(body)))
                .expect("a request");
            let response = sender.send_request(request).await.expect("an answer");
            assert_eq!(response.status(), status, "{method}");
            let body = response
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes();
            assert_eq!(body.is_empty(), method == "HEAD");
        }
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .expect("in time");
    server.stop().await;
}
