//! Attempts over a network in memory, where time is virtual: each kind of trouble costs its own attempt
//! and nobody else's.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hooklog_storage::{Header, Record, Subscription, Timestamp};
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::rustls::RootCertStore;

use super::*;
use crate::config::Config;
use crate::connect::Stream;
use crate::deliver::{Answer, Deliver, Verdict};
use crate::resolve::Resolver;
use crate::testing::net::{Host, Names, Net, Tls, serve};
use crate::testing::{record_of, subscription, subscription_id};

mod faults;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);
const LIMIT: Duration = Duration::from_secs(10);

fn deliver(net: &Net, roots: RootCertStore) -> Arc<Deliver> {
    let config = Config {
        allow_networks: vec!["10.0.0.0/8".parse().unwrap()],
        attempt_timeout: LIMIT,
        ..Config::default()
    };
    let names = [
        ("good.test", "10.0.0.1"),
        ("secure.test", "10.0.0.2"),
        ("hanging.test", "10.0.0.3"),
        ("moved.test", "192.168.0.1"),
    ];
    let names = names.map(|(name, address)| (name, address.parse::<IpAddr>().unwrap()));
    let resolver = Resolver::new(Names(BTreeMap::from(names)));
    let net = Arc::new(net.clone());
    Arc::new(Deliver::over(&config, Arc::new(resolver), net, roots))
}

fn to(url: &str) -> Arc<Subscription> {
    let mut value = subscription(1);
    value.endpoint.url = url.into();
    Arc::new(value)
}

async fn attempt(deliver: &Deliver, url: &str) -> Answer {
    deliver.attempt(&to(url), &record_of(3, 100), NOW).await
}

/// Speaks HTTP/1 or HTTP/2 and answers by `answer`.
async fn http<S, F, A>(stream: S, is_http2: bool, answer: A)
where
    S: Stream + 'static,
    F: Future<Output = &'static str> + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer.await)))) }
    });
    let io = TokioIo::new(stream);
    if is_http2 {
        let server = hyper::server::conn::http2::Builder::new(Local);
        let _ = server.serve_connection(io, service).await;
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        let _ = server.serve_connection(io, service).await;
    }
}

/// A host that takes everything and says `fine`.
fn good() -> Host {
    serve(|stream| http(stream, false, fine))
}

async fn fine(request: Request<Incoming>) -> &'static str {
    let _ = request.into_body().collect().await;
    "fine"
}

/// Reads a request's head, roughly.
async fn read_head(stream: &mut DuplexStream) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        bytes.push(byte);
    }
}

/// Says this, and then nothing for ever.
fn says(text: &'static str) -> Host {
    serve(move |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(text.as_bytes()).await;
        std::future::pending::<()>().await;
    })
}

/// Says the first, and then the second every second.
fn drips(first: &'static str, then: &'static str) -> Host {
    serve(move |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(first.as_bytes()).await;
        while stream.write_all(then.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
}

/// Hosts that never come to an end, how long an attempt takes there, and what it gets.
fn endless(net: &Net) -> Vec<(&'static str, u64, Verdict, &'static str)> {
    net.host("10.0.0.3:80", Host::Hang);
    net.host("10.0.0.3:443", says(""));
    net.host("10.0.0.3:81", says(""));
    net.host("10.0.0.3:82", drips("HTTP/1.1 200 OK\r\n", "a: b\r\n"));
    net.host(
        "10.0.0.3:83",
        drips("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", "x"),
    );
    net.host(
        "10.0.0.3:84",
        serve(|stream| async move {
            // Never reads what is sent.
            let _held = stream;
            std::future::pending::<()>().await;
        }),
    );
    let timeout = "no answer within 10s";
    vec![
        (
            "http://unanswered.test/",
            5,
            Verdict::Failed,
            "resolving unanswered.test took longer than 5s",
        ),
        (
            "http://hanging.test/",
            5,
            Verdict::Failed,
            "connecting to hanging.test took longer than 5s",
        ),
        ("https://hanging.test/", 10, Verdict::Failed, timeout),
        ("http://hanging.test:81/", 10, Verdict::Failed, timeout),
        ("http://hanging.test:82/", 10, Verdict::Failed, timeout),
        (
            "http://hanging.test:83/",
            10,
            Verdict::Delivered,
            "xxxxxxxxxx",
        ),
        ("http://hanging.test:84/", 10, Verdict::Failed, timeout),
    ]
}

#[tokio::test(start_paused = true)]
async fn each_trouble_costs_its_own_attempt_alone_and_ends_in_time() {
    let net = Net::default();
    net.host("10.0.0.1:80", good());
    let deliver = deliver(&net, RootCertStore::empty());
    let mut hanging = JoinSet::new();
    for (url, seconds, verdict, said) in endless(&net) {
        for _ in 0..5 {
            let deliver = Arc::clone(&deliver);
            hanging.spawn(async move {
                // More than a socket's buffer.
                let begun = Instant::now();
                let record = record_of(3, 1 << 20);
                let answer = deliver.attempt(&to(url), &record, NOW).await;
                assert_eq!(begun.elapsed().as_secs(), seconds, "{url}");
                assert_eq!(answer.verdict, verdict, "{url}");
                assert!(answer.response.contains(said), "{url}: {}", answer.response);
            });
        }
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let begun = Instant::now();
    for _ in 0..100 {
        let answer = attempt(&deliver, "http://good.test/").await;
        assert_eq!((answer.status, &*answer.response), (Some(200), "fine"));
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited");
    while let Some(ended) = hanging.join_next().await {
        ended.unwrap();
    }
    // Attempts took their connections along; one is kept for the next event.
    assert_eq!(deliver.client().pool().counts(), (1, 0, 1));
    assert_eq!(net.open(), 1);
    tokio::time::sleep(IDLE_TIMEOUT * 2).await;
    assert_eq!(deliver.client().pool().counts(), (0, 0, 0));
    assert_eq!(net.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn answers_without_end_are_cut_off_at_once() {
    let net = Net::default();
    let chunk = Bytes::from_static(&[b'x'; 1000]);
    let endless = move |head: &'static str| {
        let chunk = chunk.clone();
        serve(move |mut stream| {
            let chunk = chunk.clone();
            async move {
                read_head(&mut stream).await;
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(&chunk).await.is_ok() {}
            }
        })
    };
    net.host("10.0.0.3:80", endless("HTTP/1.1 200 OK\r\n\r\n"));
    net.host("10.0.0.3:81", endless("HTTP/1.1 200 OK\r\na: "));
    net.host("10.0.0.3:82", endless(""));
    let deliver = deliver(&net, RootCertStore::empty());
    let begun = Instant::now();
    let answer = attempt(&deliver, "http://hanging.test/").await;
    assert_eq!(
        (answer.verdict, answer.response.len()),
        (Verdict::Delivered, 4096)
    );
    for port in [81, 82] {
        let answer = attempt(&deliver, &format!("http://hanging.test:{port}/")).await;
        assert_eq!((answer.verdict, answer.status), (Verdict::Failed, None));
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(
        (net.open(), deliver.client().pool().counts()),
        (0, (0, 0, 0))
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_is_not_used_again() {
    let net = Net::default();
    for (port, said) in [
        (80, ""),
        (81, "HTTP/1.1 200 O"),
        (82, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
        (83, "nonsense\r\n\r\n"),
    ] {
        let host = serve(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(said.as_bytes()).await;
        });
        net.host(&format!("10.0.0.1:{port}"), host);
    }
    net.host("10.0.0.1:84", Host::Refuse);
    let deliver = deliver(&net, RootCertStore::empty());
    for port in 80..=84 {
        for _ in 0..2 {
            let answer = attempt(&deliver, &format!("http://good.test:{port}/")).await;
            // Where the head of a 2xx came the receiver has the event.
            let expected = if port == 82 {
                Verdict::Delivered
            } else {
                Verdict::Failed
            };
            assert_eq!(answer.verdict, expected, "{port}: {}", answer.response);
        }
    }
    assert_eq!((net.dialled(), net.open()), (10, 0));
    let moved = attempt(&deliver, "http://moved.test/").await;
    assert!(moved.response.contains("not public"), "{}", moved.response);
    assert_eq!(net.dialled(), 10, "the guard comes before the connection");
}

/// Reads whole requests with a payload of 100 bytes, and says this to each, byte by byte.
fn answers(said: &'static str) -> Host {
    serve(move |mut stream| async move {
        loop {
            read_head(&mut stream).await;
            let mut body = [0; 100];
            if stream.read_exact(&mut body).await.is_err() {
                return;
            }
            for byte in said.as_bytes() {
                let _ = stream.write_all(&[*byte]).await;
                tokio::task::yield_now().await;
            }
            // Only the end of the connection ends such an answer.
            if said.is_empty() || said.starts_with("HTTP/1.0 200") {
                return;
            }
        }
    })
}

/// What a receiver says, the status and the text that are taken from it, and whether its connection is
/// used again.
const SHAPES: [(&str, Option<u16>, &str, bool); 12] = [
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine",
        Some(200),
        "fine",
        true,
    ),
    (
        "HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n",
        Some(204),
        "",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nfin\r\n1\r\ne\r\n0\r\nx: y\r\n\r\n",
        Some(200),
        "fine",
        true,
    ),
    (
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine",
        Some(200),
        "fine",
        true,
    ),
    (
        "HTTP/1.0 500 No\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nno",
        Some(500),
        "no",
        true,
    ),
    ("HTTP/1.0 200 OK\r\n\r\nfine", Some(200), "fine", false),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfine",
        Some(200),
        "fine",
        false,
    ),
    // Lines without a carriage return are taken, as hyper takes them.
    (
        "HTTP/1.1 200 OK\ncontent-length: 4\n\nfine",
        Some(200),
        "fine",
        true,
    ),
    // What follows an answer was not asked for.
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfinest",
        Some(200),
        "fine",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
        Some(200),
        "",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        None,
        "no answer: invalid content-length parsed",
        false,
    ),
    (
        "",
        None,
        "no answer: connection closed before message completed",
        false,
    ),
];

#[tokio::test(start_paused = true)]
async fn answers_of_every_shape_are_read_and_only_whole_ones_keep_their_connection() {
    let net = Net::default();
    let deliver = deliver(&net, RootCertStore::empty());
    for (port, (said, status, response, is_kept)) in (80..).zip(SHAPES) {
        net.host(&format!("10.0.0.1:{port}"), answers(said));
        let before = net.dialled();
        for _ in 0..2 {
            let answer = attempt(&deliver, &format!("http://good.test:{port}/")).await;
            assert_eq!(
                (answer.status, &*answer.response),
                (status, response),
                "{said}"
            );
            // A byte that follows has time to arrive.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(
            net.dialled() - before,
            if is_kept { 1 } else { 2 },
            "{said}"
        );
    }
}

/// Without a bound such an answer would go on for ever, and the deadline might never have its turn.
#[tokio::test(start_paused = true)]
async fn what_is_said_for_nothing_is_bounded() {
    let net = Net::default();
    let endless = |head: &'static str, then: &'static str| {
        serve(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(then.as_bytes()).await.is_ok() {}
        })
    };
    net.host(
        "10.0.0.1:80",
        endless("", "HTTP/1.1 102 Processing\r\n\r\n"),
    );
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    net.host(
        "10.0.0.1:81",
        endless(chunked, "1;aaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n"),
    );
    let deliver = deliver(&net, RootCertStore::empty());
    let begun = Instant::now();
    let answer = attempt(&deliver, "http://good.test/").await;
    assert_eq!(answer.response, "no answer: message head is too large");
    let answer = attempt(&deliver, "http://good.test:81/").await;
    assert_eq!(answer.status, Some(200));
    assert!(answer.response.len() < 4096 && answer.response.starts_with("xxx"));
    assert_eq!((begun.elapsed(), net.open()), (Duration::ZERO, 0));
}

/// An answer may come before the request was read; the rest of it is written meanwhile.
#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_early_counts() {
    let net = Net::default();
    let refuses = serve(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno")
            .await;
        std::future::pending::<()>().await;
    });
    net.host("10.0.0.1:80", refuses);
    let reads = serve(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
            .await;
        let mut body = vec![0; 1 << 20];
        let _ = stream.read_exact(&mut body).await;
        let _ = stream.write_all(b"ok").await;
        std::future::pending::<()>().await;
    });
    net.host("10.0.0.1:81", reads);
    let deliver = deliver(&net, RootCertStore::empty());
    let begun = Instant::now();
    for (port, status, said, idle) in [(80, 413, "no", 0), (81, 200, "ok", 1)] {
        let record = record_of(3, 1 << 20);
        let to = to(&format!("http://good.test:{port}/"));
        let answer = deliver.attempt(&to, &record, NOW).await;
        assert_eq!((answer.status, &*answer.response), (Some(status), said));
        assert_eq!(deliver.client().pool().counts().0, idle, "{port}");
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// A receiver that closes what idles, as all do some time: nothing is lost or sent twice by it.
#[tokio::test(start_paused = true)]
async fn a_connection_that_was_closed_while_it_idled_is_passed_over() {
    let net = Net::default();
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    net.host(
        "10.0.0.1:80",
        serve(move |mut stream| {
            let counted = Arc::clone(&counted);
            async move {
                read_head(&mut stream).await;
                let mut body = [0; 100];
                let _ = stream.read_exact(&mut body).await;
                counted.fetch_add(1, Ordering::Relaxed);
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }),
    );
    let deliver = deliver(&net, RootCertStore::empty());
    for round in 1..=10 {
        let answer = attempt(&deliver, "http://good.test/").await;
        assert_eq!(answer.status, Some(200), "{}", answer.response);
        assert_eq!(
            (served.load(Ordering::Relaxed), net.dialled()),
            (round, round)
        );
        assert_eq!(deliver.client().pool().counts(), (1, 0, 1));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_reused_within_bounds() {
    let net = Net::default();
    net.host("10.0.0.1:80", good());
    let deliver = deliver(&net, RootCertStore::empty());
    let burst = async |count: usize| {
        let mut attempts = JoinSet::new();
        for _ in 0..count {
            let deliver = Arc::clone(&deliver);
            attempts.spawn(async move { attempt(&deliver, "http://good.test/").await });
        }
        while let Some(answer) = attempts.join_next().await {
            assert_eq!(answer.unwrap().status, Some(200));
        }
    };
    burst(200).await;
    let made = net.dialled();
    assert_eq!(
        (deliver.client().pool().counts(), net.open()),
        ((128, 0, 1), 128)
    );
    burst(128).await;
    assert_eq!(net.dialled(), made);
    // However busy, a name that moved is followed after some time.
    for _ in 0..40 {
        burst(1).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(net.dialled(), made + 1);
}

/// Spawns the tasks of a server on the test's own runtime.
#[derive(Clone)]
struct Local;

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        hyper::rt::Executor::execute(&TokioExecutor::new(), task);
    }
}

#[tokio::test(start_paused = true)]
async fn http2_is_spoken_where_the_endpoint_does() {
    let net = Net::default();
    let tls = Tls::new("secure.test", &["h2", "http/1.1"]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    net.host(
        "10.0.0.2:443",
        tls.serve(move |stream| {
            let sees = Arc::clone(&sees);
            http(stream, true, move |request| {
                let head = (request.version(), request.uri().to_string());
                sees.lock().push((head, request.headers().clone()));
                fine(request)
            })
        }),
    );
    let deliver = deliver(&net, tls.roots.clone());
    let mut subscription = subscription(1);
    subscription.endpoint.url = "https://secure.test/hook?a=b".into();
    subscription.endpoint.headers = vec![Header::new("X-Api-Key", "k").unwrap()].into();
    let subscription = Arc::new(subscription);
    for _ in 0..10 {
        let answer = deliver
            .attempt(&subscription, &record_of(3, 100), NOW)
            .await;
        assert_eq!((answer.status, &*answer.response), (Some(200), "fine"));
    }
    assert_eq!(
        (net.dialled(), deliver.client().pool().counts()),
        (1, (0, 1, 1))
    );
    let ((version, uri), headers) = seen.lock()[9].clone();
    assert_eq!(
        (version, &*uri),
        (Version::HTTP_2, "https://secure.test/hook?a=b")
    );
    assert_eq!(headers["x-api-key"], "k");
    assert_eq!(headers["content-length"], "100");
    assert!(headers.contains_key("webhook-signature") && !headers.contains_key("host"));
    tokio::time::sleep(IDLE_TIMEOUT * 2).await;
    assert_eq!(
        (deliver.client().pool().counts(), net.open()),
        ((0, 0, 0), 0)
    );
}

/// One stalled connection must not hold up all events for a host that many endpoints have in common.
#[tokio::test(start_paused = true)]
async fn an_http2_connection_carries_a_bounded_number_of_requests() {
    for (allowed, at_a_time, connections) in [(1000, 250, 3), (10, 20, 2)] {
        let net = Net::default();
        let tls = Tls::new("secure.test", &["h2"]);
        let arrived = Arc::new(tokio::sync::Barrier::new(at_a_time));
        let together = Arc::clone(&arrived);
        net.host(
            "10.0.0.2:443",
            tls.serve(move |stream| {
                let together = Arc::clone(&together);
                async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let together = Arc::clone(&together);
                        async move {
                            if request.uri().path() == "/together" {
                                together.wait().await;
                            }
                            let text = fine(request).await;
                            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
                        }
                    });
                    let mut server = hyper::server::conn::http2::Builder::new(Local);
                    server.max_concurrent_streams(allowed);
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                }
            }),
        );
        let deliver = deliver(&net, tls.roots.clone());
        assert_eq!(
            attempt(&deliver, "https://secure.test/").await.status,
            Some(200)
        );
        let mut attempts = JoinSet::new();
        for _ in 0..at_a_time {
            let deliver = Arc::clone(&deliver);
            let subscription = to("https://secure.test/together");
            let subscription = Arc::new(Subscription {
                id: subscription_id(2),
                ..(*subscription).clone()
            });
            attempts.spawn(async move {
                let record: Record = record_of(3, 100);
                deliver.attempt(&subscription, &record, NOW).await
            });
        }
        // All arrive although none is answered before.
        while let Some(answer) = attempts.join_next().await {
            let answer = answer.unwrap();
            assert_eq!(answer.status, Some(200), "{}", answer.response);
        }
        let (_, shared, _) = deliver.client().pool().counts();
        assert_eq!(shared, connections, "{allowed} allowed");
    }
}

#[tokio::test(start_paused = true)]
async fn http2_streams_that_are_given_up_leave_the_connection_to_others() {
    let net = Net::default();
    let tls = Tls::new("secure.test", &["h2"]);
    net.host(
        "10.0.0.2:443",
        tls.serve(|stream| {
            http(stream, true, |request: Request<Incoming>| async move {
                if request.uri().path() == "/hang" {
                    std::future::pending::<()>().await;
                }
                fine(request).await
            })
        }),
    );
    let deliver = deliver(&net, tls.roots.clone());
    for _ in 0..3 {
        let begun = Instant::now();
        let answer = attempt(&deliver, "https://secure.test/hang").await;
        assert_eq!((answer.status, begun.elapsed()), (None, LIMIT));
        let answer = attempt(&deliver, "https://secure.test/").await;
        assert_eq!(answer.status, Some(200), "{}", answer.response);
    }
    assert_eq!(net.dialled(), 1);
}

#[tokio::test(start_paused = true)]
async fn servers_that_are_not_who_they_say_get_nothing() {
    let net = Net::default();
    let (known, unknown) = (Tls::new("secure.test", &[]), Tls::new("secure.test", &[]));
    let other = Tls::new("other.test", &[]);
    let seen = Arc::new(AtomicUsize::new(0));
    let answering = |tls: &Tls| {
        let seen = Arc::clone(&seen);
        tls.serve(move |stream| {
            let seen = Arc::clone(&seen);
            http(stream, false, move |request| {
                seen.fetch_add(1, Ordering::Relaxed);
                fine(request)
            })
        })
    };
    net.host("10.0.0.2:443", answering(&known));
    net.host("10.0.0.2:444", answering(&unknown));
    net.host("10.0.0.2:445", answering(&other));
    // No TLS at all.
    net.host("10.0.0.2:446", good());
    let mut roots = known.roots.clone();
    roots.roots.extend(other.roots.roots.clone());
    let deliver = deliver(&net, roots);
    for (port, status) in [(443, Some(200)), (444, None), (445, None), (446, None)] {
        let answer = attempt(&deliver, &format!("https://secure.test:{port}/")).await;
        assert_eq!(answer.status, status, "{port}: {}", answer.response);
        if status.is_none() {
            let expected = "no answer: secure.test and we do not agree on TLS: ";
            assert!(answer.response.starts_with(expected), "{}", answer.response);
        }
    }
    // A server that offers no protocol speaks HTTP/1.
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    assert_eq!(deliver.client().pool().counts(), (1, 0, 1));
}

/// Some receivers tell `X-Api-Key` from `x-api-key`.
#[tokio::test(start_paused = true)]
async fn names_of_headers_are_sent_as_their_owner_wrote_them() {
    let net = Net::default();
    let seen = Arc::new(Mutex::new(String::new()));
    let sees = Arc::clone(&seen);
    net.host(
        "10.0.0.1:80",
        serve(move |mut stream| {
            let sees = Arc::clone(&sees);
            async move {
                let mut bytes = [0; 4096];
                let count = stream.read(&mut bytes).await.unwrap();
                *sees.lock() = String::from_utf8_lossy(&bytes[..count]).into_owned();
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        }),
    );
    let deliver = deliver(&net, RootCertStore::empty());
    let mut subscription = subscription(1);
    subscription.endpoint.url = "http://good.test/hook".into();
    subscription.endpoint.headers = [("X-Api-Key", "1"), ("x-low", "2"), ("X-API-KEY", "3")]
        .map(|(name, value)| Header::new(name, value).unwrap())
        .to_vec()
        .into();
    let answer = deliver
        .attempt(&Arc::new(subscription), &record_of(3, 100), NOW)
        .await;
    assert_eq!(answer.status, Some(204));
    let text = seen.lock().clone();
    assert!(text.starts_with("POST /hook HTTP/1.1\r\n"), "{text}");
    for line in [
        "X-Api-Key: 1",
        "x-low: 2",
        "X-API-KEY: 3",
        "host: good.test",
        "content-length: 100",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}: {text}");
    }
}
