//! A batch on its way from the client to the log.
//!
//! **Invariant:** the bytes of the chunk and of the message that has begun count against the memory for
//! bodies; a client must be as fast as with a single message (as many bytes in as much time), and the
//! log's time is not counted as the client's.
//! **Next:** `results.rs`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hooklog_storage::{Application, ApplicationId, Event, IdempotencyKey, OrganisationId};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::results::{Outcome, Results, Shape, too_many};
use super::split::{Piece, Splitter};
use crate::answers::Room;
use crate::body::Upload;
use crate::error::ApiError;
use crate::idempotency;
use crate::publish;
use crate::reply::Answer;
use crate::request::Call;
use crate::state::State;
use crate::trace_context::TraceContext;
use crate::wire::{Issue, MessageIn};

/// A chunk is published at this many bytes: what the log puts into one group commit.
const CHUNK_BYTES: usize = 1 << 20;
/// A chunk is published at this many messages, so that those of a slow sender do not wait for long.
const CHUNK_ITEMS: usize = 1_000;
/// What an event takes beside the text that it came in, about.
const ITEM_BYTES: usize = 256;

/// A message of the chunk: the place among its events, or why it has none.
type Entry = Result<(), ApiError>;

pub(super) struct Intake {
    state: Arc<State>,
    application: ApplicationId,
    organisation: OrganisationId,
    trace: Option<TraceContext>,
    /// The text of the idempotency key.
    key: Option<String>,
    events: Vec<Event>,
    entries: Vec<Entry>,
    chunk_bytes: usize,
    results: Results,
    /// Room for the results.
    room: Vec<Room>,
    room_bytes: usize,
    /// Room for what was read and is not published.
    share: Option<OwnedSemaphorePermit>,
}

impl Intake {
    pub(super) fn new(
        call: &Call,
        application: ApplicationId,
        shape: Shape,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            state: Arc::clone(&call.state),
            application,
            organisation: call.organisation()?,
            trace: call.trace.clone(),
            key: idempotency::parse(&call.idempotency)?,
            events: Vec::new(),
            entries: Vec::new(),
            chunk_bytes: 0,
            results: Results::new(shape),
            room: Vec::new(),
            room_bytes: 0,
            share: None,
        })
    }

    /// Reads and publishes to the end of the body, or to what stops it.
    pub(super) async fn run(
        &mut self,
        upload: &mut Upload,
        splitter: &mut Splitter,
    ) -> Result<(), ApiError> {
        let limits = self.state.limits;
        let limit = limits.batch_bytes_max;
        if upload.announced().is_some_and(|bytes| bytes > limit as u64) {
            return Err(ApiError::BodyTooLarge { limit });
        }
        let (mut received, mut reading) = (0, Duration::ZERO);
        let mut pieces = Vec::new();
        loop {
            // The same least speed as for a body that is read whole.
            let parts = u32::try_from(received / limits.body_bytes_max.max(1)).unwrap_or(u32::MAX);
            let whole = limits
                .body_read_timeout
                .saturating_mul(parts.saturating_add(1));
            let started = Instant::now();
            let left = whole.saturating_sub(reading);
            let data = tokio::time::timeout(left, upload.piece(limits.body_start_timeout))
                .await
                .map_err(|_| ApiError::BodyTimeout { limit: whole })?;
            reading += started.elapsed();
            let Some(data) = data? else { break };
            received += data.len();
            if received > limit {
                return Err(ApiError::BodyTooLarge { limit });
            }
            self.hold(data.len(), splitter.held()).await?;
            let split = splitter.push(&data, &mut pieces);
            drop(data);
            // What came before a mistake counts.
            self.take(&mut pieces).await?;
            split?;
            self.release(splitter.held());
        }
        let split = splitter.finish(&mut pieces);
        self.take(&mut pieces).await?;
        self.publish().await?;
        split
    }

    /// The answer.
    pub(super) fn finish(mut self, stopped: Option<ApiError>) -> Answer {
        self.room.clear();
        self.results.finish(stopped)
    }

    /// Takes in messages; publishes whenever a chunk is full.
    async fn take(&mut self, pieces: &mut Vec<Piece>) -> Result<(), ApiError> {
        let limits = self.state.limits;
        let chunk_bytes = CHUNK_BYTES.min(self.state.log.config().payload_bytes_limit());
        for piece in pieces.drain(..) {
            let index = self.results.count() + self.entries.len() as u64;
            if index == limits.batch_items_max {
                self.publish().await?;
                return Err(too_many(limits.batch_items_max));
            }
            let bytes = match &piece {
                Piece::Item(text) => text.len() + ITEM_BYTES,
                Piece::TooLong => ITEM_BYTES,
            };
            let is_full = self.chunk_bytes + bytes > chunk_bytes;
            if !self.entries.is_empty() && (is_full || self.entries.len() == CHUNK_ITEMS) {
                self.publish().await?;
            }
            self.chunk_bytes += bytes;
            let entry = match piece {
                Piece::Item(text) => self
                    .event(&text, index)
                    .map(|event| self.events.push(event)),
                Piece::TooLong => Err(ApiError::BodyTooLarge {
                    limit: limits.body_bytes_max,
                }),
            };
            self.entries.push(entry);
        }
        Ok(())
    }

    fn event(&self, text: &Bytes, index: u64) -> Result<Event, ApiError> {
        let new = MessageIn::parse(text)?;
        if new.application.is_some() {
            let message = "cannot be created by a batch; create it before";
            return Err(Issue::body("application", message).into());
        }
        let mut event = publish::event(self.application, new, self.trace.as_ref());
        if let Some(key) = &self.key {
            let index = index.to_be_bytes();
            let scope: [&[u8]; 4] = [
                b"message.batch",
                self.organisation.as_bytes(),
                self.application.as_bytes(),
                &index,
            ];
            event.idempotency = Some(IdempotencyKey::new(&scope, key, text));
        }
        publish::within_limits(&self.state, event)
    }

    /// Publishes the chunk. If the log does not take it, its messages have no results: they may or
    /// may not be there.
    async fn publish(&mut self) -> Result<(), ApiError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let deleted = {
            let registry = self.state.log.registry();
            let found = registry.application(self.application).map(Arc::as_ref);
            found.is_none_or(|found: &Application| found.organisation != self.organisation)
        };
        if deleted {
            return Err(ApiError::NotFound);
        }
        self.chunk_bytes = 0;
        let (events, entries) = (
            std::mem::take(&mut self.events),
            std::mem::take(&mut self.entries),
        );
        let appended = publish::append_patiently(&self.state, events).await?;
        let mut appended = appended.into_iter();
        for entry in entries {
            let outcome = match entry {
                Err(error) => Outcome::Refused(error),
                Ok(()) => match appended.next() {
                    Some(appended) => Outcome::of(&appended),
                    None => return Err(publish::no_answer()),
                },
            };
            let index = self.results.count();
            self.results.add(index, outcome)?;
        }
        if let Some(more) = self.results.bytes().checked_sub(self.room_bytes) {
            self.room.push(self.state.write_answers.take(more)?);
            self.room_bytes += more;
        }
        Ok(())
    }

    /// Takes room for more bytes; `begun` are held of a message that has not ended. When there is none,
    /// the chunk is published first: batches that hold chunks must not wait for each other.
    async fn hold(&mut self, bytes: usize, begun: usize) -> Result<(), ApiError> {
        let busy = || ApiError::Busy("too many request bodies at once".to_owned());
        let pool = Arc::clone(&self.state.body_bytes);
        // One piece always fits into an empty pool.
        let bytes = bytes.min(self.state.limits.body_bytes_in_flight_max);
        let permits = u32::try_from(bytes).map_err(|_| busy())?;
        let more = if let Ok(more) = Arc::clone(&pool).try_acquire_many_owned(permits) {
            more
        } else {
            self.publish().await?;
            self.release(begun);
            let patience = self.state.limits.read_wait_timeout;
            let more = tokio::time::timeout(patience, pool.acquire_many_owned(permits)).await;
            more.map_err(|_| busy())?.map_err(|_| busy())?
        };
        match &mut self.share {
            Some(share) => share.merge(more),
            None => self.share = Some(more),
        }
        Ok(())
    }

    /// Gives room back for what is published; `begun` bytes are of a message that has not ended.
    fn release(&mut self, begun: usize) {
        let Some(share) = &mut self.share else { return };
        let kept = begun + self.chunk_bytes;
        let surplus = share.num_permits().saturating_sub(kept);
        drop(share.split(surplus));
    }
}
