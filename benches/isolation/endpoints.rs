//! Receivers of all kinds behind one listener: each has an address of 127/8 as its host.
//!
//! **Invariant:** an event carries the time at which it was due, and what arrives before the clock of
//! its round started counts for nothing.
//! **Next:** `README.md` beside this folder, for the results.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use hdrhistogram::Histogram;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::hanging::{FIRST_OF_BODY, Hanging, Stage};

/// How an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Good,
    /// Comes to no end.
    Hangs(Stage),
    /// Answers 500.
    Fails,
}

/// Running receivers.
pub(crate) struct Endpoints {
    port: u16,
    pub(crate) hanging: Hanging,
    state: Arc<State>,
    _server: JoinSet<()>,
}

struct State {
    health: Vec<Health>,
    round: Mutex<Round>,
    arrived: Notify,
}

struct Round {
    begun: Instant,
    latencies: Latencies,
}

/// What is waited for.
pub(crate) struct Arrivals<'a>(&'a State);

/// Times from when an event was due to its arrival, in microseconds.
pub(crate) struct Latencies(Histogram<u64>);

/// A payload that says when its event was due, since the round began.
pub(crate) fn payload(due: Duration, bytes: usize) -> Bytes {
    let mut payload = BytesMut::with_capacity(bytes.max(8));
    payload.put_u64(u64::try_from(due.as_nanos()).unwrap());
    payload.resize(bytes.max(8), b'x');
    payload.freeze()
}

impl Endpoints {
    pub(crate) async fn start(health: Vec<Health>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let round = Round {
            begun: Instant::now(),
            latencies: Latencies::new(),
        };
        let state = Arc::new(State {
            health,
            round: Mutex::new(round),
            arrived: Notify::new(),
        });
        let shared = Arc::clone(&state);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let state = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        receive(request, Arc::clone(&state))
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            port,
            hanging: Hanging::start().await,
            state,
            _server: server,
        }
    }

    /// Where an endpoint is: a host of its own.
    pub(crate) fn url(&self, number: usize) -> String {
        let low = |number: usize| u8::try_from(number % 200 + 1).unwrap();
        let address = Ipv4Addr::new(127, 1, low(number / 200), low(number));
        let at = |port| SocketAddr::from((address, port));
        match self.health(number) {
            Some(Health::Hangs(Stage::Dns)) => {
                format!("http://hanging-{number}.isolation.test/{number}")
            }
            Some(Health::Hangs(Stage::Connect)) => {
                format!("http://{}/{number}", at(self.hanging.connect_port))
            }
            Some(Health::Hangs(Stage::Tls)) => {
                format!("https://{}/{number}", at(self.hanging.tls_port))
            }
            _ => format!("http://{}/{number}", at(self.port)),
        }
    }

    pub(crate) fn health(&self, number: usize) -> Option<Health> {
        self.state.health.get(number).copied()
    }

    pub(crate) fn is_good(&self, number: usize) -> bool {
        self.health(number) == Some(Health::Good)
    }

    /// Starts the clock of a round.
    pub(crate) fn expect(&self, begun: Instant) -> Arrivals<'_> {
        *self.state.round.lock() = Round {
            begun,
            latencies: Latencies::new(),
        };
        Arrivals(&self.state)
    }
}

impl Arrivals<'_> {
    /// The latencies, once so many have arrived.
    pub(crate) async fn until(self, count: usize) -> Latencies {
        let count = u64::try_from(count).unwrap();
        loop {
            let arrived = self.0.arrived.notified();
            {
                let round = self.0.round.lock();
                if round.latencies.count() >= count {
                    assert_eq!(round.latencies.count(), count, "each arrives once");
                    return Latencies(round.latencies.0.clone());
                }
            }
            arrived.await;
        }
    }
}

async fn receive(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Answer>, Infallible> {
    let arrived = Instant::now();
    let number: usize = request
        .uri()
        .path()
        .trim_start_matches('/')
        .parse()
        .unwrap();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut response = Response::new(Answer::default());
    match state.health.get(number).unwrap() {
        Health::Hangs(Stage::Body) => {
            let first = Some(Bytes::from_static(FIRST_OF_BODY.as_bytes()));
            *response.body_mut() = Answer {
                first,
                is_endless: true,
            };
        }
        Health::Hangs(_) => std::future::pending().await,
        Health::Fails => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        Health::Good => {
            let due = u64::from_be_bytes(body.get(..8).unwrap().try_into().unwrap());
            let mut round = state.round.lock();
            let due = round.begun + Duration::from_nanos(due);
            round
                .latencies
                .record(arrived.saturating_duration_since(due));
            drop(round);
            state.arrived.notify_one();
        }
    }
    Ok(response)
}

/// The body of an answer: nothing, or something that never ends.
#[derive(Default)]
struct Answer {
    first: Option<Bytes>,
    is_endless: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None if self.is_endless => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && !self.is_endless
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_endless {
            SizeHint::default()
        } else {
            SizeHint::with_exact(0)
        }
    }
}

impl Latencies {
    pub(crate) fn new() -> Self {
        // Up to a minute, with two digits.
        Self(Histogram::new_with_bounds(1, 60_000_000, 2).unwrap())
    }

    fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap();
        self.0.saturating_record(micros.max(1));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).unwrap();
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn p50(&self) -> f64 {
        self.at(0.5)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.at(0.99)
    }

    pub(crate) fn max(&self) -> f64 {
        self.at(1.0)
    }

    /// In milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }
}
