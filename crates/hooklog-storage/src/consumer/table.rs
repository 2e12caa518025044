//! Consumers in memory: where each stands, and which are open.
//!
//! **Invariant:** it holds exactly the rows that are committed, in the journal's order; a name that
//! is open is lent to one reader.
//! **Next:** `open.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::Change;
use crate::consumer::{ConsumerCursor, ConsumerError, ConsumerKey, ConsumerScope};
use crate::entry::Entry;

/// Most consumers of one scope: an application is deleted with its consumers in one transaction,
/// and a thousand keys of 150 bytes are a sixth of what one may hold.
const PER_SCOPE_MAX: usize = 1_000;
/// Most consumers in all: about 20 MiB of memory.
const TOTAL_MAX: usize = 100_000;

/// All consumers of a log.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    rows: BTreeMap<ConsumerKey, ConsumerCursor>,
    open: BTreeSet<ConsumerKey>,
}

impl Consumers {
    pub(crate) fn put(&mut self, key: ConsumerKey, cursor: ConsumerCursor) {
        self.rows.insert(key, cursor);
    }

    /// Takes in what was committed.
    pub(crate) fn apply(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::Consumer(key, Some(cursor)) => self.put(key.clone(), *cursor),
                Entry::Consumer(key, None) => drop(self.rows.remove(key)),
                Entry::Change(Change::DeleteApplication(id)) => {
                    let gone = ConsumerScope::Application(*id);
                    self.rows.retain(|key, _| key.scope != gone);
                }
                Entry::Change(_)
                | Entry::Attempt(_)
                | Entry::Cursor(..)
                | Entry::Mark(_)
                | Entry::Low(_)
                | Entry::Expired(..)
                | Entry::Health(..)
                | Entry::Skipped(..)
                | Entry::Answer(_) => {}
            }
        }
    }

    pub(crate) fn get(&self, key: &ConsumerKey) -> Option<ConsumerCursor> {
        self.rows.get(key).copied()
    }

    /// Rows of a scope, or of all, ascending.
    pub(crate) fn list(
        &self,
        scope: Option<ConsumerScope>,
    ) -> impl Iterator<Item = (&ConsumerKey, &ConsumerCursor)> {
        self.rows
            .iter()
            .filter(move |(key, _)| scope.is_none_or(|scope| key.scope == scope))
    }

    /// Lends a name to one reader. A name that is open counts as a consumer, since it may be about
    /// to become one.
    pub(crate) fn lend(&mut self, key: &ConsumerKey) -> Result<(), ConsumerError> {
        if self.open.contains(key) {
            return Err(ConsumerError::InUse { key: key.clone() });
        }
        self.check_room(key)?;
        self.open.insert(key.clone());
        Ok(())
    }

    /// Whether a reader of this process has it.
    pub(crate) fn is_lent(&self, key: &ConsumerKey) -> bool {
        self.open.contains(key)
    }

    /// Whether there is, or may be, a consumer of this name.
    pub(crate) fn check_room(&self, key: &ConsumerKey) -> Result<(), ConsumerError> {
        if !self.rows.contains_key(key) {
            let new = self.open.iter().filter(|key| !self.rows.contains_key(key));
            let taken: Vec<_> = self.rows.keys().chain(new).collect();
            let within = taken.iter().filter(|taken| taken.scope == key.scope);
            let bounds = [
                (
                    "the number of consumers of one scope",
                    within.count(),
                    PER_SCOPE_MAX,
                ),
                ("the number of consumers", taken.len(), TOTAL_MAX),
            ];
            for (what, count, limit) in bounds {
                if count >= limit {
                    return Err(ConsumerError::Limit { what, limit });
                }
            }
        }
        Ok(())
    }

    /// Takes a name back.
    pub(crate) fn give_back(&mut self, key: &ConsumerKey) {
        self.open.remove(key);
    }
}
