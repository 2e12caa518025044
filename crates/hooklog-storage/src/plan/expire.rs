//! What retention removes: whole batches from the low end, and the index rows that speak of nothing
//! above them.
//!
//! An index row names positions of several batches, and goes with the batch of the last one. Until then
//! it names some that are gone: readers begin at the low end, which is never below the first batch.
//!
//! **Invariant:** only batches that lie wholly below `low` go, the lowest first, and the state says
//! in the same transaction where the first one now begins and what its chain starts from. No index row
//! ends below that.
//! **Next:** `apply.rs`, which runs it between two groups of commits.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;

use super::PlanError;
use crate::attempt::Low;
use crate::bytes::Reader;
use crate::codec::{self, CodecError};
use crate::engine::{COMMIT_BYTES_MAX, Engine, EngineError, Op, Sizes};
use crate::entry::StoredAttempt;
use crate::frame::{self, Batch, FrameError, Kind};
use crate::keys::{self, Family};
use crate::offset::{AttemptSeq, Offset};
use crate::record;
use crate::state::{Chain, Link, State};

/// Rows to remove, and the state after that.
pub(crate) struct Removal {
    pub(crate) ops: Vec<Op>,
    pub(crate) state: State,
}

impl Removal {
    /// The lowest batches below `low`, up to about `bytes_max` stored bytes. Without rows when nothing
    /// is left to remove: a batch that `low` cuts stays whole.
    pub(crate) fn plan(
        engine: &Engine,
        state: &State,
        low: Low,
        bytes_max: usize,
    ) -> Result<Self, PlanError> {
        let mut removal = Self {
            ops: Vec::new(),
            state: state.clone(),
        };
        let mut budget = Budget {
            stored: bytes_max,
            sled: COMMIT_BYTES_MAX / 2,
            spent: 0,
        };
        let mut owners = Owners::new();
        // What is damaged in one chain is no reason to keep the other.
        let problems = [
            removal
                .events(engine, low.events, &mut budget, &mut owners)
                .err(),
            removal
                .attempts(engine, low.attempts, &mut budget, &mut owners)
                .err(),
        ];
        removal.index(engine, owners)?;
        match problems.into_iter().flatten().next() {
            Some(problem) if removal.ops.is_empty() => Err(problem),
            _ => Ok(removal),
        }
    }

    fn events(
        &mut self,
        engine: &Engine,
        low: Offset,
        budget: &mut Budget,
        owners: &mut Owners,
    ) -> Result<(), PlanError> {
        while budget.is_left() && self.state.events.first.position < low {
            let base = self.state.events.first.position.get();
            let Some(stored) = Stored::read(engine, Family::Log, base)? else {
                break;
            };
            let end = Offset::new(stored.end());
            if end > low {
                break;
            }
            let mut of_batch = Owners::new();
            for record in stored.records()? {
                let application = record.event.application;
                of_batch.insert((Family::AppLog, application.as_bytes().to_vec()));
            }
            self.batch(Family::Log, &stored, of_batch.len(), budget);
            owners.extend(of_batch);
            step(&mut self.state.events, end, &stored);
        }
        Ok(())
    }

    fn attempts(
        &mut self,
        engine: &Engine,
        low: AttemptSeq,
        budget: &mut Budget,
        owners: &mut Owners,
    ) -> Result<(), PlanError> {
        while budget.is_left() && self.state.attempts.first.position < low {
            let base = self.state.attempts.first.position.get();
            let Some(stored) = Stored::read(engine, Family::Attempt, base)? else {
                break;
            };
            let end = AttemptSeq::new(stored.end());
            if end > low {
                break;
            }
            let mut of_batch = Owners::new();
            for attempt in stored.attempts()? {
                let attempt = attempt.attempt;
                let subscription = attempt.subscription.as_bytes().to_vec();
                of_batch.insert((Family::AttemptBySubscription, subscription));
                let block = keys::block(attempt.event.offset()).to_vec();
                of_batch.insert((Family::AttemptByEvent, block));
            }
            self.batch(Family::Attempt, &stored, of_batch.len(), budget);
            owners.extend(of_batch);
            step(&mut self.state.attempts, end, &stored);
        }
        Ok(())
    }

    fn batch(&mut self, family: Family, stored: &Stored, owners: usize, budget: &mut Budget) {
        for key in &stored.keys {
            budget.spent += key.len();
            self.remove(family, key.clone());
        }
        budget.stored = budget.stored.saturating_sub(stored.bytes);
        // As if a row of each owner ended with each batch, which is the worst.
        budget.spent += owners * INDEX_KEY_BYTES;
        // The leaf of a row that held the batch itself is written again.
        budget.spent += stored.bytes.min(Sizes::STANDARD.inline_bytes_max);
    }

    /// The index rows that end below what is left. Who owns one has an event (or attempt) in the batch
    /// of its last position, which goes in the same step.
    fn index(&mut self, engine: &Engine, owners: Owners) -> Result<(), EngineError> {
        for (family, owner) in owners {
            let first = match family {
                Family::AppLog => self.state.events.first.position.get(),
                _ => self.state.attempts.first.position.get(),
            };
            let (low, high) = (keys::owned(&owner, 0), keys::owned(&owner, first));
            let bounds = (
                Bound::Included(low.as_slice()),
                Bound::Excluded(high.as_slice()),
            );
            engine.scan::<EngineError>(family, bounds, |key, _| {
                self.remove(family, key.to_vec());
                Ok(())
            })?;
        }
        Ok(())
    }

    fn remove(&mut self, family: Family, key: Vec<u8>) {
        self.ops.push(Op {
            family,
            key,
            value: None,
        });
    }
}

/// Owners of index rows.
type Owners = BTreeSet<(Family, Vec<u8>)>;

/// Bytes of the key of an index row, at most.
const INDEX_KEY_BYTES: usize = 28;

/// How much may still be removed in one transaction.
struct Budget {
    /// Stored bytes.
    stored: usize,
    /// Bytes of what sled writes for it: half of what may go into it between two barriers.
    sled: usize,
    /// How many of these are spent.
    spent: usize,
}

impl Budget {
    fn is_left(&self) -> bool {
        self.stored > 0 && self.spent < self.sled
    }
}

/// Lets a chain begin behind a batch.
fn step<P: Copy + PartialOrd>(chain: &mut Chain<P>, end: P, stored: &Stored) {
    chain.first = Link {
        position: end,
        crc: stored.batch.crc,
    };
    if chain.verified.position < end {
        chain.verified = chain.first;
    }
    chain.bytes = chain.bytes.saturating_sub(stored.bytes as u64);
}

/// A batch as it is stored.
pub(crate) struct Stored {
    pub(crate) batch: Batch,
    /// Of its chunks.
    keys: Vec<Vec<u8>>,
    pub(crate) bytes: usize,
}

impl Stored {
    /// The batch that begins at `base`; an error if it is damaged, `None` if there is none.
    pub(crate) fn read(
        engine: &Engine,
        family: Family,
        base: u64,
    ) -> Result<Option<Self>, PlanError> {
        let (low, high) = (keys::batch(base, 0), keys::batch(base, u16::MAX));
        let bounds = (
            Bound::Included(low.as_slice()),
            Bound::Included(high.as_slice()),
        );
        let (mut keys, mut bytes) = (Vec::new(), Vec::new());
        engine.scan::<PlanError>(family, bounds, |key, value| {
            keys.push(key.to_vec());
            bytes.extend_from_slice(value);
            Ok(())
        })?;
        if keys.is_empty() {
            return Ok(None);
        }
        let count = bytes.len();
        let batch = frame::decode(&Bytes::from(bytes)).map_err(|error| damaged(base, &error))?;
        Ok(Some(Self {
            batch,
            keys,
            bytes: count,
        }))
    }

    /// One past its last position.
    pub(crate) fn end(&self) -> u64 {
        self.batch.header.base + u64::from(self.batch.header.count)
    }

    fn records(&self) -> Result<Vec<crate::event::Record>, PlanError> {
        if self.batch.header.kind == Kind::Lost {
            return Ok(Vec::new());
        }
        let base = self.batch.header.base;
        let count = usize::try_from(self.batch.header.count).unwrap_or(usize::MAX);
        let (spans, _) = record::spans(&self.batch.body, count)
            .ok_or_else(|| damaged(base, &FrameError::Short))?;
        (base..)
            .zip(&spans)
            .map(|(offset, span)| Ok(record::decode(&self.batch.body, span, Offset::new(offset))?))
            .collect()
    }

    fn attempts(&self) -> Result<Vec<StoredAttempt>, PlanError> {
        let short = || damaged(self.batch.header.base, &FrameError::Short);
        let mut reader = Reader::new(&self.batch.body);
        let mut attempts = Vec::new();
        while !reader.is_empty() {
            let length = reader.length().ok_or_else(short)?;
            let bytes = reader.take(length).ok_or_else(short)?;
            attempts.push(codec::decode(bytes).map_err(|error: CodecError| error)?);
        }
        Ok(attempts)
    }
}

fn damaged(base: u64, error: &dyn std::error::Error) -> PlanError {
    PlanError::Engine(EngineError::Failed {
        action: "remove an expired batch",
        reason: format!("the batch at {base} is damaged: {error}"),
    })
}

#[cfg(test)]
mod tests;
