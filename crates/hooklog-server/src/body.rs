//! Takes in a request body within bounds of size, time and memory.
//!
//! **Invariant:** never more than `body_bytes_max` bytes of one body and `body_bytes_in_flight_max`
//! of all; a body announced as too large is refused before any of it is read.
//! **Next:** `wire/fields.rs`, which parses it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;
use crate::state::State;

/// How much and how long an unwanted body is read on, so that a client that sends before it reads
/// gets to see the 413 instead of a reset connection.
const LINGER_BYTES_MAX: usize = 16 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// A body, and its share of the memory for bodies.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    /// Given back when the request is answered.
    _share: Option<OwnedSemaphorePermit>,
}

/// Reads `body` to its end.
///
/// The bytes are copied once, out of the connection's read buffer: slices of that buffer would keep
/// all of it in memory for as long as the log keeps a payload for its readers.
pub(crate) async fn read(state: &State, body: &mut Incoming) -> Result<Body, ApiError> {
    let limit = state.limits.body_bytes_max;
    let announced = body.size_hint().exact().map(usize::try_from);
    let announced = match announced {
        Some(Ok(length)) if length <= limit => length,
        Some(_) => return Err(ApiError::BodyTooLarge { limit }),
        None => 0,
    };
    let mut share = Share {
        pool: &state.body_bytes,
        held: None,
        bytes: 0,
    };
    share.grow(announced)?;
    let whole = async {
        let mut bytes = BytesMut::with_capacity(announced);
        while let Some(frame) = body.frame().await {
            // Trailers are of no use to us.
            let Ok(data) = frame.map_err(ApiError::BodyBroken)?.into_data() else {
                continue;
            };
            if data.len() > limit - bytes.len() {
                return Err(ApiError::BodyTooLarge { limit });
            }
            share.grow(bytes.len() + data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    };
    let time = state.limits.body_read_timeout;
    let bytes = tokio::time::timeout(time, whole)
        .await
        .map_err(|_| ApiError::BodyTimeout { limit: time })??;
    Ok(Body {
        bytes,
        _share: share.held,
    })
}

/// Reads on for a while and throws away.
pub(crate) async fn linger(mut body: Incoming) {
    let drain = async {
        let mut left = LINGER_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Either way the body is dropped now, and the connection with it if something is left.
    let _outcome = tokio::time::timeout(LINGER, drain).await;
}

struct Share<'a> {
    pool: &'a Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Share<'_> {
    /// Holds at least `bytes`, or says that the server is busy.
    fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let busy = || ApiError::Busy("too many request bodies at once".to_owned());
        let more_permits = u32::try_from(more).map_err(|_| busy())?;
        let permit = Arc::clone(self.pool)
            .try_acquire_many_owned(more_permits)
            .map_err(|_| busy())?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        self.bytes = bytes;
        Ok(())
    }
}
