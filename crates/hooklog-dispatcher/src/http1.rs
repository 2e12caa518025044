//! One HTTP/1 connection: a request is written, the head and the body of its answer are read.
//!
//! It is driven by the attempt that uses it, not by a task of its own: no message goes between tasks, and
//! an attempt that is given up takes its connection along. hyper's own connection is made for more than
//! one request at a time and for bodies of any kind; it cost 13,000 instructions of a delivery where this
//! one costs some 4,000. Heads are parsed by `httparse`, as there.
//!
//! **Invariant:** one request at a time. A connection is used again only after a request that was written
//! to its end and a whole answer with nothing behind it.
//! **Next:** `http1/head.rs`, `http1/body.rs`, then `exchange.rs`.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::connect::Stream;
use crate::request::Outgoing;

use self::body::{Decoder, Step};
use self::head::{Parsed, parse};

pub(crate) use self::head::Head;

/// Most bytes of an answer's head, as common servers and proxies have it.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Read at a time, into the stack: most answers are smaller, and an idle connection keeps no buffer.
const READ_BYTES: usize = 8 << 10;

/// Why a request has no answer; the words are hyper's, as those of HTTP/2 are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Http1Error {
    #[error("connection closed before message completed")]
    Incomplete,
    #[error("connection error")]
    Read(#[source] io::Error),
    #[error("error writing a body to connection")]
    Write(#[source] io::Error),
    #[error("message head is too large")]
    TooLarge,
    #[error("invalid HTTP header parsed")]
    Header,
    #[error("invalid HTTP version parsed")]
    Version,
    #[error("invalid HTTP status-code parsed")]
    Status,
    #[error("invalid content-length parsed")]
    Length,
    #[error("unexpected transfer-encoding parsed")]
    Transfer,
    /// Not a byte of the request was sent.
    #[error("operation was canceled: {0}")]
    Unsent(String),
}

impl From<httparse::Error> for Http1Error {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooLarge,
            httparse::Error::Version => Self::Version,
            httparse::Error::Status => Self::Status,
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Token => Self::Header,
        }
    }
}

/// A connection.
pub(crate) struct Http1 {
    stream: Box<dyn Stream>,
    pub(crate) born: Instant,
    /// The head of the request; kept to be written into again.
    head: Vec<u8>,
    body: Bytes,
    /// How much of both was written.
    written: usize,
    is_flushed: bool,
    /// What was read and not used yet.
    buffer: Vec<u8>,
    /// How much of the answer was read that is neither its head nor its content.
    overhead: usize,
}

impl Http1 {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Box<Self> {
        Box::new(Self {
            stream,
            born: Instant::now(),
            head: Vec::new(),
            body: Bytes::new(),
            written: 0,
            is_flushed: true,
            buffer: Vec::new(),
            overhead: 0,
        })
    }

    /// Sends a request, and waits for the head of its answer.
    pub(crate) async fn send(&mut self, request: &Outgoing) -> Result<Head, Http1Error> {
        let mut is_begun = false;
        poll_fn(|context| {
            if is_begun {
                // An answer may come before the request is written.
                if let Poll::Ready(head) = self.poll_head(context) {
                    return Poll::Ready(head);
                }
            } else {
                self.check_idle(context)?;
                self.begin(request);
                is_begun = true;
            }
            match self.poll_write(context) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(Http1Error::Write(error))),
                // What wakes this task is the answer, too: it was, or is to be, looked for.
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// A receiver that has closed the connection, or said something unasked, is noticed.
    fn check_idle(&mut self, context: &mut Context<'_>) -> Result<(), Http1Error> {
        let mut space = [MaybeUninit::uninit(); 1];
        let mut read = ReadBuf::uninit(&mut space);
        match Pin::new(&mut self.stream).poll_read(context, &mut read) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) if read.filled().is_empty() => {
                Err(Http1Error::Unsent("connection closed".to_owned()))
            }
            Poll::Ready(Ok(())) => {
                let unasked = "received unexpected message from connection";
                Err(Http1Error::Unsent(unasked.to_owned()))
            }
            Poll::Ready(Err(error)) => {
                Err(Http1Error::Unsent(format!("connection error: {error}")))
            }
        }
    }

    fn begin(&mut self, request: &Outgoing) {
        self.head.clear();
        request.write_head(&mut self.head);
        self.body = request.body.clone();
        (self.written, self.is_flushed, self.overhead) = (0, false, 0);
    }

    /// Counts what is read for nothing: without a bound a receiver could say it for ever.
    fn pass_over(&mut self, length: usize) -> Result<(), Http1Error> {
        self.overhead += length;
        if self.overhead < HEAD_BYTES_MAX {
            Ok(())
        } else {
            Err(Http1Error::TooLarge)
        }
    }

    /// Writes what is left of the request: head and body together, without a copy of the payload.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut Pin::new(&mut self.stream);
        loop {
            let head = self.head.get(self.written..).unwrap_or_default();
            let in_body = self.written.saturating_sub(self.head.len());
            let body = self.body.get(in_body..).unwrap_or_default();
            let count = match (head, body) {
                ([], []) => break,
                ([], rest) | (rest, []) => ready!(stream.as_mut().poll_write(context, rest))?,
                (head, body) => {
                    let both = [IoSlice::new(head), IoSlice::new(body)];
                    ready!(stream.as_mut().poll_write_vectored(context, &both))?
                }
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        if !self.is_flushed {
            ready!(stream.as_mut().poll_flush(context))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the head of an answer. What follows it is kept.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<Head, Http1Error>> {
        loop {
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))
                .map_err(Http1Error::Read)?;
            let mut bytes = read.filled();
            if bytes.is_empty() {
                return Poll::Ready(Err(Http1Error::Incomplete));
            }
            let mut joined = std::mem::take(&mut self.buffer);
            if !joined.is_empty() {
                let seen = joined.len();
                joined.extend_from_slice(bytes);
                // Parsed again for each byte, a head that comes by single bytes would cost too much.
                if joined.len() < HEAD_BYTES_MAX && !has_empty_line(&joined, seen) {
                    self.buffer = joined;
                    continue;
                }
                bytes = &joined;
            }
            let head = loop {
                match parse(bytes)? {
                    Parsed::Partial => break None,
                    Parsed::Interim(length) => {
                        self.pass_over(length)?;
                        bytes = bytes.get(length..).unwrap_or_default();
                    }
                    Parsed::Whole(length, head) => {
                        bytes = bytes.get(length..).unwrap_or_default();
                        break Some(head);
                    }
                }
            };
            if head.is_none() && bytes.len() >= HEAD_BYTES_MAX {
                return Poll::Ready(Err(Http1Error::TooLarge));
            }
            self.buffer = bytes.to_vec();
            if let Some(head) = head {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Whether another request may follow, after a whole answer.
    fn is_free(&self) -> bool {
        self.buffer.is_empty()
            && self.is_flushed
            && self.written == self.head.len() + self.body.len()
    }
}

/// Whether an empty line, which ends a head, ends behind what was seen before.
fn has_empty_line(bytes: &[u8], seen: usize) -> bool {
    let new = bytes.get(seen.saturating_sub(2)..).unwrap_or_default();
    let has = |line: &[u8]| new.windows(line.len()).any(|window| window == line);
    has(b"\n\n") || has(b"\n\r\n")
}

/// The body of an answer, with the connection that it comes from.
pub(crate) struct Http1Body {
    connection: Box<Http1>,
    decoder: Decoder,
    is_kept: bool,
}

impl Http1Body {
    /// What follows the head that was just read.
    pub(crate) fn new(connection: Box<Http1>, head: &Head) -> Self {
        Self {
            connection,
            decoder: Decoder::new(head.framing),
            is_kept: head.is_kept && head.framing != head::Framing::Close,
        }
    }

    /// Whether the body is whole, and the connection free for another request.
    pub(crate) fn is_over(&self) -> bool {
        self.decoder == Decoder::End && self.is_kept && self.connection.is_free()
    }

    /// The connection, without what it was used for.
    pub(crate) fn into_connection(self) -> Box<Http1> {
        let mut connection = self.connection;
        // An idle connection must not hold on to a payload, and with it to a batch of the log.
        connection.body = Bytes::new();
        (connection.written, connection.is_flushed) = (0, true);
        connection.head.clear();
        connection.buffer = Vec::new();
        connection
    }

    /// Reads on until the body ends, or has more than `bytes_max`, or breaks off.
    pub(crate) async fn read(&mut self, kept: &mut Vec<u8>, bytes_max: usize) {
        poll_fn(|context| self.poll_read(context, kept, bytes_max)).await;
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        kept: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Poll<()> {
        loop {
            if self.decode(kept, bytes_max) != Progress::Waits {
                return Poll::Ready(());
            }
            // A receiver may answer before it has read all of the request.
            if let Poll::Ready(Err(_)) = self.connection.poll_write(context) {
                return Poll::Ready(());
            }
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            let stream = Pin::new(&mut self.connection.stream);
            match ready!(stream.poll_read(context, &mut read)) {
                Ok(()) if !read.filled().is_empty() => {
                    self.connection.buffer.extend_from_slice(read.filled());
                }
                // The end of some bodies, and of no connection that is used again.
                Ok(()) | Err(_) => {
                    self.is_kept = false;
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Takes what was read apart.
    fn decode(&mut self, kept: &mut Vec<u8>, bytes_max: usize) -> Progress {
        let buffer = std::mem::take(&mut self.connection.buffer);
        let mut bytes = buffer.as_slice();
        let progress = loop {
            let step = self.decoder.step(bytes);
            let (Step::Content(length) | Step::Skip(length)) = step else {
                break match step {
                    Step::More => Progress::Waits,
                    Step::End => Progress::Ended,
                    _ => Progress::Broken,
                };
            };
            let (taken, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
            bytes = rest;
            if matches!(step, Step::Skip(_)) {
                if self.connection.pass_over(length).is_err() {
                    break Progress::Broken;
                }
                continue;
            }
            let room = bytes_max.saturating_sub(kept.len());
            kept.extend(taken.iter().take(room));
            if taken.len() > room {
                // Without the connection an endless answer ends now.
                break Progress::Broken;
            }
        };
        self.is_kept &= progress != Progress::Broken;
        self.connection.buffer = bytes.to_vec();
        progress
    }
}

/// Whether a body goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waits,
    Ended,
    /// It is not worth reading on.
    Broken,
}

mod body;
mod head;
