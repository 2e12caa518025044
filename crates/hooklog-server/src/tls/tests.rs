//! Certificate and key: what is taken, what is refused, and what happens when the files change.
//!
//! **Invariant:** the certificates are made here; none is kept.
//! **Next:** `routes/tests/tls.rs`, the same over sockets.

use std::fs;

use rcgen::generate_simple_self_signed;
use tempfile::TempDir;

use super::*;

struct Pair {
    certificate: String,
    key: String,
}

fn pair() -> Pair {
    let made = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("is made");
    Pair {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    }
}

fn write(directory: &TempDir, pair: &Pair) -> TlsFiles {
    let files = TlsFiles {
        certificate: directory.path().join("certificate.pem"),
        key: directory.path().join("key.pem"),
    };
    fs::write(&files.certificate, &pair.certificate).expect("is written");
    fs::write(&files.key, &pair.key).expect("is written");
    files
}

#[tokio::test]
async fn what_is_no_pair_is_refused_by_name() {
    let (one, other) = (pair(), pair());
    let cases = [
        ("", one.key.as_str(), "no certificate in PEM form in "),
        (&one.key, &one.key, "no certificate in PEM form in "),
        (
            "-----BEGIN CERTIFICATE-----\n",
            &one.key,
            "no certificate in PEM form in ",
        ),
        (&one.certificate, "", "no private key in PEM form in "),
        (
            &one.certificate,
            &one.certificate,
            "no private key in PEM form in ",
        ),
        (&one.certificate, &other.key, "key.pem does not go with "),
    ];
    let directory = tempfile::tempdir().expect("a directory");
    for (certificate, key, expected) in cases {
        let pair = Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        let error = Tls::load(write(&directory, &pair), &Limits::default()).await;
        let error = error.map(|_| ()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("BEGIN"), "{error}");
    }
    let huge = Pair {
        certificate: " ".repeat((1 << 20) + 1),
        key: one.key.clone(),
    };
    let files = write(&directory, &huge);
    let error = Tls::load(files.clone(), &Limits::default()).await;
    assert!(matches!(error, Err(TlsError::TooLarge { .. })));
    fs::remove_file(&files.certificate).expect("is removed");
    let error = Tls::load(files, &Limits::default()).await;
    assert!(matches!(error, Err(TlsError::Read { .. })));
}

#[tokio::test]
async fn only_a_whole_new_pair_takes_the_place_of_the_old() {
    let directory = tempfile::tempdir().expect("a directory");
    let (old, new) = (pair(), pair());
    let files = write(&directory, &old);
    let tls = Tls::load(files.clone(), &Limits::default())
        .await
        .expect("loads");
    let shown = || tls.current.0.read().cert.clone();
    let before = shown();
    let mut seen = Some(tls.loaded.clone());
    assert!(tls.look(&mut seen).await.is_none(), "nothing changed");

    // The certificate comes before its key, as when somebody copies one after the other.
    fs::write(&files.certificate, &new.certificate).expect("is written");
    let half = tls.look(&mut seen).await.expect("has changed");
    assert!(matches!(half, Err(TlsError::Pair { .. })));
    assert!(tls.look(&mut seen).await.is_none(), "is said once");
    assert_eq!(shown(), before);
    fs::write(&files.key, &new.key).expect("is written");
    tls.look(&mut seen)
        .await
        .expect("has changed")
        .expect("is a pair");
    let after = shown();
    assert_ne!(after, before);

    // Gone, cut short, back again.
    fs::remove_file(&files.certificate).expect("is removed");
    let gone = tls.look(&mut seen).await.expect("has changed");
    assert!(matches!(gone, Err(TlsError::Read { .. })));
    assert!(tls.look(&mut seen).await.is_none(), "is said once");
    fs::write(&files.certificate, &new.certificate[..100]).expect("is written");
    let cut = tls.look(&mut seen).await.expect("has changed");
    assert!(matches!(cut, Err(TlsError::Pem { .. })));
    assert_eq!(shown(), after);
    write(&directory, &old);
    tls.look(&mut seen)
        .await
        .expect("has changed")
        .expect("is a pair");
    assert_eq!(shown(), before);
}
