//! What becomes of the events of an append that carry keys: told before any of them gets its place,
//! so that an append whose keys cannot be looked up leaves nothing behind.
//!
//! **Invariant:** of events with equal keys, in one append, one group or ever, the first wins.
//! **Next:** `event_keys.rs`, where keys are looked up.

use std::collections::HashMap;

use super::Committer;
use crate::commit_error::CommitError;
use crate::event::{Appended, Event, Record};
use crate::id::ApplicationId;
use crate::idempotency::IdempotencyKey;
use crate::log::AppendError;
use crate::name::Uid;
use crate::time::Timestamp;

/// What becomes of one event of an append.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It gets a place.
    New,
    /// It was told before, or is refused.
    Known(Appended),
    /// The event at this place of the same append is the same request.
    Repeats(usize),
    /// The event at this place of the same append is another request with its idempotency key.
    Mixed(usize),
    /// The event at this place of the same append has its uid.
    UidOf(usize),
}

impl Verdict {
    /// The outcome, when those of the events before are known.
    pub(super) fn outcome(self, before: &[Appended]) -> Option<Appended> {
        let committed = |at: usize| match before.get(at) {
            Some(Appended::Committed { id, timestamp }) => Some((*id, *timestamp)),
            _ => None,
        };
        match self {
            Self::New => None,
            Self::Known(appended) => Some(appended),
            Self::Repeats(at) => {
                committed(at).map(|(id, timestamp)| Appended::Replayed { id, timestamp })
            }
            Self::Mixed(at) => {
                committed(at).map(|(existing, _)| Appended::KeyMismatch { existing })
            }
            Self::UidOf(at) => committed(at).map(|(existing, _)| Appended::UidTaken { existing }),
        }
    }
}

/// Keys of the events of one append that get a place.
#[derive(Default)]
struct Seen<'a> {
    requests: HashMap<&'a [u8], (usize, u64)>,
    uids: HashMap<(ApplicationId, &'a Uid), usize>,
}

impl Committer {
    /// A verdict for each event; none at all when no event carries a key. `group` has the records
    /// before this append that are not written yet.
    pub(super) fn judge(
        &mut self,
        events: &[Event],
        now: Timestamp,
        group: &[Record],
    ) -> Result<Vec<Verdict>, AppendError> {
        let count = |has: fn(&Event) -> bool| events.iter().filter(|event| has(event)).count();
        let requests = count(|event| event.idempotency.is_some());
        let uids = count(|event| event.uid.is_some());
        if requests + uids == 0 {
            return Ok(Vec::new());
        }
        if !self.shared.keys.has_room(requests, uids) {
            self.wake_sealing();
            let what = "the index of keys";
            return Err(CommitError::Busy { what }.into());
        }
        let mut seen = Seen::default();
        let mut verdicts = Vec::with_capacity(events.len());
        for (place, event) in events.iter().enumerate() {
            // Each may read the disk.
            self.keep_synced();
            let verdict = self.verdict(event, now, group, &seen)?;
            if matches!(verdict, Verdict::New) {
                if let Some(key) = &event.idempotency {
                    seen.requests.insert(key.hash(), (place, key.fingerprint()));
                }
                if let Some(uid) = &event.uid {
                    seen.uids.insert((event.application, uid), place);
                }
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    fn verdict(
        &self,
        event: &Event,
        now: Timestamp,
        group: &[Record],
        seen: &Seen<'_>,
    ) -> Result<Verdict, AppendError> {
        let keys = &self.shared.keys;
        // A repetition brings its uid again, so the idempotency key is asked first.
        if let Some(key) = event.idempotency.as_ref().filter(|_| keys.knows_requests()) {
            if let Some((place, fingerprint)) = seen.requests.get(key.hash()) {
                let same = *fingerprint == key.fingerprint();
                return Ok(if same {
                    Verdict::Repeats(*place)
                } else {
                    Verdict::Mixed(*place)
                });
            }
            let found = self.shared.event_by_request(key, group)?;
            let young = found.filter(|record| keys.is_young(record.timestamp, now));
            if let Some(known) = young.and_then(|record| known(key, &record)) {
                return Ok(Verdict::Known(known));
            }
        }
        if let Some(uid) = &event.uid {
            if let Some(place) = seen.uids.get(&(event.application, uid)) {
                return Ok(Verdict::UidOf(*place));
            }
            let found = self.shared.event_by_uid(event.application, uid, group)?;
            if let Some(record) = found {
                let existing = record.id;
                return Ok(Verdict::Known(Appended::UidTaken { existing }));
            }
        }
        Ok(Verdict::New)
    }

    /// The keys in memory are to be written to disk.
    pub(super) fn wake_sealing(&self) {
        // If it is full the thread has not looked yet, and will.
        let _full = self.keys.try_send(());
    }
}

/// The outcome for a request whose key an event carries.
fn known(key: &IdempotencyKey, record: &Record) -> Option<Appended> {
    let first = record.event.idempotency?;
    Some(if first.fingerprint() == key.fingerprint() {
        Appended::Replayed {
            id: record.id,
            timestamp: record.timestamp,
        }
    } else {
        Appended::KeyMismatch {
            existing: record.id,
        }
    })
}
