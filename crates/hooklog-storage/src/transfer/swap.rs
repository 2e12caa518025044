//! Putting a compacted database in the place of the old one.
//!
//! ```text
//! sled  sled.new                 the copy is being written: worth nothing
//! sled  sled.ready               1  the copy is whole, verified and durable
//!       sled.ready  sled.old     2  the old database steps aside
//! sled              sled.old     3  the copy is the database
//! sled                           4  the old one is removed
//! ```
//! Each step is durable before the next begins. An open that finds one of these states ends it: while
//! `sled` is there, it is the database and the rest is removed (a copy that was made before somebody
//! else wrote to `sled` must not win); without it, the whole copy takes its place.
//!
//! **Invariant:** in every state one whole database can be told from the others by its name.
//! **Next:** `compact.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::directory::{IoError, io_error, sync_database, sync_directory};

/// Where a copy is written.
pub(crate) fn draft(directory: &Path) -> PathBuf {
    directory.join("sled.new")
}

type Step = fn(&Path) -> Result<(), IoError>;

/// The steps, in order.
pub(crate) const STEPS: [Step; 4] = [
    |directory| {
        sync_database(&draft(directory))?;
        rename(directory, "sled.new", "sled.ready")
    },
    |directory| rename(directory, "sled", "sled.old"),
    |directory| rename(directory, "sled.ready", "sled"),
    |directory| remove(directory, "sled.old"),
];

/// Puts `sled.new` in the place of `sled`.
pub(crate) fn swap(directory: &Path) -> Result<(), IoError> {
    STEPS.iter().try_for_each(|step| step(directory))
}

/// Ends what a crash interrupted. Called at each open, with LOCK held.
pub(crate) fn settle(directory: &Path) -> Result<(), IoError> {
    if !is_there(directory, "sled")? {
        for name in ["sled.ready", "sled.old"] {
            if is_there(directory, name)? {
                rename(directory, name, "sled")?;
                break;
            }
        }
    }
    if is_there(directory, "sled")? {
        for name in ["sled.new", "sled.ready", "sled.old"] {
            if is_there(directory, name)? {
                remove(directory, name)?;
            }
        }
    }
    Ok(())
}

fn is_there(directory: &Path, name: &str) -> Result<bool, IoError> {
    let path = directory.join(name);
    path.try_exists().map_err(io_error("look for", &path))
}

fn rename(directory: &Path, from: &str, to: &str) -> Result<(), IoError> {
    let from = directory.join(from);
    fs::rename(&from, directory.join(to)).map_err(io_error("rename", &from))?;
    sync_directory(directory)
}

fn remove(directory: &Path, name: &str) -> Result<(), IoError> {
    let path = directory.join(name);
    fs::remove_dir_all(&path).map_err(io_error("remove", &path))?;
    sync_directory(directory)
}
