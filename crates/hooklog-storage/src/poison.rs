//! The log's one-way switch: after an I/O error nothing is acked until it is reopened.
//!
//! A failed `fsync` may have dropped the dirty pages, so retrying it can report success for data
//! that is gone (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
//!
//! **Invariant:** the first reason stays; nothing clears it.
//! **Next:** `commit.rs`.

use std::sync::Arc;
use std::sync::OnceLock;

use crate::commit_error::CommitError;

/// Set once, seen by all threads of a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Poison(Arc<OnceLock<Arc<str>>>);

impl Poison {
    /// Stops the log for this reason, unless it is stopped already.
    pub(crate) fn set(&self, reason: &str) {
        if self.0.set(reason.into()).is_ok() {
            tracing::error!(reason, "the log stops taking writes until it is reopened");
        }
    }

    /// Why the log is stopped.
    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        self.0.get().cloned()
    }

    /// Refuses if the log is stopped.
    pub(crate) fn check(&self) -> Result<(), CommitError> {
        self.reason()
            .map_or(Ok(()), |reason| Err(CommitError::Poisoned { reason }))
    }
}
