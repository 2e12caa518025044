//! The directory of an index: which files in it are the index's, and their removal.
//!
//! **Invariant:** only drafts (`*.new`) and runs (`*.keys`) are removed; other files are not ours.
//! **Next:** `entry.rs`.

use std::fs;
use std::path::Path;

use crate::directory::{IoError, io_error, sync_directory};

/// Creates the directory of an index, if it is not there.
pub(crate) fn create(directory: &Path) -> Result<(), IoError> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory).map_err(io_error("create", directory))?;
    let parent = directory.parent();
    match parent.filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_directory(parent),
        None => sync_directory(Path::new(".")),
    }
}

/// Removes drafts, and runs that are not to be kept.
pub(crate) fn remove_files(directory: &Path, keep: impl Fn(&Path) -> bool) -> Result<(), IoError> {
    for entry in fs::read_dir(directory).map_err(io_error("list", directory))? {
        let path = entry.map_err(io_error("list", directory))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("keys" | "new")) && !keep(&path) {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

/// Deletes the file of a run that is not listed any more. Lookups that still use it go on.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        // The next open tries again, so nobody needs to act.
        tracing::warn!("cannot remove {}: {error}", path.display());
    }
}
