//! Tests of what a head says: data in, framing out.

use std::time::Duration;

use super::*;

fn check(text: &str) -> Result<(u16, Framing, bool), String> {
    match parse(text.as_bytes()) {
        Ok(Parsed::Whole(length, head)) => {
            assert_eq!(length, text.len(), "{text}");
            Ok((head.status.as_u16(), head.framing, head.is_kept))
        }
        Ok(other) => panic!("{text}: {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

/// Heads, their status, where their body ends, and whether another request may follow.
const HEADS: [(&str, u16, Framing, bool); 13] = [
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n",
        200,
        Framing::Length(0),
        true,
    ),
    (
        "HTTP/1.1 200\r\nContent-Length: 12\r\n",
        200,
        Framing::Length(12),
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\ncontent-length: 3\r\n",
        200,
        Framing::Length(3),
        true,
    ),
    (
        "HTTP/1.1 500 No\r\ntransfer-encoding: gzip, Chunked\r\n",
        500,
        Framing::Chunked,
        true,
    ),
    // A length beside it is passed over (RFC 9112, 6.3).
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n",
        200,
        Framing::Chunked,
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n",
        200,
        Framing::Close,
        true,
    ),
    ("HTTP/1.1 200 OK\r\n", 200, Framing::Close, true),
    (
        "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n",
        204,
        Framing::Length(0),
        true,
    ),
    (
        "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n",
        304,
        Framing::Length(0),
        true,
    ),
    (
        "HTTP/1.1 101 Switching\r\nupgrade: x\r\n",
        101,
        Framing::Length(0),
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: x, Close\r\n",
        200,
        Framing::Length(1),
        false,
    ),
    (
        "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n",
        200,
        Framing::Length(1),
        false,
    ),
    (
        "HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n",
        200,
        Framing::Length(1),
        true,
    ),
];

#[test]
fn a_body_ends_where_the_head_says() {
    for (head, status, framing, is_kept) in HEADS {
        assert_eq!(
            check(&format!("{head}\r\n")),
            Ok((status, framing, is_kept)),
            "{head}"
        );
    }
}

#[test]
fn a_head_that_leaves_doubt_is_refused_in_words_of_hyper() {
    for (head, error) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n",
            "invalid content-length parsed",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: +3\r\n",
            "invalid content-length parsed",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n",
            "invalid content-length parsed",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n",
            "invalid content-length parsed",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n",
            "message head is too large",
        ),
        (
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n",
            "unexpected transfer-encoding parsed",
        ),
        ("HTTP/1.1 2000 OK\r\n", "invalid HTTP status-code parsed"),
        ("HTTP/1.1 099 OK\r\n", "invalid HTTP status-code parsed"),
        ("HTTP/2.0 200 OK\r\n", "invalid HTTP version parsed"),
        (
            "HTTP/1.1 200 OK\r\na b: c\r\n",
            "invalid HTTP header parsed",
        ),
        ("nonsense\r\n", "invalid HTTP version parsed"),
    ] {
        assert_eq!(
            check(&format!("{head}\r\n")),
            Err(error.to_owned()),
            "{head}"
        );
    }
    let many = "a: b\r\n".repeat(HEADERS_MAX + 1);
    let error = check(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")).unwrap_err();
    assert_eq!(error, "message head is too large");
}

#[test]
fn what_comes_by_pieces_or_before_the_answer_is_told_apart() {
    let whole = "HTTP/1.1 302 Found\r\nLocation: /a\r\nlocation: /b\r\nRetry-After: 7\r\n\r\n";
    for length in 0..whole.len() {
        assert_eq!(
            parse(&whole.as_bytes()[..length]).unwrap(),
            Parsed::Partial,
            "{length}"
        );
    }
    let Ok(Parsed::Whole(_, head)) = parse(whole.as_bytes()) else {
        panic!("it is whole");
    };
    assert_eq!(head.location.as_deref(), Some("/a"));
    assert_eq!(
        head.retry_after,
        Some(RetryAfter::Wait(Duration::from_secs(7)))
    );
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    let both = format!("{interim}{whole}");
    assert_eq!(
        parse(both.as_bytes()).unwrap(),
        Parsed::Interim(interim.len())
    );
    // Only a redirect leads anywhere.
    let Ok(Parsed::Whole(_, head)) = parse(b"HTTP/1.1 201 Made\r\nlocation: /a\r\n\r\n") else {
        panic!("it is whole");
    };
    assert_eq!(head.location, None);
}
