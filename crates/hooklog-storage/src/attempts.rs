//! Reading attempts and delivery states.
//!
//! **Invariant:** as for events: memory first, then sled, and nothing is missed in between.
//! **Next:** `recovery.rs`.

use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;

use crate::attempt::{Attempt, DeliveryState};
use crate::bytes::Reader;
use crate::codec;
use crate::commit::{APPLIER_PATIENCE, stuck};
use crate::engine::Edge;
use crate::entry::{Committed, Entry, StoredAttempt};
use crate::frame::{Batch, FrameError, Kind};
use crate::id::{AttemptId, SubscriptionId};
use crate::keys::{self, ATTEMPT_BLOCK, Family};
use crate::offset::{AttemptSeq, Offset};
use crate::page::{AttemptPage, AttemptsOf, Limit, Order};
use crate::read::{ReadError, corrupt};
use crate::ring::Room;
use crate::shared::Shared;
use crate::state::State;

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
        let mut rest = below;
        while !full(&attempts) && rest.start < rest.end {
            let Some((base, positions)) = self.attempt_row(of, &rest, order)? else {
                break;
            };
            let missing = || corrupt(Family::Attempt, base)(&FrameError::Short);
            let batch = self
                .batch(Family::Attempt, Kind::Attempts, base)?
                .ok_or_else(missing)?;
            let mut found = pick(&batch, &positions)?;
            found.retain(|stored| rest.contains(&stored.id.seq()) && of.wants(stored));
            match order {
                Order::Ascending => {
                    rest.start = AttemptSeq::new(base).plus(u64::from(batch.header.count));
                }
                Order::Descending => {
                    found.reverse();
                    rest.end = AttemptSeq::new(base);
                }
            }
            let room = limit.items - attempts.len();
            attempts.extend(found.into_iter().take(room).map(Attempt::from));
        }
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

    /// The next index row within a range: the batch's base and the positions in it.
    fn attempt_row(
        &self,
        of: AttemptsOf,
        range: &Range<AttemptSeq>,
        order: Order,
    ) -> Result<Option<(u64, Vec<usize>)>, ReadError> {
        let family = of.family();
        let (lowest, from, to) = (
            of.key(0),
            of.key(range.start.get()),
            of.key(range.end.get()),
        );
        let (lowest, from, to) = (lowest.as_slice(), from.as_slice(), to.as_slice());
        let row = match order {
            Order::Descending => {
                let bounds = (Bound::Included(lowest), Bound::Excluded(to));
                self.engine.edge(family, bounds, Edge::Last)?
            }
            Order::Ascending => {
                // The batch that holds `start` may begin below it; a page never ends within one
                // unless it was full, so this is at most one row more.
                let at_or_below = (Bound::Included(lowest), Bound::Included(from));
                let above = (Bound::Excluded(from), Bound::Excluded(to));
                let row = self.engine.edge(family, at_or_below, Edge::Last)?;
                let reaches = |(key, _): &(Vec<u8>, Bytes)| self.batch_reaches(key, range.start);
                match row {
                    Some(row) if reaches(&row)? => Some(row),
                    _ => self.engine.edge(family, above, Edge::First)?,
                }
            }
        };
        Ok(row.and_then(|(key, value)| Some((keys::last_number(&key)?, of.positions(&value)))))
    }

    fn batch_reaches(&self, key: &[u8], start: AttemptSeq) -> Result<bool, ReadError> {
        let Some(base) = keys::last_number(key) else {
            return Ok(false);
        };
        let batch = self.batch(Family::Attempt, Kind::Attempts, base)?;
        Ok(batch.is_some_and(|batch| base + u64::from(batch.header.count) > start.get()))
    }

    /// Where subscriptions stand, with all that was recorded so far.
    pub(crate) fn delivery_state(
        &self,
        of: Option<SubscriptionId>,
    ) -> Result<DeliveryState, ReadError> {
        let poisoned = || self.poison.reason().is_some();
        if self.ring.wait_applied(APPLIER_PATIENCE, poisoned) == Room::None {
            self.poison.set(&stuck(APPLIER_PATIENCE));
        }
        let mut result = DeliveryState::default();
        if let Some(state) = self.engine.get(Family::State, keys::STATE)? {
            result.mark = decode::<State>(&state)?.mark;
        }
        let (low, high) = match of {
            Some(id) => (keys::cursor(id), keys::retry(id, Offset::MAX)),
            None => (Vec::new(), vec![0xff; 29]),
        };
        let bounds = (
            Bound::Included(low.as_slice()),
            Bound::Included(high.as_slice()),
        );
        self.engine
            .scan::<ReadError>(Family::Cursor, bounds, |key, value| {
                if let Some(id) = keys::subscription_of(key) {
                    result.cursors.push((id, decode(value)?));
                }
                Ok(())
            })?;
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

    fn key(self, base: u64) -> Vec<u8> {
        match self {
            Self::Event(offset) => keys::attempt_by_event(offset, base),
            Self::Subscription(id) => keys::owned(id.as_bytes(), base),
        }
    }

    fn wants(self, stored: &StoredAttempt) -> bool {
        match self {
            Self::Event(offset) => stored.attempt.event.offset() == offset,
            Self::Subscription(id) => stored.attempt.subscription == id,
        }
    }

    /// The positions that an index row names.
    fn positions(self, row: &[u8]) -> Vec<usize> {
        let mut reader = Reader::new(row);
        let mut positions = Vec::new();
        while let Some(first) = reader.u16() {
            match self {
                Self::Subscription(_) => positions.push(usize::from(first)),
                Self::Event(offset) => {
                    let Some(position) = reader.u16() else { break };
                    if u64::from(first) == offset.get() % ATTEMPT_BLOCK {
                        positions.push(usize::from(position));
                    }
                }
            }
        }
        positions
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
