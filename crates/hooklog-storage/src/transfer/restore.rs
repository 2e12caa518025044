//! Restore: a backup and its increments as a new data directory.
//!
//! **Invariant:** the directory appears under its name only when everything in it was verified as an
//! open verifies it; until then it is called `<name>.restoring`.
//! **Next:** `check.rs`.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::commit_error::CommitError;
use crate::config::{Config, Retention};
use crate::directory::{IoError, io_error, parent_of, sync_directory};
use crate::engine::EngineError;
use crate::handle;
use crate::keys::{self, Family, Kind};
use crate::offset::{AttemptSeq, Offset};
use crate::plan::PlanError;
use crate::recovery::{OpenErrorKind, Recovered, open_patiently, recover, verify_whole};
use crate::state::State;
use crate::transfer::format::BackupPoint;
use crate::transfer::parse::{BackupFileError, Parser};
use crate::transfer::rows::{Row, Window};
use crate::transfer::writer::Writer;
use crate::transfer::{Stage, Transferred};

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// No file was named.
    #[error("no backup to restore from")]
    NoBackup,
    /// There is something at the directory's place.
    #[error("{path} exists and is not empty; restore into a new directory")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// An earlier restore did not end.
    #[error("{path} was left by a restore that did not end; remove it")]
    Left {
        /// The unfinished directory.
        path: PathBuf,
    },
    /// A file is damaged or cannot be read.
    #[error(transparent)]
    File(#[from] BackupFileError),
    /// The first file is an increment.
    #[error("{path} is incremental: name the full backup before it")]
    NotFull {
        /// The file.
        path: PathBuf,
    },
    /// A file does not follow the one before it.
    #[error("{path} does not go on where the one before it ends, at event {expected}")]
    Order {
        /// The file.
        path: PathBuf,
        /// Where the file before it ends.
        expected: BackupPoint,
    },
    /// The directory could not be written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The index of keys could not be written.
    #[error("the keys of the restored log could not be written: {0}")]
    Keys(CommitError),
    /// What was written does not hold together.
    #[error("the restored log does not verify: {0}")]
    Log(#[from] OpenErrorKind),
}

impl From<PlanError> for RestoreError {
    fn from(error: PlanError) -> Self {
        Self::Log(error.into())
    }
}

/// What a restored log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The lowest offset that is kept.
    pub low: Offset,
    /// One past the last offset.
    pub end: Offset,
    /// One past the number of the last attempt.
    pub attempts_end: AttemptSeq,
    /// Organisations in the registry.
    pub organisations: u64,
    /// Applications in the registry.
    pub applications: u64,
    /// Event types in the registry.
    pub event_types: u64,
    /// Subscriptions in the registry.
    pub subscriptions: u64,
    /// Rows written.
    pub rows: u64,
}

/// Restores a full backup and the increments after it, in order, into `config.directory`, which must
/// not exist or be empty. Blocks.
pub fn restore(
    config: &Config,
    files: &[PathBuf],
    mut progress: impl FnMut(Transferred),
) -> Result<Restored, RestoreError> {
    let target = config.directory.as_path();
    let draft = draft_of(target)?;
    let state = check_order(files)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&draft)
        .map_err(io_error("create", &draft))?;
    let done = fill(config, &draft, files, &state, &mut progress);
    match done {
        Ok(restored) => {
            fs::rename(&draft, target).map_err(io_error("rename", &draft))?;
            sync_directory(parent_of(target))?;
            Ok(restored)
        }
        Err(error) => {
            // It is worth nothing; that it could not be removed is told by the next restore.
            let _outcome = fs::remove_dir_all(&draft);
            Err(error)
        }
    }
}

/// Where the directory is made; refuses one that is there.
pub(crate) fn draft_of(target: &Path) -> Result<PathBuf, RestoreError> {
    match fs::read_dir(target) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                let path = target.to_path_buf();
                return Err(RestoreError::NotEmpty { path });
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("list", target)(error).into()),
    }
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(".restoring");
    let draft = target.with_file_name(name);
    if draft.try_exists().map_err(io_error("look for", &draft))? {
        return Err(RestoreError::Left { path: draft });
    }
    Ok(draft)
}

/// Checks that the files follow each other; returns the last one's state.
fn check_order(files: &[PathBuf]) -> Result<State, RestoreError> {
    let mut last: Option<State> = None;
    for path in files {
        let parser = Parser::open(path)?;
        let expected = last.as_ref().map(BackupPoint::end);
        match (expected, parser.header.since) {
            (None, Some(_)) => return Err(RestoreError::NotFull { path: path.clone() }),
            (Some(expected), since) if since != Some(expected) => {
                let path = path.clone();
                return Err(RestoreError::Order { path, expected });
            }
            (None, None) | (Some(_), _) => {}
        }
        last = Some(parser.state);
    }
    last.ok_or(RestoreError::NoBackup)
}

/// Writes all rows, and opens what came of it.
fn fill(
    config: &Config,
    draft: &Path,
    files: &[PathBuf],
    state: &State,
    progress: &mut dyn FnMut(Transferred),
) -> Result<Restored, RestoreError> {
    let mut total = 0;
    for path in files {
        total += path.metadata().map_err(io_error("stat", path))?.len();
    }
    let mut restored = Restored::default();
    let window = Window::of(state);
    let engine = |error: EngineError| RestoreError::Log(error.into());
    let sled = draft.join("sled");
    let mut writer = Writer::create(&sled, config.sizes()).map_err(engine)?;
    let mut before = 0;
    for (index, path) in files.iter().enumerate() {
        let is_last = index + 1 == files.len();
        let mut parser = Parser::open(path)?;
        while let Some(rows) = parser.next()? {
            for row in rows {
                // Replaced rows are all in the last file; batches may have expired since theirs.
                let is_wanted = if row.family.is_batched() {
                    window.wants(row.family.place(&row.key))
                } else {
                    is_last
                };
                if is_wanted {
                    count(&mut restored, &row);
                    writer
                        .put(row.family, row.key, row.value.into())
                        .map_err(engine)?;
                }
            }
            progress(Transferred {
                stage: Stage::Copy,
                bytes: before + parser.position,
                total,
            });
        }
        before += parser.position;
    }
    writer.finish(&State {
        journal_epoch: 0,
        ..state.clone()
    })?;
    progress(Transferred {
        stage: Stage::Verify,
        bytes: 0,
        total,
    });
    verify_whole(&open_patiently(&sled, config.sizes()).map_err(engine)?)?;
    let mut config = config.clone();
    config.directory = draft.to_path_buf();
    let recovered = recover(&mut config)?;
    let state = &recovered.applier.state;
    restored.low = state.events.low;
    restored.end = state.events.end;
    restored.attempts_end = state.attempts.end;
    make_keys(&config, recovered)?;
    Ok(restored)
}

/// Reads the idempotency keys and uids of a new log into their indexes, durably, so that the first
/// start needs not. Idempotency keys are kept for as long as `config` says.
pub(crate) fn make_keys(config: &Config, recovered: Recovered) -> Result<(), RestoreError> {
    let config = Config {
        // A copy has what there was, until somebody opens it to use it.
        retention: Retention::default(),
        ..config.clone()
    };
    let handle = handle::start(config, recovered)?;
    handle.close().map_err(RestoreError::Keys)
}

fn count(restored: &mut Restored, row: &Row) {
    restored.rows += 1;
    if row.family != Family::Registry {
        return;
    }
    match keys::registry_kind(&row.key) {
        Some(Kind::Organisation) => restored.organisations += 1,
        Some(Kind::Application) => restored.applications += 1,
        Some(Kind::EventType) => restored.event_types += 1,
        Some(Kind::Subscription) => restored.subscriptions += 1,
        Some(
            Kind::Task | Kind::TokenCuts | Kind::RevokedToken | Kind::Expunged | Kind::SessionCuts,
        )
        | None => {}
    }
}

#[cfg(test)]
mod tests;
