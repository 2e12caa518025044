//! From commits to rows: what the applier writes into sled. Reads the engine, writes nothing.
//!
//! An index has one row per owner for all commits that are planned together, so what it costs does not
//! grow with the number of batches. Planned otherwise the same commits would give other rows; what was
//! applied halfway (only a commit too large for a transaction can be) is removed before it is planned
//! again (`recovery/rest.rs`).
//!
//! **Invariant:** rows go into sled after the batches that they speak of. Rows of summed families and
//! the state go into the last transaction, together.
//! **Next:** `plan/batches.rs` (events and attempts), `plan/change.rs` (the registry), `plan/expire.rs`
//! (what retention removes), then `apply.rs`, which runs plans.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::attempt::{Expired, Outcome, Retry, Trigger};
use crate::codec::{self, CodecError};
use crate::config::Compression;
use crate::engine::{Engine, EngineError, Op};
use crate::entry::{Committed, Entry, StoredAttempt};
use crate::health::Health;
use crate::id::SubscriptionId;
use crate::keys::{self, Family};
use crate::state::State;

/// Where the rows of events that wait for their time come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// They are made of the events.
    New,
    /// They are copied from another log, as are the events: what was released there is not again.
    Copied,
}

/// Why a plan could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Rows to write, and the state after them.
pub(crate) struct Plan<'a> {
    engine: &'a Engine,
    compression: Compression,
    pub(crate) state: State,
    /// Rows of batches and indexes.
    pub(crate) ops: Vec<Op>,
    /// Rows of summed families as they will be; a map, because a plan may change one twice.
    summed: BTreeMap<(Family, Vec<u8>), Option<Vec<u8>>>,
}

impl<'a> Plan<'a> {
    /// The plan for `commits`, which follow `state`.
    pub(crate) fn of<'c>(
        engine: &'a Engine,
        state: State,
        compression: Compression,
        waiting: Waiting,
        commits: impl Iterator<Item = &'c Committed> + Clone,
    ) -> Result<Self, PlanError> {
        let mut plan = Self {
            engine,
            compression,
            state,
            ops: Vec::new(),
            summed: BTreeMap::new(),
        };
        plan.events(commits.clone().flat_map(|commit| commit.records.iter()))?;
        if waiting == Waiting::New {
            plan.delay(commits.clone().flat_map(|commit| commit.records.iter()))?;
        }
        let attempts = commits.clone().flat_map(|commit| &commit.entries);
        plan.attempts(attempts.filter_map(Entry::attempt))?;
        for commit in commits {
            for entry in &commit.entries {
                plan.entry(entry)?;
            }
            plan.state.applied = Some(commit.sequence);
            plan.state.journal_crc = commit.crc;
            plan.state.journal_epoch = commit.epoch;
        }
        Ok(plan)
    }

    /// The last transaction: summed rows and the state.
    pub(crate) fn finish(mut self) -> Result<(Vec<Op>, Vec<Op>, State), PlanError> {
        let mut last = Vec::new();
        for ((family, key), value) in std::mem::take(&mut self.summed) {
            if let Some(old) = self.engine.get(family, &key)? {
                self.state.sum.remove(family, &key, &old);
            }
            if let Some(new) = &value {
                self.state.sum.add(family, &key, new);
            }
            last.push(Op { family, key, value });
        }
        last.push(self.state.op()?);
        Ok((self.ops, last, self.state))
    }

    fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.ops.push(Op {
            family,
            key,
            value: Some(value),
        });
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), PlanError> {
        match entry {
            Entry::Change(change) => self.change(change),
            Entry::Attempt(stored) => self.parked(stored),
            Entry::Cursor(subscription, cursor) => {
                if self.exists(*subscription)? {
                    let value = codec::encode(cursor)?;
                    self.set(Family::Cursor, keys::cursor(*subscription), Some(value));
                }
                Ok(())
            }
            Entry::Mark(mark) => {
                self.state.mark = *mark;
                Ok(())
            }
            Entry::Low(low) => {
                let (events, attempts) = (&mut self.state.events, &mut self.state.attempts);
                events.low = events.low.max(low.events);
                attempts.low = attempts.low.max(low.attempts);
                self.forget_delayed(low.events)?;
                self.forget_expunged(*low)
            }
            Entry::Expired(subscription, expired) => self.expired(*subscription, expired),
            Entry::Health(subscription, health) => self.health(*subscription, health),
            Entry::Skipped(subscription, offset) => {
                self.set(Family::Retry, keys::retry(*subscription, *offset), None);
                Ok(())
            }
            // The committer lets none pass whose application is gone.
            Entry::Consumer(key, cursor) => {
                let value = cursor.as_ref().map(codec::encode).transpose()?;
                self.set(Family::Consumer, keys::consumer(key), value);
                Ok(())
            }
            Entry::Answer(answer) => {
                for hash in &answer.dropped {
                    self.set(Family::Answer, hash.to_vec(), None);
                }
                let value = codec::encode(&answer.row)?;
                self.set(Family::Answer, answer.hash.to_vec(), Some(value));
                Ok(())
            }
        }
    }

    /// Parks the delivery of an attempt, or takes it out.
    fn parked(&mut self, stored: &StoredAttempt) -> Result<(), PlanError> {
        let attempt = &stored.attempt;
        let key = keys::retry(attempt.subscription, attempt.event.offset());
        match attempt.outcome {
            Outcome::Retry(mut retry) => {
                if self.exists(attempt.subscription)? {
                    // It may have been skipped while the attempt was under way.
                    retry.is_skipped |= self.retry(&key)?.is_some_and(|old| old.is_skipped);
                    self.park(key, retry)?;
                }
            }
            // The first scheduled attempt of a delivery was never parked.
            Outcome::Delivered | Outcome::Exhausted
                if attempt.number == 0 && attempt.trigger == Trigger::Scheduled => {}
            // A resend that was asked for while this attempt was under way, and that it does not
            // know of, stays parked.
            Outcome::Delivered | Outcome::Exhausted
                if attempt.trigger != Trigger::Manual
                    && self
                        .retry(&key)?
                        .is_some_and(|retry| retry.trigger == Trigger::Manual) => {}
            Outcome::Delivered | Outcome::Exhausted => self.set(Family::Retry, key, None),
        }
        Ok(())
    }

    /// Adds to what retention took from a subscription.
    fn expired(&mut self, id: SubscriptionId, more: &Expired) -> Result<(), PlanError> {
        if !self.exists(id)? {
            return Ok(());
        }
        let key = keys::expired(id);
        let mut value = more.clone();
        if let Some(row) = self.row(Family::Expired, &key)? {
            value = value.join(&codec::decode(&row)?);
        }
        let value = codec::encode(&value)?;
        self.set(Family::Expired, key, Some(value));
        Ok(())
    }

    /// Puts down what is known of an endpoint; nothing if it is well.
    fn health(&mut self, id: SubscriptionId, health: &Health) -> Result<(), PlanError> {
        if self.exists(id)? {
            let is_well = *health == Health::default();
            let value = (!is_well).then(|| codec::encode(health)).transpose()?;
            self.set(Family::Health, keys::health(id), value);
        }
        Ok(())
    }

    fn retry(&self, key: &[u8]) -> Result<Option<Retry>, PlanError> {
        let row = self.row(Family::Retry, key)?;
        Ok(row.map(|row| codec::decode(&row)).transpose()?)
    }

    fn park(&mut self, key: Vec<u8>, retry: Retry) -> Result<(), PlanError> {
        let value = codec::encode(&retry)?;
        self.set(Family::Retry, key, Some(value));
        Ok(())
    }

    /// Whether a subscription is still there, in this plan or in sled. What the dispatcher records
    /// of one that was just deleted must not leave rows behind.
    fn exists(&self, id: SubscriptionId) -> Result<bool, PlanError> {
        let key = keys::subscription(id);
        match self.summed.get(&(Family::Registry, key.clone())) {
            Some(value) => Ok(value.is_some()),
            None => Ok(self.engine.get(Family::Registry, &key)?.is_some()),
        }
    }

    /// A row of a summed family, as this plan leaves it.
    fn row(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, PlanError> {
        match self.summed.get(&(family, key.to_vec())) {
            Some(row) => Ok(row.clone().map(Into::into)),
            None => Ok(self.engine.get(family, key)?),
        }
    }

    /// Rows of a summed family between two keys (both included), as this plan leaves them.
    fn rows(
        &self,
        family: Family,
        low: &[u8],
        high: &[u8],
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, PlanError> {
        let mut rows = BTreeMap::new();
        let bounds = (Bound::Included(low), Bound::Included(high));
        self.engine
            .scan::<PlanError>(family, bounds, |key, value| {
                rows.insert(key.to_vec(), value.to_vec());
                Ok(())
            })?;
        let changed = (family, low.to_vec())..=(family, high.to_vec());
        for ((_, key), value) in self.summed.range(changed) {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(rows)
    }

    fn set(&mut self, family: Family, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.summed.insert((family, key), value);
    }
}

mod batches;
mod change;
mod delay;
pub(crate) mod expire;
