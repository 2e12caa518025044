//! How much an index may hold, and how much it holds.
//!
//! **Invariant:** keys in memory, keys on disk and open files have a bound each.
//! **Next:** `error.rs`.

use crate::key_index::error::KeyIndexError;

/// The largest run is this part of all keys: the bound drops so much at once, and expiry lags behind
/// by so much of the disk.
pub(crate) const PARTS: u64 = 8;
/// The most runs, each an open file. Merging keeps them at about thirty; sealing stops here.
pub(crate) const RUNS_MAX: usize = 128;

/// How much an index may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// On disk, expired ones that are not deleted yet included.
    pub(crate) entries_max: u64,
    /// In memory.
    pub(crate) memtable_max: usize,
}

impl Limits {
    /// At least 50 million keys: the bound drops an eighth at most, and 7/8 of this is 50 million. In
    /// memory 229,376, which fill a hash table of 2^18 places to 7/8, the most it takes: 12 MB.
    pub(crate) const STANDARD: Self = Self {
        entries_max: 57_200_000,
        memtable_max: (1 << 18) / 8 * 7,
    };

    /// With so many keys in memory it is time to seal: a quarter (57,344 keys, a run of 3.4 MB), so
    /// that publishers go on while a seal waits for a slow disk.
    pub(crate) const fn seal_entries(self) -> usize {
        self.memtable_max / 4
    }

    /// How many entries a run may have.
    pub(crate) const fn run_entries_max(self) -> u64 {
        self.entries_max / PARTS
    }

    /// A seal writes one run, whatever is in memory, so that must not be more than a run may have.
    pub(crate) fn check(self) -> Result<(), KeyIndexError> {
        let memtable = u64::try_from(self.memtable_max).unwrap_or(u64::MAX);
        if memtable <= self.run_entries_max() {
            return Ok(());
        }
        Err(KeyIndexError::Limits {
            entries_max: self.entries_max,
            memtable_max: self.memtable_max,
            factor: PARTS,
        })
    }
}

/// What an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyIndexStats {
    /// In runs, expired ones included.
    pub(crate) entries: u64,
    pub(crate) runs: usize,
    /// On disk.
    pub(crate) bytes: u64,
    /// In memory.
    pub(crate) memtable: usize,
    /// Keys that were dropped since open, before they expired, to stay within the bound.
    pub(crate) dropped: u64,
}
