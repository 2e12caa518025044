//! Extents: plain files that hold record batches, one behind the other, in the order of their keys.
//!
//! sled writes each byte four to six times and keeps what it reads in memory for long; a batch is
//! written once and never changed, so all of that is for nothing. sled holds where a batch lies, a
//! batch lies here, and a log of 64 KiB batches costs a fifth of the writes, half of the CPU, and no
//! cache (measured: `benches/README.md`).
//!
//! ```text
//! extents/events-00000000000000000007.extent     batch · batch · batch …
//! row in sled:  1 · extent u64 · position u64 · bytes u32 · last 4 bytes · first 52 bytes
//!               0 · the batch itself, if it is small
//! ```
//! Batches describe and check themselves (`frame.rs`), so an extent needs no header: it can be read
//! without sled. Where batches came in bulk, zeros fill the room up to the next 4,096 bytes. What lies behind
//! the last row's batch was never committed, and is written over.
//!
//! **Invariant:** a row is committed only after `fdatasync` of the extent that it points into (and of
//! the directory, if the extent is new) returned. An extent is removed only after the removal of its
//! last row is durable.
//! **Next:** `extents/writer.rs`, then `../apply.rs`.

mod writer;

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::bytes::Reader;
use crate::directory::{IoError, io_error};
use writer::Writer;

/// Files that are kept open for readers: what a few dozen lanes that read the past touch at once.
const OPEN_FILES_MAX: usize = 32;
/// Less than this part of an extent is not gathered, though it comes in bulk: 1 MiB of 64, for padding is nothing
/// beside that, and many small writes past the page cache hold the journal up (measured in pieces of 256 KiB:
/// `benches/README.md`).
const GATHER_PART: u64 = 64;
/// The name of the directory, within the database's.
pub(crate) const DIRECTORY: &str = "extents";

/// Where a batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the extent.
    pub(crate) extent: u64,
    pub(crate) position: u64,
    pub(crate) bytes: u32,
}

/// What can be known of a value without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark<'a> {
    /// Its first bytes: all of a batch's header, if it begins one.
    pub(crate) head: &'a [u8],
    /// Its last bytes: the checksum of the batch that it ends.
    pub(crate) tail: [u8; TAIL_BYTES],
    /// How many bytes it has.
    pub(crate) bytes: usize,
    /// Where it lies, if that is an extent.
    pub(crate) place: Option<Place>,
}

/// Bytes of a batch's header, and of its checksum (`frame.rs`).
const HEAD_BYTES: usize = 52;
const TAIL_BYTES: usize = 4;
/// First byte of a row that holds the batch itself, and of one that says where it lies.
const INLINE: u8 = 0;
const ELSEWHERE: u8 = 1;

/// A row of a family whose batches may lie in extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row<'a> {
    Inline(&'a [u8]),
    Elsewhere(Place, Mark<'a>),
}

impl<'a> Row<'a> {
    pub(crate) fn mark(self) -> Mark<'a> {
        match self {
            Self::Inline(batch) => Mark::of(batch),
            Self::Elsewhere(_, mark) => mark,
        }
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Self::Inline(batch) => [&[INLINE], batch].concat(),
            Self::Elsewhere(place, mark) => [
                &[ELSEWHERE][..],
                &place.extent.to_be_bytes(),
                &place.position.to_be_bytes(),
                &place.bytes.to_be_bytes(),
                &mark.tail,
                mark.head,
            ]
            .concat(),
        }
    }

    pub(crate) fn decode(row: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(row);
        match reader.u8()? {
            INLINE => Some(Self::Inline(row.get(1..)?)),
            ELSEWHERE => {
                let (extent, position, bytes) = (reader.u64()?, reader.u64()?, reader.u32()?);
                let place = Place {
                    extent,
                    position,
                    bytes,
                };
                let tail = reader.array()?;
                let mark = Mark {
                    head: reader.take(reader.remaining())?,
                    tail,
                    bytes: usize::try_from(bytes).ok()?,
                    place: Some(place),
                };
                (mark.head.len() <= HEAD_BYTES).then_some(Self::Elsewhere(place, mark))
            }
            _ => None,
        }
    }
}

impl<'a> Mark<'a> {
    pub(crate) fn of(batch: &'a [u8]) -> Self {
        Self {
            head: batch.get(..HEAD_BYTES).unwrap_or(batch),
            tail: batch.last_chunk().copied().unwrap_or_default(),
            bytes: batch.len(),
            place: None,
        }
    }
}

/// The extents of one family.
#[derive(Debug)]
pub(crate) struct Extents {
    directory: PathBuf,
    /// What their names begin with.
    name: &'static str,
    /// An extent is closed before it would be longer than this (unless one batch is).
    extent_bytes: u64,
    /// Numbers of the files that are there.
    numbers: Mutex<BTreeSet<u64>>,
    writer: Mutex<Writer>,
    open: Mutex<VecDeque<(u64, Arc<File>)>>,
}

impl Extents {
    /// The extents `name` in the database's directory; `last` is the place of the last committed
    /// batch.
    pub(crate) fn open(
        database: &Path,
        name: &'static str,
        extent_bytes: u64,
        last: Option<Place>,
    ) -> Result<Self, IoError> {
        let directory = database.join(DIRECTORY);
        fs::create_dir_all(&directory).map_err(io_error("create", &directory))?;
        let entries = fs::read_dir(&directory).map_err(io_error("list", &directory))?;
        let mut numbers = BTreeSet::new();
        for entry in entries {
            let path = entry.map_err(io_error("list", &directory))?.path();
            numbers.extend(number_of(&path, name));
        }
        let (number, position) = match last {
            Some(place) => (place.extent, place.position + u64::from(place.bytes)),
            None => (numbers.last().map_or(0, |last| last + 1), 0),
        };
        Ok(Self {
            directory,
            name,
            extent_bytes,
            numbers: Mutex::new(numbers),
            writer: Mutex::new(Writer::new(number, position)),
            open: Mutex::default(),
        })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory
            .join(format!("{}-{number:020}.extent", self.name))
    }

    /// Says how many bytes come before the next [`sync`](Self::sync), and whether in bulk.
    pub(crate) fn begin(&self, bytes: usize, is_bulk: bool) {
        let is_much = bytes as u64 >= self.extent_bytes / GATHER_PART;
        self.writer
            .lock()
            .begin((is_bulk && is_much).then_some(bytes));
    }

    /// Writes a batch behind the last one. It is there to be read, and durable, once
    /// [`sync`](Self::sync) returned.
    pub(crate) fn append(&self, batch: &[u8]) -> Result<Place, IoError> {
        let mut writer = self.writer.lock();
        if writer.is_full(batch.len(), self.extent_bytes) {
            writer.sync(&self.directory)?;
            writer.next_extent();
        }
        let path = self.path(writer.number());
        writer.open(path)?;
        self.numbers.lock().insert(writer.number());
        writer.append(batch)
    }

    /// Makes everything appended so far durable. Never retried after an error.
    pub(crate) fn sync(&self) -> Result<(), IoError> {
        self.writer.lock().sync(&self.directory)
    }

    /// A batch.
    pub(crate) fn read(&self, place: Place) -> Result<Bytes, IoError> {
        let path = self.path(place.extent);
        let mut bytes = vec![0; usize::try_from(place.bytes).unwrap_or(usize::MAX)];
        self.file(place.extent, &path)?
            .read_exact_at(&mut bytes, place.position)
            .map_err(io_error("read a batch of", &path))?;
        Ok(bytes.into())
    }

    fn file(&self, number: u64, path: &Path) -> Result<Arc<File>, IoError> {
        let mut open = self.open.lock();
        if let Some(at) = open.iter().position(|(known, _)| *known == number)
            && let Some(found) = open.remove(at)
        {
            let file = Arc::clone(&found.1);
            open.push_back(found);
            return Ok(file);
        }
        let file = Arc::new(File::open(path).map_err(io_error("open", path))?);
        while open.len() >= OPEN_FILES_MAX {
            open.pop_front();
        }
        open.push_back((number, Arc::clone(&file)));
        Ok(file)
    }

    /// How many bytes an extent has.
    pub(crate) fn bytes_of(&self, number: u64) -> Result<u64, IoError> {
        let path = self.path(number);
        let data = fs::metadata(&path).map_err(io_error("look for", &path))?;
        Ok(data.len())
    }

    /// Whether there are extents besides the one that is written.
    pub(crate) fn has_old(&self) -> bool {
        let written = self.writer.lock().number();
        self.numbers
            .lock()
            .first()
            .is_some_and(|first| *first < written)
    }

    /// Removes the extents below the first that a row points into (all but the one that is written,
    /// if there is no row). What a crash leaves is removed at the next time.
    pub(crate) fn remove_below(&self, first: Option<u64>) -> Result<(), IoError> {
        let below = first.unwrap_or_else(|| self.writer.lock().number());
        let mut numbers = self.numbers.lock();
        while let Some(number) = numbers.first().copied().filter(|number| *number < below) {
            let path = self.path(number);
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
            self.open.lock().retain(|(known, _)| *known != number);
            numbers.pop_first();
        }
        Ok(())
    }
}

/// The number in an extent's name.
fn number_of(path: &Path, name: &str) -> Option<u64> {
    path.file_name()?
        .to_str()?
        .strip_prefix(name)?
        .strip_prefix('-')?
        .strip_suffix(".extent")?
        .parse()
        .ok()
}

/// All extents below a database's directory, in order of their names.
pub(crate) fn files(database: &Path) -> Result<Vec<PathBuf>, IoError> {
    let directory = database.join(DIRECTORY);
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&directory).map_err(io_error("list", &directory))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(io_error("list", &directory))?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|found| found == "extent"));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
