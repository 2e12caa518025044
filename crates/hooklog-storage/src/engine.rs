//! The ordered store under the log: sled, and extents beside it for what is too large for sled. Only
//! this file and those below `engine/` import sled.
//!
//! sled 0.34's `flush` ends in `sync_file_range`, which keeps neither metadata nor the disk's cache;
//! a barrier is therefore `flush` and then `fdatasync` on a handle to sled's file that was opened
//! before the first write (a handle opened later can miss an earlier writeback error).
//!
//! **Invariant:** values are at most [`VALUE_BYTES_MAX`], so no leaf ever becomes a blob file, and a
//! commit is atomic over all families.
//! **Next:** `engine/extents.rs`, then `apply.rs`, its only writer.

use std::borrow::Cow;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use crate::keys::Family;

mod error;
pub(crate) mod extents;
mod read;
#[cfg(test)]
pub(crate) mod testing;

pub use error::EngineError;
use error::{failed, guarded, message, no_tree};
use extents::{Extents, Mark, Place, Row};
pub(crate) use read::Edge;

/// Bytes of a sled segment; fixed when a database is created. At 8 MiB a message becomes a blob
/// above segment / 4, and a leaf holds up to 17 values.
pub(crate) const SEGMENT_BYTES: u64 = 8 << 20;
/// Most bytes of one value: 18 of them fit a quarter of a segment (116 KiB), with a margin.
pub(crate) const VALUE_BYTES_MAX: usize = 112 << 10;
/// Most bytes of one commit, and between two barriers (`apply.rs` says why): sled writes each byte
/// about four times, so this is half a segment.
pub(crate) const COMMIT_BYTES_MAX: usize = 1 << 20;
/// What sled is told; large values make it use more, see `pump`. Rows are small and batches are not
/// among them, so this holds some 20,000; what it does not hold is in the system's page cache.
const CACHE_BYTES: u64 = 8 << 20;
/// sled accounts for an access only after 64 more in the same shard; this many extra accesses per
/// large value keep its cache near its limit (measured: 3.7 GiB without, 173 MiB with).
const PUMP_ACCESSES: usize = 8;
/// Values above this are worth pumping for, and so are as many bytes of small ones that a scan passes:
/// where they are read one at a time, they are accounted for soon enough.
const PUMP_VALUE_BYTES: usize = 4 << 10;

/// Where batches lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// An extent is closed before it would be longer.
    pub(crate) extent_bytes: u64,
    /// A batch of at most this many bytes stays in sled's row.
    pub(crate) inline_bytes_max: usize,
}

impl Sizes {
    /// What is not said otherwise.
    pub(crate) const STANDARD: Self = Self {
        // Large enough that files are few, small enough that retention gives space back soon.
        extent_bytes: 64 << 20,
        // A batch of a quiet log: one barrier of sled is cheaper than one of sled and one of an extent.
        inline_bytes_max: 4 << 10,
    };
}

/// Inline rows that an open looks at, at most, for where an extent goes on: a few milliseconds.
const INLINE_ROWS_MAX: usize = 4096;
/// Bytes of a row that points into an extent, beside its key.
const POINTER_BYTES: usize = 77;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) family: Family,
    pub(crate) key: Vec<u8>,
    /// `None` removes.
    pub(crate) value: Option<Vec<u8>>,
}

impl Op {
    /// Bytes in memory.
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
    /// Of events and of attempts.
    extents: [Extents; 2],
    sizes: Sizes,
    /// Rows that point into extents were removed since the last barrier.
    removed: AtomicBool,
    /// For each of the extents, the key below which no row points into one.
    looked_at: Mutex<[Vec<u8>; 2]>,
    file: File,
    path: PathBuf,
    /// Held while a commit is written, and by who wants no commit for a while.
    still: Mutex<()>,
}

impl Engine {
    /// Opens or creates the database in a directory whose data file is `file`.
    pub(crate) fn open(directory: &Path, file: &Path, sizes: Sizes) -> Result<Self, EngineError> {
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
            let extents = |family: Family, name| {
                let tree = trees.get(family as usize).ok_or_else(no_tree)?;
                // Inline rows point nowhere. If there are very many of them, the next extent is a new one.
                let mut latest = tree.iter().rev().take(INLINE_ROWS_MAX);
                let last = latest.find_map(|row| match row {
                    Ok((_, row)) => place_of(&row).map(Ok),
                    Err(error) => Some(Err(failed(action)(error))),
                });
                let last = last.transpose()?;
                Ok::<_, EngineError>(Extents::open(directory, name, sizes.extent_bytes, last)?)
            };
            Ok(Self {
                database: Some(database),
                extents: [
                    extents(Family::Log, "events")?,
                    extents(Family::Attempt, "attempts")?,
                ],
                sizes,
                removed: AtomicBool::new(false),
                looked_at: Mutex::default(),
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
        self.trees.get(family as usize).ok_or_else(no_tree)
    }

    fn extents(&self, family: Family) -> Option<&Extents> {
        let [events, attempts] = &self.extents;
        match family {
            Family::Log => Some(events),
            Family::Attempt => Some(attempts),
            _ => None,
        }
    }

    /// Writes all of `ops`, or none. Not durable before [`barrier`](Self::barrier) returned.
    pub(crate) fn commit(&self, ops: &[Op]) -> Result<(), EngineError> {
        self.commit_as(ops, false)
    }

    /// The same; batches that come in bulk are kept out of the page cache.
    pub(crate) fn commit_as(&self, ops: &[Op], is_bulk: bool) -> Result<(), EngineError> {
        let action = "commit";
        let _still = self.still.lock();
        let rows = self.place(ops, is_bulk)?;
        guarded(action, || {
            let result = self.trees.as_slice().transaction(|trees| {
                for (op, row) in ops.iter().zip(&rows) {
                    let tree = trees.get(op.family as usize).ok_or_else(|| {
                        ConflictableTransactionError::Abort("a family has no tree")
                    })?;
                    match row.as_deref() {
                        Some(row) => tree.insert(op.key.as_slice(), row)?,
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
            for (op, row) in ops.iter().zip(&rows) {
                if row.as_ref().is_some_and(|row| row.len() > PUMP_VALUE_BYTES) {
                    self.pump(op.family, &op.key);
                }
            }
            Ok(())
        })
    }

    /// The rows to write: batches that are too large for sled go into extents, durably, first.
    fn place<'a>(
        &self,
        ops: &'a [Op],
        is_bulk: bool,
    ) -> Result<Vec<Option<Cow<'a, [u8]>>>, EngineError> {
        for (family, extents) in [Family::Log, Family::Attempt]
            .into_iter()
            .zip(&self.extents)
        {
            let of = ops.iter().filter(|op| op.family == family);
            let batches = of.filter_map(|op| Some(op.value.as_ref()?.len()));
            let bytes = batches.filter(|bytes| self.is_outside(*bytes)).sum();
            extents.begin(bytes, is_bulk);
        }
        let mut rows = Vec::with_capacity(ops.len());
        for op in ops {
            let row = match (&op.value, self.extents(op.family)) {
                (Some(batch), Some(extents)) if self.is_outside(batch.len()) => {
                    let place = extents.append(batch)?;
                    Some(Row::Elsewhere(place, Mark::of(batch)).encode().into())
                }
                (Some(batch), Some(_)) => Some(Row::Inline(batch).encode().into()),
                (Some(value), None) => Some(value.as_slice().into()),
                (None, of) => {
                    if of.is_some() {
                        self.removed.store(true, Ordering::Relaxed);
                    }
                    None
                }
            };
            rows.push(row);
        }
        for extents in &self.extents {
            extents.sync()?;
        }
        Ok(rows)
    }

    /// Whether a batch of so many bytes goes into an extent.
    fn is_outside(&self, batch: usize) -> bool {
        batch > self.sizes.inline_bytes_max
    }

    /// About how many bytes a write adds to a commit of sled.
    pub(crate) fn sled_bytes(&self, op: &Op) -> usize {
        let value = op.value.as_ref().map_or(0, Vec::len);
        let is_outside = self.extents(op.family).is_some() && self.is_outside(value);
        op.key.len() + if is_outside { POINTER_BYTES } else { value }
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
        })?;
        // Only now, when no power cut brings the rows back.
        if self.removed.swap(false, Ordering::Relaxed) {
            self.remove_extents()?;
        }
        Ok(())
    }

    /// Removes the extents that no row points into any more. The rows must be durable as they are.
    pub(crate) fn remove_extents(&self) -> Result<(), EngineError> {
        let action = "read";
        let mut looked_at = self.looked_at.lock();
        let chains = [Family::Log, Family::Attempt].into_iter();
        for ((family, extents), looked_at) in chains.zip(&self.extents).zip(looked_at.iter_mut()) {
            if !extents.has_old() {
                continue;
            }
            let first = guarded(action, || {
                // Inline rows point nowhere. Rows go at the low end and come at the high one, so those
                // that were passed once need no other look.
                for row in self.tree(family)?.range(looked_at.as_slice()..) {
                    let (key, row) = row.map_err(failed(action))?;
                    *looked_at = key.to_vec();
                    if let Some(place) = place_of(&row) {
                        return Ok(Some(place.extent));
                    }
                }
                Ok(None)
            })?;
            extents.remove_below(first)?;
        }
        Ok(())
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

/// Where a row points.
fn place_of(row: &[u8]) -> Option<Place> {
    match Row::decode(row)? {
        Row::Elsewhere(place, _) => Some(place),
        Row::Inline(_) => None,
    }
}
