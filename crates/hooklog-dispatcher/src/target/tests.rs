//! Tests of what is made of an endpoint, and for how long it is kept.

use super::*;
use crate::testing::subscription;

const AGENT: HeaderValue = HeaderValue::from_static("test-agent");

fn guard() -> Guard {
    Guard::new(vec![
        "127.0.0.0/8".parse().unwrap(),
        "::1/128".parse().unwrap(),
    ])
}

fn target(url: &str) -> Target {
    let endpoint = Endpoint {
        url: url.into(),
        ..subscription(1).endpoint
    };
    Target::new(&endpoint, &guard(), &AGENT).unwrap()
}

#[test]
fn urls_say_where_to_connect_and_what_to_ask_for() {
    for (url, place, host, path) in [
        (
            "http://example.com",
            ("example.com", 80),
            "example.com",
            "/",
        ),
        (
            "http://example.com:80/a?b=c#d",
            ("example.com", 80),
            "example.com",
            "/a?b=c",
        ),
        (
            "http://EXAMPLE.com:8080/ä b",
            ("example.com", 8080),
            "example.com:8080",
            "/%C3%A4%20b",
        ),
        (
            "http://bücher.example/",
            ("xn--bcher-kva.example", 80),
            "xn--bcher-kva.example",
            "/",
        ),
        (
            "https://example.com/",
            ("example.com", 443),
            "example.com",
            "/",
        ),
        ("http://[::1]:81/", ("::1", 81), "[::1]:81", "/"),
        ("http://2130706433/", ("127.0.0.1", 80), "127.0.0.1", "/"),
    ] {
        let target = target(url);
        let found = (&*target.place.host, target.place.port);
        assert_eq!(found, place, "{url}");
        assert_eq!(target.place.is_https, url.starts_with("https"));
        assert_eq!(target.headers[HOST], host, "{url}");
        let first = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: test-agent\r\n");
        assert_eq!(String::from_utf8_lossy(&target.head), first, "{url}");
        assert_eq!(target.uri.authority().unwrap().as_str(), host);
    }
}

#[test]
fn a_target_lives_as_long_as_its_subscription_is_unchanged() {
    let (targets, guard) = (Targets::default(), guard());
    let get = |subscription: &Arc<Subscription>| targets.get(subscription, &guard, &AGENT).unwrap();
    let first = Arc::new(subscription(1));
    let target = get(&first);
    assert!(Arc::ptr_eq(&target, &get(&first)));
    let mut changed = (*first).clone();
    changed.endpoint.url = "http://127.0.0.1/changed".into();
    let changed = Arc::new(changed);
    assert_eq!(get(&changed).uri.path(), "/changed");
    // A guard's refusal is not kept either.
    let mut refused = (*first).clone();
    refused.endpoint.url = "http://10.0.0.1/".into();
    assert!(targets.get(&Arc::new(refused), &guard, &AGENT).is_err());
    assert_eq!(get(&changed).uri.path(), "/changed");

    for number in 0..KEPT_MAX + 10 {
        let mut bytes = [9; 20];
        bytes[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
        let id = SubscriptionId::from_bytes(bytes);
        get(&Arc::new(Subscription {
            id,
            ..(*first).clone()
        }));
        assert!(targets.kept.lock().len() <= KEPT_MAX);
    }
}

#[test]
fn old_secrets_sign_until_they_expire() {
    let mut endpoint = subscription(1).endpoint;
    let expires = Timestamp::from_millis(1000);
    let key = hooklog_storage::SecretKey::new(vec![9; 24]);
    endpoint
        .old_secrets
        .push(hooklog_storage::OldSecret { key, expires });
    let target = Target::new(&endpoint, &guard(), &AGENT).unwrap();
    for (now, count) in [(999, 2), (1000, 1)] {
        let now = Timestamp::from_millis(now);
        assert_eq!(target.signers(now).count(), count);
    }
}
