//! Copying a whole log: compaction, backup, restore, check and repair are one mechanism, the rows of
//! all families plus the applier's state.
//!
//! Batches and their index rows are written once, and the state says where they end: what lies
//! below its ends never changes. Rows of the other families are replaced in place, so they are taken
//! together with the state, at one moment between two commits of the applier.
//!
//! **Invariant:** a copy is verified as an open verifies it before it takes the place of anything,
//! and the source is never written to.
//! **Next:** `transfer/rows.rs` (reading), `transfer/writer.rs` (writing), then `compact`.

mod backup;
mod check;
mod compact;
mod format;
mod parse;
pub(crate) mod pins;
mod raw;
mod repair;
mod restore;
mod rows;
mod survey;
pub(crate) mod swap;
mod writer;

pub use backup::{Backup, BackupError};
pub use check::{ChainReport, CheckError, CheckReport, Problem, check};
pub use compact::{CompactError, Compacted, compact};
pub use format::{BackupPoint, BackupPointError};
pub use parse::{BackupFileError, BackupSummary, backup_end, inspect_backup};
pub use repair::{Repaired, repair};
pub use restore::{RestoreError, Restored, restore};

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// What it is doing.
    pub stage: Stage,
    /// Bytes done in this stage.
    pub bytes: u64,
    /// Bytes of this stage in all, about; 0 if that is not known.
    pub total: u64,
}

/// What a transfer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It opens and recovers the log.
    Open,
    /// It copies rows.
    Copy,
    /// It reads back what it wrote.
    Verify,
}

#[cfg(test)]
mod testing;
