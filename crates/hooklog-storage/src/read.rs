//! Reading events: from memory what sled does not show yet, from sled the rest.
//!
//! **Invariant:** reading never writes. Memory is looked at before sled: what is given up by memory
//! in between is in sled by then, so nothing is missed.
//! **Next:** `read_application.rs`, the same along one application.

use std::ops::Bound;

use bytes::Bytes;

use crate::codec::CodecError;
use crate::engine::{Edge, EngineError};
use crate::event::Record;
use crate::frame::{self, Batch, FrameError, Kind};
use crate::id::{ApplicationId, EventId};
use crate::keys::{self, Family};
use crate::offset::Offset;
use crate::page::Limit;
use crate::record::{self, Span};
use crate::ring::At;
use crate::shared::Shared;
use crate::time::Timestamp;

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What is stored is damaged.
    #[error("stored {what} are damaged at position {position}: {reason}")]
    Corrupt {
        /// `events` or `attempts`.
        what: &'static str,
        /// The first offset (or attempt number) that cannot be read.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// What was asked for has expired.
    #[error("events below {low} have expired")]
    Expired {
        /// The first event that is kept.
        low: Offset,
    },
    /// The index of keys is damaged or cannot be read.
    #[error("{reason}")]
    Keys {
        /// What is wrong with it.
        reason: String,
    },
    /// The database failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Makes a `Corrupt` about a position.
pub(crate) fn corrupt(
    family: Family,
    position: u64,
) -> impl Fn(&dyn std::error::Error) -> ReadError {
    let what = if family == Family::Attempt {
        "attempts"
    } else {
        "events"
    };
    move |reason| ReadError::Corrupt {
        what,
        position,
        reason: reason.to_string(),
    }
}

/// The error for an event that must be in sled and is not.
fn hole(offset: Offset) -> ReadError {
    let reason = "the batch that holds it is missing".to_owned();
    ReadError::Corrupt {
        what: "events",
        position: offset.get(),
        reason,
    }
}

/// A batch of events, with the places of its records.
pub(crate) struct EventBatch {
    batch: Batch,
    spans: Vec<Span>,
}

impl EventBatch {
    fn new(batch: Batch) -> Result<Self, ReadError> {
        if batch.header.kind == Kind::Lost {
            let spans = Vec::new();
            return Ok(Self { batch, spans });
        }
        let base = batch.header.base;
        let count = usize::try_from(batch.header.count).unwrap_or(usize::MAX);
        let (spans, _) = record::spans(&batch.body, count)
            .ok_or_else(|| corrupt(Family::Log, base)(&FrameError::Short))?;
        Ok(Self { batch, spans })
    }

    fn base(&self) -> Offset {
        Offset::new(self.batch.header.base)
    }

    fn end(&self) -> Offset {
        self.base().plus(u64::from(self.batch.header.count))
    }

    pub(crate) fn holds(&self, offset: Offset) -> bool {
        (self.base()..self.end()).contains(&offset)
    }

    pub(crate) fn record(&self, offset: Offset) -> Result<Option<Record>, ReadError> {
        let position = usize::try_from(offset.since(self.base())).unwrap_or(usize::MAX);
        let Some(span) = self.spans.get(position).filter(|_| offset >= self.base()) else {
            return Ok(None);
        };
        let damaged = |error: CodecError| corrupt(Family::Log, offset.get())(&error);
        record::decode(&self.batch.body, span, offset)
            .map(Some)
            .map_err(damaged)
    }
}

/// How many items and bytes may still be returned.
pub(crate) struct Budget {
    limit: Limit,
    used: Limit,
}

impl Budget {
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            limit,
            used: Limit { items: 0, bytes: 0 },
        }
    }

    /// Takes an item; false when it does not fit any more. The first always fits.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let fits = self.used.items == 0
            || (self.used.items < self.limit.items && self.used.bytes + bytes <= self.limit.bytes);
        if fits {
            self.used.items += 1;
            self.used.bytes += bytes;
        }
        fits
    }
}

impl Shared {
    /// Events from an offset on.
    pub(crate) fn read(&self, from: Offset, limit: Limit) -> Result<Vec<Record>, ReadError> {
        let result = self.read_kept(from, limit);
        // Whatever went wrong, if it expired meanwhile that is why.
        let low = self.ring.low().events;
        if from < low {
            return Err(ReadError::Expired { low });
        }
        result
    }

    fn read_kept(&self, from: Offset, limit: Limit) -> Result<Vec<Record>, ReadError> {
        let (memory_starts, hot) = self.ring.hot(from);
        let mut budget = Budget::new(limit);
        let mut records = Vec::new();
        let mut next = from;
        while next < memory_starts {
            // Nothing above the low end is ever removed, so a hole is damage.
            let batch = match self
                .event_batch(next)
                .and_then(|b| b.ok_or_else(|| hole(next)))
            {
                Ok(batch) => batch,
                // What lies before the damage is good, and the next read tells of it.
                Err(_) if !records.is_empty() => return Ok(records),
                Err(error) => return Err(error),
            };

            while let Some(record) = batch.record(next)? {
                if !budget.take(record.event.payload.len()) {
                    return Ok(records);
                }
                next = record.offset.next();
                records.push(record);
            }
            // A batch of lost events has no record; what follows it is read on.
            next = next.max(batch.end());
        }
        let hot = hot.iter().flat_map(|commit| commit.records.iter());
        for record in hot.filter(|record| record.offset >= next) {
            if !budget.take(record.event.payload.len()) {
                break;
            }
            records.push(record.clone());
        }
        Ok(records)
    }

    /// The event at an offset, unless it has expired.
    pub(crate) fn get_at(&self, offset: Offset) -> Result<Option<Record>, ReadError> {
        let result = self.get_kept(offset);
        if offset < self.ring.low().events {
            return Ok(None);
        }
        result
    }

    fn get_kept(&self, offset: Offset) -> Result<Option<Record>, ReadError> {
        match self.ring.at(offset) {
            At::Memory(commit) => {
                let position = usize::try_from(offset.since(commit.base)).ok();
                Ok(position.and_then(|at| commit.records.get(at)).cloned())
            }
            At::Sled => {
                let batch = self.event_batch(offset)?.ok_or_else(|| hole(offset))?;
                batch.record(offset)
            }
            At::BeyondEnd => Ok(None),
        }
    }

    /// The event of an application by id or uid.
    pub(crate) fn find_event(
        &self,
        application: ApplicationId,
        id_or_uid: &str,
    ) -> Result<Option<Record>, ReadError> {
        let record = match id_or_uid.parse::<EventId>() {
            Ok(id) => self.get_at(id.offset())?.filter(|record| record.id == id),
            Err(_) => match id_or_uid.parse() {
                Ok(uid) => self.event_by_uid(application, &uid, &[])?,
                Err(_) => None,
            },
        };
        Ok(record.filter(|record| record.event.application == application))
    }

    /// The first offset whose event is not older than `time`.
    pub(crate) fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        let (mut low, mut high) = (self.ring.low().events, self.ring.end());
        while low < high {
            let middle = low.plus(high.since(low) / 2);
            match self.time_at(middle)? {
                Some(found) if found < time => low = middle.next(),
                // It has expired meanwhile.
                None if middle < self.ring.low().events => low = middle.next(),
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// When the event at an offset was committed; for a lost one, when the one before it was.
    fn time_at(&self, offset: Offset) -> Result<Option<Timestamp>, ReadError> {
        if let Some(record) = self.get_at(offset)? {
            return Ok(Some(record.timestamp));
        }
        let batch = self.event_batch(offset)?;
        Ok(batch.map(|batch| batch.batch.header.last))
    }

    /// The batch in sled that holds an offset.
    pub(crate) fn event_batch(&self, offset: Offset) -> Result<Option<EventBatch>, ReadError> {
        let batch = self.batch(Family::Log, Kind::Events, offset.get())?;
        let batch = batch.map(EventBatch::new).transpose()?;
        Ok(batch.filter(|batch| offset < batch.end()))
    }

    /// The batch of a family that begins at or below a position.
    pub(crate) fn batch(
        &self,
        family: Family,
        kind: Kind,
        position: u64,
    ) -> Result<Option<Batch>, ReadError> {
        let high = keys::batch(position, u16::MAX);
        let bounds = (Bound::Unbounded, Bound::Included(high.as_slice()));
        let Some((key, mut value)) = self.engine.edge(family, bounds, Edge::Last)? else {
            return Ok(None);
        };
        let damaged = corrupt(family, position);
        let base = keys::batch_base(&key).ok_or_else(|| damaged(&FrameError::Short))?;
        if key != keys::batch(base, 0) {
            value = self.chunks(family, base)?;
        }
        let batch = frame::decode(&value).map_err(|error| damaged(&error))?;
        let is_known = batch.header.kind == kind || batch.header.kind == Kind::Lost;
        if !is_known || batch.header.base != base {
            return Err(damaged(&FrameError::Unknown));
        }
        Ok(Some(batch))
    }

    /// All chunks of a batch, joined.
    fn chunks(&self, family: Family, base: u64) -> Result<Bytes, ReadError> {
        let damaged = corrupt(family, base);
        let mut bytes = Vec::new();
        let mut total = None;
        for chunk in 0..=u16::MAX {
            if total.is_some_and(|total| bytes.len() >= total) {
                break;
            }
            let value = self.engine.get(family, &keys::batch(base, chunk))?;
            bytes.extend_from_slice(&value.ok_or_else(|| damaged(&FrameError::Short))?);
            if total.is_none() {
                total = Some(frame::total_bytes(&bytes).map_err(|error| damaged(&error))?);
            }
        }
        Ok(bytes.into())
    }
}
