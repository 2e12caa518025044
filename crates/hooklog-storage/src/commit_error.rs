//! Why the log could not take a write.
//!
//! **Invariant:** `Busy` means that nothing was written; the others mean that nothing will be, until
//! the log is opened again.
//! **Next:** `poison.rs`.

use std::sync::Arc;

/// Why the log could not take a write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A bound is reached; nothing was written. Try again a little later. Of the disk it is reached a
    /// little before that is full, so that retention can make room.
    #[error("the log is busy: {what} is full")]
    Busy {
        /// The bound that is reached.
        what: &'static str,
    },
    /// An earlier I/O error stopped the log. Nothing was acked since; reopening recovers.
    #[error("the log is stopped after an error and must be reopened: {reason}")]
    Poisoned {
        /// The first error.
        reason: Arc<str>,
    },
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
}
