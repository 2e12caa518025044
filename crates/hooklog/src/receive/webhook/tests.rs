use hooklog_signature::sign;

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
        assert_eq!(describe(now, &trust, id, body.as_bytes()), line);
    }
}
