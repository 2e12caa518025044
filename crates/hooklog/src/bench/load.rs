//! The load: connections that publish, each one event after the other.
//!
//! Closed loop, the next event goes out when the last one is answered: for throughput. Open loop, events
//! are due at a steady rate whatever the server does: for latencies. An event that is due waits for a free
//! connection if all wait for answers, and its waiting counts.
//!
//! **Invariant:** only a 202 counts; 429 and 503 are counted apart, and anything else stops the run.
//! **Next:** `sink.rs`, where the events arrive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::latency::{Latencies, float};
use super::payload::put_stamped;

/// Pieces of the time whose rates are told.
pub(crate) const WINDOWS: usize = 40;
/// An open loop that is this many times as long under way as it was meant to be is given up.
pub(crate) const LATE_FACTOR: u32 = 3;
/// Room beside the payload in a body.
const BODY_BYTES: usize = 64;

/// How hard, for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Keep-alive connections, each with one request at a time.
    pub connections: usize,
    /// How long events are sent.
    pub time: Duration,
    /// Events a second that are due; `None` for a closed loop.
    pub per_second: Option<f64>,
}

/// What is asked for.
#[derive(Clone)]
pub struct Target {
    /// Where the server listens.
    pub address: SocketAddr,
    /// The path, with a query if need be.
    pub path: String,
    /// The bearer token.
    pub token: String,
    /// Payloads to be sent in turns; see `payload.rs` for their stamp.
    pub payloads: Arc<Vec<Bytes>>,
    /// Event types to be sent in turns.
    pub event_types: Vec<String>,
    /// Whether each event has an idempotency key, as SDKs do.
    pub keys: bool,
}

impl Target {
    fn request(&self, number: u64, intended: Instant) -> anyhow::Result<Request<Full<Bytes>>> {
        let at = usize::try_from(number)?;
        let payload = self.payloads.get(at % self.payloads.len().max(1));
        let payload = payload.context("no payload")?;
        let event_type = self.event_types.get(at % self.event_types.len().max(1));
        let event_type = event_type.context("no event type")?;
        let mut body = BytesMut::with_capacity(payload.len() + event_type.len() + BODY_BYTES);
        body.put_slice(b"{\"eventType\":\"");
        body.put_slice(event_type.as_bytes());
        body.put_slice(b"\",\"payload\":");
        put_stamped(&mut body, payload, intended);
        body.put_slice(b"}");
        let mut request = Request::post(&self.path)
            .header(HOST, "bench")
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json");
        if self.keys {
            request = request.header("idempotency-key", format!("auto_{number:032x}"));
        }
        Ok(request.body(Full::new(body.freeze()))?)
    }
}

/// What was reached.
#[derive(Clone, Debug)]
pub struct Done {
    /// Events that were taken.
    pub count: u64,
    /// Of them in a second.
    pub per_second: f64,
    /// Requests that were told to come later.
    pub refused: u64,
    /// Whether an open loop was given up because the server did not keep up.
    pub is_late: bool,
    /// From the intended time of each request to its answer.
    pub latencies: Latencies,
    /// Events a second in each piece of the time.
    pub windows: Vec<f64>,
}

/// What all connections share.
struct Shared {
    load: Load,
    target: Target,
    started: Instant,
    numbers: AtomicU64,
    refused: AtomicU64,
    late: AtomicUsize,
    windows: Vec<AtomicU64>,
    /// Open loop: a permit for each event that is due.
    due: Semaphore,
}

/// Publishes on all connections for the time.
pub async fn run(load: Load, target: Target) -> anyhow::Result<Done> {
    let mut senders = Vec::new();
    let mut drivers = JoinSet::new();
    for _ in 0..load.connections {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        drivers.spawn(connection);
        senders.push(sender);
    }
    let shared = Arc::new(Shared {
        load,
        target,
        started: Instant::now(),
        numbers: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        late: AtomicUsize::new(0),
        windows: (0..WINDOWS).map(|_| AtomicU64::new(0)).collect(),
        due: Semaphore::new(0),
    });
    if let Some(per_second) = load.per_second {
        start_pacer(&shared, per_second)?;
    }
    let mut running = JoinSet::new();
    for sender in senders {
        running.spawn(connection(Arc::clone(&shared), sender));
    }
    let mut latencies = Latencies::new()?;
    while let Some(one) = running.join_next().await {
        latencies.add(&one??)?;
    }
    let seconds = shared.started.elapsed().as_secs_f64();
    let window = load.time.as_secs_f64() / float(WINDOWS as u64);
    let rate = |count: &AtomicU64| float(count.load(Ordering::Relaxed)) / window;
    Ok(Done {
        count: latencies.count(),
        per_second: float(latencies.count()) / seconds,
        refused: shared.refused.load(Ordering::Relaxed),
        is_late: shared.late.load(Ordering::Relaxed) > 0,
        latencies,
        windows: shared.windows.iter().map(rate).collect(),
    })
}

/// Makes events due by a thread, since the timers of a runtime are a millisecond coarse.
fn start_pacer(shared: &Arc<Shared>, per_second: f64) -> anyhow::Result<()> {
    anyhow::ensure!(per_second > 0.0, "a rate of {per_second} events/s");
    let total = events_in(shared.load.time, per_second);
    // Ends with the run, whose connections hold what it makes due.
    let weak = Arc::downgrade(shared);
    let work = move || {
        let mut made: u64 = 0;
        while let Some(shared) = weak.upgrade() {
            let since = shared.started.elapsed();
            let due = events_in(since, per_second).saturating_add(1).min(total);
            let new = usize::try_from(due.saturating_sub(made)).unwrap_or(0);
            shared.due.add_permits(new);
            made = due;
            if made >= total {
                // Tells every connection that there are no more.
                shared.due.add_permits(shared.load.connections);
                return;
            }
            drop(shared);
            std::thread::park_timeout(moment(made, per_second).saturating_sub(since));
        }
    };
    std::thread::Builder::new()
        .name("pacer".to_owned())
        .spawn(work)?;
    Ok(())
}

/// How many events are due within a time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a product of positive numbers, far below 2^52"
)]
fn events_in(time: Duration, per_second: f64) -> u64 {
    (time.as_secs_f64() * per_second) as u64
}

/// When the event with this number is due, from the start on.
fn moment(number: u64, per_second: f64) -> Duration {
    Duration::from_secs_f64(float(number) / per_second)
}

impl Shared {
    /// The next event's number and when it is meant to be sent; `None` at the end.
    async fn next(&self) -> Option<(u64, Instant)> {
        let Some(per_second) = self.load.per_second else {
            let now = Instant::now();
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            return (now < self.started + self.load.time).then_some((number, now));
        };
        self.due.acquire().await.ok()?.forget();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        if number >= events_in(self.load.time, per_second) {
            return None;
        }
        if self.started.elapsed() > self.load.time * LATE_FACTOR {
            self.late.store(1, Ordering::Relaxed);
            return None;
        }
        Some((number, self.started + moment(number, per_second)))
    }

    fn count(&self, at: Instant) {
        let part = at.saturating_duration_since(self.started).as_nanos() * WINDOWS as u128;
        let index = part.checked_div(self.load.time.as_nanos()).unwrap_or(0);
        let window = usize::try_from(index).ok();
        if let Some(count) = window.and_then(|index| self.windows.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn connection(
    shared: Arc<Shared>,
    mut sender: SendRequest<Full<Bytes>>,
) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new()?;
    while let Some((number, intended)) = shared.next().await {
        let request = shared.target.request(number, intended)?;
        sender.ready().await?;
        let response = sender.send_request(request).await.context("no answer")?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let now = Instant::now();
        match status {
            StatusCode::ACCEPTED => {
                latencies.record(now.saturating_duration_since(intended));
                shared.count(now);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => anyhow::bail!(
                "a publish was answered {status}: {}",
                String::from_utf8_lossy(body.get(..body.len().min(500)).unwrap_or_default())
            ),
        }
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests;
