//! Connections that wait for their next request, and those that many requests share.
//!
//! **Invariant:** what idles is bounded by number, for each place and for all, and by time; a host
//! without connections has no entry. An HTTP/2 connection carries a bounded number of requests at a
//! time, so one that stalls holds up no more than these.
//! **Next:** `exchange.rs`, one request and its answer.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connect::Stream;
use crate::http1::Http1;
use crate::target::Place;

/// Common servers close idle connections after 60 s or more; below it a reused one is likely alive.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Oldest connection that is used again: however busy, a host that moved is followed after this time.
const AGE_MAX: Duration = Duration::from_mins(5);
/// Connections that idle, of all places. As many as attempts in flight by default, so that idle ones
/// at most double the open files. HTTP/2 connections are counted apart.
const POOLED_MAX: usize = 1024;
/// Requests at a time on one HTTP/2 connection: what the specification wants servers to allow at
/// least (RFC 9113 section 6.5.2). Above it, or above what the server says, another one is made.
const STREAMS_MAX: usize = 100;
/// What a server may send ahead on one stream, and on all of a connection: it bounds the memory that
/// answers take. 64 KiB is the default of HTTP/2; of an answer little is kept.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Most bytes of an answer's head, as in HTTP/1.
const HEAD_BYTES_MAX: u32 = 64 << 10;
/// A connection in use whose peer does not answer a ping within this time is dead (twice it at most
/// until it is noticed).
const PING: Duration = Duration::from_secs(10);

pub(crate) type Sender = http2::SendRequest<Full<Bytes>>;

/// A connection to use.
pub(crate) enum Pooled {
    Http1(Box<Http1>),
    Http2(Sender, StreamPlace),
}

/// The requests on one HTTP/2 connection.
#[derive(Debug)]
struct Streams {
    used: AtomicUsize,
    /// What the server allows.
    max: AtomicUsize,
    /// Whether an answer came, and so what the server allows before it.
    is_answered: AtomicBool,
    answered: Notify,
}

/// A request's place on an HTTP/2 connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct StreamPlace(Arc<Streams>);

impl StreamPlace {
    /// Called under the pool's lock, or while the connection is still its maker's alone.
    fn take(streams: &Arc<Streams>) -> Option<Self> {
        let max = streams.max.load(Ordering::Relaxed).min(STREAMS_MAX);
        if streams.used.load(Ordering::Relaxed) >= max {
            return None;
        }
        streams.used.fetch_add(1, Ordering::Relaxed);
        Some(Self(Arc::clone(streams)))
    }
}

impl StreamPlace {
    /// An answer came on this connection.
    pub(crate) fn answered(&self) {
        if !self.0.is_answered.swap(true, Ordering::Relaxed) {
            self.0.answered.notify_one();
        }
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An HTTP/2 connection that is shared.
struct Shared {
    sender: Sender,
    streams: Arc<Streams>,
    born: Instant,
    /// When it was first seen without requests.
    idle_since: Option<Instant>,
}

#[derive(Default)]
struct Host {
    /// The one used last is at the back, and is used next: what is too much gets old.
    idle: VecDeque<(Box<Http1>, Instant)>,
    shared: Vec<Shared>,
}

#[derive(Default)]
struct State {
    hosts: BTreeMap<Place, Host>,
    idle: usize,
    shared: usize,
}

/// All connections that may be used again.
pub(crate) struct Pool {
    state: Mutex<State>,
    /// Idle HTTP/1 connections of one place.
    idle_max: usize,
    tasks: Tasks,
}

/// The tasks that drive HTTP/2 connections; they end with the pool.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

impl Pool {
    pub(crate) fn new(idle_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            idle_max,
            tasks: Tasks::default(),
        }
    }

    /// A connection of this place, if there is one that may be used.
    pub(crate) fn take(&self, place: &Place) -> Option<Pooled> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let state = &mut *state;
        let host = state.hosts.get_mut(place)?;
        let mut taken = None;
        for shared in &mut host.shared {
            if shared.is_usable(now)
                && let Some(stream) = StreamPlace::take(&shared.streams)
            {
                shared.idle_since = None;
                taken = Some(Pooled::Http2(shared.sender.clone(), stream));
                break;
            }
        }
        while taken.is_none()
            && let Some((connection, since)) = host.idle.pop_back()
        {
            state.idle -= 1;
            if now < since + IDLE_TIMEOUT {
                taken = Some(Pooled::Http1(connection));
            }
        }
        if host.is_empty() {
            state.hosts.remove(place);
        }
        taken
    }

    /// Takes a connection back after a whole answer.
    pub(crate) fn put(&self, place: &Place, connection: Box<Http1>) {
        let now = Instant::now();
        if now >= connection.born + AGE_MAX {
            return;
        }
        let mut state = self.state.lock();
        let state = &mut *state;
        // Closed when the lock is free again.
        let mut dropped = None;
        if state.idle >= POOLED_MAX {
            dropped = state.drop_oldest();
        }
        let host = state.hosts.entry(place.clone()).or_default();
        if host.idle.len() < self.idle_max {
            host.idle.push_back((connection, now));
            state.idle += 1;
        }
        drop(dropped);
    }

    /// Speaks HTTP/2 on a new connection, which others share from now on.
    pub(crate) async fn share(
        &self,
        place: &Place,
        stream: Box<dyn Stream>,
    ) -> hyper::Result<(Sender, StreamPlace)> {
        let (sender, connection) = http2::Builder::new(self.tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEAD_BYTES_MAX)
            .max_send_buf_size(HEAD_BYTES_MAX as usize)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(stream))
            .await?;
        let streams = Arc::new(Streams {
            used: AtomicUsize::new(0),
            max: AtomicUsize::new(STREAMS_MAX),
            is_answered: AtomicBool::new(false),
            answered: Notify::new(),
        });
        let told = Arc::clone(&streams);
        hyper::rt::Executor::execute(&self.tasks, async move {
            let mut connection = pin!(connection);
            let mut driven = pin!(poll_fn(|context| {
                let ended = connection.as_mut().poll(context);
                let max = connection.current_max_send_streams();
                told.max.store(max, Ordering::Relaxed);
                ended
            }));
            loop {
                tokio::select! {
                    // How it ended is told to the requests on it.
                    _ = &mut driven => break,
                    // Nothing else wakes this task when the server has said what it allows.
                    () = told.answered.notified() => {}
                }
            }
        });
        let now = Instant::now();
        let mut state = self.state.lock();
        let state = &mut *state;
        let host = state.hosts.entry(place.clone()).or_default();
        // Several were made at the same time, before the first one was known to be HTTP/2.
        for shared in &mut host.shared {
            if shared.is_usable(now)
                && let Some(stream) = StreamPlace::take(&shared.streams)
            {
                shared.idle_since = None;
                return Ok((shared.sender.clone(), stream));
            }
        }
        streams.used.fetch_add(1, Ordering::Relaxed);
        let place_on_it = StreamPlace(Arc::clone(&streams));
        if state.shared < POOLED_MAX {
            state.shared += 1;
            host.shared.push(Shared {
                sender: sender.clone(),
                streams,
                born: now,
                idle_since: None,
            });
        } else if host.is_empty() {
            state.hosts.remove(place);
        }
        Ok((sender, place_on_it))
    }

    /// Closes what has idled for too long.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut closed = Vec::new();
        let mut ended = Vec::new();
        let mut state = self.state.lock();
        let state = &mut *state;
        for host in state.hosts.values_mut() {
            while let Some((_, since)) = host.idle.front()
                && now >= *since + IDLE_TIMEOUT
            {
                closed.extend(host.idle.pop_front());
                state.idle -= 1;
            }
            let before = host.shared.len();
            ended.extend(host.shared.extract_if(.., |shared| shared.is_over(now)));
            state.shared -= before - host.shared.len();
        }
        state.hosts.retain(|_, host| !host.is_empty());
    }

    /// Connections that idle, HTTP/2 connections, and hosts.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let state = self.state.lock();
        (state.idle, state.shared, state.hosts.len())
    }
}

impl Shared {
    fn is_usable(&self, now: Instant) -> bool {
        !self.sender.is_closed() && now < self.born + AGE_MAX
    }

    /// Whether it is to be dropped, which closes it as soon as no request is on it.
    fn is_over(&mut self, now: Instant) -> bool {
        if !self.is_usable(now) {
            return true;
        }
        if self.streams.used.load(Ordering::Relaxed) > 0 {
            self.idle_since = None;
            return false;
        }
        now >= *self.idle_since.get_or_insert(now) + IDLE_TIMEOUT
    }
}

impl Host {
    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.shared.is_empty()
    }
}

impl State {
    /// Takes out the connection that has idled longest. Looks at all hosts, which are no more than
    /// idle connections, and only when these are at their bound.
    fn drop_oldest(&mut self) -> Option<Box<Http1>> {
        let since = |host: &Host| host.idle.front().map(|(_, since)| *since);
        let oldest = self
            .hosts
            .iter_mut()
            .filter(|(_, host)| !host.idle.is_empty());
        let (place, host) = oldest.min_by_key(|(_, host)| since(host))?;
        let (connection, _) = host.idle.pop_front()?;
        self.idle -= 1;
        if host.is_empty() {
            let place = place.clone();
            self.hosts.remove(&place);
        }
        Some(connection)
    }
}
