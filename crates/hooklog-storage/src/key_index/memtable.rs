//! The newest keys, which no run has yet.
//!
//! **Invariant:** a key is here from its insertion until a run that has it is listed and durable.
//! **Next:** `key_index.rs` puts the parts together.

use std::collections::HashMap;
use std::sync::Arc;

use crate::id::EventId;
use crate::key_index::entry::{KeyEntry, KeyHash};
use crate::offset::Offset;

type Keys = HashMap<KeyHash, (EventId, u64)>;

/// Keys in memory.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    active: Keys,
    /// What is being written to a run.
    frozen: Option<Arc<Frozen>>,
}

/// Keys of events below `up_to`, on their way into a run.
#[derive(Debug)]
pub(crate) struct Frozen {
    keys: Keys,
    pub(crate) up_to: Offset,
}

impl Frozen {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The entries in the order of their hashes.
    pub(crate) fn sorted(&self) -> Vec<KeyEntry> {
        let mut entries: Vec<_> = self.keys.iter().map(entry).collect();
        entries.sort_unstable_by_key(|entry| entry.hash);
        entries
    }
}

impl Memtable {
    pub(crate) fn len(&self) -> usize {
        self.active.len() + self.frozen.as_ref().map_or(0, |frozen| frozen.keys.len())
    }

    pub(crate) fn insert(&mut self, entry: &KeyEntry) {
        let value = (entry.id, entry.fingerprint);
        self.active.insert(entry.hash, value);
    }

    pub(crate) fn get(&self, hash: &KeyHash) -> Option<KeyEntry> {
        let find = |keys: &Keys| keys.get_key_value(hash).map(entry);
        find(&self.active).or_else(|| self.frozen.as_ref().and_then(|frozen| find(&frozen.keys)))
    }

    /// Sets the keys of events below `up_to` aside for a run. They stay visible until
    /// [`thaw`](Self::thaw). Those of a run that could not be written come first.
    pub(crate) fn freeze(&mut self, up_to: Offset) -> Arc<Frozen> {
        if let Some(frozen) = &self.frozen {
            return Arc::clone(frozen);
        }
        // Only what is being committed right now is newer: few entries, so those are moved.
        let newer: Keys = self
            .active
            .extract_if(|_, (id, _)| id.offset() >= up_to)
            .collect();
        let keys = std::mem::replace(&mut self.active, newer);
        let frozen = Arc::new(Frozen { keys, up_to });
        self.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// Drops what was set aside: a run has it.
    pub(crate) fn thaw(&mut self) -> Option<Arc<Frozen>> {
        self.frozen.take()
    }
}

fn entry((hash, (id, fingerprint)): (&KeyHash, &(EventId, u64))) -> KeyEntry {
    KeyEntry {
        hash: *hash,
        id: *id,
        fingerprint: *fingerprint,
    }
}
