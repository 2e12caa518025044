//! A consumer as a stream, for `futures` and the like.
//!
//! **Invariant:** it yields what [`Consumer::next`] does, and ends when the log is closed.
//! **Next:** `read.rs`, where events come from.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use crate::consumer::{ConsumeError, Consumer, ConsumerKey, Delivery};

type Next = Pin<Box<dyn Future<Output = (Result<Delivery, ConsumeError>, Consumer)> + Send>>;

/// The events of a consumer; see [`Consumer::into_stream`].
pub struct ConsumerStream {
    key: ConsumerKey,
    state: State,
}

enum State {
    Idle(Consumer),
    /// It waits with the consumer in it.
    Waiting(Next),
    Ended,
}

impl Consumer {
    /// The events as a stream, which ends when the log is closed. Each is to be acknowledged; what
    /// was not is yielded again to the next consumer of this name. Dropping the stream ends the
    /// consumer.
    pub fn into_stream(self) -> ConsumerStream {
        ConsumerStream {
            key: self.key().clone(),
            state: State::Idle(self),
        }
    }
}

impl ConsumerStream {
    /// The consumer, to move or commit it; `None` while the stream waits or when it has ended.
    pub fn consumer(&mut self) -> Option<&mut Consumer> {
        match &mut self.state {
            State::Idle(consumer) => Some(consumer),
            State::Waiting(_) | State::Ended => None,
        }
    }
}

impl Stream for ConsumerStream {
    type Item = Result<Delivery, ConsumeError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = self.get_mut();
        let mut next: Next = match std::mem::replace(&mut stream.state, State::Ended) {
            State::Idle(mut consumer) => Box::pin(async move { (consumer.next().await, consumer) }),
            State::Waiting(next) => next,
            State::Ended => return Poll::Ready(None),
        };
        let polled = next.as_mut().poll(context);
        if polled.is_pending() {
            stream.state = State::Waiting(next);
        }
        let (item, consumer) = ready!(polled);
        if item.as_ref().is_err_and(ConsumeError::is_closed) {
            return Poll::Ready(None);
        }
        stream.state = State::Idle(consumer);
        Poll::Ready(Some(item))
    }
}

impl std::fmt::Debug for ConsumerStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = &self.key;
        f.debug_struct("ConsumerStream")
            .field("key", key)
            .finish_non_exhaustive()
    }
}
