//! Ways to damage a data directory.
//!
//! **Invariant:** a damage is planned on the undamaged directory with a seeded generator, so the
//! same seed does the same to every copy.
//! **Next:** `disk.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// One thing that is done to a copy.
pub(super) struct Damage {
    pub(super) what: String,
    pub(super) apply: Box<dyn Fn(&Path)>,
}

/// Files that hold nothing that was acked: the lock, and the key of the tokens.
const SPARED: &[&str] = &["LOCK", "jwt-secret"];

/// How a file is changed.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// One bit of one byte.
    Flip {
        at: usize,
        bit: u8,
    },
    Truncate {
        length: usize,
    },
    Remove,
}

/// Copies a directory.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All damages: each file has bits flipped, is cut off and is removed.
pub(super) fn damages(directory: &Path, flips: u64, random: &mut fastrand::Rng) -> Vec<Damage> {
    let mut damages = Vec::new();
    for file in files(directory) {
        let bytes = fs::read(&file).unwrap();
        let name = file.strip_prefix(directory).unwrap().to_path_buf();
        for change in changes(&bytes, flips, random) {
            let (what, name) = (format!("{}: {change:?}", name.display()), name.clone());
            let apply = Box::new(move |copy: &Path| change.apply(&copy.join(&name)));
            damages.push(Damage { what, apply });
        }
    }
    damages
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !SPARED.iter().any(|name| path.ends_with(name)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn changes(bytes: &[u8], flips: u64, random: &mut fastrand::Rng) -> Vec<Change> {
    let mut changes = vec![Change::Remove, Change::Truncate { length: 0 }];
    // Where the file ends for a reader: behind it there are only zeros.
    let written = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    if written < 2 {
        return changes;
    }
    changes.push(Change::Truncate {
        length: written / 2,
    });
    changes.push(Change::Truncate {
        length: written - 1,
    });
    // The start of a file is special, and so is its last content.
    let mut places = vec![
        random.usize(..written.min(16)),
        written - 1 - random.usize(..written.min(64)),
    ];
    for _ in 0..flips {
        places.push(random.usize(..written));
        places.push(content(bytes, written, random));
    }
    changes.extend(places.into_iter().map(|at| Change::Flip {
        at,
        bit: random.u8(..8),
    }));
    changes
}

/// A place that is not zero: most of a preallocated file is.
fn content(bytes: &[u8], written: usize, random: &mut fastrand::Rng) -> usize {
    let mut tries = std::iter::repeat_with(|| random.usize(..written)).take(10_000);
    tries.find(|at| bytes[*at] != 0).unwrap_or(written - 1)
}

impl Change {
    fn apply(self, file: &Path) {
        match self {
            Self::Flip { at, bit } => {
                let mut bytes = fs::read(file).unwrap();
                bytes[at] ^= 1 << bit;
                fs::write(file, bytes).unwrap();
            }
            Self::Truncate { length } => {
                let opened = fs::File::options().write(true).open(file).unwrap();
                opened.set_len(u64::try_from(length).unwrap()).unwrap();
            }
            Self::Remove => fs::remove_file(file).unwrap(),
        }
    }
}
