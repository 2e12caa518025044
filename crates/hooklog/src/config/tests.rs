use std::io::Write as _;

use serde_json::json;

use super::*;

fn dict(value: &serde_json::Value) -> Dict {
    given(value).unwrap()
}

fn load(
    toml: &str,
    environment: &[(&str, &str)],
    flags: &serde_json::Value,
) -> anyhow::Result<Settings> {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    let environment = environment
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()));
    Settings::load(Some(file.path()), environment, [Dict::new(), dict(flags)])
}

fn error(toml: &str, environment: &[(&str, &str)]) -> String {
    format!(
        "{:#}",
        load(toml, environment, &json!({})).map(|_| ()).unwrap_err()
    )
}

#[test]
fn later_layers_win() {
    let toml = "listen = '127.0.0.1:1'\ndata_dir = 'file'\nattempt_timeout = '1s'\n";
    let environment = [
        ("HOOKLOG_LISTEN", "127.0.0.1:2"),
        ("HOOKLOG_DATA_DIR", "variable"),
    ];
    let settings = load(toml, &environment, &json!({ "listen": "127.0.0.1:3" })).unwrap();
    assert_eq!(settings.listen, ["127.0.0.1:3".parse().unwrap()]);
    assert_eq!(settings.data_dir, Path::new("variable"));
    assert_eq!(settings.attempt_timeout.to_string(), "1s");
    // Untouched by any layer.
    assert_eq!(settings.body_limit, ByteSize(2 << 20));
    assert_eq!(settings.app, None);
}

#[test]
fn every_type_of_value_can_come_from_the_file_and_the_environment() {
    let toml = "
        allow_network = ['10.0.0.0/8', '::1/128']
        retry_schedule = ['0s', '1m']
        retry_jitter = 0
        body_limit = 65536
        receive_status = 503
        jwt_secret = 'from the file'
    ";
    let environment = [
        ("HOOKLOG_RETRY_SCHEDULE", "0s, 5s"),
        ("HOOKLOG_RETRY_JITTER", "0.5"),
        ("HOOKLOG_BODY_LIMIT", "1MiB"),
        ("HOOKLOG_CONCURRENCY", "3"),
        // A text of digits stays a text where a text is wanted.
        ("HOOKLOG_JWT_SECRET", "1234567890123456"),
        ("HOOKLOG_APP", "true"),
        ("HOOKLOG_RECEIVE_SECRET", "a,b"),
        // Not ours: orchestrators set it for a service of this name.
        ("HOOKLOG_PORT", "tcp://10.0.0.1:8071"),
        ("LISTEN", "nowhere"),
    ];
    let settings = load(toml, &environment, &json!({})).unwrap();
    assert_eq!(settings.allow_network.len(), 2);
    let schedule: Vec<_> = settings
        .retry_schedule
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(schedule, ["0s", "5s"]);
    assert!((settings.retry_jitter - 0.5).abs() < f64::EPSILON);
    assert_eq!(settings.body_limit, ByteSize(1 << 20));
    assert_eq!(settings.concurrency, 3);
    assert_eq!(settings.receive_status, 503);
    assert_eq!(settings.jwt_secret.as_deref(), Some("1234567890123456"));
    assert_eq!(settings.app.as_deref(), Some("true"));
    assert_eq!(settings.receive_secret, ["a", "b"]);
}

#[test]
fn mistakes_are_errors_that_name_the_key_and_where_it_is() {
    let unknown = error("lisen = '127.0.0.1:1'", &[]);
    assert!(
        unknown.contains("unknown field: found `lisen`"),
        "{unknown}"
    );
    assert!(unknown.contains(".toml"), "{unknown}");
    let typed = error("listen = 5", &[]);
    assert!(typed.contains("for key \"listen\""), "{typed}");
    let syntax = error("listen =", &[]);
    assert!(syntax.starts_with("invalid configuration: "), "{syntax}");

    let cases = [
        (
            "HOOKLOG_LISTEN",
            "nowhere",
            "\"nowhere\" is neither an address with a port",
        ),
        (
            "HOOKLOG_ALLOW_NETWORK",
            "10.0.0.0/33",
            "invalid IP address syntax",
        ),
        ("HOOKLOG_ATTEMPT_TIMEOUT", "15", "\"15\" is no duration"),
        (
            "HOOKLOG_CONCURRENCY",
            "many",
            "invalid type: found string \"many\"",
        ),
        ("HOOKLOG_SERVER", "localhost", "relative URL without a base"),
    ];
    for (name, value, message) in cases {
        let error = error("", &[(name, value)]);
        assert!(error.contains(message), "{error}");
        assert!(
            error.contains(name) && error.contains("the environment"),
            "{error}"
        );
    }

    let absent = Settings::load(Some(Path::new("no/such.toml")), [], Default::default());
    let absent = format!("{:#}", absent.map(|_| ()).unwrap_err());
    assert!(absent.contains("no/such.toml"), "{absent}");
}

#[test]
fn no_error_shows_a_secret() {
    const DIGITS: &str = "1234567890123456789";
    let cases = [
        (format!("jwt_secret = {DIGITS}"), "for key \"jwt_secret\""),
        (
            format!("jwt_secret_previous = ['a', {DIGITS}]"),
            "expected a string for key \"jwt_secret_previous.1\"",
        ),
        (format!("token = {DIGITS}"), "for key \"token\""),
        (format!("token = ['{DIGITS}']"), "for key \"token\""),
        (
            format!("receive_secret = {DIGITS}"),
            "expected a string or a list of strings for key \"receive_secret\"",
        ),
        (
            format!("receive_secret = ['a', {DIGITS}]"),
            "expected a string for key \"receive_secret.1\"",
        ),
        (
            format!("log = 'info'\njwt_secret = \"{DIGITS}\nlisten = '127.0.0.1:1'"),
            "no TOML at line 2, column ",
        ),
        (
            format!("jwt_secret = {DIGITS}x"),
            "no TOML at line 1, column ",
        ),
        (
            format!("jwt_secret = '{DIGITS}'\njwt_secret = '{DIGITS}'"),
            "no TOML at line 2, column 1 of ",
        ),
    ];
    for (toml, expected) in cases {
        let error = error(&toml, &[]);
        assert!(error.starts_with("invalid configuration: "), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(".toml"), "{error}");
        assert!(!error.contains("12345"), "{error}");
    }
    assert_eq!(place("ä = 1\nöö x", 11), (2, 3));
}

#[test]
fn one_secret_needs_no_list() {
    let file = "receive_secret = 'whsec_1'";
    let settings = load(file, &[], &json!({})).unwrap();
    assert_eq!(settings.receive_secret, ["whsec_1"]);
    let settings = load(file, &[], &json!({ "receive_secret": ["a", "b"] })).unwrap();
    assert_eq!(settings.receive_secret, ["a", "b"]);
}

#[test]
fn several_addresses_can_be_listened_on() {
    let both = ["127.0.0.1:1", "unix:/run/hooklog.sock"].map(|text| text.parse().unwrap());
    let from_file = load(
        "listen = ['127.0.0.1:1', 'unix:/run/hooklog.sock']",
        &[],
        &json!({}),
    );
    assert_eq!(from_file.unwrap().listen, both);
    let variable = ("HOOKLOG_LISTEN", "127.0.0.1:1,unix:/run/hooklog.sock");
    assert_eq!(load("", &[variable], &json!({})).unwrap().listen, both);
    let one = load("listen = 'unix:/run/hooklog.sock'", &[], &json!({})).unwrap();
    assert_eq!(one.listen, both[1..]);
    let wrong = error("listen = ['127.0.0.1:1', 'unix:']", &[]);
    assert!(wrong.contains("\"unix:\" is neither "), "{wrong}");
    assert!(wrong.contains("for key \"listen.1\""), "{wrong}");
}

#[test]
fn rate_limits_are_one_text() {
    let defaults = load("", &[], &json!({})).unwrap();
    let texts =
        |settings: &Settings| [settings.rate_limit, settings.app_rate_limit].map(String::from);
    assert_eq!(texts(&defaults), ["none", "100/s,200"]);
    let variable = ("HOOKLOG_RATE_LIMIT", "5000/s,10000");
    let set = load("app_rate_limit = 'none'", &[variable], &json!({})).unwrap();
    assert_eq!(texts(&set), ["5000/s,10000", "none"]);
    let wrong = error("", &[("HOOKLOG_RATE_LIMIT", "fast")]);
    assert!(
        wrong.contains("\"fast\" is no rate limit as 100/s"),
        "{wrong}"
    );
}
