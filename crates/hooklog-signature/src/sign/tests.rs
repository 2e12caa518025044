use serde::Deserialize;

use super::*;
use crate::{Headers, TOLERANCE, verify};

#[derive(Deserialize)]
struct Vector {
    name: String,
    secret: String,
    body: String,
    headers: WireHeaders,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::struct_field_names, reason = "the names of the headers")]
struct WireHeaders {
    webhook_id: String,
    webhook_timestamp: String,
    webhook_signature: String,
}

fn vectors() -> Vec<Vector> {
    let text = include_str!("../../../../data/vectors/standard-webhooks.json");
    serde_json::from_str(text).unwrap()
}

#[test]
fn published_vectors_are_signed_and_verified() {
    let vectors = vectors();
    assert!(vectors.len() >= 2, "the file of vectors shrank");
    for Vector {
        name,
        secret,
        body,
        headers,
    } in vectors
    {
        let secret = Secret::parse(&secret).unwrap();
        let now = headers.webhook_timestamp.parse().unwrap();
        let signed = sign([&secret], &headers.webhook_id, now, body.as_bytes());
        assert_eq!(signed, headers.webhook_signature, "{name}");
        let wire = Headers {
            id: &headers.webhook_id,
            timestamp: &headers.webhook_timestamp,
            signature: &headers.webhook_signature,
        };
        assert_eq!(
            verify(&[secret], &wire, body.as_bytes(), now, TOLERANCE),
            Ok(()),
            "{name}"
        );
    }
}

#[test]
fn several_secrets_make_several_signatures_in_their_order() {
    let (a, b) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    let one = |secret| sign([secret], "msg_1", 7, b"{}");
    assert_eq!(
        sign([&a, &b], "msg_1", 7, b"{}"),
        format!("{} {}", one(&a), one(&b))
    );
    assert_eq!(sign([], "msg_1", 7, b"{}"), "");
}
