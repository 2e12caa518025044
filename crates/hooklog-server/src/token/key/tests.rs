//! Keys of all algorithms, against tokens that `PyJWT` signed and a vector of RFC 8037.
//!
//! **Invariant:** no key verifies a token that names another algorithm, whatever bytes they share.
//! **Next:** `der.rs`.

use std::time::Duration;

use hooklog_storage::{DEFAULT_ORGANISATION, Timestamp};
use serde_json::Value;

use super::*;
use crate::token::{MintError, Subject, TokenError, mint, verify};

fn vectors() -> Value {
    let text = include_str!("../../../../../data/vectors/jwt.json");
    serde_json::from_str(text).expect("is JSON")
}

fn text<'a>(vectors: &'a Value, path: &str) -> &'a str {
    let found = vectors.pointer(path).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no {path}"))
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000)
}

fn pair_name(algorithm: TokenAlgorithm) -> &'static str {
    if algorithm == TokenAlgorithm::EdDsa {
        "ed25519"
    } else {
        "rsa"
    }
}

/// The key of the vectors that verifies tokens of an algorithm.
fn verifying(vectors: &Value, algorithm: TokenAlgorithm) -> TokenKey {
    let key = match algorithm.symmetry() {
        Symmetry::Shared => TokenKey::shared(algorithm, text(vectors, "/secret")),
        Symmetry::Pair => {
            let path = format!("/keys/{}/public", pair_name(algorithm));
            TokenKey::public(algorithm, text(vectors, &path).as_bytes())
        }
    };
    key.expect("is a key")
}

fn signing(vectors: &Value, algorithm: TokenAlgorithm) -> TokenKey {
    if algorithm.symmetry() == Symmetry::Shared {
        return verifying(vectors, algorithm);
    }
    let path = format!("/keys/{}/private", pair_name(algorithm));
    TokenKey::private(algorithm, text(vectors, &path).as_bytes()).expect("is a key")
}

fn organisation() -> Subject {
    Subject::Organisation(DEFAULT_ORGANISATION.parse().expect("an id"))
}

#[test]
fn each_algorithm_verifies_its_own_tokens_and_no_others() {
    let vectors = vectors();
    for ours in TokenAlgorithm::ALL {
        for key in [verifying(&vectors, ours), signing(&vectors, ours)] {
            let keys = TokenKeys::from(key);
            for theirs in TokenAlgorithm::ALL {
                let token = text(&vectors, &format!("/tokens/{theirs}"));
                let expected = if ours == theirs {
                    Ok(organisation())
                } else {
                    Err(TokenError::Signature)
                };
                assert_eq!(verify(&keys, token, now()), expected, "{ours} {theirs}");
                let cut = &token[..token.len() - 2];
                assert_eq!(verify(&keys, cut, now()), Err(TokenError::Signature));
            }
            let pss = verify(&keys, text(&vectors, "/pss"), now());
            assert_eq!(pss, Err(TokenError::Signature));
        }
    }
}

#[test]
fn what_a_private_key_signs_its_public_key_verifies() {
    let vectors = vectors();
    for algorithm in TokenAlgorithm::ALL {
        let (signing, verifying) = (signing(&vectors, algorithm), verifying(&vectors, algorithm));
        assert!(signing.is_same_as(&verifying));
        let minute = Duration::from_mins(1);
        let token = mint(&signing, organisation(), now(), minute).expect("signs");
        assert_eq!(
            verify(&verifying.clone().into(), &token, now()),
            Ok(organisation())
        );
        match (
            algorithm.symmetry(),
            mint(&verifying, organisation(), now(), minute),
        ) {
            (Symmetry::Shared, Ok(same)) => assert_eq!(same, token),
            (Symmetry::Pair, Err(MintError::Public { algorithm: named })) => {
                assert_eq!(named, algorithm);
            }
            (_, other) => panic!("{algorithm}: {other:?}"),
        }
    }
    let pkcs1 = text(&vectors, "/keys/rsa_pkcs1/private").as_bytes();
    let pkcs1 = TokenKey::private(TokenAlgorithm::Rs256, pkcs1).expect("is a key");
    assert!(pkcs1.is_same_as(&verifying(&vectors, TokenAlgorithm::Rs256)));
}

/// The classic confusion: the public key, which everybody knows, as the secret of an HMAC.
#[test]
fn a_public_key_is_no_secret() {
    let vectors = vectors();
    for algorithm in [TokenAlgorithm::Rs256, TokenAlgorithm::EdDsa] {
        let path = format!("/keys/{}/public", pair_name(algorithm));
        let public = text(&vectors, &path);
        let forger = TokenKey::new(public).expect("long enough");
        let forged = mint(&forger, organisation(), now(), Duration::from_mins(1)).expect("signs");
        let keys = TokenKeys::new(
            verifying(&vectors, algorithm),
            vec![verifying(&vectors, TokenAlgorithm::Hs256)],
        );
        let keys = keys.expect("few enough");
        assert_eq!(verify(&keys, &forged, now()), Err(TokenError::Signature));
        // Nor is a token with it as text the mistake that is told apart.
        assert_eq!(verify(&keys, public, now()), Err(TokenError::Signature));
        let secret = text(&vectors, "/secret");
        assert_eq!(verify(&keys, secret, now()), Err(TokenError::IsTheKey));
    }
}

#[test]
fn older_keys_verify_and_the_current_one_signs() {
    let vectors = vectors();
    let all = TokenAlgorithm::ALL.map(|algorithm| verifying(&vectors, algorithm));
    let [first, rest @ ..] = all;
    let keys = TokenKeys::new(first, rest.to_vec()).expect("few enough");
    for algorithm in TokenAlgorithm::ALL {
        let token = text(&vectors, &format!("/tokens/{algorithm}"));
        assert_eq!(
            verify(&keys, token, now()),
            Ok(organisation()),
            "{algorithm}"
        );
    }
    assert_eq!(keys.current().algorithm(), TokenAlgorithm::Hs256);
    let many = TokenKeys::new(keys.current().clone(), vec![keys.current().clone(); 9]);
    assert_eq!(many.map(|_| ()), Err(TokenKeyError::Many { found: 9 }));
}

/// RFC 8037 A.2 and A.4: its public key, signed text and signature.
#[test]
fn ed25519_is_that_of_the_rfc() {
    let public = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
        -----END PUBLIC KEY-----\n";
    let key = TokenKey::public(TokenAlgorithm::EdDsa, public.as_bytes()).expect("is a key");
    let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvp\
                     Ar_MuM0KAg";
    backend::install();
    let check = |message: &str| {
        let message = message.as_bytes();
        jsonwebtoken::crypto::verify(signature, message, key.verifying(), Algorithm::EdDSA)
    };
    assert!(check(message).expect("is looked at"));
    assert!(!check(&message.replace("RX", "Rx")).expect("is looked at"));
}

#[test]
fn what_is_no_key_is_refused_by_name() {
    let vectors = vectors();
    let rsa = text(&vectors, "/keys/rsa/public");
    let private = text(&vectors, "/keys/rsa/private");
    let cases = [
        (
            TokenAlgorithm::EdDsa,
            rsa,
            "no public key for EdDSA in PEM form",
        ),
        (
            TokenAlgorithm::Rs256,
            private,
            "no public key for RS256 in PEM form",
        ),
        (
            TokenAlgorithm::Rs256,
            "",
            "no public key for RS256 in PEM form",
        ),
        (
            TokenAlgorithm::Hs256,
            rsa,
            "HS256 takes a secret, not a PEM file",
        ),
        (
            TokenAlgorithm::Rs256,
            text(&vectors, "/keys/p256/public"),
            "no public key for RS256 in PEM form",
        ),
        (
            TokenAlgorithm::Rs256,
            text(&vectors, "/keys/rsa_1024/public"),
            "the RSA key has 1024 bits, not 2048 to 8192",
        ),
    ];
    for (algorithm, pem, message) in cases {
        let error = TokenKey::public(algorithm, pem.as_bytes()).expect_err(message);
        assert!(error.to_string().starts_with(message), "{error}");
    }
    let cases = [
        (
            TokenAlgorithm::EdDsa,
            private,
            "no private key for EdDSA in PEM form",
        ),
        (
            TokenAlgorithm::Rs256,
            rsa,
            "no private key for RS256 in PEM form",
        ),
        (
            TokenAlgorithm::Hs512,
            private,
            "HS512 takes a secret, not a PEM file",
        ),
    ];
    for (algorithm, pem, message) in cases {
        let error = TokenKey::private(algorithm, pem.as_bytes()).expect_err(message);
        assert!(error.to_string().starts_with(message), "{error}");
    }
    let secret = TokenKey::shared(TokenAlgorithm::EdDsa, "a secret of enough bytes");
    let error = secret.expect_err("is no pair").to_string();
    assert_eq!(error, "EdDSA takes a key in a PEM file, not a secret");
    assert!("ES256".parse::<TokenAlgorithm>().is_err());
    assert_eq!("eddsa".parse(), Ok(TokenAlgorithm::EdDsa));
}

/// Each single bit of a public key is looked at, or makes another key; nothing panics.
#[test]
fn damaged_public_keys_do_not_pass_for_the_key() {
    let vectors = vectors();
    for name in ["rsa", "ed25519"] {
        let pem = text(&vectors, &format!("/keys/{name}/public"));
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).expect("is PEM");
        let whole = PublicKey::parse(&info).expect("is a key");
        for bit in 0..info.len() * 8 {
            let mut damaged = info.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let parsed = PublicKey::parse(&damaged);
            assert_ne!(parsed, Some(whole), "{name}: bit {bit}");
            if let Some(PublicKey::Rsa(key)) = parsed {
                let _bits = der::modulus_bits(key);
            }
        }
        for length in 0..info.len() {
            assert_eq!(PublicKey::parse(&info[..length]), None, "{name}: {length}");
        }
    }
}
