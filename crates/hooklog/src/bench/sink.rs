//! A receiver: reads a request to its end and answers at once, never, or with a failure.
//!
//! **Invariant:** every side of a comparison delivers to the same code in the same process; what is
//! counted was read in full.
//! **Next:** `limit/client.rs`, which sends to it with the least work there is.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::latency::{Latencies, epoch, float, nanoseconds};
use super::payload;

/// Without a request for so long, nothing is left in a socket of this machine.
const QUIET: Duration = Duration::from_millis(20);

/// How a receiver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Takes everything.
    Take,
    /// Answers 500.
    Fail,
    /// Reads the request and never answers.
    Hang,
}

/// A running receiver; dropping it ends it.
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    counts: Arc<Counts>,
    _server: JoinSet<()>,
}

struct Counts {
    manner: Manner,
    received: AtomicU64,
    wanted: AtomicU64,
    reached: Notify,
    /// Nanoseconds since the epoch of the process; 0 for none.
    first: AtomicU64,
    last: AtomicU64,
    /// From the intended time to the arrival, of those that carry it.
    latencies: Mutex<Latencies>,
}

impl Sink {
    /// Listens on a free port of this machine.
    pub async fn start(manner: Manner) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts {
            manner,
            received: AtomicU64::new(0),
            wanted: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            latencies: Mutex::new(Latencies::new()?),
        });
        epoch();
        let counting = Arc::clone(&counts);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // It only costs time if it cannot be had.
                let _ = stream.set_nodelay(true);
                let counts = Arc::clone(&counting);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        receive(request, Arc::clone(&counts))
                    });
                    let _closed = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
                // What has ended is not kept.
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            counts,
            _server: server,
        })
    }

    /// The URL of the receiver with this number; all are the same.
    pub fn url(&self, number: usize) -> String {
        format!("http://{}/{number}", self.address)
    }

    /// How many requests came.
    pub fn count(&self) -> u64 {
        self.counts.received.load(Ordering::Acquire)
    }

    /// Waits until so many requests came.
    pub async fn until(&self, count: u64) {
        self.counts.wanted.store(count, Ordering::Release);
        while self.count() < count {
            self.counts.reached.notified().await;
        }
    }

    /// When the first and the last request came.
    pub fn span(&self) -> Option<(Instant, Instant)> {
        let first = self.counts.first.load(Ordering::Acquire);
        let last = self.counts.last.load(Ordering::Acquire);
        let at = |since| epoch() + Duration::from_nanos(since);
        (first > 0).then(|| (at(first), at(last)))
    }

    /// Begins to count anew, once what a killed sender had sent has been read.
    pub async fn forget(&self) {
        let mut seen = self.count();
        loop {
            tokio::time::sleep(QUIET).await;
            if self.count() == seen {
                break;
            }
            seen = self.count();
        }
        for count in [&self.counts.received, &self.counts.first, &self.counts.last] {
            count.store(0, Ordering::Release);
        }
    }

    /// Requests a second from the first to the last of them.
    pub fn rate(&self) -> Option<f64> {
        let (first, last) = self.span()?;
        let seconds = last.saturating_duration_since(first).as_secs_f64();
        (seconds > 0.0).then(|| float(self.count().saturating_sub(1)) / seconds)
    }

    /// From the intended times to the arrivals, of the events that carry them.
    pub fn latencies(&self) -> Latencies {
        self.counts.latencies.lock().clone()
    }
}

async fn receive(
    request: Request<Incoming>,
    counts: Arc<Counts>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    let Ok(body) = request.into_body().collect().await else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    let now = Instant::now();
    if let Some(intended) = payload::intended(&body.to_bytes()) {
        let latency = now.saturating_duration_since(intended);
        counts.latencies.lock().record(latency);
    }
    let at = nanoseconds(now).max(1);
    // The first one stays.
    let _already = counts
        .first
        .compare_exchange(0, at, Ordering::AcqRel, Ordering::Acquire);
    counts.last.fetch_max(at, Ordering::AcqRel);
    let received = counts.received.fetch_add(1, Ordering::AcqRel) + 1;
    if received >= counts.wanted.load(Ordering::Acquire) {
        counts.reached.notify_one();
    }
    match counts.manner {
        Manner::Take => {}
        Manner::Fail => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        Manner::Hang => std::future::pending().await,
    }
    Ok(response)
}
