//! Tests of single attempts against a real HTTP server, good and evil.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use hooklog_signature::Secret;
use hooklog_storage::Endpoint;
use names::Names;

use super::*;
use crate::resolve::system::NameServers;
use crate::resolve::{Resolver, Resolving};
use crate::testing::sink::{Reply, Sink};
use crate::testing::{record_of, subscription};

/// A resolver whose answers are listed; each name's answers are given in turn.
mod names {
    use std::future::ready;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hooklog_storage::ApplicationId;

    use super::*;

    #[derive(Default)]
    pub(super) struct Names {
        pub(super) answers: BTreeMap<&'static str, Vec<Vec<SocketAddr>>>,
        pub(super) asked: AtomicUsize,
    }

    impl Resolve for Names {
        fn resolve(&self, application: ApplicationId, host: String, _: u16) -> Resolving {
            // That of the record: whose places among the lookups are taken.
            assert_eq!(application, crate::testing::application(0));
            let turn = self.asked.fetch_add(1, Ordering::Relaxed);
            let answers = self.answers.get(host.as_str());
            let answer = answers
                .and_then(|answers| answers.get(turn).or(answers.last()))
                .cloned();
            Box::pin(ready(
                answer.ok_or_else(|| io::Error::other("no such name")),
            ))
        }
    }
}

fn config() -> Config {
    Config {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        user_agent: "test-agent".to_owned(),
        attempt_timeout: Duration::from_secs(10),
        ..Config::default()
    }
}

fn deliver(config: &Config) -> Deliver {
    Deliver::new(config, Arc::new(Resolver::new(NameServers::default())))
}

fn endpoint(url: impl Into<String>) -> Endpoint {
    Endpoint {
        url: url.into().into(),
        ..subscription(1).endpoint
    }
}

fn to(endpoint: Endpoint) -> Arc<Subscription> {
    Arc::new(Subscription {
        endpoint,
        ..subscription(1)
    })
}

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

async fn attempt(deliver: &Deliver, url: impl Into<String>) -> Answer {
    deliver
        .attempt(&to(endpoint(url)), &record_of(3, 100), NOW)
        .await
}

#[tokio::test]
async fn a_request_carries_the_payload_verbatim_and_both_header_families() {
    let sink = Sink::start(|_, _| Reply::Status(204, "")).await;
    let mut record = record_of(3, 0);
    record.event.payload = Bytes::from_static(b"{ \"b\": 1,\r\n\"a\":\xff }");
    record.event.content_type = "application/json; charset=utf-8".to_owned();
    let mut endpoint = endpoint(format!("{}?a=b#fragment", sink.url()));
    endpoint.old_secrets.push(hooklog_storage::OldSecret {
        key: hooklog_storage::SecretKey::new(vec![9; 32]),
        expires: Timestamp::from_millis(NOW.as_millis() + 1),
    });
    endpoint.old_secrets.push(hooklog_storage::OldSecret {
        key: hooklog_storage::SecretKey::new(vec![8; 32]),
        expires: NOW,
    });
    let answer = deliver(&config())
        .attempt(&to(endpoint), &record, NOW)
        .await;
    assert_eq!(
        answer,
        Answer {
            status: Some(204),
            response: String::new(),
            verdict: Verdict::Delivered,
            fault: None,
            retry_after: None,
        }
    );
    let received = sink.received();
    assert_eq!(received.len(), 1);
    let request = &received[0];
    assert_eq!(request.path, "/hook");
    assert_eq!(request.body, record.event.payload);
    assert_eq!(
        request.header("content-type"),
        "application/json; charset=utf-8"
    );
    assert_eq!(request.header("user-agent"), "test-agent");
    assert_eq!(request.header("host"), sink.address.to_string());
    let id = record.id.to_string();
    let secrets = [[1_u8; 24].as_slice(), &[9; 32]].map(|key| Secret::from_bytes(key).unwrap());
    let signature = hooklog_signature::sign(&secrets, &id, 1_700_000_000, &record.event.payload);
    assert_eq!(signature.split(' ').count(), 2);
    for family in ["webhook", "svix"] {
        assert_eq!(request.header(&format!("{family}-id")), id);
        assert_eq!(request.header(&format!("{family}-timestamp")), "1700000000");
        assert_eq!(request.header(&format!("{family}-signature")), signature);
    }
}

#[tokio::test]
async fn only_2xx_is_success_and_redirects_are_not_followed() {
    let sink = Sink::start(|request, _| match request.path.as_str() {
        "/302" => Reply::Redirect("/200".to_owned()),
        path => Reply::Status(path[1..].parse().unwrap(), "what it said"),
    })
    .await;
    let deliver = deliver(&config());
    for (status, verdict) in [
        (200, Verdict::Delivered),
        (299, Verdict::Delivered),
        (302, Verdict::Failed),
        (304, Verdict::Failed),
        (400, Verdict::Failed),
        (410, Verdict::Failed),
        (500, Verdict::Failed),
    ] {
        let answer = attempt(&deliver, format!("http://{}/{status}", sink.address)).await;
        assert_eq!((answer.status, answer.verdict), (Some(status), verdict));
        match status {
            302 => assert_eq!(
                answer.response,
                "redirects are not followed; location: /200"
            ),
            304 => assert_eq!(answer.response, ""),
            _ => assert_eq!(answer.response, "what it said"),
        }
    }
    // The target of the redirect was asked for once, by ourselves.
    assert_eq!(
        sink.received()
            .iter()
            .filter(|request| request.path == "/200")
            .count(),
        1
    );
}

#[tokio::test]
async fn evil_answers_end_in_time_and_keep_little() {
    let sink = Sink::start(|request, _| match request.path.as_str() {
        "/endless" => Reply::Endless,
        "/hang-in-body" => Reply::HangInBody,
        _ => Reply::Hang,
    })
    .await;
    let at = |path: &str| format!("http://{}/{path}", sink.address);
    let patient = deliver(&Config {
        response_bytes_max: 1500,
        ..config()
    });
    let answer = attempt(&patient, at("endless")).await;
    assert_eq!(answer.verdict, Verdict::Delivered);
    assert_eq!(answer.response, "x".repeat(1500));

    let brief = Duration::from_millis(200);
    let hasty = deliver(&Config {
        attempt_timeout: brief,
        ..config()
    });
    let answer = attempt(&hasty, at("hang")).await;
    assert_eq!(
        answer,
        Answer {
            fault: Some(Fault::Endpoint),
            ..Answer::none(Verdict::Failed, "no answer within 200ms")
        }
    );
    // The receiver said 200 before it went silent: it has the event.
    let answer = attempt(&hasty, at("hang-in-body")).await;
    assert_eq!(
        (answer.status, answer.verdict),
        (Some(200), Verdict::Delivered)
    );
    assert_eq!(answer.response.len(), 1000);
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let deliver = deliver(&config());
    let cases = [
        (
            format!("http://{address}/"),
            "no answer: cannot connect to 127.0.0.1: ".to_owned(),
        ),
        (
            "https://[::1]/".to_owned(),
            "refused to send: the address ::1 is not public".to_owned(),
        ),
        (
            "http://10.0.0.1/".to_owned(),
            "--allow-network 10.0.0.0/8".to_owned(),
        ),
        (
            "ftp://example.com/".to_owned(),
            "refused to send: the scheme `ftp`".to_owned(),
        ),
        (
            "nonsense".to_owned(),
            "the endpoint's URL cannot be read: ".to_owned(),
        ),
    ];
    for (url, expected) in cases {
        let answer = attempt(&deliver, url.clone()).await;
        assert_eq!(
            (answer.status, answer.verdict),
            (None, Verdict::Failed),
            "{url}"
        );
        assert!(
            answer.response.contains(&expected),
            "{url}: {}",
            answer.response
        );
    }
}

#[tokio::test]
async fn names_are_checked_by_every_address_at_every_connection() {
    let sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let (good, bad) = (sink.address, "10.0.0.1:80".parse().unwrap());
    let port = good.port();
    // Allowed, but nobody listens there.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let names = Names {
        answers: BTreeMap::from([
            ("good.test", vec![vec![good]]),
            ("mixed.test", vec![vec![good, bad]]),
            (
                "mapped.test",
                vec![vec!["[::ffff:169.254.169.254]:80".parse().unwrap()]],
            ),
            ("none.test", vec![vec![]]),
            ("closed.test", vec![vec![closed]]),
        ]),
        ..Names::default()
    };
    let deliver = Deliver::new(&config(), Arc::new(names));
    let cases = [
        ("good.test", Some(200), ""),
        (
            "mixed.test",
            None,
            "refused to connect to mixed.test: its address is not public; the server must run with \
             --allow-network",
        ),
        (
            "mapped.test",
            None,
            "refused to connect to mapped.test: its address is not public",
        ),
        ("none.test", None, "none.test has no address"),
        (
            "closed.test",
            None,
            "no answer: cannot connect to closed.test: ",
        ),
        (
            "unknown.test",
            None,
            "cannot resolve unknown.test: no such name",
        ),
    ];
    for (host, status, reason) in cases {
        let answer = attempt(&deliver, format!("http://{host}:{port}/")).await;
        assert_eq!(answer.status, status, "{host}: {}", answer.response);
        assert!(
            answer.response.contains(reason),
            "{host}: {}",
            answer.response
        );
        // Where inner names point to is not for tenants to learn.
        for secret in ["10.0.0", "169.254", "127.0.0", "private", "metadata"] {
            assert!(!answer.response.contains(secret), "{}", answer.response);
        }
    }
    // The resolver is told for whom it works behind TLS as well.
    let answer = attempt(&deliver, "https://unknown.test/").await;
    assert_eq!(
        answer.response,
        "no answer: cannot resolve unknown.test: no such name"
    );
    assert_eq!(sink.received().len(), 1);
}

/// A name that was good when the endpoint was created and turns to a private address later.
#[tokio::test]
async fn a_name_that_is_bound_anew_is_checked_anew() {
    let sink = Sink::start(|_, _| Reply::Hang).await;
    let (good, bad) = (sink.address, "192.168.0.1:80".parse().unwrap());
    let names = Names {
        answers: BTreeMap::from([("turns.test", vec![vec![good], vec![bad]])]),
        ..Names::default()
    };
    let config = Config {
        attempt_timeout: Duration::from_millis(200),
        ..config()
    };
    let deliver = Deliver::new(&config, Arc::new(names));
    let url = format!("http://turns.test:{}/", good.port());
    // The first connection hangs and is given up, so the second attempt must connect again.
    assert_eq!(
        attempt(&deliver, url.clone()).await.response,
        "no answer within 200ms"
    );
    let answer = attempt(&deliver, url).await;
    assert!(
        answer
            .response
            .contains("turns.test: its address is not public"),
        "{}",
        answer.response
    );
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test]
async fn connections_are_reused_after_a_whole_answer() {
    let sink = Sink::start(|_, _| Reply::Status(200, "fine")).await;
    let names = Names {
        answers: BTreeMap::from([("reused.test", vec![vec![sink.address], vec![]])]),
        ..Names::default()
    };
    let deliver = Deliver::new(&config(), Arc::new(names));
    let url = format!("http://reused.test:{}/", sink.address.port());
    for _ in 0..5 {
        // A second connection would find no address any more.
        assert_eq!(attempt(&deliver, url.clone()).await.status, Some(200));
    }
}
