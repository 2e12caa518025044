use hooklog::server::token::verify;

use super::*;

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let pairs = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Settings::load(None, pairs, Default::default()).unwrap()
}

#[test]
fn a_client_uses_the_users_token_or_makes_one() {
    let given = settings(&[("HOOKLOG_TOKEN", " abc.def.ghi\n")]);
    assert_eq!(for_client(&given).unwrap(), "abc.def.ghi");

    let secret = ("HOOKLOG_JWT_SECRET", "a secret of enough bytes");
    let made = settings(&[secret]);
    let token = for_client(&made).unwrap();
    let key = secret_key(&made);
    let default = DEFAULT_ORGANISATION.parse().unwrap();
    assert_eq!(
        verify(&key, &token, now()),
        Ok(Subject::Organisation(default))
    );

    let other = "org_23rb8YdGqMT0qIzpgGwdXfHirMv";
    let made = settings(&[secret, ("HOOKLOG_ORG", other)]);
    let token = for_client(&made).unwrap();
    assert_eq!(
        verify(&key, &token, now()),
        Ok(Subject::Organisation(other.parse().unwrap()))
    );
}

fn secret_key(settings: &Settings) -> hooklog::server::TokenKeys {
    token_keys::signing(settings).unwrap().into()
}

#[test]
fn what_is_missing_or_wrong_is_said_clearly() {
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent").display().to_string();
    let secret = ("HOOKLOG_JWT_SECRET", "a secret of enough bytes");
    // Port 9 (discard) is not listened to on a loopback interface.
    let nobody = ("HOOKLOG_SERVER", "http://127.0.0.1:9");
    let cases = [
        (
            vec![("HOOKLOG_DATA_DIR", absent.as_str())],
            "no JWT secret in ",
        ),
        (
            vec![("HOOKLOG_JWT_SECRET", "short")],
            "the JWT secret has 5 bytes",
        ),
        (
            vec![secret, ("HOOKLOG_ORG", "acme")],
            "--org \"acme\": does not start with `org_`",
        ),
        (
            vec![secret, ("HOOKLOG_EXPIRES", "0s")],
            "--expires must be above zero",
        ),
        (
            vec![secret, ("HOOKLOG_APP", "a b")],
            "application \"a b\": may hold only letters",
        ),
        (
            vec![
                secret,
                nobody,
                ("HOOKLOG_APP", "demo"),
                ("HOOKLOG_DATA_DIR", &absent),
            ],
            "application \"demo\": cannot reach the server at http://127.0.0.1:9/",
        ),
        (
            vec![
                secret,
                ("HOOKLOG_SERVER", "ftp://x"),
                ("HOOKLOG_APP", "demo"),
            ],
            "application \"demo\": the server's URL must start with http:// or https://",
        ),
    ];
    for (pairs, message) in cases {
        let error = format!(
            "{:#}",
            run(&settings(&pairs), Audience::Tenant).unwrap_err()
        );
        assert!(error.starts_with(message), "{error}");
    }
}
