//! Answers on their way to a client: how many bytes of them are held, and since when.
//!
//! **Invariant:** the bytes of an answer count against their pool until the last copy of them is
//! gone, be it in the body, in an HTTP/2 stream without a window or in a write buffer; so long their
//! connection knows of them, and is overdue once one of them is older than `answer_timeout`.
//! **Next:** `socket.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::reply::Response;
use crate::streamed::{OutBody, Pieces};

/// How long is slept at least where no answer waits, lest a timeout of nothing never sleeps.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// The memory for answers.
#[derive(Debug)]
pub(crate) struct Pool {
    /// A number and no semaphore, for nobody waits for room.
    left: Arc<AtomicUsize>,
    size: usize,
}

/// A part of a pool, given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Room {
    pool: Option<Arc<AtomicUsize>>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(left) = &self.pool {
            left.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Pool {
    pub(crate) fn new(bytes: usize) -> Self {
        let size = bytes.max(1);
        Self {
            left: Arc::new(AtomicUsize::new(size)),
            size,
        }
    }

    /// Room for `bytes`, or all there is when that is less; or the server is busy.
    pub(crate) fn take(&self, bytes: usize) -> Result<Room, ApiError> {
        let bytes = bytes.min(self.size);
        let less = |left: usize| left.checked_sub(bytes);
        // It guards no memory but itself.
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.map_err(|_| ApiError::Busy("too many answers not taken yet".to_owned()))?;
        Ok(Room {
            pool: Some(Arc::clone(&self.left)),
            bytes,
        })
    }

    /// Makes `room` one for `bytes` if there is more; an answer to what was done is given anyway.
    pub(crate) fn widen(&self, room: &mut Room, bytes: usize) {
        let Some(more) = bytes.checked_sub(room.bytes).filter(|more| *more > 0) else {
            return;
        };
        if let Ok(mut more) = self.take(more) {
            room.pool = more.pool.take();
            room.bytes += more.bytes;
        }
    }
}

/// The answers of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    waiting: Arc<Mutex<Deadlines>>,
    timeout: Duration,
}

/// Deadlines in the order they were made in, which is the order of time.
#[derive(Debug, Default)]
struct Deadlines {
    next: u64,
    by_number: BTreeMap<u64, Instant>,
}

impl Answers {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            waiting: Arc::default(),
            timeout,
        }
    }

    /// The answer in the form that goes to the client.
    pub(crate) fn send(&self, mut response: Response, room: Room) -> http::Response<OutBody> {
        if let Some(pieces) = response.extensions_mut().remove::<Pieces>()
            && let Some(body) = pieces.into_body(self)
        {
            return response.map(|_| body);
        }
        response.map(|bytes| {
            if bytes.is_empty() {
                return OutBody::Left(Full::default());
            }
            OutBody::Left(Full::new(self.hold_in(bytes, room)))
        })
    }

    /// Bytes that must be taken in time, with the room that they take.
    pub(crate) fn hold_in(&self, bytes: Bytes, room: Room) -> Bytes {
        Bytes::from_owner(Held {
            bytes,
            _room: room,
            _ticket: self.ticket(),
        })
    }

    /// Something that the client must do in time.
    pub(crate) fn ticket(&self) -> Ticket {
        let mut deadlines = self.waiting.lock();
        let number = deadlines.next;
        deadlines.next += 1;
        let deadline = Instant::now() + self.timeout;
        deadlines.by_number.insert(number, deadline);
        drop(deadlines);
        Ticket {
            waiting: Arc::clone(&self.waiting),
            number,
        }
    }

    /// Returns once an answer was not taken in time. The connection asks, for the body of an answer
    /// is not asked for anything while the client has no window for it.
    pub(crate) async fn overdue(&self) {
        loop {
            match self.oldest() {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                // What is made from now on is not overdue before that; so nobody has to tell of it, which
                // would give the connection one more turn with each request.
                None => tokio::time::sleep(self.timeout.max(PAUSE_MIN)).await,
            }
        }
    }

    fn oldest(&self) -> Option<Instant> {
        let deadlines = self.waiting.lock();
        deadlines.by_number.values().next().copied()
    }
}

/// The bytes of an answer and what they cost.
struct Held {
    bytes: Bytes,
    _room: Room,
    _ticket: Ticket,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// An answer on its way.
pub(crate) struct Ticket {
    waiting: Arc<Mutex<Deadlines>>,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiting.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_hold_their_room_until_they_are_gone() {
        let (pool, limit) = (Pool::new(10), Duration::from_mins(1));
        let answers = Answers::new(limit);
        let late = || tokio::time::timeout(limit * 2, answers.overdue());
        assert!(late().await.is_err(), "none is on its way");
        let room = pool.take(8).expect("room");
        let sent = answers.send(Response::new(Bytes::from_static(b"12345678")), room);
        assert!(matches!(pool.take(3), Err(ApiError::Busy(_))));
        // The body is read, and its bytes wait in a buffer.
        let bytes = sent.into_body().collect().await.expect("whole").to_bytes();
        assert!(matches!(pool.take(3), Err(ApiError::Busy(_))));
        let start = Instant::now();
        late().await.expect("is overdue");
        assert_eq!(start.elapsed(), limit);
        drop(bytes);
        assert!(late().await.is_err(), "it was taken");
        // One that is larger than the pool gets all of it.
        drop(pool.take(1_000).expect("all"));
        let mut room = pool.take(2).expect("room");
        pool.widen(&mut room, 9);
        assert!(pool.take(2).is_err());
        pool.widen(&mut room, 90);
        assert!(pool.take(1).is_ok(), "as it was");
    }
}
