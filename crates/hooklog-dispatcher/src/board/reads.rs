//! Pages of the log for lanes that are behind.
//!
//! **Invariant:** lanes with a condition on payloads, which are evaluated where the page is read, have
//! readers of their own: however long they take, the others find theirs free.
//! **Next:** `flush.rs`, which records where the lanes stand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{Offset, Record, SubscriptionId, Timestamp};

use super::{Board, Effect, Page, QUEUES_BYTES_MAX};
use crate::lane;

/// Pages read at a time without looking at payloads: enough to keep a disk busy, few enough to leave
/// threads to others.
const PLAIN_MAX: usize = 8;
/// Pages read at a time whose payloads are parsed: each keeps a core busy.
const SIFTED_MAX: usize = 2;
/// Most payload of a page that is parsed (one event more may be in it): some 10 ms, and then it is the
/// turn of another subscription.
const SIFTED_BYTES_MAX: usize = 1 << 20;
/// Time to wait after a page could not be read.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// What is done to a page where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Its events are looked at from outside alone.
    Plain,
    /// Their payloads are parsed.
    Sifted,
}

impl Reading {
    /// How the pages of a subscription are read.
    pub(crate) fn of(subscription: &hooklog_storage::Subscription) -> Self {
        match subscription.filter.condition {
            None => Self::Plain,
            Some(_) => Self::Sifted,
        }
    }
}

/// Lanes that want a page, and pages under way.
#[derive(Default)]
pub(super) struct Reads {
    plain: Line,
    sifted: Line,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<SubscriptionId>,
    under_way: usize,
}

impl Reads {
    fn line(&mut self, reading: Reading) -> &mut Line {
        match reading {
            Reading::Plain => &mut self.plain,
            Reading::Sifted => &mut self.sifted,
        }
    }

    /// Puts a lane into line.
    pub(super) fn push(&mut self, id: SubscriptionId, reading: Reading) {
        self.line(reading).waiting.push_back(id);
    }

    /// Whose turn it is.
    fn pop(&mut self) -> Option<SubscriptionId> {
        let lines = [(&mut self.plain, PLAIN_MAX), (&mut self.sifted, SIFTED_MAX)];
        let mut free = lines
            .into_iter()
            .filter(|(line, most)| line.under_way < *most);
        free.find_map(|(line, _)| line.waiting.pop_front())
    }

    /// A page was read, or could not be.
    fn end(&mut self, reading: Reading) {
        let line = self.line(reading);
        line.under_way = line.under_way.saturating_sub(1);
    }
}

impl Board {
    pub(super) fn next_read(&mut self, now: Timestamp) -> Option<Effect> {
        while !self.stopping {
            let id = self.reads.pop()?;
            let Some(slot) = self.slots.get_mut(&id) else {
                continue;
            };
            slot.in_readers = false;
            let limits = if self.queue_bytes < QUEUES_BYTES_MAX {
                &self.limits
            } else {
                &self.tight
            };
            let limits = slot.rules.limits(limits);
            let limit = slot.lane.read(now, self.routed, &limits);
            let (Some(mut limit), Some(entry)) = (limit, self.routes.get(id)) else {
                continue;
            };
            let subscription = Arc::clone(&entry.subscription);
            let reading = Reading::of(&subscription);
            if reading == Reading::Sifted {
                limit.bytes = limit.bytes.min(SIFTED_BYTES_MAX);
            }
            self.reads.line(reading).under_way += 1;
            let range = limit.from..self.routed;
            return Some(Effect::Read {
                subscription,
                reading,
                range,
                limit,
            });
        }
        None
    }

    pub(super) fn page(
        &mut self,
        id: SubscriptionId,
        reading: Reading,
        from: Offset,
        page: Option<Page>,
        now: Timestamp,
    ) {
        self.reads.end(reading);
        let Some(entry) = self.routes.get(id) else {
            return;
        };
        let input = match page {
            None => lane::Input::PageFailed {
                again: now.plus(READ_AGAIN),
            },
            Some(Page {
                records,
                next,
                expired,
            }) => {
                let from_own = entry.from;
                let is_own = |record: &Record| record.offset >= from_own;
                let records = records.into_iter().filter(is_own).map(Arc::new).collect();
                self.lost(id, from_own.max(expired.start)..expired.end, now);
                lane::Input::Page {
                    from,
                    records,
                    next,
                }
            }
        };
        self.tell(id, input, now);
    }
}
