use super::*;
use crate::sign;

const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const NOW: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const GOOD: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn secret() -> Secret {
    Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()
}

fn check(id: &str, timestamp: &str, signature: &str, body: &[u8]) -> Result<(), VerifyError> {
    verify(
        &[secret()],
        &Headers {
            id,
            timestamp,
            signature,
        },
        body,
        NOW,
        TOLERANCE,
    )
}

#[test]
fn one_good_signature_in_the_list_is_enough() {
    let last = "v1,AAAA ".repeat(SIGNATURES_MAX - 1) + GOOD;
    let cases = [
        ("alone", GOOD),
        ("after another scheme", &format!("v2,aaaa {GOOD}")),
        (
            "among v1a, unknown and wrong",
            &format!("v1a,hnO3 v1,AAAA {GOOD} v2,x"),
        ),
        ("after a token without comma", &format!("nonsense {GOOD}")),
        ("after an empty token", &format!(" , v1, v1  {GOOD}")),
        ("after one that is no base64", &format!("v1,§$% {GOOD}")),
        ("as the last that is looked at", &last),
    ];
    for (name, signature) in cases {
        assert_eq!(
            check(ID, &NOW.to_string(), signature, BODY),
            Ok(()),
            "{name}"
        );
    }
}

#[test]
fn signatures_that_fail() {
    let (head, _) = GOOD.split_at(3 + 8);
    let (_, encoded) = GOOD.split_at(3);
    let behind = "v1,AAAA ".repeat(SIGNATURES_MAX) + GOOD;
    let cases = [
        ("behind the bound", behind.as_str()),
        ("wrong bytes", "v1,dawfeoifkpqwoekfpqoekf"),
        (
            "32 wrong bytes",
            "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
        ("empty signature", "v1,"),
        ("first eight characters", head),
        (
            "right start, but longer",
            &format!("v1,{}AAAA", encoded.replace('=', "A")),
        ),
        ("without scheme", encoded),
        ("another scheme", &GOOD.replace("v1", "v2")),
        ("the asymmetric scheme", &GOOD.replace("v1", "v1a")),
        ("scheme in upper case", &GOOD.replace("v1", "V1")),
        (
            "URL-safe alphabet",
            &GOOD.replace('+', "-").replace('/', "_"),
        ),
        ("without padding", GOOD.trim_end_matches('=')),
        ("comma separated", &format!("v1,AAAA,{GOOD}")),
        ("only spaces", "   "),
    ];
    for (name, signature) in cases {
        let result = check(ID, &NOW.to_string(), signature, BODY);
        assert_eq!(result, Err(VerifyError::NoMatch), "{name}");
    }
}

#[test]
fn headers_and_times_that_fail() {
    use VerifyError::{InvalidId, InvalidTimestamp, MissingHeader, NoMatch, TooNew, TooOld};
    let now = NOW.to_string();
    let at = |delta: i64| (NOW + delta).to_string();
    let cases: &[(&str, &str, &str, VerifyError)] = &[
        ("", &now, GOOD, MissingHeader { name: "webhook-id" }),
        (
            ID,
            "",
            GOOD,
            MissingHeader {
                name: "webhook-timestamp",
            },
        ),
        (
            ID,
            &now,
            "",
            MissingHeader {
                name: "webhook-signature",
            },
        ),
        ("msg.1", &now, GOOD, InvalidId),
        ("msg_other", &now, GOOD, NoMatch),
        (ID, "hello", GOOD, InvalidTimestamp),
        (ID, "1614265330.0", GOOD, InvalidTimestamp),
        (ID, "+1614265330", GOOD, InvalidTimestamp),
        (ID, "-1614265330", GOOD, InvalidTimestamp),
        (ID, " 1614265330", GOOD, InvalidTimestamp),
        (ID, "99999999999999999999", GOOD, InvalidTimestamp),
        (
            ID,
            "9223372036854775807",
            GOOD,
            TooNew {
                seconds: i64::MAX.abs_diff(NOW) - 300,
            },
        ),
        (
            ID,
            "0",
            GOOD,
            TooOld {
                seconds: 0_i64.abs_diff(NOW) - 300,
            },
        ),
        (ID, &at(-301), GOOD, TooOld { seconds: 1 }),
        (ID, &at(301), GOOD, TooNew { seconds: 1 }),
        // Within the tolerance, yet another time than the one that was signed.
        (ID, &at(-300), GOOD, NoMatch),
        (ID, &at(300), GOOD, NoMatch),
        // The same number in other characters is another signed text.
        (ID, "01614265330", GOOD, NoMatch),
    ];
    for (id, timestamp, signature, error) in cases {
        let result = check(id, timestamp, signature, BODY);
        assert_eq!(
            result,
            Err(error.clone()),
            "{id:?} {timestamp:?} {signature:?}"
        );
    }
}

#[test]
fn the_tolerance_is_inclusive_in_both_directions() {
    for delta in [-300, -1, 0, 1, 300] {
        let timestamp = NOW + delta;
        let signature = sign([&secret()], ID, timestamp, BODY);
        assert_eq!(
            check(ID, &timestamp.to_string(), &signature, BODY),
            Ok(()),
            "{delta}"
        );
    }
}

#[test]
fn every_byte_of_the_body_counts() {
    for body in [
        &b""[..],
        br#"{"test":2432232314}"#,
        br#"{"test": 2432232314} "#,
    ] {
        assert_eq!(
            check(ID, &NOW.to_string(), GOOD, body),
            Err(VerifyError::NoMatch)
        );
    }
}

#[test]
fn any_of_several_secrets_verifies_and_none_fails_closed() {
    let (old, new) = (Secret::generate().unwrap(), secret());
    let headers = Headers {
        id: ID,
        timestamp: &NOW.to_string(),
        signature: GOOD,
    };
    let verify = |secrets: &[Secret]| verify(secrets, &headers, BODY, NOW, TOLERANCE);
    assert_eq!(verify(&[old.clone(), new.clone()]), Ok(()));
    assert_eq!(verify(&[new, old.clone()]), Ok(()));
    assert_eq!(verify(&[old]), Err(VerifyError::NoMatch));
    assert_eq!(verify(&[]), Err(VerifyError::NoSecrets));
}

#[test]
fn bytes_cannot_move_from_the_body_to_the_timestamp() {
    // `msg_1.5.{NOW}.rest` is one signed text for two ways to split it.
    let body = format!("{NOW}.rest");
    let signature = sign([&secret()], "msg_1", 5, body.as_bytes());
    let moved = check("msg_1.5", &NOW.to_string(), &signature, b"rest");
    assert_eq!(moved, Err(VerifyError::InvalidId));
}
