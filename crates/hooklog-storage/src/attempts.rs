//! Reading attempts and delivery states.
//!
//! **Invariant:** as for events: memory first, then sled, and nothing is missed in between.
//! **Next:** `attempts/last.rs`, `attempts/by_number.rs`, then `recovery.rs`.

use std::ops::{Bound, Range};
use std::sync::Arc;

use crate::attempt::{Attempt, DeliveryState};
use crate::bytes::Reader;
use crate::codec;
use crate::entry::{Committed, Entry, StoredAttempt};
use crate::frame::{Batch, FrameError, Kind};
use crate::id::{AttemptId, SubscriptionId};
use crate::index::{Named, in_order, next_row};
use crate::keys::{self, Family};
use crate::offset::{AttemptSeq, Offset};
use crate::page::{AttemptPage, AttemptsOf, Limit, Order};
use crate::parked::DispatchState;
use crate::read::{ReadError, corrupt};
use crate::shared::Shared;

pub(crate) use self::last::LastAttempts;

mod by_number;
mod last;

impl Shared {
    /// The attempt with this id.
    pub(crate) fn attempt(&self, id: AttemptId) -> Result<Option<Attempt>, ReadError> {
        if id.seq() < self.ring.low().attempts {
            return Ok(None);
        }
        let hot = self.ring.all();
        let found = in_memory(&hot).find(|stored| stored.id == id).cloned();
        if let Some(stored) = found {
            return Ok(Some(stored.into()));
        }
        let seq = id.seq().get();
        let batch = match self.batch(Family::Attempt, Kind::Attempts, seq) {
            // It has expired meanwhile.
            Err(_) if id.seq() < self.ring.low().attempts => None,
            batch => batch?,
        };
        let Some(batch) = batch else {
            return Ok(None);
        };
        let position = seq.saturating_sub(batch.header.base);
        let wanted = usize::try_from(position).map_or(Vec::new(), |position| vec![position]);
        let found = pick(&batch, &wanted)?.into_iter().next();
        Ok(found.filter(|stored| stored.id == id).map(Attempt::from))
    }

    /// Attempts of an event or a subscription.
    pub(crate) fn attempts(
        &self,
        of: AttemptsOf,
        range: Range<AttemptSeq>,
        order: Order,
        limit: Limit,
    ) -> Result<AttemptPage, ReadError> {
        let mut low = self.ring.low().attempts;
        loop {
            let kept = low.clamp(range.start, range.end.max(range.start))..range.end;
            match self.attempts_kept(of, kept, order, limit) {
                // It may have failed because the low end rose meanwhile; that happens once a second.
                Err(_) if self.ring.low().attempts > low => low = self.ring.low().attempts,
                result => return result,
            }
        }
    }

    fn attempts_kept(
        &self,
        of: AttemptsOf,
        range: Range<AttemptSeq>,
        order: Order,
        limit: Limit,
    ) -> Result<AttemptPage, ReadError> {
        let hot = self.ring.all();
        let memory: Vec<StoredAttempt> = in_memory(&hot)
            .filter(|stored| of.wants(stored) && range.contains(&stored.id.seq()))
            .cloned()
            .collect();
        // Applied commits may still be in memory: sled is asked only for what lies below.
        let memory_starts = in_memory(&hot)
            .next()
            .map_or(AttemptSeq::MAX, |stored| stored.id.seq());
        let below = range.start..range.end.min(memory_starts);
        let mut attempts = Vec::new();
        let full = |attempts: &Vec<Attempt>| attempts.len() >= limit.items;
        if order == Order::Descending {
            attempts.extend(
                memory
                    .iter()
                    .rev()
                    .take(limit.items)
                    .cloned()
                    .map(Attempt::from),
            );
        }
        self.attempts_in_sled(of, below, order, limit.items, &mut attempts)?;
        if order == Order::Ascending {
            let room = limit.items.saturating_sub(attempts.len());
            attempts.extend(memory.into_iter().take(room).map(Attempt::from));
        }
        let rest = match attempts.last().filter(|_| full(&attempts)) {
            None => range.end..range.end,
            Some(last) => match order {
                Order::Ascending => last.id.seq().next()..range.end,
                Order::Descending => range.start..last.id.seq(),
            },
        };
        Ok(AttemptPage { attempts, rest })
    }

    /// Adds attempts that sled holds, up to `items_max` in all.
    fn attempts_in_sled(
        &self,
        of: AttemptsOf,
        range: Range<AttemptSeq>,
        order: Order,
        items_max: usize,
        attempts: &mut Vec<Attempt>,
    ) -> Result<(), ReadError> {
        let (family, owner) = (of.family(), of.owner());
        let mut range = range.start.get()..range.end.get();
        while attempts.len() < items_max
            && let Some(row) = next_row(&self.engine, family, &owner, &range, order)?
        {
            match order {
                Order::Ascending => range.start = row.span.end,
                Order::Descending => range.end = row.span.start,
            }
            let mut named = row.named;
            named.retain(|named| of.is_named(named));
            let mut numbers = in_order(named, order).peekable();
            while attempts.len() < items_max
                && let Some(number) = numbers.peek().copied()
            {
                let missing = || corrupt(Family::Attempt, number)(&FrameError::Short);
                let batch = self
                    .batch(Family::Attempt, Kind::Attempts, number)?
                    .ok_or_else(missing)?;
                let base = batch.header.base;
                let of_batch = base..base + u64::from(batch.header.count);
                if !of_batch.contains(&number) {
                    return Err(missing());
                }
                let next = || numbers.next_if(|number| of_batch.contains(number));
                let mut positions: Vec<usize> = std::iter::from_fn(next)
                    .filter_map(|number| usize::try_from(number - base).ok())
                    .collect();
                positions.sort_unstable();
                let mut found = pick(&batch, &positions)?;
                found.retain(|stored| of.wants(stored));
                if order == Order::Descending {
                    found.reverse();
                }
                let room = items_max - attempts.len();
                attempts.extend(found.into_iter().take(room).map(Attempt::from));
            }
        }
        Ok(())
    }

    /// Where subscriptions stand and all that is parked for them, with all that was recorded so far.
    pub(crate) fn delivery_state(
        &self,
        of: Option<SubscriptionId>,
    ) -> Result<DeliveryState, ReadError> {
        let DispatchState {
            mark,
            cursors,
            parked: _,
            health,
        } = self.dispatch_state(of)?;
        let mut result = DeliveryState {
            mark,
            cursors,
            retries: Vec::new(),
            health,
        };
        let (low, high) = match of {
            Some(id) => (keys::retry(id, Offset::ZERO), keys::retry(id, Offset::MAX)),
            None => (Vec::new(), vec![0xff; 29]),
        };
        let bounds = (
            Bound::Included(low.as_slice()),
            Bound::Included(high.as_slice()),
        );
        self.engine
            .scan::<ReadError>(Family::Retry, bounds, |key, value| {
                if let Some((id, offset)) = keys::subscription_of(key).zip(keys::last_number(key)) {
                    result
                        .retries
                        .push((id, Offset::new(offset), decode(value)?));
                }
                Ok(())
            })?;
        Ok(result)
    }
}

impl AttemptsOf {
    fn family(self) -> Family {
        match self {
            Self::Event(_) => Family::AttemptByEvent,
            Self::Subscription(_) => Family::AttemptBySubscription,
        }
    }

    fn owner(self) -> Vec<u8> {
        match self {
            Self::Event(offset) => keys::block(offset).to_vec(),
            Self::Subscription(id) => id.as_bytes().to_vec(),
        }
    }

    fn is_named(self, named: &Named) -> bool {
        match self {
            Self::Event(offset) => named.tag == keys::in_block(offset),
            Self::Subscription(_) => true,
        }
    }

    fn wants(self, stored: &StoredAttempt) -> bool {
        match self {
            Self::Event(offset) => stored.attempt.event.offset() == offset,
            Self::Subscription(id) => stored.attempt.subscription == id,
        }
    }
}

fn in_memory(hot: &[Arc<Committed>]) -> impl Iterator<Item = &StoredAttempt> {
    hot.iter()
        .flat_map(|commit| &commit.entries)
        .filter_map(Entry::attempt)
}

/// The attempts at ascending positions of a batch.
fn pick(batch: &Batch, positions: &[usize]) -> Result<Vec<StoredAttempt>, ReadError> {
    if batch.header.kind == Kind::Lost {
        return Ok(Vec::new());
    }
    let damaged = corrupt(Family::Attempt, batch.header.base);
    let short = || damaged(&FrameError::Short);
    let mut reader = Reader::new(&batch.body);
    let mut wanted = positions.iter().copied().peekable();
    let mut found = Vec::with_capacity(positions.len());
    let count = usize::try_from(batch.header.count).unwrap_or(usize::MAX);
    for position in 0..count {
        let Some(next) = wanted.peek() else { break };
        let length = reader.length().ok_or_else(short)?;
        let bytes = reader.take(length).ok_or_else(short)?;
        if *next == position {
            found.push(codec::decode(bytes).map_err(|error| damaged(&error))?);
            wanted.next();
        }
    }
    Ok(found)
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ReadError> {
    codec::decode(bytes).map_err(|error| corrupt(Family::Cursor, 0)(&error))
}
