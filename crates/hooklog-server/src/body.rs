//! Takes in a request body within bounds of size, time and memory.
//!
//! **Invariant:** never more bytes of one body than its route takes and `body_bytes_in_flight_max`
//! of all; a body counts for what came of it, not for what was announced, so announcing costs us
//! nothing. A body announced as too large is refused before any of it is read.
//! **Next:** `wire/fields.rs`, which parses it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::config::Limits;
use crate::error::ApiError;
use crate::state::State;

/// How much and how long an unwanted body is read on, so that a client that sends before it reads
/// gets to see the 413 (or 401, 404, 503) instead of a reset connection.
const LINGER_BYTES_MAX: usize = 16 << 20;
const LINGER: Duration = Duration::from_secs(2);
/// First memory for a body: larger than most, and doubled as more comes.
const CAPACITY_BYTES: usize = 64 << 10;

/// A body, and its share of the memory for bodies.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    /// Given back when the request is answered.
    _share: Option<OwnedSemaphorePermit>,
}

/// A body that is still with the client.
#[derive(Debug)]
pub(crate) struct Upload {
    /// `None` once it was handed on.
    incoming: Option<Incoming>,
    /// Whether the client sends only once we begin to read.
    waits: bool,
}

impl Upload {
    pub(crate) fn new(incoming: Incoming, headers: &HeaderMap) -> Self {
        Self {
            incoming: Some(incoming),
            waits: headers.contains_key(header::EXPECT),
        }
    }

    /// Reads to the end, at most `limit` bytes.
    ///
    /// The bytes are copied once, out of the connection's read buffer: slices of that buffer would
    /// keep all of it in memory for as long as the log keeps a payload for its readers.
    pub(crate) async fn read(&mut self, state: &State, limit: usize) -> Result<Body, ApiError> {
        let Some(incoming) = &mut self.incoming else {
            return Ok(Body::default());
        };
        let announced = incoming.size_hint().exact().map(usize::try_from);
        let announced = match announced {
            Some(Ok(length)) if length <= limit => Some(length),
            Some(_) => return Err(ApiError::BodyTooLarge { limit }),
            None => None,
        };
        self.waits = false;
        let mut taken = Taken {
            pool: &state.body_bytes,
            share: None,
            bytes: Vec::new(),
            bytes_max: limit,
            announced: announced.unwrap_or(limit),
        };
        match at_hand(incoming, &mut taken).await? {
            Came::Whole => {}
            // In a box, for most requests have no need of it, and would carry its size.
            part => Box::pin(wait(incoming, &mut taken, part, &state.limits)).await?,
        }
        taken.bytes.shrink_to_fit();
        Ok(Body {
            bytes: taken.bytes.into(),
            _share: taken.share,
        })
    }

    /// How many bytes the client said it would send.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.incoming.as_ref()?.size_hint().exact()
    }

    /// The next bytes of a body that is read piece by piece; `None` at its end.
    pub(crate) async fn piece(&mut self, silence: Duration) -> Result<Option<Bytes>, ApiError> {
        self.waits = false;
        let Some(incoming) = &mut self.incoming else {
            return Ok(None);
        };
        loop {
            let frame = tokio::time::timeout(silence, incoming.frame())
                .await
                .map_err(|_| ApiError::BodySilent { limit: silence })?;
            match frame.transpose().map_err(ApiError::BodyBroken)? {
                None => return Ok(None),
                // Trailers are of no use to us.
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Hands the body to someone else.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            incoming: self.incoming.take(),
            waits: self.waits,
        }
    }

    /// Reads on for a while and throws away what was not read, if anything.
    pub(crate) fn linger(self, tasks: &TaskTracker) {
        // To one that waits for leave to send, the answer says that it need not.
        let Some(mut incoming) = self.incoming else {
            return;
        };
        if self.waits || incoming.is_end_stream() {
            return;
        }
        tasks.spawn(async move {
            let drain = async {
                let mut left = LINGER_BYTES_MAX;
                while let Some(Ok(frame)) = incoming.frame().await {
                    left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                    if left == 0 {
                        return;
                    }
                }
            };
            // Either way the body is dropped now, and the connection with it if something is left.
            let _outcome = tokio::time::timeout(LINGER, drain).await;
        });
    }
}

/// How much of a body is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Nothing,
    Part,
    Whole,
}

/// Takes what is there, without a timer: nearly every body comes in one piece with its head. hyper hands it
/// over only behind the turn in which it is asked for it, so this takes a second turn.
async fn at_hand(incoming: &mut Incoming, taken: &mut Taken<'_>) -> Result<Came, ApiError> {
    let (mut came, mut asked) = (Came::Nothing, false);
    poll_fn(|context| {
        loop {
            match Pin::new(&mut *incoming).poll_frame(context) {
                Poll::Ready(Some(frame)) => taken.add(frame.map_err(ApiError::BodyBroken)?)?,
                Poll::Ready(None) => return Poll::Ready(Ok(Came::Whole)),
                Poll::Pending if asked => return Poll::Ready(Ok(came)),
                Poll::Pending => {
                    asked = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            // Known from the length that was announced, one turn before the end itself would be seen.
            if incoming.is_end_stream() {
                return Poll::Ready(Ok(Came::Whole));
            }
            came = Came::Part;
        }
    })
    .await
}

/// Takes the rest, as it comes within the limits of time.
async fn wait(
    incoming: &mut Incoming,
    taken: &mut Taken<'_>,
    came: Came,
    limits: &Limits,
) -> Result<(), ApiError> {
    let (start, whole) = (limits.body_start_timeout, limits.body_read_timeout);
    let read = async {
        let mut next = if came == Came::Nothing {
            let first = tokio::time::timeout(start, incoming.frame()).await;
            first.map_err(|_| ApiError::BodySilent { limit: start })?
        } else {
            incoming.frame().await
        };
        while let Some(frame) = next {
            taken.add(frame.map_err(ApiError::BodyBroken)?)?;
            next = incoming.frame().await;
        }
        Ok::<(), ApiError>(())
    };
    let read = tokio::time::timeout(whole, read).await;
    read.map_err(|_| ApiError::BodyTimeout { limit: whole })?
}

/// What came of a body so far.
struct Taken<'a> {
    pool: &'a Arc<Semaphore>,
    share: Option<OwnedSemaphorePermit>,
    bytes: Vec<u8>,
    bytes_max: usize,
    /// How long the body will be; at most, if the client did not say.
    announced: usize,
}

impl Taken<'_> {
    /// Adds a frame, if there is room for it.
    fn add(&mut self, frame: Frame<Bytes>) -> Result<(), ApiError> {
        // Trailers are of no use to us.
        let Ok(data) = frame.into_data() else {
            return Ok(());
        };
        let length = self.bytes.len() + data.len();
        if length > self.bytes_max {
            return Err(ApiError::BodyTooLarge {
                limit: self.bytes_max,
            });
        }
        self.count(data.len())?;
        if length > self.bytes.capacity() {
            let doubled = (self.bytes.capacity() * 2).max(CAPACITY_BYTES);
            let capacity = doubled.min(self.announced).max(length);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(&data);
        Ok(())
    }

    /// Takes `more` bytes of the pool, or says that the server is busy.
    fn count(&mut self, more: usize) -> Result<(), ApiError> {
        let busy = || ApiError::Busy("too many request bodies at once".to_owned());
        let permits = u32::try_from(more).map_err(|_| busy())?;
        let permit = Arc::clone(self.pool)
            .try_acquire_many_owned(permits)
            .map_err(|_| busy())?;
        match &mut self.share {
            Some(share) => share.merge(permit),
            None => self.share = Some(permit),
        }
        Ok(())
    }
}
