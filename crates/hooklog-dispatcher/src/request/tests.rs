//! Tests of what an attempt sends.

use hooklog_signature::{Secret, TOLERANCE, verify};
use hooklog_storage::{Endpoint, Header};
use http_body_util::BodyExt as _;

use super::*;
use crate::ssrf::Guard;
use crate::testing::{record_of, subscription};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

fn headers(pairs: &[(&str, &str)]) -> Vec<Header> {
    let header = |(name, value): &(&str, &str)| Header::new(name, value).unwrap();
    pairs.iter().map(header).collect()
}

/// Names and values that are sent, and the body.
fn sent(format: Format, endpoint: &[(&str, &str)], event: &[(&str, &str)]) -> (HeaderMap, Bytes) {
    let endpoint = Endpoint {
        url: "http://example.com/hook".into(),
        headers: headers(endpoint).into(),
        format,
        ..subscription(1).endpoint
    };
    let agent = HeaderValue::from_static("test-agent");
    let target = Target::new(&endpoint, &Guard::default(), &agent).unwrap();
    let mut record = record_of(3, 0);
    record.event.payload = Bytes::from_static(b"{\"a\": 1}");
    record.event.headers = headers(event);
    let request = request(Arc::new(target), &record, NOW).unwrap();
    let (head, body) = request.http2().unwrap().into_parts();
    assert_eq!(head.method, Method::POST);
    let collected = futures_util::FutureExt::now_or_never(body.collect());
    let body = collected.unwrap().unwrap().to_bytes();
    assert_eq!(
        written(&request),
        with_host(head.headers.clone(), body.len())
    );
    (head.headers, body)
}

/// What HTTP/1 has besides.
fn with_host(mut headers: HeaderMap, length: usize) -> HeaderMap {
    headers.insert(HOST, HeaderValue::from_static("example.com"));
    headers.insert("content-length", HeaderValue::from(length));
    headers
}

/// The headers of the head that goes out over HTTP/1.
fn written(request: &Outgoing) -> HeaderMap {
    let mut head = Vec::new();
    request.write_head(&mut head);
    let mut space = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut space);
    let length = parsed.parse(&head).unwrap().unwrap();
    assert_eq!(length, head.len());
    let asked = (parsed.method, parsed.path, parsed.version);
    assert_eq!(asked, (Some("POST"), Some("/hook"), Some(1)));
    let pair = |header: &httparse::Header<'_>| {
        let name = HeaderName::from_bytes(header.name.as_bytes()).unwrap();
        (name, HeaderValue::from_bytes(header.value).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in parsed.headers.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let values = headers.get_all(name).iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn the_signature_covers_the_body_that_is_sent_whatever_the_format() {
    for format in [
        Format::Payload,
        Format::CloudEventsBinary,
        Format::CloudEventsStructured,
    ] {
        let (headers, body) = sent(format, &[], &[("ce-subject", "x")]);
        let secret = Secret::from_bytes(&[1; 24]).unwrap();
        for family in ["webhook", "svix"] {
            let one = |name: &str| all(&headers, &format!("{family}-{name}"))[0];
            let signed = hooklog_signature::Headers {
                id: one("id"),
                timestamp: one("timestamp"),
                signature: one("signature"),
            };
            verify(
                std::slice::from_ref(&secret),
                &signed,
                &body,
                NOW.as_secs(),
                TOLERANCE,
            )
            .unwrap();
        }
        let is_structured = format == Format::CloudEventsStructured;
        assert_eq!(body.starts_with(b"{\"specversion\":\"1.0\""), is_structured);
        let media = if is_structured {
            "application/cloudevents+json; charset=utf-8"
        } else {
            assert_eq!(body, b"{\"a\": 1}".as_slice());
            "application/json"
        };
        assert_eq!(all(&headers, "content-type"), [media]);
        let in_header = format != Format::CloudEventsStructured;
        assert_eq!(headers.contains_key("ce-subject"), in_header);
        let is_binary = format == Format::CloudEventsBinary;
        assert_eq!(headers.contains_key("ce-specversion"), is_binary);
    }
}

#[test]
fn no_header_of_others_overrides_ours() {
    let evil = [
        ("Webhook-Signature", "v1,x"),
        ("svix-id", "x"),
        ("HOST", "evil.test"),
        ("Content-Type", "text/html"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("user-agent", "x"),
        ("upgrade", "h2c"),
        ("te", "trailers"),
        ("expect", "100-continue"),
    ];
    let (plain, _) = sent(Format::Payload, &[], &[]);
    for (endpoint, event) in [(evil.as_slice(), [].as_slice()), (&[], &evil)] {
        assert_eq!(sent(Format::Payload, endpoint, event).0, plain);
    }
}

#[test]
fn the_owner_of_the_endpoint_goes_before_the_publisher() {
    let endpoint = [
        ("Authorization", "Bearer x"),
        ("X-Twice", "1"),
        ("x-twice", "2"),
        ("tracestate", "endpoint"),
        ("ce-subject", "endpoint"),
    ];
    let event = [
        ("traceparent", "00-1-2-01"),
        ("TraceState", "event"),
        ("ce-subject", "event"),
        ("ce-id", "1"),
    ];
    let (headers, _) = sent(Format::Payload, &endpoint, &event);
    for (name, values) in [
        ("authorization", vec!["Bearer x"]),
        ("x-twice", vec!["1", "2"]),
        ("traceparent", vec!["00-1-2-01"]),
        ("tracestate", vec!["endpoint"]),
        ("ce-subject", vec!["endpoint"]),
        ("ce-id", vec!["1"]),
    ] {
        assert_eq!(all(&headers, name), values, "{name}");
    }
    // Of a CloudEvent the attributes are the publisher's.
    let (headers, _) = sent(Format::CloudEventsBinary, &endpoint, &event);
    assert_eq!(all(&headers, "ce-subject"), ["event"]);
    assert_eq!(all(&headers, "ce-id"), ["1"]);
    assert_eq!(all(&headers, "traceparent"), ["00-1-2-01"]);
}
