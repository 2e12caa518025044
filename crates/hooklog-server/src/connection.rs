//! One connection: HTTP/1.1 or HTTP/2, told apart by the first bytes (over TLS as well: a client that
//! chose one by ALPN begins with it).
//!
//! **Invariant:** at every moment of its life a connection has a deadline: for its TLS handshake, for
//! its first bytes (and the whole HTTP/2 preface), for each request's head, for its body, for taking the answer (some of
//! it at once, and all of it), for being idle. hyper's own switch between the versions has none for the preface, hence this one.
//! **Next:** `drive.rs`.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answers::Answers;
use crate::config::Limits;
use crate::dispatch;
use crate::drive::{self, First};
use crate::head_timer::HeadTimer;
use crate::listen::{Accepted, Peer};
use crate::socket::Socket;
use crate::state::State;
use crate::streamed::OutBody;
use crate::tls::Tls;
use crate::transport::Transport;

/// What every HTTP/2 connection starts with (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// When an HTTP/2 client must show that it lives, and how soon (hyper's example values).
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Least read buffer that hyper takes.
const BUFFER_BYTES_MIN: usize = 8 << 10;

enum Version {
    Http1,
    Http2,
}

/// Serves a connection to its end; after `shutdown`, to the end of what is in flight, and no longer than
/// until `cut`. With `tls`,
/// TCP connections begin with a handshake; a Unix socket needs none, for nobody listens in on it.
pub(crate) async fn serve(
    state: Arc<State>,
    accepted: Accepted,
    tls: Option<Arc<Tls>>,
    shutdown: CancellationToken,
    cut: CancellationToken,
) {
    let limits = state.limits;
    let (peer, opening) = open(accepted, tls, &limits);
    let begin = async {
        let mut stream = opening.await?;
        let first = tokio::time::timeout(limits.header_read_timeout, sniff(&mut stream));
        let (version, ahead) = first.await.ok()??;
        Some((stream, version, ahead))
    };
    let begun = tokio::select! {
        begun = begin => begun,
        () = shutdown.cancelled() => return,
        () = cut.cancelled() => return,
    };
    let Some((stream, version, ahead)) = begun else {
        return;
    };
    let client = Client {
        state,
        answers: Answers::new(limits.answer_timeout),
        peer,
    };
    let socket = TokioIo::new(Socket::new(stream, ahead, limits.write_stall_timeout));
    let answers = client.answers.clone();
    let served = async {
        match version {
            Version::Http1 => serve_http1(&client, socket, &limits, shutdown).await,
            Version::Http2 => serve_http2(&client, socket, &limits, shutdown).await,
        }
    };
    let ended = async {
        tokio::select! {
            () = answers.overdue() => tracing::debug!("a client did not take an answer in time"),
            () = cut.cancelled() => {}
        }
    };
    if let First::Main(Err(error)) = drive::first(served, ended).await {
        // A client's doing, and clients do such things all the time.
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "a connection ended early"
        );
    }
}

/// Who is there, and the way to its first bytes; that ends with `None` if the client gives up.
fn open(
    accepted: Accepted,
    tls: Option<Arc<Tls>>,
    limits: &Limits,
) -> (Peer, impl Future<Output = Option<Transport>>) {
    let peer = match &accepted {
        Accepted::Tcp(_, address) => Peer::Tcp(*address),
        Accepted::Unix(_) => Peer::Unix,
    };
    let opening = async move {
        match (accepted, tls) {
            (Accepted::Tcp(stream, _), Some(tls)) => tls.accept(stream, limits).await,
            (Accepted::Tcp(stream, _), None) => Some(Transport::Tcp(stream)),
            (Accepted::Unix(stream), _) => Some(Transport::Unix(stream)),
        }
    };
    (peer, opening)
}

/// Who sends the requests of a connection, and what answers them.
struct Client {
    state: Arc<State>,
    answers: Answers,
    peer: Peer,
}

impl Client {
    fn answer(
        &self,
        request: http::Request<Incoming>,
    ) -> impl Future<Output = Result<http::Response<OutBody>, Infallible>> + Send + use<> {
        let (state, answers) = (Arc::clone(&self.state), self.answers.clone());
        dispatch::handle(state, answers, self.peer, request)
    }
}

/// Reads until the version is certain; `None` if the client left before.
async fn sniff(stream: &mut Transport) -> Option<(Version, Bytes)> {
    let mut ahead = BytesMut::with_capacity(BUFFER_BYTES_MIN);
    loop {
        if stream.read_buf(&mut ahead).await.ok()? == 0 {
            return None;
        }
        let count = ahead.len().min(PREFACE.len());
        if ahead.get(..count) != PREFACE.get(..count) {
            return Some((Version::Http1, ahead.freeze()));
        }
        if count == PREFACE.len() {
            return Some((Version::Http2, ahead.freeze()));
        }
    }
}

async fn serve_http1(
    client: &Client,
    socket: TokioIo<Socket>,
    limits: &Limits,
    shutdown: CancellationToken,
) -> hyper::Result<()> {
    // In a box, for hyper moves it, and an idle connection would keep room for it.
    let service = service_fn(move |request| Box::pin(client.answer(request)));
    let connection = http1::Builder::new()
        .timer(HeadTimer::new(limits.header_read_timeout))
        // Runs between requests too, so it also ends idle connections.
        .header_read_timeout(limits.header_read_timeout)
        // A client may end its sending side and wait for the answer; and what was sent whole is
        // done, whether or not the client is still there.
        .half_close(true)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size((limits.header_bytes_max * 2).max(BUFFER_BYTES_MIN))
        .serve_connection(socket, service);
    let mut connection = pin!(connection);
    let served = drive::at_once(connection.as_mut());
    if let First::Main(outcome) = drive::first(served, shutdown.cancelled()).await {
        return outcome;
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

async fn serve_http2(
    client: &Client,
    socket: TokioIo<Socket>,
    limits: &Limits,
    shutdown: CancellationToken,
) -> hyper::Result<()> {
    let streams = Streams(client.state.tasks.clone());
    let (in_flight, watched) = watch::channel(0_usize);
    let in_flight = Arc::new(in_flight);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (answer, flight) = (Box::pin(client.answer(request)), Flight::new(&in_flight));
        async move {
            let response = answer.await?;
            // A request is in flight until its answer's body is handed over.
            Ok::<_, Infallible>(response.map(|body| {
                body.map_frame(move |frame| {
                    let _in_flight = &flight;
                    frame
                })
            }))
        }
    });
    let connection = http2::Builder::new(streams)
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(socket, service);
    let mut connection = pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        () = shutdown.cancelled() => {}
        () = idle(watched.clone(), limits.idle_timeout) => {}
    }
    connection.as_mut().graceful_shutdown();
    // Going away is a dialogue in HTTP/2; a client that does not take part is left.
    tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = idle(watched, limits.header_read_timeout) => Ok(()),
    }
}

/// Where hyper runs the requests of an HTTP/2 connection: tracked, so that shutdown can wait.
#[derive(Clone)]
struct Streams(TaskTracker);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, request: F) {
        self.0.spawn(request);
    }
}

/// A request in flight, counted for as long as it lives.
struct Flight(Arc<watch::Sender<usize>>);

impl Flight {
    fn new(in_flight: &Arc<watch::Sender<usize>>) -> Self {
        in_flight.send_modify(|count| *count += 1);
        Self(Arc::clone(in_flight))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Returns when no request was in flight for `limit`.
async fn idle(mut in_flight: watch::Receiver<usize>, limit: Duration) {
    loop {
        let is_busy = *in_flight.borrow_and_update() > 0;
        let changed = in_flight.changed();
        let changed = if is_busy {
            changed.await
        } else {
            match tokio::time::timeout(limit, changed).await {
                Ok(changed) => changed,
                Err(_) => return,
            }
        };
        // The connection is gone, and its sender with it.
        if changed.is_err() {
            return;
        }
    }
}
