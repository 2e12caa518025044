//! Gives what was asked for its place: an event its offset and id, an attempt its number, a change
//! its turn against the registry.
//!
//! **Invariant:** offsets, attempt numbers and times are assigned here alone, without gaps.
//! **Next:** `commit/keyed.rs`, then `journal.rs`, which writes the group.

use tokio::sync::oneshot;

use super::keyed::Verdict;
use super::{Committer, Group, operational};
use crate::answers::NewAnswer;
use crate::attempt::{Low, Progress};
use crate::change::{Change, ChangeError, Turn};
use crate::commands::NO_APPLICATION;
use crate::commit_error::CommitError;
use crate::consumer::{ConsumerCursor, ConsumerKey, ConsumerScope};
use crate::entry::{Entry, StoredAttempt};
use crate::event::{Appended, Event, Record};
use crate::id::{AttemptId, EventId};
use crate::key_index::KeyIndexError;
use crate::log::{AppendError, Unrecorded};
use crate::request::{ConsumerWrite, PlanFn, Request, Sync, Waiter};
use crate::space::{PROGRESS_RESERVE_BYTES, RESERVE_BYTES};
use crate::time::Timestamp;

/// Said when a consumer that is to be moved is not there.
const NO_CONSUMER: ChangeError = ChangeError::NotFound { what: "consumer" };
/// What the row of a parked delivery takes in the database: 28 bytes of key and 31 of value, in leaves
/// that may be half full.
const PARKED_ROW_BYTES: u64 = 128;
/// Who hears whether an answer is kept.
type AnswerAck = tokio::sync::oneshot::Sender<Result<(), ChangeError>>;

impl Committer {
    /// Adds a request to a group.
    pub(super) fn add(
        &mut self,
        request: Request,
        held: usize,
        now: Timestamp,
        group: &mut Group,
    ) -> Result<(), KeyIndexError> {
        let held = u64::try_from(held).unwrap_or(u64::MAX);
        match request {
            Request::Append { events, ack } => match self.admit(&events, held, now, group) {
                Ok(verdicts) => {
                    let appended = self.append(events, verdicts, now, &mut group.records)?;
                    group.waiters.push(Waiter::Append(ack, appended));
                    group.sync = Some(Sync::Now);
                }
                Err(error) => drop(ack.send(Err(error))),
            },
            Request::Expire(low) => {
                group.entries.push(Entry::Low(low.min(self.end())));
                group.sync = group.sync.or(Some(Sync::Later));
            }
            Request::Record { progress, ack } => {
                if let Err(error) = self.take_room(held, PROGRESS_RESERVE_BYTES) {
                    let rest = progress;
                    drop(ack.send(Err(Unrecorded { error, rest })));
                    return Ok(());
                }
                let told = self.tell(&progress);
                for event in told {
                    self.place(event, now, &mut group.records)?;
                }
                group
                    .entries
                    .extend(progress.into_iter().map(|progress| self.entry(progress)));
                group.waiters.push(Waiter::Record(ack));
                group.sync = group.sync.or(Some(Sync::Later));
            }
            Request::Look => {}
            Request::Change { plan } => self.change(plan, now, group)?,
            Request::Answer { new, ack } => self.keep(new, ack, now, group),
            Request::Consumer { write, ack } => self.move_consumer(write, ack, group),
        }
        Ok(())
    }

    /// Nothing above it can have expired.
    fn end(&self) -> Low {
        Low {
            events: self.next.offset,
            attempts: self.next.attempt,
        }
    }

    /// Plans a change of the registry, and tells what it means to those who listen.
    fn change(
        &mut self,
        plan: PlanFn,
        now: Timestamp,
        group: &mut Group,
    ) -> Result<(), KeyIndexError> {
        let mut entropy = [0; 15];
        self.rng.fill(&mut entropy);
        // Ids of the same four milliseconds sort as their commits do.
        if let Some(head) = entropy.first_chunk_mut() {
            *head = self.next.sequence.get().to_be_bytes();
        }
        let turn = Turn {
            now,
            wall: self.wall,
            end: self.next.offset,
            entropy,
        };
        let planned = plan(&self.shared.registry.read(), &turn);
        let Some((changes, finish)) = planned else {
            return Ok(());
        };
        if let Some(bytes) = self_driven_bytes(&changes)
            && let Err(error) = self.take_room(bytes, PROGRESS_RESERVE_BYTES)
        {
            finish(Err(error));
            return Ok(());
        }
        let told = operational::of_changes(&self.shared.registry.read(), &changes);
        for event in told {
            self.place(event, now, &mut group.records)?;
        }
        group.entries.extend(changes.into_iter().map(Entry::Change));
        group.waiters.push(Waiter::Change(finish));
        group.sync = Some(Sync::Now);
        Ok(())
    }

    /// Keeps an answer, if there is room for it.
    fn keep(&self, new: NewAnswer, ack: AnswerAck, now: Timestamp, group: &mut Group) {
        let sync = new.sync;
        let Some(entry) = self.shared.answers.lock().plan(new, now) else {
            let what = "the kept answers";
            let busy = ChangeError::Commit(CommitError::Busy { what });
            return drop(ack.send(Err(busy)));
        };
        group.entries.push(Entry::Answer(entry));
        group.sync = match sync {
            Sync::Now => Some(Sync::Now),
            Sync::Later => group.sync.or(Some(Sync::Later)),
        };
        let finish = move |result: Result<(), CommitError>| {
            drop(ack.send(result.map_err(ChangeError::from)));
        };
        group.waiters.push(Waiter::Change(Box::new(finish)));
    }

    /// What of the dispatcher's progress is told to the tenants.
    fn tell(&self, progress: &[Progress]) -> Vec<Event> {
        let registry = self.shared.registry.read();
        let told = progress.iter().filter_map(|progress| match progress {
            Progress::Attempt(attempt) => operational::of_attempt(&registry, attempt),
            Progress::Cursor(..)
            | Progress::Mark(_)
            | Progress::Expired(..)
            | Progress::Health(..)
            | Progress::Skipped(..) => None,
        });
        told.collect()
    }

    /// What becomes of the events of an append; refuses all of them if one cannot be told, or if there
    /// is no room for them.
    fn admit(
        &mut self,
        events: &[Event],
        held: u64,
        now: Timestamp,
        group: &Group,
    ) -> Result<Vec<Verdict>, AppendError> {
        let limit = self.shared.config.deliver_after_max();
        let is_far = |due: &Timestamp| *due > now.plus(limit);
        if events
            .iter()
            .any(|event| event.deliver_at.as_ref().is_some_and(is_far))
        {
            return Err(AppendError::DeliverAt { limit });
        }
        self.take_room(held, RESERVE_BYTES)?;
        self.judge(events, now, &group.records)
    }

    /// Adds a write to a consumer's row.
    fn move_consumer(
        &self,
        write: ConsumerWrite,
        ack: oneshot::Sender<Result<(), ChangeError>>,
        group: &mut Group,
    ) {
        match self.consumer(write, group) {
            Ok((entry, sync)) => {
                group.entries.extend(entry);
                group.sync = match sync {
                    Sync::Now => Some(Sync::Now),
                    Sync::Later => group.sync.or(Some(Sync::Later)),
                };
                let finish = move |result: Result<(), CommitError>| {
                    drop(ack.send(result.map_err(ChangeError::from)));
                };
                group.waiters.push(Waiter::Change(Box::new(finish)));
            }
            Err(error) => drop(ack.send(Err(error))),
        }
    }

    /// The entry for a write to a consumer's row. A change ends its group, so the registry is that of
    /// this place in the journal: no cursor outlives its application.
    fn consumer(
        &self,
        write: ConsumerWrite,
        group: &mut Group,
    ) -> Result<(Option<Entry>, Sync), ChangeError> {
        let row = |group: &Group, key: &ConsumerKey| match group.consumers.get(key) {
            Some(row) => *row,
            None => self.shared.consumers.lock().get(key),
        };
        let (key, row, durability) = match write {
            ConsumerWrite::Nothing => return Ok((None, Sync::Later)),
            ConsumerWrite::Put(key, cursor, durability) => (key, Some(cursor), durability),
            // Whoever made it may have heard nothing yet, so this, too, answers behind its sync.
            ConsumerWrite::Create(key, _) if row(group, &key).is_some() => {
                return Ok((None, Sync::Now));
            }
            ConsumerWrite::Create(key, cursor) => (key, Some(cursor), Sync::Now),
            ConsumerWrite::Advance(key, to) => {
                let stored = row(group, &key).ok_or(NO_CONSUMER)?;
                let cursor = to.min(self.next.offset);
                if cursor <= stored.cursor {
                    return Ok((None, Sync::Later));
                }
                let moved = ConsumerCursor { cursor, ..stored };
                (key, Some(moved), Sync::Later)
            }
            ConsumerWrite::Delete(key) => (key, None, Sync::Now),
        };
        if let (ConsumerScope::Application(id), Some(_)) = (key.scope, row) {
            let registry = self.shared.registry.read();
            registry.application(id).ok_or(NO_APPLICATION)?;
        }
        group.consumers.insert(key.clone(), row);
        Ok((Some(Entry::Consumer(key, row)), durability))
    }

    /// Gives the events their places, but for those whose keys say that they have one.
    pub(super) fn append(
        &mut self,
        events: Vec<Event>,
        verdicts: Vec<Verdict>,
        timestamp: Timestamp,
        records: &mut Vec<Record>,
    ) -> Result<Vec<Appended>, KeyIndexError> {
        let mut appended = Vec::with_capacity(events.len());
        records.reserve(events.len());
        let mut verdicts = verdicts.into_iter();
        for event in events {
            let known = verdicts
                .next()
                .and_then(|verdict| verdict.outcome(&appended));
            appended.push(match known {
                Some(outcome) => outcome,
                None => self.place(event, timestamp, records)?,
            });
        }
        Ok(appended)
    }

    /// Gives an event its place.
    fn place(
        &mut self,
        mut event: Event,
        timestamp: Timestamp,
        records: &mut Vec<Record>,
    ) -> Result<Appended, KeyIndexError> {
        // What is due by now is an event like any other; by now as its publisher sees it, or one for later
        // would be pushed too early after the clock was set back.
        event.deliver_at = event.deliver_at.filter(|due| *due > self.wall);
        let mut tail = [0; 7];
        self.rng.fill(&mut tail);
        let offset = self.next.offset;
        let id = EventId::at(timestamp, offset, tail);
        records.push(Record {
            offset,
            id,
            timestamp,
            event,
        });
        self.next.offset = offset.next();
        if let Some(record) = records.last() {
            self.shared.keys.insert(record)?;
        }
        Ok(Appended::Committed { id, timestamp })
    }

    fn entry(&mut self, progress: Progress) -> Entry {
        match progress {
            Progress::Attempt(attempt) => {
                let mut tail = [0; 7];
                self.rng.fill(&mut tail);
                let id = AttemptId::at(attempt.started, self.next.attempt, tail);
                self.next.attempt = self.next.attempt.next();
                Entry::Attempt(StoredAttempt { id, attempt })
            }
            Progress::Cursor(subscription, cursor) => Entry::Cursor(subscription, cursor),
            Progress::Mark(offset) => Entry::Mark(offset),
            Progress::Expired(subscription, expired) => Entry::Expired(subscription, expired),
            Progress::Health(subscription, health) => Entry::Health(subscription, health),
            Progress::Skipped(subscription, offset) => Entry::Skipped(subscription, offset),
        }
    }
}

/// Bytes that a commit takes which nobody waits for: releases, and steps of tasks that send events
/// again. These come one after the other for as long as there is something to do, so they leave the
/// same reserve as the dispatcher's progress, and are tried again. `None` for what a person asks for:
/// it is little, and may be what makes room.
fn self_driven_bytes(changes: &[Change]) -> Option<u64> {
    let is_step = changes
        .iter()
        .any(|change| matches!(change, Change::PutTask(_)));
    let rows = |change: &Change| match change {
        Change::Release(release) => Some(release.to.len() + 1),
        Change::Redeliver { .. } if is_step => Some(1),
        _ => None,
    };
    let rows = changes
        .iter()
        .filter_map(rows)
        .reduce(|all, more| all + more)?;
    Some(
        u64::try_from(rows)
            .unwrap_or(u64::MAX)
            .saturating_mul(PARKED_ROW_BYTES),
    )
}
