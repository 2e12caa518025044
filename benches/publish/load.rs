//! The load: connections that publish one event after the other.
//!
//! **Invariant:** only a 202 counts, and anything else stops the benchmark.
//! **Next:** `../publish.rs`, which prints it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How hard, for how long.
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) time: Duration,
}

/// What is asked for.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    path: String,
    authorization: String,
    body: Bytes,
    keys: bool,
}

impl Target {
    /// With a payload of so many bytes.
    pub(crate) fn new(
        address: SocketAddr,
        path: &str,
        token: &str,
        bytes: usize,
        keys: bool,
    ) -> Self {
        let text = "x".repeat(bytes.saturating_sub(r#"{"text":""}"#.len()));
        let body = format!(r#"{{"eventType":"bench.made","payload":{{"text":"{text}"}}}}"#);
        Self {
            address,
            path: path.to_owned(),
            authorization: format!("Bearer {token}"),
            body: body.into(),
            keys,
        }
    }

    fn request(&self, number: u64) -> Request<Full<Bytes>> {
        let mut request = Request::post(&self.path)
            .header(HOST, "bench")
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json");
        if self.keys {
            request = request.header("idempotency-key", format!("auto_{number:032x}"));
        }
        request
            .body(Full::new(self.body.clone()))
            .expect("a request")
    }
}

/// What was reached.
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Publishes on all connections for the time.
pub(crate) async fn run(load: &Load, target: &Target) -> Rate {
    let numbers = Arc::new(AtomicU64::new(0));
    let mut running = JoinSet::new();
    let started = Instant::now();
    let end = started + load.time;
    for _ in 0..load.connections {
        running.spawn(connection(target.clone(), Arc::clone(&numbers), end));
    }
    let mut all = Histogram::<u64>::new(3).expect("a histogram");
    while let Some(one) = running.join_next().await {
        all.add(one.expect("no panic")).expect("fits");
    }
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let float = |count: u64| count as f64;
    let milliseconds = |quantile| float(all.value_at_quantile(quantile)) / 1e6;
    Rate {
        per_second: float(all.len()) / started.elapsed().as_secs_f64(),
        p50: milliseconds(0.5),
        p99: milliseconds(0.99),
    }
}

async fn connection(target: Target, numbers: Arc<AtomicU64>, end: Instant) -> Histogram<u64> {
    let stream = TcpStream::connect(target.address).await.expect("connects");
    stream.set_nodelay(true).expect("an option");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("http");
    let connection = tokio::task::spawn(connection);
    let mut latencies = Histogram::new(3).expect("a histogram");
    while Instant::now() < end {
        let sent = Instant::now();
        sender.ready().await.expect("is open");
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let response = sender
            .send_request(target.request(number))
            .await
            .expect("an answer");
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        response.into_body().collect().await.expect("a body");
        let nanoseconds = u64::try_from(sent.elapsed().as_nanos()).expect("is short");
        latencies.record(nanoseconds).expect("fits");
    }
    drop(sender);
    drop(connection.await);
    latencies
}
