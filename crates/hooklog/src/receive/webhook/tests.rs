use std::pin::Pin;
use std::task::{Context, Poll};

use hooklog_signature::sign;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};

use super::*;

const NOW: i64 = 1_700_000_000;

fn headers(family: &str, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("id", "msg_1"),
        ("timestamp", &NOW.to_string()),
        ("signature", signature),
    ] {
        let name: hyper::header::HeaderName = format!("{family}-{name}").parse().unwrap();
        headers.insert(name, value.parse().unwrap());
    }
    headers
}

#[test]
fn both_families_of_headers_are_verified() {
    let secrets = [Secret::generate().unwrap()];
    let signature = sign(&secrets, "msg_1", NOW, b"{}");
    for family in ["webhook", "svix"] {
        let headers = headers(family, &signature);
        assert_eq!(
            check(&secrets, &headers, b"{}", NOW),
            Trust::Verified,
            "{family}"
        );
        assert_eq!(
            check(&[], &headers, b"{}", NOW),
            Trust::Unchecked,
            "{family}"
        );
        let refused = check(&secrets, &headers, b"{ }", NOW);
        assert_eq!(
            refused,
            Trust::Refused("no signature matches".into()),
            "{family}"
        );
    }
    let refused = check(&secrets, &HeaderMap::new(), b"{}", NOW);
    assert_eq!(
        refused,
        Trust::Refused("header webhook-id is missing".into())
    );
}

#[test]
fn a_line_shows_what_arrived_and_nothing_that_a_terminal_obeys() {
    let now = jiff::Timestamp::from_second(NOW).unwrap();
    let long = format!("{{\"a\":\"{}\"}}", "ä".repeat(100));
    let cases = [
        (
            Trust::Verified,
            "msg_1",
            "{\"a\":\n1}",
            "2023-11-14T22:13:20.000Z verified msg_1 8 B {\"a\":·1}".to_owned(),
        ),
        (
            Trust::Refused("no signature matches".into()),
            "",
            "\u{1b}[31mred",
            "2023-11-14T22:13:20.000Z UNVERIFIED (no signature matches) - 8 B ·[31mred".to_owned(),
        ),
        (
            Trust::Unchecked,
            "msg_1",
            long.as_str(),
            format!(
                "2023-11-14T22:13:20.000Z unverified msg_1 208 B {{\"a\":\"{}…",
                "ä".repeat(54)
            ),
        ),
    ];
    for (trust, id, body, line) in cases {
        assert_eq!(describe(now, &trust, id, Some(body.as_bytes())), line);
    }
}

/// A body that fails the test when it is read, of a size that is told or not.
struct Unread(Option<u64>);

impl Body for Unread {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        panic!("the body was read")
    }

    fn size_hint(&self) -> SizeHint {
        self.0.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn receiver(secrets: Vec<Secret>, room: usize) -> (Receiver, mpsc::Receiver<Line>) {
    let (lines, queue) = mpsc::channel(8);
    let receiver = Receiver {
        secrets,
        status: StatusCode::NO_CONTENT,
        lines,
        room: Arc::new(Semaphore::new(room)),
    };
    (receiver, queue)
}

fn post<B>(headers: HeaderMap, body: B) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.headers_mut() = headers;
    request
}

#[tokio::test]
async fn a_body_is_not_read_when_the_headers_are_wrong_already() {
    let (receiver, mut lines) = receiver(vec![Secret::generate().unwrap()], BUFFERED_BYTES_MAX);
    let mut cases = vec![
        (HeaderMap::new(), "header webhook-id is missing"),
        // Of 2023.
        (headers("webhook", "v1,AAAA"), "too old"),
    ];
    for name in ["timestamp", "signature"] {
        let mut headers = headers("webhook", "v1,AAAA");
        headers.remove(format!("webhook-{name}"));
        cases.push((headers, "is missing"));
    }
    for (headers, reason) in cases {
        let answer = receiver.answer(post(headers, Unread(None))).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{reason}");
        let line = lines.recv().await.unwrap();
        assert!(line.text.contains(reason), "{}", line.text);
        assert!(line.text.ends_with(" body not read"), "{}", line.text);
        assert!(!line.verified);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_unread() {
    let (receiver, _lines) = receiver(Vec::new(), BUFFERED_BYTES_MAX);
    for bytes in [u64::from(BODY_BYTES_MAX) + 1, u64::MAX] {
        let request = post(HeaderMap::new(), Unread(Some(bytes)));
        let answer = receiver.answer(request).await;
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}

#[tokio::test]
async fn bodies_wait_for_room_until_a_line_is_written() {
    let (receiver, mut lines) = receiver(Vec::new(), 10);
    let body = |text: &'static str| {
        post(
            HeaderMap::new(),
            Full::new(Bytes::from_static(text.as_bytes())),
        )
    };
    let answer = receiver.answer(body("seven77")).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(receiver.room.available_permits(), 3);
    // No room, so it is not read.
    let waiting = receiver.answer(post(HeaderMap::new(), Unread(Some(4))));
    let brief = tokio::time::timeout(Duration::from_millis(10), waiting);
    assert!(brief.await.is_err());
    drop(lines.recv().await);
    assert_eq!(receiver.room.available_permits(), 10);
    let answer = receiver.answer(body("seven77")).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
}
