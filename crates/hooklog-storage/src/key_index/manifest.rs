//! RUNS: which runs there are, and up to where they cover the log.
//!
//! ```text
//! hooklog keys
//! format 1
//! covered 4096            all keys of events below this offset are in the runs
//! next 18                 number of the next run
//! run 12 end 3999         a run, the oldest first; its entries at or above `end` do not count
//! run 17 end none
//! crc32c 0badcafe         of all lines above
//! ```
//!
//! **Invariant:** the file is replaced as a whole and durably, after what it lists is durable.
//! **Next:** `memtable.rs`, which holds what no run has yet.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::directory::{io_error, sync_directory};
use crate::key_index::error::{KeyIndexError, damaged};
use crate::offset::Offset;

const NAME: &str = "RUNS";
/// The first two lines; another format is refused.
const HEAD: &str = "hooklog keys\nformat 1\n";
/// Far above what the most runs take; a longer file is not ours.
const BYTES_MAX: u64 = 64 << 10;

/// What RUNS says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) covered: Offset,
    pub(crate) next: u64,
    /// The oldest first.
    pub(crate) runs: Vec<ListedRun>,
}

/// One line of RUNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListedRun {
    pub(crate) number: u64,
    pub(crate) end: Offset,
}

impl Manifest {
    pub(crate) fn path(directory: &Path) -> PathBuf {
        directory.join(NAME)
    }

    /// Reads RUNS; without one the index is empty.
    pub(crate) fn read(directory: &Path) -> Result<Self, KeyIndexError> {
        let path = Self::path(directory);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes)) {
            Ok(_) => Self::decode(&bytes)
                .ok_or_else(|| damaged(&path, 0, "it does not match its checksum or its format")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(io_error("read", &path)(error).into()),
        }
    }

    /// Replaces RUNS.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), KeyIndexError> {
        let path = Self::path(directory);
        let draft = path.with_extension("new");
        File::create(&draft)
            .and_then(|mut file| {
                file.write_all(self.encode().as_bytes())?;
                file.sync_all()
            })
            .map_err(io_error("write", &draft))?;
        fs::rename(&draft, &path).map_err(io_error("rename", &draft))?;
        Ok(sync_directory(directory)?)
    }

    pub(crate) fn encode(&self) -> String {
        let runs: String = self.runs.iter().map(ListedRun::encode).collect();
        let body = format!("{HEAD}covered {}\nnext {}\n{runs}", self.covered, self.next);
        let crc = crc32c::crc32c(body.as_bytes());
        format!("{body}crc32c {crc:08x}\n")
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let (body, crc) = text.split_once("crc32c ")?;
        if crc != format!("{:08x}\n", crc32c::crc32c(body.as_bytes())) {
            return None;
        }
        let mut lines = body.strip_prefix(HEAD)?.lines();
        let mut number = |name| lines.next()?.strip_prefix(name)?.parse().ok();
        let (covered, next) = (Offset::new(number("covered ")?), number("next ")?);
        let runs = lines.map(ListedRun::decode).collect::<Option<_>>()?;
        Some(Self {
            covered,
            next,
            runs,
        })
    }
}

impl ListedRun {
    fn encode(&self) -> String {
        match self.end {
            Offset::MAX => format!("run {} end none\n", self.number),
            end => format!("run {} end {end}\n", self.number),
        }
    }

    fn decode(line: &str) -> Option<Self> {
        let (number, end) = line.strip_prefix("run ")?.split_once(" end ")?;
        let end = match end {
            "none" => Offset::MAX,
            end => Offset::new(end.parse().ok()?),
        };
        let number = number.parse().ok()?;
        Some(Self { number, end })
    }
}
