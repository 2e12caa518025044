//! Kept answers in memory.
//!
//! **Invariant:** rows and their bytes stay within the bounds; what expires first goes first.
//! **Next:** `../commit/assign.rs`, which asks for a place, `../plan.rs`, which writes it down.

use std::collections::{BTreeSet, HashMap};

use super::{AnswerEntry, AnswerRow, Answered, Hash, KeptAnswer, NewAnswer};
use crate::entry::Entry;
use crate::idempotency::IdempotencyKey;
use crate::time::Timestamp;

/// What a row takes in memory and on disk beside its body, about.
pub(crate) const ROW_BYTES: usize = 160;
/// Most answers at once: those of SDKs' automatic keys (ten minutes at 100 a second) and more.
const ROWS_MAX: usize = 65_536;
/// Most bytes of all of them: an answer has about 300, so these are as many as the rows allow.
const BYTES_MAX: usize = 32 << 20;
/// Most rows that one new answer pushes out, which bounds its entry (16 bytes for each).
const DROPPED_MAX: usize = 512;

/// All answers that are kept.
#[derive(Debug)]
pub(crate) struct Answers {
    rows: HashMap<Hash, AnswerRow>,
    by_expiry: BTreeSet<(Timestamp, Hash)>,
    bytes: usize,
    rows_max: usize,
    bytes_max: usize,
}

impl Default for Answers {
    fn default() -> Self {
        Self::with_bounds(ROWS_MAX, BYTES_MAX)
    }
}

impl Answers {
    pub(super) fn with_bounds(rows_max: usize, bytes_max: usize) -> Self {
        Self {
            rows: HashMap::new(),
            by_expiry: BTreeSet::new(),
            bytes: 0,
            rows_max,
            bytes_max,
        }
    }

    /// What is known of a request.
    pub(crate) fn get(&self, key: &IdempotencyKey, now: Timestamp) -> Option<Answered> {
        let row = self.rows.get(&key.hash_bytes())?;
        if row.expires <= now {
            return None;
        }
        if row.fingerprint != key.fingerprint() {
            return Some(Answered::KeyMismatch);
        }
        Some(Answered::Before(KeptAnswer {
            status: row.status,
            body: row.body.clone(),
        }))
    }

    /// The entry that keeps an answer; `None` if not even dropping what one entry may drop makes
    /// room for it.
    pub(crate) fn plan(&self, new: NewAnswer, now: Timestamp) -> Option<AnswerEntry> {
        let hash = new.key.hash_bytes();
        let row = AnswerRow {
            fingerprint: new.key.fingerprint(),
            expires: now.plus(new.age),
            status: new.answer.status,
            body: new.answer.body,
        };
        let replaced = self.rows.get(&hash);
        let mut rows = self.rows.len() + 1 - usize::from(replaced.is_some());
        let mut bytes = self.bytes + weight(&row) - replaced.map_or(0, weight);
        let mut dropped = Vec::new();
        for (expires, old) in self.by_expiry.iter().filter(|(_, old)| *old != hash) {
            let is_full = rows > self.rows_max || bytes > self.bytes_max;
            if dropped.len() == DROPPED_MAX || (*expires > now && !is_full) {
                break;
            }
            rows -= 1;
            bytes -= self.rows.get(old).map_or(0, weight);
            dropped.push(*old);
        }
        let fits = rows <= self.rows_max && bytes <= self.bytes_max;
        fits.then_some(AnswerEntry { dropped, hash, row })
    }

    /// Takes in what was committed.
    pub(crate) fn apply(&mut self, entries: &[Entry]) {
        for entry in entries {
            let Some(answer) = entry.answer() else {
                continue;
            };
            for hash in &answer.dropped {
                self.remove(hash);
            }
            self.put(answer.hash, answer.row.clone());
        }
    }

    pub(crate) fn put(&mut self, hash: Hash, row: AnswerRow) {
        self.remove(&hash);
        self.bytes += weight(&row);
        self.by_expiry.insert((row.expires, hash));
        self.rows.insert(hash, row);
    }

    fn remove(&mut self, hash: &Hash) {
        if let Some(row) = self.rows.remove(hash) {
            self.bytes -= weight(&row);
            self.by_expiry.remove(&(row.expires, *hash));
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.rows.len(), self.bytes)
    }
}

fn weight(row: &AnswerRow) -> usize {
    ROW_BYTES + row.body.len()
}
