//! Tokens: what verifies, and above all what does not.
//!
//! **Invariant:** every negative is refused for its own reason.
//! **Next:** `key.rs`.

use ring::hmac;

use super::*;

const HS256: &str = r#"{"typ":"JWT","alg":"HS256"}"#;
const SECRET: &str = "a secret of more than 16 bytes";

fn now() -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000)
}

fn key() -> TokenKey {
    TokenKey::new(SECRET).expect("long enough")
}

fn keys() -> TokenKeys {
    key().into()
}

fn organisation() -> OrganisationId {
    DEFAULT_ORGANISATION
        .parse()
        .expect("the default organisation is an id")
}

/// A token with any header and claims, signed with `secret`.
fn forge(secret: &str, header: &str, claims: &str) -> String {
    let message = format!(
        "{}.{}",
        base64url(header.as_bytes()),
        base64url(claims.as_bytes())
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", base64url(signature.as_ref()))
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for position in 0..=chunk.len() {
            text.push(char::from(
                ALPHABET[(bits >> (18 - 6 * position)) as usize & 63],
            ));
        }
    }
    text
}

#[test]
fn minted_tokens_verify() {
    let application = ApplicationId::new(now(), [7; 15]);
    let subjects = [
        Subject::Organisation(organisation()),
        Subject::Application {
            application,
            organisation: organisation(),
        },
        Subject::Operator,
    ];
    for subject in subjects {
        let token = mint(&key(), subject, now(), Duration::from_mins(1)).expect("signs");
        assert_eq!(verify(&keys(), &token, now()), Ok(subject));
        let other = TokenKey::new("another secret, also long").expect("long enough");
        assert_eq!(
            verify(&other.into(), &token, now()),
            Err(TokenError::Signature)
        );
        let late = now().plus(Duration::from_mins(3));
        assert_eq!(verify(&keys(), &token, late), Err(TokenError::Expired));
        let early = Timestamp::from_millis(now().as_millis() - 120_000);
        assert_eq!(verify(&keys(), &token, early), Err(TokenError::NotYet));
    }
}

#[test]
fn forged_tokens_do_not_verify() {
    let claims = format!(r#"{{"exp":1800000000,"sub":"{DEFAULT_ORGANISATION}"}}"#);
    let none = format!(
        "{}.{}.",
        base64url(br#"{"alg":"none"}"#),
        base64url(claims.as_bytes())
    );
    let good = forge(SECRET, HS256, &claims);
    let cut = good[..good.len() - 1].to_owned();
    let cases = [
        (
            "the good one",
            good.clone(),
            Ok(Subject::Organisation(organisation())),
        ),
        ("alg none", none, Err(TokenError::Signature)),
        (
            "alg none with a signature",
            forge(SECRET, r#"{"alg":"none"}"#, &claims),
            Err(TokenError::Signature),
        ),
        (
            "alg HS512",
            forge(SECRET, r#"{"alg":"HS512"}"#, &claims),
            Err(TokenError::Signature),
        ),
        (
            "a critical extension",
            forge(
                SECRET,
                r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
                &claims,
            ),
            Err(TokenError::Signature),
        ),
        (
            "wrong key",
            forge("wrong", HS256, &claims),
            Err(TokenError::Signature),
        ),
        ("a character short", cut, Err(TokenError::Signature)),
        (
            "no signature",
            good[..good.rfind('.').unwrap_or(0)].to_owned(),
            Err(TokenError::Signature),
        ),
        ("empty", String::new(), Err(TokenError::Signature)),
        ("dots", "..".to_owned(), Err(TokenError::Signature)),
        ("garbage", "a.b.c".to_owned(), Err(TokenError::Signature)),
        (
            "huge",
            "x".repeat(TOKEN_BYTES_MAX + 1),
            Err(TokenError::Signature),
        ),
        (
            "the key itself",
            SECRET.to_owned(),
            Err(TokenError::IsTheKey),
        ),
    ];
    for (name, token, expected) in cases {
        assert_eq!(verify(&keys(), &token, now()), expected, "{name}");
    }
}

#[test]
fn claims_are_complete() {
    let expires = |exp: i64| {
        let claims = format!(r#"{{"exp":{exp},"sub":"{DEFAULT_ORGANISATION}"}}"#);
        forge(SECRET, HS256, &claims)
    };
    let cases = [
        (
            "no expiry",
            forge(
                SECRET,
                HS256,
                &format!(r#"{{"sub":"{DEFAULT_ORGANISATION}"}}"#),
            ),
            Err(TokenError::Signature),
        ),
        (
            "no subject",
            forge(SECRET, HS256, r#"{"exp":1800000000,"sub":"user_1"}"#),
            Err(TokenError::Subject),
        ),
        (
            "an expiry in milliseconds",
            expires(1_800_000_000_000),
            Err(TokenError::NotSeconds),
        ),
        ("none", expires(i64::MAX), Err(TokenError::NotSeconds)),
        (
            "a day too late",
            expires(EXP_MAX + 1),
            Err(TokenError::NotSeconds),
        ),
        (
            "the last day",
            expires(EXP_MAX),
            Ok(Subject::Organisation(organisation())),
        ),
        ("long ago", expires(1), Err(TokenError::Expired)),
        (
            "an application without its organisation",
            forge(
                SECRET,
                HS256,
                r#"{"exp":1800000000,"sub":"app_23rb8YdGqMT0qIzpgGwdXfHirMu"}"#,
            ),
            Err(TokenError::Subject),
        ),
    ];
    for (name, token, expected) in cases {
        assert_eq!(verify(&keys(), &token, now()), expected, "{name}");
    }
}

#[test]
fn keys_are_long_and_do_not_show() {
    assert_eq!(
        TokenKey::new("short").map(|_| ()),
        Err(TokenKeyError::Short { found: 5 })
    );
    assert_eq!(format!("{:?}", key()), "TokenKey(HS256, …)");
}

#[test]
fn what_is_minted_is_taken() {
    let subject = Subject::Organisation(organisation());
    let left = Duration::from_secs(u64::try_from(EXP_MAX - now().as_secs()).expect("is ahead"));
    for (life, is_made) in [
        (left, true),
        (left + Duration::from_secs(1), false),
        (Duration::MAX, false),
    ] {
        match mint(&key(), subject, now(), life) {
            Ok(token) => {
                assert!(is_made, "{life:?}");
                assert_eq!(verify(&keys(), &token, now()), Ok(subject));
            }
            Err(error) => assert!(!is_made && error.to_string().contains("9998"), "{error}"),
        }
    }
}

#[test]
fn a_token_of_a_session_is_good_for_four_weeks_at_most() {
    let issued = now().as_secs();
    let age = i64::try_from(SESSION_AGE_MAX.as_secs()).expect("weeks");
    let year = issued + 365 * 24 * 3600;
    let org = organisation();
    // Whether it is of a session, when it says that it was issued, and for how long it is good then.
    let cases = [
        (r#","sid":"s""#, Some(issued), Some(age)),
        ("", Some(issued), Some(year - issued)),
        (r#","sid":"s""#, None, None),
        ("", None, Some(year - issued)),
    ];
    for (session, at, lasts) in cases {
        let at = at.map_or(String::new(), |at| format!(r#","iat":{at}"#));
        let claims = format!(r#"{{"sub":"{org}","exp":{year}{at}{session}}}"#);
        let token = forge(SECRET, HS256, &claims);
        let after = |secs: i64| Timestamp::from_millis((issued + secs) * 1000);
        match lasts {
            Some(lasts) => {
                let found = grant(&keys(), &token, after(lasts - 1)).expect("is good");
                assert_eq!(found.session.is_some(), !session.is_empty());
                assert_eq!(found.expires, after(lasts));
                let late = grant(&keys(), &token, after(lasts + LEEWAY_SECS));
                assert_eq!(late, Err(TokenError::Expired), "{claims}");
            }
            None => assert_eq!(grant(&keys(), &token, now()), Err(TokenError::Expired)),
        }
    }
}
