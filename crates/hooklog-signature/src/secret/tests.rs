use super::*;

#[test]
fn texts_are_read_with_and_without_prefix_and_padding() {
    let bytes: Vec<u8> = (0..25).collect();
    let padded = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGA==";
    let texts = [
        padded.to_owned(),
        format!("whsec_{padded}"),
        padded.replace('=', ""),
    ];
    for text in texts {
        let secret = Secret::parse(&text).unwrap();
        assert_eq!(secret.as_bytes(), bytes, "{text}");
        assert_eq!(secret.expose(), format!("whsec_{padded}"), "{text}");
    }
}

#[test]
fn what_is_no_secret_is_refused_with_the_reason() {
    let of = |bytes: usize| STANDARD.encode(vec![7; bytes]);
    let cases = [
        (String::new(), Some(SecretError::Empty)),
        ("whsec_".into(), Some(SecretError::Empty)),
        ("whsec_whsec_".into(), Some(SecretError::Encoding)),
        ("whsec_ä".into(), Some(SecretError::Encoding)),
        // The URL-safe alphabet is another encoding.
        ("-_".repeat(16), Some(SecretError::Encoding)),
        ("====".into(), Some(SecretError::Encoding)),
        (of(23), Some(SecretError::Length { found: 23 })),
        (of(24), None),
        (of(75), None),
        (of(76), Some(SecretError::Length { found: 76 })),
    ];
    for (text, error) in cases {
        assert_eq!(Secret::parse(&text).err(), error, "{text}");
    }
    assert_eq!(Secret::from_bytes(b""), Err(SecretError::Empty));
    assert_eq!(
        Secret::from_bytes(&[7; 23]),
        Err(SecretError::Length { found: 23 })
    );
}

#[test]
fn generated_secrets_differ_and_never_show() {
    let (a, b) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    assert_ne!(a, b);
    assert_eq!(Secret::parse(&a.expose()).unwrap(), a);
    assert_eq!(a.as_bytes().len(), 24);
    assert_eq!(format!("{a:?}"), "Secret(…)");
}
