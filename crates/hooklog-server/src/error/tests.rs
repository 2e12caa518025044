//! Error answers as SDKs see them.
//!
//! **Invariant:** status, headers and body of each kind stay as they are.
//! **Next:** `reply.rs`.

use std::fmt::Write as _;

use super::*;
use expect_test::expect;

fn every_error() -> Vec<ApiError> {
    vec![
        ApiError::from(TokenError::Expired),
        ApiError::from(TokenError::IsTheKey),
        ApiError::from(TokenError::NotSeconds),
        ApiError::Forbidden,
        ApiError::NotFound,
        ApiError::NoRoute,
        ApiError::Method {
            allow: "GET, HEAD, OPTIONS".to_owned(),
        },
        ChangeError::Conflict {
            what: "application uid",
            key: "a".to_owned(),
        }
        .into(),
        ChangeError::NotFound {
            what: "application",
        }
        .into(),
        ChangeError::Disabled {
            subscription: hooklog_storage::SubscriptionId::from_bytes([0; 20]),
        }
        .into(),
        ChangeError::Limit {
            what: "old secrets",
            limit: 10,
        }
        .into(),
        CommitError::Busy { what: "queue" }.into(),
        CommitError::Poisoned {
            reason: "/var/lib: disk full".into(),
        }
        .into(),
        CommitError::Closed.into(),
        AppendError::PayloadTooLarge { found: 3, limit: 2 }.into(),
        ApiError::BodySilent {
            limit: Duration::from_secs(10),
        },
        ApiError::BodyTimeout {
            limit: Duration::from_secs(30),
        },
        ApiError::UnsupportedMediaType("only JSON is read"),
        ApiError::Encoding("gzip".to_owned()),
        ApiError::BadBatch("the array does not end"),
        ApiError::Query("The query is not UTF-8"),
        ApiError::Header("idempotency-key must be sent once"),
        Issue::header("idempotency-key", "belongs to another request").into(),
        Issue::body("name", "field required").into(),
        Issue::query("limit", "must be 1 to 250").into(),
        ApiError::NotImplemented("the query parameter `tag`".to_owned()),
        ReadError::Corrupt {
            what: "events",
            position: 7,
            reason: "bit flip".to_owned(),
        }
        .into(),
    ]
}

#[test]
fn every_error_is_json_with_its_status() {
    let errors = every_error();
    let mut text = String::new();
    for error in errors {
        let response = error.into_response();
        let (head, body) = response.into_parts();
        serde_json::from_slice::<serde_json::Value>(&body).expect("every error is JSON");
        write!(text, "{}", head.status.as_u16()).expect("to a string");
        for (name, value) in &head.headers {
            if name != header::CONTENT_TYPE {
                write!(text, " {name}: {}", value.to_str().expect("ASCII")).expect("to a string");
            }
        }
        writeln!(text, " {}", String::from_utf8_lossy(&body)).expect("to a string");
    }
    expect![[r#"
        401 www-authenticate: Bearer {"code":"authentication_failed","detail":"Invalid token"}
        401 www-authenticate: Bearer {"code":"authentication_failed","detail":"Invalid token: this is the JWT secret itself; sign a token with it (`hooklog token`), and change the secret if it went over an open network"}
        401 www-authenticate: Bearer {"code":"authentication_failed","detail":"Invalid token: its `exp` is beyond all times; it is in seconds, not in milliseconds"}
        403 {"code":"insufficient access","detail":"Insufficient access for the given operation."}
        404 {"code":"not_found","detail":"Entity not found"}
        404 {"code":"not_found","detail":"No such route"}
        405 allow: GET, HEAD, OPTIONS {"code":"method_not_allowed","detail":"The route takes only GET, HEAD, OPTIONS"}
        409 {"code":"conflict","detail":"A conflict has occurred: application uid \"a\" exists already"}
        404 {"code":"not_found","detail":"Entity not found"}
        409 {"code":"conflict","detail":"A conflict has occurred: endpoint ep_000000000000000000000000000 is disabled: enable it, then start this again"}
        400 {"code":"limit_reached","detail":"old secrets is limited to 10"}
        503 retry-after: 1 {"code":"busy","detail":"the log is busy: queue is full"}
        503 {"code":"out_of_service","detail":"The log stopped after an error and must be reopened; nothing new is accepted"}
        503 {"code":"out_of_service","detail":"The log is closed"}
        413 {"code":"payload_too_large","detail":"The body is over the limit of 2 bytes"}
        408 {"code":"request_timeout","detail":"No byte of the body came in 10s"}
        408 {"code":"request_timeout","detail":"The body was not complete after 30s"}
        415 accept-post: */*, application/cloudevents+json, application/cloudevents-batch+json {"code":"unsupported_media_type","detail":"only JSON is read"}
        415 accept-encoding: identity {"code":"unsupported_media_type","detail":"A body encoded as \"gzip\" is not read: send it as it is, without content-encoding"}
        400 {"code":"generic_error","detail":"The batch cannot be read on: the array does not end"}
        400 {"code":"generic_error","detail":"The query is not UTF-8"}
        400 {"code":"generic_error","detail":"idempotency-key must be sent once"}
        422 {"detail":[{"loc":["header","idempotency-key"],"msg":"belongs to another request","type":"value_error"}]}
        422 {"detail":[{"loc":["body","name"],"msg":"field required","type":"value_error"}]}
        422 {"detail":[{"loc":["query","limit"],"msg":"must be 1 to 250","type":"value_error"}]}
        501 {"code":"not_implemented","detail":"the query parameter `tag` is not implemented by this server"}
        500 {"code":"server_error","detail":"The server failed; its log says why"}
    "#]].assert_eq(&text);
}
