use std::fs;

use hooklog::server::token::{MintError, Subject, TokenError, mint, verify};
use hooklog::storage::{DEFAULT_ORGANISATION, Timestamp};
use serde_json::Value;

use super::*;

const NEW: &str = "a new secret of enough bytes";
const OLD: &str = "the old secret of enough bytes";

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let pairs = pairs
        .iter()
        .map(|(key, value)| (format!("HOOKLOG_{key}"), (*value).to_owned()));
    Settings::load(None, pairs, Default::default()).unwrap()
}

/// Writes the PEM texts of the vectors to files, and names them.
fn pems(directory: &Path) -> impl Fn(&str) -> String {
    let text = include_str!("../../../../data/vectors/jwt.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    for (name, halves) in vectors["keys"].as_object().unwrap() {
        for (half, pem) in halves.as_object().unwrap() {
            fs::write(
                directory.join(format!("{name}.{half}")),
                pem.as_str().unwrap(),
            )
            .unwrap();
        }
    }
    let directory = directory.to_owned();
    move |name| directory.join(name).display().to_string()
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000)
}

/// Whether `keys` take a token that `key` made.
fn takes(keys: &TokenKeys, key: &TokenKey) -> bool {
    let subject = Subject::Organisation(DEFAULT_ORGANISATION.parse().unwrap());
    let token = mint(key, subject, now(), std::time::Duration::from_mins(1)).unwrap();
    match verify(keys, &token, now()) {
        Ok(found) => found == subject,
        Err(TokenError::Signature) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn two_secrets_are_alive_while_one_replaces_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().display().to_string();
    let set = settings(&[("JWT_SECRET", NEW), ("JWT_SECRET_PREVIOUS", OLD)]);
    let keys = find(&set).unwrap().unwrap();
    let [new, old] = [NEW, OLD].map(|secret| TokenKey::new(secret).unwrap());
    assert!(takes(&keys, &new) && takes(&keys, &old));
    assert!(signing(&set).unwrap().is_same_as(&new));
    assert!(!takes(
        &keys,
        &TokenKey::new("another secret of enough bytes").unwrap()
    ));
    // The same with one that is yet to be generated.
    let set = settings(&[("DATA_DIR", &data), ("JWT_SECRET_PREVIOUS", OLD)]);
    assert!(find(&set).unwrap().is_none());
    let (keys, _secret) = generate(&set).unwrap();
    assert!(takes(&keys, keys.current()) && takes(&keys, &old));
    let longer = TokenKey::shared(TokenAlgorithm::Hs512, NEW).unwrap();
    let set = settings(&[("JWT_ALGORITHM", "HS512"), ("JWT_SECRET", NEW)]);
    let keys = find(&set).unwrap().unwrap();
    assert!(takes(&keys, &longer) && !takes(&keys, &new));
}

#[test]
fn pairs_replace_secrets_and_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let pem = pems(directory.path());
    let set = settings(&[
        ("JWT_ALGORITHM", "EdDSA"),
        ("JWT_PRIVATE_KEY", &pem("ed25519.private")),
        ("JWT_PUBLIC_KEY", &pem("ed25519.public")),
        ("JWT_PUBLIC_KEY_PREVIOUS", &pem("rsa.public")),
        ("JWT_SECRET_PREVIOUS", OLD),
    ]);
    let keys = find(&set).unwrap().unwrap();
    let rsa = fs::read(pem("rsa.private")).unwrap();
    let rsa = TokenKey::private(TokenAlgorithm::Rs256, &rsa).unwrap();
    let ours = signing(&set).unwrap();
    assert_eq!(ours.algorithm(), TokenAlgorithm::EdDsa);
    for key in [&ours, &rsa, &TokenKey::new(OLD).unwrap()] {
        assert!(takes(&keys, key), "{key:?}");
    }
    // With the public key alone tokens are taken, not made.
    let public = pem("rsa.public");
    let set = settings(&[("JWT_ALGORITHM", "RS256"), ("JWT_PUBLIC_KEY", &public)]);
    let keys = find(&set).unwrap().unwrap();
    assert!(takes(&keys, &rsa) && !takes(&keys, &ours));
    let subject = Subject::Operator;
    let made = mint(
        keys.current(),
        subject,
        now(),
        std::time::Duration::from_mins(1),
    );
    assert!(matches!(made, Err(MintError::Public { .. })));
}

#[test]
fn keys_without_a_use_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let pem = pems(directory.path());
    let (rsa, ed, absent) = (pem("rsa.public"), pem("ed25519.private"), pem("absent"));
    let other = pem("rsa_1024.public");
    let cases = [
        (
            vec![("JWT_PUBLIC_KEY", rsa.as_str())],
            "--jwt-public-key and --jwt-private-key need ",
        ),
        (
            vec![("JWT_ALGORITHM", "EdDSA")],
            "--jwt-algorithm EdDSA, RS256, ",
        ),
        (
            vec![
                ("JWT_ALGORITHM", "EdDSA"),
                ("JWT_PRIVATE_KEY", &ed),
                ("JWT_SECRET", NEW),
            ],
            "a JWT secret is for HS256, ",
        ),
        (
            vec![("JWT_ALGORITHM", "EdDSA"), ("JWT_PUBLIC_KEY", &rsa)],
            "rsa.public: no public key for EdDSA",
        ),
        (
            vec![("JWT_ALGORITHM", "EdDSA"), ("JWT_PUBLIC_KEY", &absent)],
            "cannot read ",
        ),
        (
            vec![("JWT_ALGORITHM", "EdDSA"), ("JWT_PRIVATE_KEY", &rsa)],
            "rsa.public: no private key for EdDSA",
        ),
        (
            vec![("JWT_SECRET", NEW), ("JWT_PUBLIC_KEY_PREVIOUS", &other)],
            "the RSA key has 1024 bits",
        ),
        (
            vec![("JWT_SECRET", NEW), ("JWT_SECRET_PREVIOUS", "short")],
            "jwt_secret_previous: the JWT secret has 5 bytes",
        ),
    ];
    for (pairs, message) in cases {
        let error = format!("{:#}", find(&settings(&pairs)).map(|_| ()).unwrap_err());
        assert!(error.contains(message), "{error}");
        assert!(!error.contains(NEW), "{error}");
    }
    // The halves of two pairs.
    let made = TokenKey::private(TokenAlgorithm::EdDsa, &fs::read(&ed).unwrap()).unwrap();
    assert_eq!(made.algorithm(), TokenAlgorithm::EdDsa);
    fs::write(
        directory.path().join("foreign.public"),
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
         -----END PUBLIC KEY-----\n",
    )
    .unwrap();
    let foreign = pem("foreign.public");
    let halves = settings(&[
        ("JWT_ALGORITHM", "EdDSA"),
        ("JWT_PRIVATE_KEY", &ed),
        ("JWT_PUBLIC_KEY", &foreign),
    ]);
    let error = find(&halves).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.starts_with("--jwt-public-key is not that of"),
        "{error}"
    );
}
