//! How much space the disk has left, and how much of it events may take.
//!
//! An event that is acked takes space later, when the applier writes its batch, and giving space back
//! takes some as well: rows are removed by writing. So events are refused before the disk is full, while
//! everything else goes on: reading, delivering, and retention, which makes room again. Without that the
//! first thing to fail would be a write of the database, and the log would have to be reopened on a
//! disk too full to open it.
//!
//! **Invariant:** a disk that cannot say how much is left stops nobody.
//! **Next:** `commit.rs`, which asks before each group.

use std::io;
use std::path::Path;

use crate::engine::SEGMENT_BYTES;

/// Kept free of events: two segments of sled. Its file grows by these, and the open of a database
/// that was closed in order took between 4 and 8 MiB of a tmpfs.
pub(crate) const RESERVE_BYTES: u64 = 2 * SEGMENT_BYTES;
/// What the dispatcher writes, releases and steps of tasks with it, may take half of the reserve, so that
/// deliveries go on for a while. What is refused then is given back and tried again.
pub(crate) const PROGRESS_RESERVE_BYTES: u64 = RESERVE_BYTES / 2;

/// Bytes that are free for this process on the file system of `path`; `None` if that is not known.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    // Some network and FUSE file systems do not know, and say that they have no blocks at all.
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Whether an error says that the disk, or the user's share of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// The same of an error that was made a text on its way: ENOSPC and EDQUOT of Linux.
pub(crate) fn says_full(reason: &str) -> bool {
    ["(os error 28)", "(os error 122)"]
        .into_iter()
        .any(|code| reason.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        for (code, expected) in [(28, true), (122, true), (5, false), (2, false)] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(is_full(&error), expected, "{error}");
            assert_eq!(says_full(&format!("cannot write: {error}")), expected);
        }
        assert!(free_bytes(Path::new("/")).is_some_and(|free| free > 0));
        assert_eq!(free_bytes(Path::new("/no/such/place")), None);
        assert_eq!(free_bytes(Path::new("/proc")), None, "it has no blocks");
    }
}
