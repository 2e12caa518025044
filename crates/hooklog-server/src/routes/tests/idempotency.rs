//! `Idempotency-Key` over a real socket and a real log.
//!
//! **Invariant:** a repetition gets the first answer, byte for byte, and writes nothing.
//! **Next:** `attempts.rs`.

use std::time::Duration;

use hooklog_storage::{ApplicationId, Event, IdempotencyKey, OrganisationId};

use super::content::post;
use super::end_to_end::{APPS, application, count};
use super::harness::{Harness, Reply, mint, organisation};
use crate::state::now;
use crate::token::Subject;
use crate::wire::time_text;

const BODY: &str = r#"{"eventType":"a.b","payload":{"n":1}}"#;

async fn publish(server: &Harness, token: &str, path: &str, keys: &[&str], body: &str) -> Reply {
    let headers: Vec<_> = keys
        .iter()
        .map(|key| format!("idempotency-key: {key}\r\n"))
        .collect();
    let headers = headers.concat();
    server.call_with(&headers, token, "POST", path, body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_gets_the_first_answer() {
    let server = Harness::start().await;
    let (one, two) = (
        application(&server, "one").await,
        application(&server, "two").await,
    );
    let token = server.token.clone();
    let path = format!("{APPS}/{one}/msg");
    let send = |path: String, key: &'static str, body: &'static str| {
        let (server, token) = (&server, &token);
        async move { publish(server, token, &path, &[key], body).await }
    };
    let first = send(path.clone(), "k-1", BODY).await.is(202);
    // However the key is written, and whatever the application is called.
    let by_uid = format!("{APPS}/one/msg");
    for (path, key) in [(&path, "k-1"), (&path, "\"k-1\""), (&by_uid, " k-1 ")] {
        let again = send(path.clone(), key, BODY).await.is(202);
        assert_eq!(again.text, first.text, "{key}");
    }
    assert_eq!(count(&server, &path).await, 1);

    let other_body = r#"{"eventType":"a.b","payload":{"n":2}}"#;
    let refused = send(path.clone(), "k-1", other_body).await.is(422);
    let issue = &refused.body["detail"][0];
    assert_eq!(
        issue["loc"],
        serde_json::json!(["header", "idempotency-key"])
    );
    assert_eq!(issue["type"], "idempotency_key_reused");
    assert!(
        issue["msg"]
            .as_str()
            .is_some_and(|msg| msg.contains(&first.id()))
    );
    assert_eq!(count(&server, &path).await, 1);

    // Another key, application or tenant is another request.
    let other_key = send(path.clone(), "k-2", BODY).await.is(202);
    assert_ne!(other_key.id(), first.id());
    let elsewhere = send(format!("{APPS}/{two}/msg"), "k-1", BODY).await.is(202);
    assert_ne!(elsewhere.id(), first.id());
    let stranger = mint(Subject::Organisation(OrganisationId::from_bytes([9; 20])));
    publish(&server, &stranger, &path, &["k-1"], BODY)
        .await
        .is(404);

    // With an event id the key still answers first; without it the id is a conflict.
    let named = r#"{"eventType":"a.b","eventId":"e-1","payload":{}}"#;
    let first = send(path.clone(), "k-3", named).await.is(202);
    let again = send(path.clone(), "k-3", named).await.is(202);
    assert_eq!(again.text, first.text);
    send(path.clone(), "k-4", named).await.is(409);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_keys_are_refused_by_name_where_keys_count() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let token = server.token.clone();
    let path = format!("{APPS}/{app}/msg");
    let long = "k".repeat(257);
    let cases: [&[&str]; 5] = [&[&long], &[""], &["\"open"], &["\"a\" b"], &["a", "b"]];
    for keys in cases {
        let refused = publish(&server, &token, &path, keys, BODY).await.is(400);
        assert_eq!(refused.body["code"], "generic_error");
        let detail = refused.body["detail"].as_str().expect("a text");
        assert!(detail.starts_with("idempotency-key"), "{detail}");
    }
    assert_eq!(count(&server, &path).await, 0);
    // As everywhere else.
    let body = r#"{"name":"a.b","description":""}"#;
    let types = "/api/v1/event-type";
    publish(&server, &token, types, &[&long], body)
        .await
        .is(400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_created_is_created_once() {
    let server = Harness::start().await;
    let app = application(&server, "one").await;
    let token = server.token.clone();
    let endpoints = format!("{APPS}/{app}/endpoint");
    let cases = [
        (APPS.to_owned(), r#"{"name":"Two"}"#, r#"{"name":"Three"}"#),
        (
            endpoints.clone(),
            r#"{"url":"http://a/"}"#,
            r#"{"url":"http://b/"}"#,
        ),
        (
            "/api/v1/event-type".to_owned(),
            r#"{"name":"a.b","description":""}"#,
            r#"{"name":"a.c","description":""}"#,
        ),
    ];
    for key in ["mine", "auto_6f1c"] {
        for (path, body, other) in &cases {
            let is_type = path.ends_with("event-type");
            if is_type && key != "mine" {
                continue;
            }
            let first = publish(&server, &token, path, &[key], body).await.is(201);
            let listed = server.get(path).await.text;
            let quoted = format!("\"{key}\"");
            for key in [key, &quoted] {
                let again = publish(&server, &token, path, &[key], body).await.is(201);
                assert_eq!(again.text, first.text, "{path}");
                assert!(again.head.contains("content-type: application/json"));
            }
            assert_eq!(server.get(path).await.text, listed, "{path}");
            let refused = publish(&server, &token, path, &[key], other).await.is(422);
            assert_eq!(refused.body["detail"][0]["type"], "idempotency_key_reused");
            // Without the key, and with another, it is another request.
            let status = if is_type { 409 } else { 201 };
            publish(&server, &token, path, &["other"], body)
                .await
                .is(status);
            publish(&server, &token, path, &[], body).await.is(status);
        }
    }
    // A failure is not kept: the same request is tried again.
    let taken = r#"{"name":"x","uid":"later"}"#;
    let missing = format!("{APPS}/later/endpoint");
    let url = r#"{"url":"http://a/"}"#;
    publish(&server, &token, &missing, &["k"], url)
        .await
        .is(404);
    publish(&server, &token, APPS, &["k-9"], taken)
        .await
        .is(201);
    publish(&server, &token, &missing, &["k"], url)
        .await
        .is(201);
    // Another tenant has keys of its own.
    let stranger = mint(Subject::Organisation(OrganisationId::from_bytes([9; 20])));
    publish(&server, &stranger, APPS, &["mine"], r#"{"name":"Three"}"#)
        .await
        .is(201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_the_same_time_do_the_work_once() {
    let server = Harness::start().await;
    let token = server.token.clone();
    let body = r#"{"name":"One"}"#;
    let tries = (0..8).map(|_| publish(&server, &token, APPS, &["same"], body));
    let mut texts = Vec::new();
    for reply in join_all(tries).await {
        texts.push(reply.is(201).text);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(count(&server, APPS).await, 1);
    // Secrets rotate once, and the answer is the first one, as its old secret is.
    let app = application(&server, "two").await;
    let endpoints = format!("{APPS}/{app}/endpoint");
    let endpoint = server
        .call("POST", &endpoints, r#"{"url":"http://a/"}"#)
        .await
        .is(201)
        .id();
    let path = format!("{endpoints}/{endpoint}/secret/rotate");
    let first = publish(&server, &token, &path, &["r"], "{}").await.is(200);
    let again = publish(&server, &token, &path, &["r"], "{}").await.is(200);
    assert_eq!(again.text, first.text);
    server.stop().await;
}

/// All at once, in their order.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in pending.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// The time was no part of the request: a repetition with another one was told the new time, and the
/// event kept the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_for_later_is_another_at_another_time() {
    let server = Harness::start().await;
    application(&server, "one").await;
    let after = |secs: u64| time_text(now().plus(Duration::from_secs(secs)));
    let (first, other) = (after(600), after(900));
    let past = "2020-01-01T00:00:00Z";
    let binary = "ce-specversion: 1.0\r\nce-id: 7\r\nce-source: /s\r\nce-type: x\r\n";
    for (more, key) in [("", "plain"), (binary, "cloud")] {
        let send = async |key: String, due: Option<&str>| {
            let due = due.map(|due| format!("hooklog-deliver-at: {due}\r\n"));
            let headers = format!(
                "{more}content-type: text/plain\r\nidempotency-key: {key}\r\n{}",
                due.unwrap_or_default()
            );
            let path = format!("{APPS}/one/event?event_type=x");
            post(&server, &path, &headers, b"hi").await
        };
        for (case, (at, others)) in [
            (
                Some(first.as_str()),
                [None, Some(other.as_str()), Some(past)],
            ),
            (
                None,
                [Some(first.as_str()), Some(other.as_str()), Some(past)],
            ),
            (
                Some(past),
                [None, Some(first.as_str()), Some(other.as_str())],
            ),
        ]
        .into_iter()
        .enumerate()
        {
            // The same source and id are the same event, so only the first case makes one of them.
            if case > 0 && !more.is_empty() {
                continue;
            }
            let key = format!("{key}-{case}");
            let answer = send(key.clone(), at).await.is(202);
            let due = at.filter(|at| *at != past);
            assert_eq!(answer.body["deliverAt"].as_str(), due);
            for other in others {
                let refused = send(key.clone(), other).await.is(422);
                assert_eq!(refused.body["detail"][0]["type"], "idempotency_key_reused");
            }
            let again = send(key.clone(), at).await.is(202);
            assert_eq!(again.text, answer.text);
        }
    }
    server.stop().await;
}

/// After the clock was set back a message waits for a time that the log's has passed: the answer to its
/// publisher said nothing of that, and every read of it did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_until_when_the_message_waits_that_is_on_record() {
    let server = Harness::start().await;
    let app = application(&server, "a").await;
    let path = format!("{APPS}/a/msg");
    let token = server.token.clone();
    let body = r#"{"eventType":"x","payload":{},"deliverAt":"2020-01-01T00:00:00Z"}"#;
    let due = now().plus(Duration::from_hours(1));
    // Only the record knows; no clock has to be set back for that.
    for (key, waits) in [("waits", Some(due)), ("is-due", None)] {
        let organisation = organisation().organisation().expect("a tenant");
        let application: ApplicationId = app.parse().expect("an id");
        let scope: [&[u8]; 3] = [
            b"message.create",
            organisation.as_bytes(),
            application.as_bytes(),
        ];
        let mut event = Event::new(application, "x".parse().expect("a type"), "{}");
        event.deliver_at = waits;
        event.idempotency = Some(IdempotencyKey::new(&scope, key, body.as_bytes()));
        server.log.append(vec![event]).await.expect("room");
        let said = publish(&server, &token, &path, &[key], body).await;
        let said = said.is(202).body;
        let id = said["id"].as_str().expect("an id");
        let read = server.get(&format!("{path}/{id}")).await.is(200).body;
        let waits = waits.map(|due| serde_json::json!(time_text(due)));
        assert_eq!(said.get("deliverAt").cloned(), waits, "{key}");
        assert_eq!(read.get("deliverAt").cloned(), waits, "{key}");
        let asked = format!("{path}?with_content=false");
        let brief = publish(&server, &token, &asked, &[key], body).await;
        let brief = brief.is(202).body;
        assert_eq!(brief.get("deliverAt").cloned(), waits, "{key}");
    }
    server.stop().await;
}

/// As the first answer, so each repetition and each read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repetitions_and_reads_say_the_same_of_a_message_for_later() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let path = format!("{APPS}/a/msg");
    let token = server.token.clone();
    let later = time_text(now().plus(Duration::from_hours(1)));
    for (key, at, waits) in [
        ("later", later.as_str(), Some(later.as_str())),
        ("past", "2020-01-01T00:00:00Z", None),
    ] {
        let body = serde_json::json!({ "eventType": "x", "payload": {}, "deliverAt": at });
        let body = body.to_string();
        for query in ["", "?with_content=false"] {
            let asked = format!("{path}{query}");
            let said = publish(&server, &token, &asked, &[key], &body).await;
            let said = said.is(202).body;
            assert_eq!(said.get("deliverAt").and_then(|at| at.as_str()), waits);
            let id = said["id"].as_str().expect("an id");
            let read = server
                .get(&format!("{path}/{id}{query}"))
                .await
                .is(200)
                .body;
            assert_eq!(said, read, "{key} {query:?}");
        }
    }
    server.stop().await;
}
