//! Reading events: from memory what sled does not show yet, from sled the rest.
//!
//! **Invariant:** reading never writes. Memory is looked at before sled: what is given up by memory
//! in between is in sled by then, so nothing is missed.
//! **Next:** `attempts.rs`, the same for attempts.

use std::ops::Bound;

use bytes::Bytes;

use crate::codec::CodecError;
use crate::engine::{Edge, EngineError};
use crate::event::Record;
use crate::frame::{self, Batch, FrameError, Kind};
use crate::id::{ApplicationId, EventId};
use crate::keys::{self, Family};
use crate::log::{EventPage, Limit, Order, Shared};
use crate::offset::{Offset, OffsetRange};
use crate::record::{self, Span};
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

/// A batch of events, with the places of its records.
struct EventBatch {
    batch: Batch,
    spans: Vec<Span>,
}

impl EventBatch {
    fn new(batch: Batch) -> Result<Self, ReadError> {
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
        self.base().plus(self.spans.len() as u64)
    }

    fn record(&self, offset: Offset) -> Result<Option<Record>, ReadError> {
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
struct Budget {
    limit: Limit,
    used: Limit,
}

impl Budget {
    fn new(limit: Limit) -> Self {
        Self {
            limit,
            used: Limit { items: 0, bytes: 0 },
        }
    }

    /// Takes an item; false when it does not fit any more. The first always fits.
    fn take(&mut self, bytes: usize) -> bool {
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
        let (memory_starts, hot) = self.ring.hot(from);
        let mut budget = Budget::new(limit);
        let mut records = Vec::new();
        let mut next = from;
        while next < memory_starts {
            let Some(batch) = self.event_batch(next)? else {
                break;
            };
            // Nothing is ever removed from the log, so a hole is damage.
            let Some(_) = batch.record(next)? else {
                let reason = FrameError::Short;
                return Err(corrupt(Family::Log, next.get())(&reason));
            };
            while let Some(record) = batch.record(next)? {
                if !budget.take(record.event.payload.len()) {
                    return Ok(records);
                }
                next = record.offset.next();
                records.push(record);
            }
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

    /// The event at an offset.
    pub(crate) fn get_at(&self, offset: Offset) -> Result<Option<Record>, ReadError> {
        let (memory_starts, hot) = self.ring.hot(offset);
        if offset < memory_starts {
            return self
                .event_batch(offset)?
                .map_or(Ok(None), |batch| batch.record(offset));
        }
        let commit = hot.first().filter(|commit| commit.base <= offset);
        let position = commit.and_then(|commit| usize::try_from(offset.since(commit.base)).ok());
        Ok(commit
            .zip(position)
            .and_then(|(commit, at)| commit.records.get(at))
            .cloned())
    }

    /// The event of an application by id or uid.
    pub(crate) fn find_event(
        &self,
        application: ApplicationId,
        id_or_uid: &str,
    ) -> Result<Option<Record>, ReadError> {
        let id = match id_or_uid.parse::<EventId>() {
            Ok(id) => Some(id),
            Err(_) => match id_or_uid.parse() {
                Ok(uid) => self.event_by_uid(application, &uid)?,
                Err(_) => None,
            },
        };
        let Some(id) = id else { return Ok(None) };
        let record = self.get_at(id.offset())?;
        Ok(record.filter(|record| record.id == id && record.event.application == application))
    }

    /// Events of one application within a range.
    pub(crate) fn read_application(
        &self,
        application: ApplicationId,
        range: OffsetRange,
        order: Order,
        limit: Limit,
    ) -> Result<EventPage, ReadError> {
        let (memory_starts, hot) = self.ring.hot(range.start);
        let mut page = Page {
            budget: Budget::new(limit),
            records: Vec::new(),
            rest: range,
            order,
        };
        let from_memory = |page: &mut Page| {
            let wanted = |record: &&Record| record.event.application == application;
            let records = || {
                hot.iter()
                    .flat_map(|commit| commit.records.iter())
                    .filter(wanted)
            };
            match order {
                Order::Ascending => records().try_for_each(|record| page.take(record.clone())),
                Order::Descending => records()
                    .rev()
                    .try_for_each(|record| page.take(record.clone())),
            }
        };
        let below = page.rest.start..page.rest.end.min(memory_starts);
        let full = match order {
            Order::Ascending => self
                .application_in_sled(application, below, &mut page)?
                .and_then(|()| from_memory(&mut page)),
            Order::Descending => match from_memory(&mut page) {
                Some(()) => self.application_in_sled(application, below, &mut page)?,
                None => None,
            },
        };
        if full.is_some() {
            page.rest.start = page.rest.end;
        }
        Ok(EventPage {
            records: page.records,
            rest: page.rest,
        })
    }

    /// Adds events of one application that sled holds; `None` when the page is full.
    fn application_in_sled(
        &self,
        application: ApplicationId,
        range: OffsetRange,
        page: &mut Page,
    ) -> Result<Option<()>, ReadError> {
        let owner = application.as_bytes();
        let mut range = range;
        while range.start < range.end {
            // Ascending, the batch that holds `start` may begin below it.
            let first = keys::owned(owner, 0);
            let from = keys::owned(owner, range.start.get());
            let to = keys::owned(owner, range.end.get());
            let (first, from, to) = (first.as_slice(), from.as_slice(), to.as_slice());
            let row = match page.order {
                Order::Descending => {
                    let bounds = (Bound::Included(first), Bound::Excluded(to));
                    self.engine.edge(Family::AppLog, bounds, Edge::Last)?
                }
                Order::Ascending => {
                    let at_or_below = (Bound::Included(first), Bound::Included(from));
                    let above = (Bound::Excluded(from), Bound::Excluded(to));
                    match self.engine.edge(Family::AppLog, at_or_below, Edge::Last)? {
                        Some(row) if reaches(&row, range.start) => Some(row),
                        _ => self.engine.edge(Family::AppLog, above, Edge::First)?,
                    }
                }
            };
            let Some((key, positions)) = row else { break };
            let Some(base) = keys::last_number(&key).map(Offset::new) else {
                break;
            };
            let mut offsets: Vec<_> = offsets(base, &positions).collect();
            offsets.retain(|offset| range.contains(offset));
            match page.order {
                Order::Ascending => range.start = base.plus(spanned(&positions)),
                Order::Descending => {
                    offsets.reverse();
                    range.end = base;
                }
            }
            if offsets.is_empty() {
                if page.order == Order::Descending && base < range.start {
                    break;
                }
                continue;
            }
            let missing = || corrupt(Family::Log, base.get())(&FrameError::Short);
            let batch = self.event_batch(base)?.ok_or_else(missing)?;
            for offset in offsets {
                let record = batch.record(offset)?.ok_or_else(missing)?;
                if page.take(record).is_none() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(()))
    }

    /// The first offset whose event is not older than `time`.
    pub(crate) fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        let (mut low, mut high) = (Offset::ZERO, self.ring.end());
        while low < high {
            let middle = low.plus(high.since(low) / 2);
            match self.get_at(middle)? {
                Some(record) if record.timestamp < time => low = middle.next(),
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The batch in sled that holds an offset.
    fn event_batch(&self, offset: Offset) -> Result<Option<EventBatch>, ReadError> {
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
        if batch.header.kind != kind || batch.header.base != base {
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

/// A page while it fills.
struct Page {
    budget: Budget,
    records: Vec<Record>,
    /// What was not looked at yet.
    rest: OffsetRange,
    order: Order,
}

impl Page {
    /// Adds a record that lies in the range; `None` when the page is full.
    fn take(&mut self, record: Record) -> Option<()> {
        if !self.rest.contains(&record.offset) {
            return Some(());
        }
        if !self.budget.take(record.event.payload.len()) {
            return None;
        }
        match self.order {
            Order::Ascending => self.rest.start = record.offset.next(),
            Order::Descending => self.rest.end = record.offset,
        }
        self.records.push(record);
        Some(())
    }
}

/// The offsets that an `app_log` row names.
fn offsets(base: Offset, positions: &[u8]) -> impl Iterator<Item = Offset> {
    positions.chunks_exact(2).filter_map(move |pair| {
        let pair: [u8; 2] = pair.try_into().ok()?;
        Some(base.plus(u64::from(u16::from_be_bytes(pair))))
    })
}

/// One past the last position that a row names.
fn spanned(positions: &[u8]) -> u64 {
    positions
        .last_chunk::<2>()
        .map_or(1, |last| u64::from(u16::from_be_bytes(*last)) + 1)
}

/// Whether a row names an offset at or above `start`.
fn reaches(row: &(Vec<u8>, Bytes), start: Offset) -> bool {
    let (key, positions) = row;
    keys::last_number(key).is_some_and(|base| base + spanned(positions) > start.get())
}
