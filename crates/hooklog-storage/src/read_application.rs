//! Reading the events of one application, along its index.
//!
//! Each batch has one row per application in it, which names the positions that belong to it, so a
//! page costs as many batches as it has events in, whatever else is in the log.
//!
//! **Invariant:** as for `read.rs`; and `rest` is exactly what was not looked at.
//! **Next:** `attempts.rs`, the same for attempts.

use std::ops::Bound;

use bytes::Bytes;

use crate::engine::Edge;
use crate::event::Record;
use crate::frame::FrameError;
use crate::id::ApplicationId;
use crate::keys::{self, Family};
use crate::offset::{Offset, OffsetRange};
use crate::page::{EventPage, Limit, Order};
use crate::read::{Budget, ReadError, corrupt};
use crate::shared::Shared;

impl Shared {
    /// Events of one application within a range.
    pub(crate) fn read_application(
        &self,
        application: ApplicationId,
        range: OffsetRange,
        order: Order,
        limit: Limit,
    ) -> Result<EventPage, ReadError> {
        let mut low = self.ring.low().events;
        loop {
            let start = low.clamp(range.start, range.end.max(range.start));
            let page = self.page_of(application, start..range.end, order, limit);
            // Rows go only after the low end rose: while it did not, the page has no gap. It rises
            // once in a while, so this ends.
            let now = self.ring.low().events;
            if now <= low || now <= start {
                let mut page = page?;
                page.expired = range.start..start;
                return Ok(page);
            }
            low = now;
        }
    }

    /// As [`read_application`](Self::read_application), ascending, if memory has the whole range.
    pub(crate) fn application_in_memory(
        &self,
        application: ApplicationId,
        range: OffsetRange,
        limit: Limit,
    ) -> Option<EventPage> {
        let low = self.ring.low().events;
        let start = low.clamp(range.start, range.end.max(range.start));
        let (memory_starts, hot) = self.ring.hot(start);
        if start < memory_starts && start < range.end {
            return None;
        }
        let mut page = Page {
            budget: Budget::new(limit),
            records: Vec::new(),
            rest: start..range.end,
            order: Order::Ascending,
        };
        let mut records = hot
            .iter()
            .flat_map(|commit| commit.records.iter())
            .filter(|record| record.event.application == application);
        let full = records.try_for_each(|record| page.take(record.clone()));
        if full.is_some() {
            page.rest.start = page.rest.end;
        }
        Some(EventPage {
            records: page.records,
            rest: page.rest,
            expired: range.start..start,
        })
    }

    /// Events of one application within a range above the low end.
    fn page_of(
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
        let expired = page.rest.end..page.rest.end;
        Ok(EventPage {
            records: page.records,
            rest: page.rest,
            expired,
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
