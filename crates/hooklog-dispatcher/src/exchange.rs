//! One request and its answer, over HTTP/1 or HTTP/2.
//!
//! An HTTP/1 connection is driven by the attempt that uses it, not by a task of its own: no message
//! goes between tasks, and an attempt that is given up takes its connection along.
//!
//! **Invariant:** a connection goes back to the pool only after a whole answer; given up earlier, or
//! after an error, it is closed (HTTP/1) or only its stream is reset (HTTP/2).
//! **Next:** `deliver.rs`, which reads the answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::connect::Stream;
use crate::pool::{Pool, StreamPlace};
use crate::target::Place;

/// Most headers of an answer (hyper's own default, stated because it is a bound).
const HEADERS_MAX: usize = 100;
/// Most bytes of an answer's head, as common servers and proxies have it; also of what is read of a
/// body at a time.
const HEAD_BYTES_MAX: usize = 64 << 10;

pub(crate) type Outgoing = Request<Full<Bytes>>;

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) error: hyper::Error,
    /// The request, if not a byte of it was sent.
    pub(crate) unsent: Option<Outgoing>,
}

impl From<TrySendError<Outgoing>> for Unanswered {
    fn from(mut error: TrySendError<Outgoing>) -> Self {
        let unsent = error.take_message();
        let error = error.into_error();
        Self { error, unsent }
    }
}

type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// An HTTP/1 connection.
pub(crate) struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Connection>,
    pub(crate) born: Instant,
}

impl Http1 {
    pub(crate) async fn new(stream: Box<dyn Stream>) -> hyper::Result<Box<Self>> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Box::new(Self {
            sender,
            connection: Some(connection),
            born: Instant::now(),
        }))
    }

    /// Reads and writes what can be without waiting.
    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(context).is_ready()
        {
            // How it ended is told to the request that it was for.
            self.connection = None;
        }
    }

    /// Whether it can take a request, as far as is known: a receiver that has closed it is noticed.
    pub(crate) async fn is_ready(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            Poll::Ready(self.connection.is_some() && self.sender.is_ready())
        })
        .await
    }

    /// Sends a request, and waits for the head of its answer.
    pub(crate) async fn send(
        mut self: Box<Self>,
        request: Outgoing,
        pool: &Arc<Pool>,
        place: &Place,
    ) -> Result<Response<Body>, Unanswered> {
        let mut sending = pin!(self.sender.try_send_request(request));
        let response = poll_fn(|context| {
            self.drive(context);
            sending.as_mut().poll(context)
        })
        .await?;
        let carrier = Carrier::Http1 {
            connection: Some(self),
            pool: Arc::clone(pool),
            place: place.clone(),
        };
        Ok(response.map(|incoming| Body { incoming, carrier }))
    }
}

/// Sends a request on a shared connection, and waits for the head of its answer.
pub(crate) async fn send_http2(
    mut sender: http2::SendRequest<Full<Bytes>>,
    stream: StreamPlace,
    request: Outgoing,
) -> Result<Response<Body>, Unanswered> {
    let response = sender.try_send_request(request).await?;
    stream.answered();
    let carrier = Carrier::Http2 {
        _stream: stream,
        _sender: sender,
    };
    Ok(response.map(|incoming| Body { incoming, carrier }))
}

/// The body of an answer, with the connection that it comes from.
pub(crate) struct Body {
    incoming: Incoming,
    carrier: Carrier,
}

enum Carrier {
    Http1 {
        connection: Option<Box<Http1>>,
        pool: Arc<Pool>,
        place: Place,
    },
    Http2 {
        _stream: StreamPlace,
        /// A connection ends when nobody can send on it any more.
        _sender: http2::SendRequest<Full<Bytes>>,
    },
}

impl Carrier {
    fn drive(&mut self, context: &mut Context<'_>) {
        if let Self::Http1 {
            connection: Some(connection),
            ..
        } = self
        {
            connection.drive(context);
        }
    }

    /// The answer is whole: the connection is free again.
    fn give_back(&mut self, context: &mut Context<'_>) {
        if let Self::Http1 {
            connection,
            pool,
            place,
        } = self
            && let Some(mut connection) = connection.take()
        {
            connection.drive(context);
            if connection.connection.is_some() && connection.sender.is_ready() {
                pool.put(place, connection);
            }
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut frame = Pin::new(&mut self.incoming).poll_frame(context);
        if frame.is_pending() {
            self.carrier.drive(context);
            frame = Pin::new(&mut self.incoming).poll_frame(context);
        }
        if let Poll::Ready(None) = frame {
            self.carrier.give_back(context);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        // Only the end that was read gives the connection back.
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
