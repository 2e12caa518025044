//! Compaction: copies the rows that are left into a new database, since sled's file never shrinks.
//!
//! **Invariant:** the log is locked all the time; a crash at any point leaves a directory that opens
//! with everything in it (`swap.rs`).
//! **Next:** `backup.rs`, the same rows as a stream.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::directory::{IoError, io_error};
use crate::engine::{Engine, EngineError};
use crate::recovery::{OpenError, OpenErrorKind, Recovered, open_patiently, recover, verify_whole};
use crate::state::State;
use crate::transfer::rows::{Rows, Window, families};
use crate::transfer::writer::Writer;
use crate::transfer::{Stage, Transferred, swap};

/// Why a log was not compacted. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// There is no log.
    #[error("{path} holds no log")]
    NoLog {
        /// The directory.
        path: PathBuf,
    },
    /// The log does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The copy could not be written, or did not verify.
    #[error("the log was not compacted and is as it was: {0}")]
    Copy(OpenErrorKind),
    /// The copy could not be put in place; the next open settles which database is used.
    #[error("the compacted database is not in place: {0}")]
    Swap(IoError),
}

impl From<EngineError> for CompactError {
    fn from(error: EngineError) -> Self {
        Self::Copy(error.into())
    }
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Rows that were copied.
    pub rows: u64,
    /// Bytes of the database's files before.
    pub bytes_before: u64,
    /// Bytes of the database's files now.
    pub bytes_after: u64,
}

/// Copies the database of a closed log into a new one and puts it in its place. Needs the space of
/// the live data once more while it runs. Blocks.
pub fn compact(
    mut config: Config,
    mut progress: impl FnMut(Transferred),
) -> Result<Compacted, CompactError> {
    let path = config.directory.clone();
    if !path.join("MANIFEST").is_file() {
        return Err(CompactError::NoLog { path });
    }
    let tell = |progress: &mut dyn FnMut(Transferred), stage, bytes, total| {
        progress(Transferred {
            stage,
            bytes,
            total,
        });
    };
    tell(&mut progress, Stage::Open, 0, 0);
    let Recovered {
        directory,
        applier,
        journal,
        registry: _,
        consumers: _,
        answers: _,
    } = recover(&mut config).map_err(|kind| OpenError {
        directory: path.clone(),
        kind,
    })?;
    drop(journal);
    let bytes_before = bytes_of(&directory.sled()).map_err(copying)?;
    let draft = swap::draft(directory.path());
    let mut copied = 0;
    let total = total_bytes(&applier.state);
    let sizes = config.sizes();
    let writer = Writer::create(&draft, sizes).map_err(OpenErrorKind::from);
    let copy = writer.and_then(|writer| {
        copy(&applier.engine, &applier.state, writer, &mut |bytes| {
            copied += bytes;
            tell(&mut progress, Stage::Copy, copied, total);
        })
    });
    let rows = copy.and_then(|rows| {
        tell(&mut progress, Stage::Verify, 0, copied);
        let found = verify_whole(&open_patiently(&draft, sizes)?)?;
        if found == applier.state {
            Ok(rows)
        } else {
            let reason = "the copy's state is not the one that was written".to_owned();
            Err(OpenErrorKind::Damaged { reason })
        }
    });
    let rows = rows.map_err(|kind| {
        // Worth nothing, and the next open would remove it as well.
        let _outcome = fs::remove_dir_all(&draft);
        CompactError::Copy(kind)
    })?;
    drop(applier);
    swap::swap(directory.path()).map_err(CompactError::Swap)?;
    let bytes_after = bytes_of(&directory.sled()).map_err(copying)?;
    Ok(Compacted {
        rows,
        bytes_before,
        bytes_after,
    })
}

/// Copies all rows; tells of the bytes of each page.
fn copy(
    engine: &Engine,
    state: &State,
    mut writer: Writer,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, OpenErrorKind> {
    let all = families(true).chain(families(false));
    let mut pages = Rows::new(all, Window::of(state));
    let mut rows = 0;
    while let Some(page) = pages.next(engine)? {
        let mut bytes = 0;
        for row in page {
            bytes += row.bytes() as u64;
            rows += 1;
            writer.put(row.family, row.key, row.value.into())?;
        }
        progress(bytes);
    }
    writer.finish(state)?;
    Ok(rows)
}

/// About how many bytes a copy of a log has: its batches; the rest is little beside them.
pub(crate) fn total_bytes(state: &State) -> u64 {
    state.events.bytes + state.attempts.bytes
}

/// Bytes of the files in a directory.
pub(crate) fn bytes_of(directory: &Path) -> Result<u64, IoError> {
    let list = || io_error("list", directory);
    let mut bytes = 0;
    for entry in fs::read_dir(directory).map_err(list())? {
        let entry = entry.map_err(list())?;
        let data = entry.metadata().map_err(list())?;
        if data.is_file() {
            bytes += data.len();
        } else if data.is_dir() {
            // The extents: one level, with nothing below.
            bytes += bytes_of(&entry.path())?;
        }
    }
    Ok(bytes)
}

fn copying(error: IoError) -> CompactError {
    CompactError::Copy(OpenErrorKind::Directory(error.into()))
}

#[cfg(test)]
mod tests;
