//! Reading the events of one application, along its index.
//!
//! A row of the index names an application's offsets in some megabytes of the log, so a page costs a row
//! or two and as many batches as it has events in, whatever else is in the log.
//!
//! **Invariant:** as for `read.rs`; and `rest` is exactly what was not looked at.
//! **Next:** `attempts.rs`, the same for attempts.

use crate::event::Record;
use crate::frame::FrameError;
use crate::id::ApplicationId;
use crate::index::{in_order, next_row};
use crate::keys::Family;
use crate::offset::{Offset, OffsetRange};
use crate::page::{EventPage, Limit, Order};
use crate::read::{Budget, EventBatch, ReadError, corrupt};
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
        self.without_expunged(&mut page.records);
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
        let within = page.rest.clone();
        let from_memory = |page: &mut Page| {
            // Far back, memory has nothing for the page, and much to walk over.
            let commits = || hot.iter().filter(|commit| commit.base < within.end);
            let wanted = |record: &&Record| {
                record.event.application == application && within.contains(&record.offset)
            };
            let records = || {
                commits()
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
        let (owner, order) = (application.as_bytes(), page.order);
        let mut range = range.start.get()..range.end.get();
        let mut batch: Option<EventBatch> = None;
        while let Some(row) = next_row(&self.engine, Family::AppLog, owner, &range, order)? {
            match order {
                Order::Ascending => range.start = row.span.end,
                Order::Descending => range.end = row.span.start,
            }
            for offset in in_order(row.named, order) {
                let offset = Offset::new(offset);
                let missing = || corrupt(Family::Log, offset.get())(&FrameError::Short);
                let current = match batch.take().filter(|batch| batch.holds(offset)) {
                    Some(current) => current,
                    None => self.event_batch(offset)?.ok_or_else(missing)?,
                };
                let record = current.record(offset)?.ok_or_else(missing)?;
                batch = Some(current);
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
