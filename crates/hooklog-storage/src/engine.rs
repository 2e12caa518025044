//! The ordered store under the log: the only file that imports sled.
//!
//! sled 0.34's `flush` ends in `sync_file_range`, which keeps neither metadata nor the disk's cache;
//! a barrier is therefore `flush` and then `fdatasync` on a handle to sled's file that was opened
//! before the first write (a handle opened later can miss an earlier writeback error).
//!
//! **Invariant:** values are at most [`VALUE_BYTES_MAX`], so no leaf ever becomes a blob file, and a
//! commit is atomic over all families.
//! **Next:** `apply.rs`, its only writer.

use std::fs::File;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use crate::keys::Family;

/// Bytes of a sled segment; fixed when a database is created. At 8 MiB a message becomes a blob
/// above segment / 4, and a leaf holds up to 17 values.
pub(crate) const SEGMENT_BYTES: u64 = 8 << 20;
/// Most bytes of one value: 18 of them fit a quarter of a segment (116 KiB), with a margin.
pub(crate) const VALUE_BYTES_MAX: usize = 112 << 10;
/// Most bytes of one commit, and between two barriers (`apply.rs` says why): sled writes each byte
/// about four times, so this is half a segment.
pub(crate) const COMMIT_BYTES_MAX: usize = 1 << 20;
/// What sled is told; large values make it use more, see `pump`.
const CACHE_BYTES: u64 = 64 << 20;
/// sled accounts for an access only after 64 more in the same shard; this many extra accesses per
/// large value keep its cache near its limit (measured: 3.7 GiB without, 173 MiB with).
const PUMP_ACCESSES: usize = 8;
/// Values above this are worth pumping for: small ones are accounted for soon enough.
const PUMP_VALUE_BYTES: usize = 4 << 10;

/// Why the engine failed. After any of these on the write path the log is poisoned.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// sled returned an error.
    #[error("the database failed to {action}: {reason}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// What sled said.
        reason: String,
    },
    /// sled panicked.
    #[error("the database panicked while trying to {action}: {reason}")]
    Panicked {
        /// What was tried.
        action: &'static str,
        /// The panic's message.
        reason: String,
    },
    /// The data file could not be synced.
    #[error("cannot fdatasync {path}: {reason}")]
    Sync {
        /// sled's data file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl EngineError {
    /// Whether sled found its data file locked (the text is that of the pinned version).
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self, Self::Failed { reason, .. } if reason.contains("could not acquire lock"))
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) family: Family,
    pub(crate) key: Vec<u8>,
    /// `None` removes.
    pub(crate) value: Option<Vec<u8>>,
}

impl Op {
    /// Bytes that it adds to a commit.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// An open database.
pub(crate) struct Engine {
    /// `None` once dropped; see `Drop`.
    database: Option<sled::Db>,
    /// In the order of `Family::ALL`.
    trees: Vec<sled::Tree>,
    file: File,
    path: PathBuf,
    /// Held while a commit is written, and by who wants no commit for a while.
    still: Mutex<()>,
}

impl Engine {
    /// Opens or creates the database in a directory whose data file is `file`.
    pub(crate) fn open(directory: &Path, file: &Path) -> Result<Self, EngineError> {
        let action = "open";
        let config = sled::Config::new()
            .path(directory)
            .segment_size(usize::try_from(SEGMENT_BYTES).unwrap_or(usize::MAX))
            .cache_capacity(CACHE_BYTES)
            // No background flusher: it would write between our barriers, and only log its errors.
            .flush_every_ms(None)
            .use_compression(false);
        guarded(action, || {
            let database = config.open().map_err(failed(action))?;
            let trees = Family::ALL
                .iter()
                .map(|(_, name)| database.open_tree(name).map_err(failed(action)))
                .collect::<Result<Vec<_>, _>>()?;
            let opened = File::open(file).map_err(|source| EngineError::Failed {
                action,
                reason: format!("{}: {source}", file.display()),
            })?;
            Ok(Self {
                database: Some(database),
                trees,
                file: opened,
                path: file.to_path_buf(),
                still: Mutex::new(()),
            })
        })
    }

    /// Holds commits back until the guard is dropped, so that several families can be read as they
    /// are at one moment. Acks do not wait for it: the journal goes on.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        self.still.lock()
    }

    fn tree(&self, family: Family) -> Result<&sled::Tree, EngineError> {
        self.trees.get(family as usize).ok_or(EngineError::Failed {
            action: "find a tree",
            reason: "it was not opened".to_owned(),
        })
    }

    /// The value of a key.
    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let action = "read";
        guarded(action, || {
            let value = self.tree(family)?.get(key).map_err(failed(action))?;
            Ok(value.map(|value| self.share(family, key, value)))
        })
    }

    /// The first (or last) pair whose key lies within the bounds.
    pub(crate) fn edge(
        &self,
        family: Family,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        edge: Edge,
    ) -> Result<Option<(Vec<u8>, Bytes)>, EngineError> {
        let action = "read";
        guarded(action, || {
            let mut pairs = self.tree(family)?.range::<&[u8], _>(bounds);
            let pair = match edge {
                Edge::First => pairs.next(),
                Edge::Last => pairs.next_back(),
            };
            let pair = pair.transpose().map_err(failed(action))?;
            Ok(pair.map(|(key, value)| (key.to_vec(), self.share(family, &key, value))))
        })
    }

    /// Hands each pair within the bounds, ascending, to `visit`.
    pub(crate) fn scan<E: From<EngineError>>(
        &self,
        family: Family,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let action = "read";
        let mut pairs = self.tree(family)?.range::<&[u8], _>(bounds);
        while let Some((key, value)) =
            guarded(action, || pairs.next().transpose().map_err(failed(action)))?
        {
            let value = self.share(family, &key, value);
            visit(&key, &value)?;
        }
        Ok(())
    }

    /// Writes all of `ops`, or none. Not durable before [`barrier`](Self::barrier) returned.
    pub(crate) fn commit(&self, ops: &[Op]) -> Result<(), EngineError> {
        let action = "commit";
        let _still = self.still.lock();
        guarded(action, || {
            let result = self.trees.as_slice().transaction(|trees| {
                for op in ops {
                    let tree = trees.get(op.family as usize).ok_or_else(|| {
                        ConflictableTransactionError::Abort("a family has no tree")
                    })?;
                    match &op.value {
                        Some(value) => tree.insert(op.key.as_slice(), value.as_slice())?,
                        None => tree.remove(op.key.as_slice())?,
                    };
                }
                Ok(())
            });
            result.map_err(|error| match error {
                TransactionError::Abort(reason) => EngineError::Failed {
                    action,
                    reason: reason.to_owned(),
                },
                TransactionError::Storage(error) => failed(action)(error),
            })?;
            for op in ops.iter().filter(|op| op.bytes() > PUMP_VALUE_BYTES) {
                self.pump(op.family, &op.key);
            }
            Ok(())
        })
    }

    /// Makes everything committed so far durable.
    pub(crate) fn barrier(&self) -> Result<(), EngineError> {
        let action = "flush";
        guarded(action, || {
            if let Some(database) = &self.database {
                database.flush().map_err(failed(action))?;
            }
            Ok(())
        })?;
        // IMPORTANT: on the handle opened before the first write, and never retried.
        self.file.sync_data().map_err(|error| EngineError::Sync {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }

    fn share(&self, family: Family, key: &[u8], value: sled::IVec) -> Bytes {
        if value.len() > PUMP_VALUE_BYTES {
            self.pump(family, key);
        }
        Bytes::from_owner(value)
    }

    fn pump(&self, family: Family, key: &[u8]) {
        if let Ok(tree) = self.tree(family) {
            for _ in 0..PUMP_ACCESSES {
                // The access is the point; its answer is known.
                let _ = tree.contains_key(key);
            }
        }
    }
}

// sled's own `Debug` prints every row, secrets included.
impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.trees.clear();
        let database = self.database.take();
        // sled flushes in its drop and unwraps the result; a full disk must not abort the process.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(database))) {
            tracing::error!(
                reason = message(panic.as_ref()),
                "the database panicked while closing"
            );
        }
    }
}

/// Which end of a range.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edge {
    First,
    Last,
}

fn failed(action: &'static str) -> impl Fn(sled::Error) -> EngineError {
    move |error| EngineError::Failed {
        action,
        reason: error.to_string(),
    }
}

/// Runs `work` so that a panic inside sled becomes an error.
fn guarded<T>(
    action: &'static str,
    work: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(EngineError::Panicked {
            action,
            reason: message(panic.as_ref()).to_owned(),
        })
    })
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
pub(crate) mod testing;
