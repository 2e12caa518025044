//! Helpers of this crate's tests: golden files and copies of data directories.
//!
//! **Invariant:** only compiled for tests; a golden file is rewritten only when `UPDATE_EXPECT=1`.
//! **Next:** `log/tests.rs`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Compares bytes with the golden file `data/format/v1/<name>` of the repository, a hex dump.
#[track_caller]
pub(crate) fn assert_golden(name: &str, bytes: &[u8]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/format/v1");
    let path = root.join(name);
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        write!(text, "{:06x} ", line * 16).unwrap();
        for byte in chunk {
            write!(text, " {byte:02x}").unwrap();
        }
        text.push('\n');
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(&root).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "bytes differ from {}:\n{text}",
        path.display()
    );
}

/// The bytes of the golden file `data/format/v1/<name>`.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/format/v1");
    let text = fs::read_to_string(root.join(name)).unwrap();
    text.lines()
        .flat_map(|line| line.split_ascii_whitespace().skip(1))
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

/// How many times as much a slow test is asked to do (`HOOKLOG_TEST_ROUNDS`).
pub(crate) fn rounds() -> u64 {
    let rounds = std::env::var("HOOKLOG_TEST_ROUNDS").ok();
    rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// Copies a data directory as a kill -9 would leave it: files as the page cache has them, no lock.
pub(crate) fn copy_directory(from: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
    to.to_path_buf()
}

/// Every file below a directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
