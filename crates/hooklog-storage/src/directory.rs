//! The data directory: our lock, our manifest, and what must be true of sled's files before and
//! after sled touches them.
//!
//! ```text
//! LOCK        held by one process (flock)
//! MANIFEST    format version and fixed sizes, checksummed, fsynced
//! CREATING    what MANIFEST is called until the directory is complete
//! journal/    segments
//! sled/       the database: db, conf, snap.*, blobs/ (must stay empty)
//! keys/       indexes of keys, made anew from the log when they are gone (event_keys.rs)
//! sled.*      of a compaction that did not end (transfer/swap.rs settles it)
//! ```
//!
//! **Invariant:** nothing below the directory is touched before LOCK is held, and a directory whose
//! MANIFEST does not fit is refused untouched. CREATING is durable before anything else is there, and
//! gone, durably, before anything is acked: what lies beside it was never acked.
//! **Next:** `directory/manifest.rs`, then `recovery.rs`.

mod manifest;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::transfer::swap;

pub(crate) use manifest::{Manifest, read_manifest};
use manifest::{check, encode};

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

/// A data directory whose lock is held.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Whether this open created it.
    pub(crate) fresh: bool,
    /// Whether CREATING is there, to become MANIFEST.
    begun: bool,
    /// The sizes that hold for it: those it was created with.
    pub(crate) manifest: Manifest,

    /// Unlocked when dropped.
    _lock: File,
}

impl Directory {
    /// Creates or checks a directory and takes its lock. `manifest` says how to create it.
    pub(crate) fn open(path: &Path, manifest: Manifest) -> Result<Self, DirectoryError> {
        create_directories(path)?;
        let lock = lock(path)?;
        let manifest_path = path.join("MANIFEST");
        let fresh = !manifest_path
            .try_exists()
            .map_err(io_error("look for", &manifest_path))?;
        let mut directory = Self {
            path: path.to_path_buf(),
            fresh,
            begun: false,
            manifest,
            _lock: lock,
        };
        if fresh {
            directory.begin()?;
        } else {
            directory.manifest = check(&manifest_path, manifest)?;
            swap::settle(path)?;
            for part in [directory.journal(), directory.sled(), directory.sled_file()] {
                if !part.try_exists().map_err(io_error("look for", &part))? {
                    return Err(DirectoryError::Missing { path: part });
                }
            }
            // The process that renamed the MANIFEST may have been killed before it did this.
            sync_directory(path)?;
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

    /// The indexes of keys.
    pub(crate) fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    fn creating(&self) -> PathBuf {
        self.path.join("CREATING")
    }

    /// sled's data file.
    pub(crate) fn sled_file(&self) -> PathBuf {
        self.sled().join("db")
    }

    /// Begins a fresh directory.
    ///
    /// A power cut during a creation may leave a database that does not open. CREATING without a
    /// MANIFEST says that there was one, so what it left is removed and made anew. Without either,
    /// somebody has lost the MANIFEST: what there is is used, or refused if it is broken.
    fn begin(&mut self) -> Result<(), DirectoryError> {
        let (creating, parts) = (self.creating(), [self.journal(), self.sled()]);
        let exists = |path: &Path| path.try_exists().map_err(io_error("look for", path));
        // One that is not whole was torn before there was anything beside it.
        if exists(&creating)? && check(&creating, self.manifest).is_ok() {
            // Never written anew: torn, with half of the parts gone, it would not tell any more that
            // they are worth nothing. The process that wrote it may have been killed before this.
            File::open(&creating)
                .and_then(|file| file.sync_all())
                .map_err(io_error("fsync", &creating))?;
            sync_directory(&self.path)?;
            for part in &parts {
                if exists(part)? {
                    fs::remove_dir_all(part).map_err(io_error("remove", part))?;
                }
            }
            self.begun = true;
        } else if !exists(&self.journal())? && !exists(&self.sled())? {
            write_durably(&creating, &encode(self.manifest))?;
            sync_directory(&self.path)?;
            self.begun = true;
        }
        for part in &parts {
            fs::create_dir_all(part).map_err(io_error("create", part))?;
        }
        Ok(())
    }

    /// Writes the MANIFEST of a fresh directory, last of all.
    pub(crate) fn finish(&self) -> Result<(), DirectoryError> {
        sync_database(&self.sled())?;
        sync_directory(&self.journal())?;
        // All names, the directory's own among them, before there is a MANIFEST that relies on them.
        sync_directory(&self.path)?;
        sync_directory(parent_of(&self.path))?;
        let (path, mut draft) = (self.path.join("MANIFEST"), self.creating());
        if !self.begun {
            // Never CREATING: what lies beside this one may have been acked.
            draft = self.path.join("MANIFEST.new");
            write_durably(&draft, &encode(self.manifest))?;
        }
        fs::rename(&draft, &path).map_err(io_error("rename", &draft))?;
        Ok(sync_directory(&self.path)?)
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

/// Creates a directory and those above it that are missing. The names of these are durable then;
/// the last one's own name is left to `finish`.
fn create_directories(path: &Path) -> Result<(), IoError> {
    let missing: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|above| !above.as_os_str().is_empty() && !above.exists())
        .collect();
    // What is in it is its owner's business alone: payloads, secrets, the key of the tokens.
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("create", path))?;
    for above in missing {
        sync_directory(parent_of(above))?;
    }
    Ok(())
}

fn write_durably(path: &Path, text: &str) -> Result<(), IoError> {
    File::create(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(io_error("write", path))
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

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: Manifest = Manifest {
        journal_segment_bytes: 64 << 20,
        sled_segment_bytes: 8 << 20,
    };

    /// A directory with a file in both of its parts, beside the files of these names and texts.
    fn directory_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::TempDir::new().unwrap();
        for part in ["journal", "sled"] {
            fs::create_dir(directory.path().join(part)).unwrap();
            fs::write(directory.path().join(part).join("db"), "found").unwrap();
        }
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn only_what_an_interrupted_creation_left_is_removed() {
        let whole = encode(MANIFEST);
        let torn = &whole[..whole.len() / 2];
        for (what, files, kept) in [
            ("interrupted", &[("CREATING", &*whole)][..], false),
            ("torn", &[("CREATING", torn)], true),
            ("nothing", &[], true),
            ("draft", &[("MANIFEST.new", &whole)], true),
            ("complete", &[("MANIFEST", &whole)], true),
            ("both", &[("MANIFEST", &whole), ("CREATING", &whole)], true),
        ] {
            let made = directory_with(files);
            let directory = Directory::open(made.path(), MANIFEST).unwrap();
            assert_eq!(directory.sled_file().exists(), kept, "{what}");
            assert_eq!(directory.journal().join("db").exists(), kept, "{what}");
            let creating = made.path().join("CREATING");
            if kept && directory.fresh {
                // What is used may have been acked, so the next open must not take it for a rest.
                fs::write(directory.sled().join("conf"), "").unwrap();
                directory.finish().unwrap();
                assert!(check(&made.path().join("MANIFEST"), MANIFEST).is_ok());
                assert!(check(&creating, MANIFEST).is_err(), "{what}");
            }
        }
    }

    #[test]
    fn creating_is_there_until_the_manifest_is() {
        let scratch = tempfile::TempDir::new().unwrap();
        let path = scratch.path().join("with/some/above");
        let directory = Directory::open(&path, MANIFEST).unwrap();
        let creating = path.join("CREATING");
        assert!(directory.fresh && check(&creating, MANIFEST).is_ok());
        for name in ["db", "conf"] {
            fs::write(directory.sled().join(name), "").unwrap();
        }
        directory.finish().unwrap();
        assert!(!creating.exists());
        drop(directory);
        assert!(!Directory::open(&path, MANIFEST).unwrap().fresh);
    }

    #[test]
    fn the_manifest_is_golden_and_checks_itself() {
        let manifest = MANIFEST;
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
