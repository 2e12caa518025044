//! The data directory: our lock, our manifest, and what must be true of sled's files before and
//! after sled touches them.
//!
//! ```text
//! LOCK        held by one process (flock)
//! MANIFEST    format version and fixed sizes, checksummed, fsynced
//! journal/    segments
//! sled/       the database: db, conf, snap.*, blobs/ (must stay empty)
//! sled.*      of a compaction that did not end (transfer/swap.rs settles it)
//! ```
//!
//! **Invariant:** nothing below the directory is touched before LOCK is held, and a directory whose
//! MANIFEST does not fit is refused untouched.
//! **Next:** `recovery.rs`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::transfer::swap;

/// An I/O error with what was done to which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}")]
pub struct IoError {
    /// What was tried, as `open`.
    pub action: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Adds action and path to an I/O error.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IoError {
    move |source| IoError {
        action,
        path: path.to_path_buf(),
        source,
    }
}

/// The directory that holds the name of `path`.
pub(crate) fn parent_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), IoError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error("fsync", path))
}

/// The version of everything on disk. A higher one is refused.
const FORMAT: u32 = 1;

/// Why a directory cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The system said no.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Another process has it open.
    #[error(
        "{path} is in use by another process (or by another open log of this one); stop that one, or choose another directory"
    )]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The MANIFEST is not readable.
    #[error("{path} is damaged: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory was made by a newer version or with other sizes.
    #[error("{path} says {field} = {found}, but this program was asked for {expected}")]
    Mismatch {
        /// The manifest.
        path: PathBuf,
        /// Which field differs.
        field: &'static str,
        /// What it says.
        found: u64,
        /// What was asked for.
        expected: u64,
    },
    /// A part of the directory is not there.
    #[error("{path} is missing, though MANIFEST says that it was created; restore it")]
    Missing {
        /// The missing part.
        path: PathBuf,
    },
    /// sled wrote a blob file; those do not survive power loss and are never written by us.
    #[error("{path} is not empty: the database was written with other settings")]
    Blobs {
        /// sled's blob directory.
        path: PathBuf,
    },
}

/// The sizes that a directory was created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) journal_segment_bytes: u64,
    pub(crate) sled_segment_bytes: u64,
}

/// A data directory whose lock is held.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Whether this open created it.
    pub(crate) fresh: bool,
    /// The sizes that hold for it: those it was created with.
    pub(crate) manifest: Manifest,

    /// Unlocked when dropped.
    _lock: File,
}

impl Directory {
    /// Creates or checks a directory and takes its lock. `manifest` says how to create it.
    pub(crate) fn open(path: &Path, manifest: Manifest) -> Result<Self, DirectoryError> {
        // What is in it is its owner's business alone: payloads, secrets, the key of the tokens.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(io_error("create", path))?;
        let lock = lock(path)?;
        let manifest_path = path.join("MANIFEST");
        let fresh = !manifest_path
            .try_exists()
            .map_err(io_error("look for", &manifest_path))?;
        let mut directory = Self {
            path: path.to_path_buf(),
            fresh,
            manifest,
            _lock: lock,
        };
        if fresh {
            for part in [directory.journal(), directory.sled()] {
                fs::create_dir_all(&part).map_err(io_error("create", &part))?;
            }
        } else {
            directory.manifest = check(&manifest_path, manifest)?;
            swap::settle(path)?;
            for part in [directory.journal(), directory.sled(), directory.sled_file()] {
                if !part.try_exists().map_err(io_error("look for", &part))? {
                    return Err(DirectoryError::Missing { path: part });
                }
            }
        }
        directory.prepare_sled()?;
        Ok(directory)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    pub(crate) fn sled(&self) -> PathBuf {
        self.path.join("sled")
    }

    /// sled's data file.
    pub(crate) fn sled_file(&self) -> PathBuf {
        self.sled().join("db")
    }

    /// Writes the MANIFEST of a fresh directory, last of all. A directory without one was never
    /// handed out; what an interrupted creation left in it is used, or refused if it is broken.
    pub(crate) fn finish(&self) -> Result<(), DirectoryError> {
        sync_database(&self.sled())?;
        sync_directory(&self.journal())?;
        let (path, draft) = (self.path.join("MANIFEST"), self.path.join("MANIFEST.new"));
        File::create(&draft)
            .and_then(|mut file| {
                file.write_all(encode(self.manifest).as_bytes())?;
                file.sync_all()
            })
            .map_err(io_error("write", &draft))?;
        fs::rename(&draft, &path).map_err(io_error("rename", &draft))?;
        sync_directory(&self.path)?;
        // The directory's own name.
        Ok(sync_directory(parent_of(&self.path))?)
    }

    /// The data directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what makes sled's open fail and refuses what it would misread.
    fn prepare_sled(&self) -> Result<(), DirectoryError> {
        let sled = self.sled();
        let blobs = sled.join("blobs");
        if blobs.is_dir() {
            let mut entries = fs::read_dir(&blobs).map_err(io_error("list", &blobs))?;
            if entries.next().is_some() {
                return Err(DirectoryError::Blobs { path: blobs });
            }
        }
        // A crash while sled opens leaves a half-written snapshot under this name; sled would take
        // it for the newest one and refuse to open ever after (sled issue 1527).
        self.for_each_snapshot(|path, name| {
            if name.ends_with(".generating") {
                fs::remove_file(path).map_err(io_error("remove", path))?;
            }
            Ok(())
        })
    }

    /// Sets sled's snapshots aside: they are derived from the data file.
    pub(crate) fn set_snapshots_aside(&self) -> Result<(), DirectoryError> {
        let aside = self.path.join("sled-snapshots-aside");
        fs::create_dir_all(&aside).map_err(io_error("create", &aside))?;
        self.for_each_snapshot(|path, name| {
            fs::rename(path, aside.join(name)).map_err(io_error("set aside", path))
        })
    }

    fn for_each_snapshot(
        &self,
        mut visit: impl FnMut(&Path, &str) -> Result<(), IoError>,
    ) -> Result<(), DirectoryError> {
        let sled = self.sled();
        for entry in fs::read_dir(&sled).map_err(io_error("list", &sled))? {
            let path = entry.map_err(io_error("list", &sled))?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name.starts_with("snap.") {
                visit(&path, name)?;
            }
        }
        Ok(())
    }
}

/// Makes a database's files and their names durable: sled syncs none of them when it creates them.
pub(crate) fn sync_database(sled: &Path) -> Result<(), IoError> {
    let entries = fs::read_dir(sled).map_err(io_error("list", sled))?;
    for entry in entries {
        let path = entry.map_err(io_error("list", sled))?.path();
        File::open(&path)
            .and_then(|opened| opened.sync_all())
            .map_err(io_error("fsync", &path))?;
    }
    sync_directory(sled)
}

fn lock(directory: &Path) -> Result<File, DirectoryError> {
    let path = directory.join("LOCK");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("open", &path))?;
    locked(file, path)
}

fn locked(file: File, path: PathBuf) -> Result<File, DirectoryError> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse { path }),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &path)(source).into()),
    }
}

fn encode(manifest: Manifest) -> String {
    let body = format!(
        "hooklog\nformat {FORMAT}\njournal_segment_bytes {}\nsled_segment_bytes {}\n",
        manifest.journal_segment_bytes, manifest.sled_segment_bytes,
    );
    format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes()))
}

/// The sizes that a directory was created with, if this version can read it.
pub(crate) fn read_manifest(directory: &Path) -> Result<Manifest, DirectoryError> {
    let expected = Manifest {
        journal_segment_bytes: 0,
        sled_segment_bytes: crate::engine::SEGMENT_BYTES,
    };
    check(&directory.join("MANIFEST"), expected)
}

/// Locks a directory without writing to it: its log must not be open meanwhile. There may be no lock
/// file in one that was copied; then nobody has it open.
pub(crate) fn lock_read_only(directory: &Path) -> Result<Option<File>, DirectoryError> {
    let path = directory.join("LOCK");
    match File::open(&path) {
        Ok(file) => locked(file, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("open", &path)(error).into()),
    }
}

/// Reads a MANIFEST; refuses another format or another segment size of sled.
fn check(path: &Path, expected: Manifest) -> Result<Manifest, DirectoryError> {
    let text = fs::read_to_string(path).map_err(io_error("read", path))?;
    let damaged = |reason: &str| DirectoryError::Manifest {
        path: path.to_path_buf(),
        reason: reason.to_owned(),
    };
    let (body, crc) = text
        .split_once("crc32c ")
        .ok_or_else(|| damaged("it has no checksum"))?;
    if crc.trim() != format!("{:08x}", crc32c::crc32c(body.as_bytes())) {
        return Err(damaged("its checksum does not match"));
    }
    let number = |field: &str| {
        body.lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(name, _)| *name == field)
            .and_then(|(_, value)| value.parse().ok())
            .ok_or_else(|| damaged(&format!("it has no number for {field}")))
    };
    let must_match = [
        ("format", u64::from(FORMAT)),
        ("sled_segment_bytes", expected.sled_segment_bytes),
    ];
    for (field, expected) in must_match {
        let found = number(field)?;
        if found != expected {
            let path = path.to_path_buf();
            return Err(DirectoryError::Mismatch {
                path,
                field,
                found,
                expected,
            });
        }
    }
    let journal_segment_bytes = number("journal_segment_bytes")?;
    Ok(Manifest {
        journal_segment_bytes,
        ..expected
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_golden_and_checks_itself() {
        let manifest = Manifest {
            journal_segment_bytes: 64 << 20,
            sled_segment_bytes: 8 << 20,
        };
        let text = encode(manifest);
        crate::testing::assert_golden("manifest.hex", text.as_bytes());
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("MANIFEST");
        for at in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert!(check(&path, manifest).is_err(), "byte {at}");
        }
        fs::write(&path, &text).unwrap();
        let asked = Manifest {
            journal_segment_bytes: 1,
            ..manifest
        };
        assert_eq!(
            check(&path, asked).unwrap(),
            manifest,
            "it keeps its journal's size"
        );
        let other = Manifest {
            sled_segment_bytes: 1,
            ..manifest
        };
        assert!(matches!(
            check(&path, other),
            Err(DirectoryError::Mismatch { .. })
        ));
    }
}
