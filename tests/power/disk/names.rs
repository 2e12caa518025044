//! The names of files: what is durable, and what a power cut may take.
//!
//! **Invariant:** a change of names (a rename is one) happens as a whole or not at all, and is sure
//! to survive once a directory that it touches was synced.
//! **Next:** `../fuse.rs`.

use std::collections::BTreeMap;

use super::Fate;
use super::content::chance;

/// A directory's number, and a name in it.
pub(super) type Name = (u64, String);

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    current: BTreeMap<Name, u64>,
    durable: BTreeMap<Name, u64>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    removed: Option<Name>,
    added: Option<(Name, u64)>,
}

impl Change {
    fn touches(&self, directory: u64) -> bool {
        let removed = self.removed.as_ref().map(|name| name.0);
        let added = self.added.as_ref().map(|(name, _)| name.0);
        removed == Some(directory) || added == Some(directory)
    }

    fn apply(&self, names: &mut BTreeMap<Name, u64>) {
        if let Some(name) = &self.removed {
            names.remove(name);
        }
        if let Some((name, node)) = &self.added {
            names.insert(name.clone(), *node);
        }
    }
}

impl Names {
    pub(super) fn find(&self, directory: u64, name: &str) -> Option<u64> {
        self.current.get(&(directory, name.to_owned())).copied()
    }

    pub(super) fn list(&self, directory: u64) -> impl Iterator<Item = (&str, u64)> {
        let all = (directory, String::new())..(directory + 1, String::new());
        let found = self.current.range(all);
        found.map(|((_, name), node)| (name.as_str(), *node))
    }

    /// What a node is called, for those that are asked by name.
    pub(super) fn of(&self, node: u64) -> Option<&str> {
        let mut all = self.current.iter();
        all.find_map(|((_, name), found)| (*found == node).then_some(name.as_str()))
    }

    pub(super) fn change(&mut self, removed: Option<Name>, added: Option<(Name, u64)>) {
        let change = Change { removed, added };
        change.apply(&mut self.current);
        self.unsynced.push(change);
    }

    /// What `fsync` of a directory promises.
    pub(super) fn sync(&mut self, directory: u64) {
        let all = std::mem::take(&mut self.unsynced);
        let (synced, rest): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|change| change.touches(directory));
        for change in &synced {
            change.apply(&mut self.durable);
        }
        self.unsynced = rest;
    }

    /// What is left after a power cut.
    pub(super) fn cut(&self, fate: Fate, random: &mut fastrand::Rng) -> Self {
        let mut after = self.durable.clone();
        let surviving: Vec<&Change> = match fate {
            Fate::Kept => self.unsynced.iter().collect(),
            Fate::Lost => Vec::new(),
            // In order, as a file system with a journal does it.
            Fate::Mixed { .. } if random.bool() => {
                let count = random.usize(..=self.unsynced.len());
                self.unsynced.iter().take(count).collect()
            }
            // Each for itself, which is all that POSIX promises.
            Fate::Mixed { keep, .. } => {
                let all = self.unsynced.iter();
                all.filter(|_| chance(keep, random)).collect()
            }
        };
        for change in surviving {
            change.apply(&mut after);
        }
        Self {
            current: after.clone(),
            durable: after,
            unsynced: Vec::new(),
        }
    }
}
