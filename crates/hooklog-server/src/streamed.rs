//! Answers that come piece by piece: backups, and events without end.
//!
//! **Invariant:** a piece is made only when the client took the one before it, so a slow client holds
//! one piece and itself up, nobody else; one that takes none for `answer_timeout` loses its
//! connection.
//! **Next:** `answers.rs`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use parking_lot::Mutex;

use crate::answers::{Answers, Room, Ticket};

/// The body of an answer: whole, or piece by piece.
pub(crate) type OutBody = Either<Full<Bytes>, Stream>;

/// Why a body ends early; the connection breaks off with it.
pub(crate) type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Some bytes of a body, and the memory for answers that they take.
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    pub(crate) room: Room,
}

/// Where the pieces come from.
pub(crate) trait Source: Send {
    /// The next piece; `None` at the end.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>>;
}

/// What one step of a [`Steps`] brings: a piece, and itself for the next one.
pub(crate) type Step<S> = Pin<Box<dyn Future<Output = Option<(Piece, S)>> + Send>>;

/// A source that is an asynchronous function, called again and again.
pub(crate) struct Steps<S> {
    now: Step<S>,
    next: fn(S) -> Step<S>,
}

impl<S> Steps<S> {
    pub(crate) fn new(first: S, next: fn(S) -> Step<S>) -> Self {
        let now = next(first);
        Self { now, next }
    }
}

impl<S: Send> Source for Steps<S> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        let step = ready!(self.now.as_mut().poll(context));
        Poll::Ready(step.map(|(piece, rest)| {
            self.now = (self.next)(rest);
            Ok(piece)
        }))
    }
}

/// What is to be streamed, on its way from the handler to the connection inside an answer.
#[derive(Clone)]
pub(crate) struct Pieces(Arc<Mutex<Option<Box<dyn Source>>>>);

impl Pieces {
    pub(crate) fn new(source: impl Source + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(source)))))
    }

    /// The body, once.
    pub(crate) fn into_body(self, answers: &Answers) -> Option<OutBody> {
        let source = self.0.lock().take()?;
        Some(Either::Right(Stream {
            source: Some(source),
            answers: answers.clone(),
            turn: Some(answers.ticket()),
        }))
    }
}

/// A body that comes piece by piece.
pub(crate) struct Stream {
    /// `None` at the end.
    source: Option<Box<dyn Source>>,
    answers: Answers,
    /// There while it is the client's turn to take something.
    turn: Option<Ticket>,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.turn = None;
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        match ready!(source.poll_next(context)) {
            Some(Ok(Piece { bytes, room })) => {
                self.turn = Some(self.answers.ticket());
                let held = self.answers.hold_in(bytes, room);
                Poll::Ready(Some(Ok(Frame::data(held))))
            }
            Some(Err(error)) => {
                self.source = None;
                Poll::Ready(Some(Err(error)))
            }
            None => {
                self.source = None;
                Poll::Ready(None)
            }
        }
    }
}
