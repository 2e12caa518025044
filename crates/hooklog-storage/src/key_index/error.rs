//! Why the index of keys could not do what it was asked for.
//!
//! **Invariant:** an answer is right or it is an error; nothing damaged is read as "no such key".
//! **Next:** `entry.rs`.

use std::path::{Path, PathBuf};

use crate::directory::IoError;

/// Errors of [`KeyIndex`](super::KeyIndex).
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyIndexError {
    #[error(transparent)]
    Io(#[from] IoError),
    /// Everything in the index comes from the log: reset it, open it and read the log again.
    #[error(
        "the index of keys is damaged at byte {position} of {path}: {reason}; it can be rebuilt from the log"
    )]
    Damaged {
        path: PathBuf,
        position: u64,
        reason: &'static str,
    },
    /// Seal, then insert again.
    #[error("{limit} keys wait to be written to the index of keys, which is the most")]
    Full { limit: usize },
    /// Merge, then seal again.
    #[error("the index of keys has {limit} runs, which is the most; merging is behind")]
    Behind { limit: usize },
    /// The limits contradict each other.
    #[error(
        "an index of {entries_max} keys is too small beside {memtable_max} keys in memory: it must be at least {factor} times as large"
    )]
    Limits {
        entries_max: u64,
        memtable_max: usize,
        factor: u64,
    },
}

/// Damage at a byte of a file.
pub(crate) fn damaged(path: &Path, position: u64, reason: &'static str) -> KeyIndexError {
    KeyIndexError::Damaged {
        path: path.to_path_buf(),
        position,
        reason,
    }
}
