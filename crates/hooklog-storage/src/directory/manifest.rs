//! MANIFEST: the format's version and the sizes that a directory was created with, as text with a
//! checksum.
//!
//! **Invariant:** another format or another segment size of sled is refused, never reinterpreted.
//! **Next:** `recovery.rs`.

use std::fs;
use std::path::Path;

use super::{DirectoryError, io_error};

/// The version of everything on disk. A higher one is refused.
const FORMAT: u32 = 1;

/// The sizes that a directory was created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) journal_segment_bytes: u64,
    pub(crate) sled_segment_bytes: u64,
}

pub(super) fn encode(manifest: Manifest) -> String {
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

/// Reads a MANIFEST; refuses another format or another segment size of sled.
pub(super) fn check(path: &Path, expected: Manifest) -> Result<Manifest, DirectoryError> {
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
