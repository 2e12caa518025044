//! The description over a socket: open to everyone, and true about what is not offered.
//!
//! **Invariant:** as `describe.rs`.
//! **Next:** `doors.rs`.

use super::harness::Harness;

#[tokio::test]
async fn description_and_page_are_public_and_have_tags() {
    let server = Harness::start().await;
    for (path, kind) in [
        ("/api/v1/openapi.json", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/", "text/html; charset=utf-8"),
    ] {
        let first = server.call_as("no token", "GET", path, "").await.is(200);
        assert!(
            first.head.contains(&format!("content-type: {kind}\r\n")),
            "{}",
            first.head
        );
        let tag = first
            .head
            .lines()
            .find_map(|line| line.strip_prefix("etag: "));
        let tag = tag.expect("a tag");
        let again = format!("if-none-match: {tag}\r\n");
        server
            .call_with(&again, "no token", "GET", path, "")
            .await
            .is(304);
        server.call_as("no token", "POST", path, "").await.is(405);
    }
    let page = server.call_as("no token", "GET", "/docs", "").await;
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'"),
        "{}",
        page.head
    );
    assert!(page.text.starts_with("<!doctype html>"));
    let description = server.get("/api/v1/openapi.json").await;
    assert_eq!(description.body["openapi"], "3.1.0");
    server.stop().await;
}

#[tokio::test]
async fn what_is_said_not_to_be_offered_answers_501() {
    let server = Harness::start().await;
    let description = server.get("/api/v1/openapi.json").await.body;
    let paths = description["paths"].as_object().expect("paths");
    let mut count = 0;
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("an item") {
            if operation["x-not-offered"] != true {
                continue;
            }
            count += 1;
            let path = path.replace(['{', '}'], "");
            let answer = server.call(&method.to_ascii_uppercase(), &path, "{}").await;
            assert_eq!(
                answer.is(501).body["code"],
                "not_implemented",
                "{method} {path}"
            );
            let nobody = server
                .call_as("no token", &method.to_ascii_uppercase(), &path, "")
                .await;
            nobody.is(401);
        }
    }
    assert!(count >= 10, "only {count}: this proved nothing");
    server.stop().await;
}
