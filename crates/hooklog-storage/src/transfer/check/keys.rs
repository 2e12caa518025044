//! The files of the idempotency keys and uids, below `keys/`.
//!
//! **Invariant:** what is wrong here costs no event: all of it can be made from the log again.
//! **Next:** `../repair.rs`.

use std::path::Path;

use super::CheckReport;
use crate::event_keys::EventKeys;
use crate::key_index::KeyIndexError;

/// Below the data directory.
const PLACE: &str = "keys";
/// What helps, whatever is wrong.
const REMEDY: &str = "remove the directory `keys`, and the next open makes it from the log";

/// Checks every file that an open would use.
pub(super) fn check(directory: &Path, report: &mut CheckReport) {
    let mut told = Vec::new();
    let sound = EventKeys::inspect(&directory.join(PLACE), &mut |error| told.push(error));
    (report.key_runs, report.keys) = (sound.runs, sound.keys);
    for error in told {
        match error {
            KeyIndexError::Damaged {
                path,
                position,
                reason,
            } => {
                let place = path.strip_prefix(directory).unwrap_or(&path);
                let what = format!("{reason}; {REMEDY}");
                report.add(&place.display().to_string(), Some(position), what);
            }
            other => report.add(PLACE, None, format!("{other}; {REMEDY}")),
        }
    }
}
