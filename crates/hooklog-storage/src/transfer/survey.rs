//! Walking over a database that may be damaged anywhere: what is good is handed on, what is not is
//! named, and the walk goes on.
//!
//! sled writes when it opens, so the walk is over a copy of its files.
//!
//! **Invariant:** the directory that is surveyed is never written to.
//! **Next:** `check.rs`, `repair.rs`.

use std::fs;
use std::ops::Bound;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::bytes::Reader;
use crate::codec;
use crate::directory::{IoError, io_error};
use crate::engine::extents;
use crate::engine::{Engine, EngineError, Sizes};
use crate::entry::StoredAttempt;
use crate::event::Record;
use crate::frame::{self, Batch, Kind};
use crate::keys::{self, Family};
use crate::offset::Offset;
use crate::record;
use crate::recovery::open_patiently;
use crate::task::Task;
use crate::transfer::{Stage, Transferred};

/// Most bytes that are gathered for one batch: above the largest event.
const BATCH_BYTES_MAX: usize = 34 << 20;
/// How often a walk tries to get past a page that cannot be read, going twice as far each time.
const SKIPS_MAX: u32 = 48;

/// A copy of sled's files in a directory of its own, removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Copies the database of a data directory into `path`, which must not exist.
    pub(crate) fn copy(
        directory: &Path,
        path: &Path,
        progress: &mut dyn FnMut(Transferred),
    ) -> Result<Self, IoError> {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(path)
            .map_err(io_error("create", path))?;
        let scratch = Self {
            path: path.to_path_buf(),
        };
        let sled = directory.join("sled");
        let total = super::compact::bytes_of(&sled)?;
        let mut bytes = 0;
        for entry in fs::read_dir(&sled).map_err(io_error("list", &sled))? {
            let from = entry.map_err(io_error("list", &sled))?.path();
            let name = from.file_name().unwrap_or_default();
            // Unfinished snapshots make every open fail, and blobs are never ours.
            let is_unfinished = name.to_string_lossy().ends_with(".generating");
            if from.is_file() && !is_unfinished {
                bytes += fs::copy(&from, path.join(name)).map_err(io_error("copy", &from))?;
                progress(Transferred {
                    stage: Stage::Open,
                    bytes,
                    total,
                });
            }
        }
        let below = path.join(extents::DIRECTORY);
        fs::create_dir(&below).map_err(io_error("create", &below))?;
        for from in extents::files(&sled)? {
            let to = below.join(from.file_name().unwrap_or_default());
            // Nothing is ever written to the copy's extents, so they may be the same files.
            bytes += match fs::hard_link(&from, &to) {
                Ok(()) => fs::metadata(&from).map_or(0, |data| data.len()),
                Err(_) => fs::copy(&from, &to).map_err(io_error("copy", &from))?,
            };
            progress(Transferred {
                stage: Stage::Open,
                bytes,
                total,
            });
        }
        Ok(scratch)
    }

    /// Opens the copy; without sled's snapshots, which are derived, if it does not open with them.
    pub(crate) fn open(&self) -> Result<Engine, EngineError> {
        open_patiently(&self.path, Sizes::STANDARD).or_else(|error| {
            let entries = fs::read_dir(&self.path).map(|entries| entries.flatten().collect());
            let entries: Vec<fs::DirEntry> = entries.unwrap_or_default();
            let mut removed = 0;
            for entry in entries {
                if entry.file_name().to_string_lossy().starts_with("snap.") {
                    removed += usize::from(fs::remove_file(entry.path()).is_ok());
                }
            }
            match removed {
                0 => Err(error),
                _ => open_patiently(&self.path, Sizes::STANDARD),
            }
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a copy is left behind");
        }
    }
}

/// What a walk finds.
#[derive(Debug)]
pub(crate) enum Piece {
    Batch(Batch),
    /// Something that begins, or would begin, at a position.
    Damaged {
        base: u64,
        reason: String,
    },
}

/// Walks over the batches of a family from `first` on.
pub(crate) fn walk(engine: &Engine, family: Family, first: u64, visit: &mut dyn FnMut(Piece)) {
    let mut gather = Gather {
        base: None,
        bytes: Vec::new(),
    };
    let mut from = first;
    for skip in 0..SKIPS_MAX {
        let low = keys::batch(from, 0);
        let bounds = (Bound::Included(low.as_slice()), Bound::Unbounded);
        let mut seen = from;
        let scanned = engine.scan::<EngineError>(family, bounds, |key, value| {
            if let Some(base) = keys::batch_base(key) {
                seen = base;
                gather.add(base, key, value, visit);
            }
            Ok(())
        });
        gather.end(visit);
        let Err(error) = scanned else { return };
        visit(Piece::Damaged {
            base: seen.saturating_add(1),
            reason: error.to_string(),
        });
        from = seen.saturating_add(1 << skip);
    }
}

/// The chunks of one batch while they come.
struct Gather {
    base: Option<(u64, bool)>,
    bytes: Vec<u8>,
}

impl Gather {
    fn add(&mut self, base: u64, key: &[u8], value: &[u8], visit: &mut dyn FnMut(Piece)) {
        if self.base.is_none_or(|(current, _)| current != base) {
            self.end(visit);
            let is_first = key == keys::batch(base, 0);
            self.base = Some((base, is_first));
        }
        if self.bytes.len() < BATCH_BYTES_MAX {
            self.bytes.extend_from_slice(value);
        }
    }

    fn end(&mut self, visit: &mut dyn FnMut(Piece)) {
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let Some((base, is_first)) = self.base.take() else {
            return;
        };
        let damaged = |reason: String| Piece::Damaged { base, reason };
        visit(match frame::decode(&bytes) {
            _ if !is_first => damaged("its first part is missing".to_owned()),
            Ok(batch) if batch.header.base == base => Piece::Batch(batch),
            Ok(_) => damaged("it is another batch than its key says".to_owned()),
            Err(error) => damaged(error.to_string()),
        });
    }
}

/// The events of a batch; `None` if they do not decode.
pub(crate) fn events(batch: &Batch) -> Option<Vec<Record>> {
    if batch.header.kind != Kind::Events {
        return None;
    }
    let count = usize::try_from(batch.header.count).ok()?;
    let (spans, end) = record::spans(&batch.body, count)?;
    let base = Offset::new(batch.header.base);
    let decode = |(at, span)| {
        let offset = base.plus(at);
        let record = record::decode(&batch.body, span, offset).ok()?;
        (record.id.offset() == offset).then_some(record)
    };
    let records = (0..).zip(&spans).map(decode).collect::<Option<_>>()?;
    (end == batch.body.len()).then_some(records)
}

/// The attempts of a batch; `None` if they do not decode.
pub(crate) fn attempts(batch: &Batch) -> Option<Vec<StoredAttempt>> {
    if batch.header.kind != Kind::Attempts {
        return None;
    }
    let mut reader = Reader::new(&batch.body);
    let mut found = Vec::new();
    for at in 0..u64::from(batch.header.count) {
        let length = reader.length()?;
        let stored: StoredAttempt = codec::decode(reader.take(length)?).ok()?;
        (stored.id.seq().get() == batch.header.base + at).then_some(())?;
        found.push(stored);
    }
    reader.is_empty().then_some(found)
}

/// Whether a replaced row can be decoded.
pub(crate) fn is_sound(family: Family, key: &[u8], value: &[u8]) -> bool {
    use crate::answers::AnswerRow;
    use crate::attempt::{Cursor, Expired, Retry};
    use crate::consumer::ConsumerCursor;
    use crate::delayed::DelayedRow;
    use crate::expunged::Expunged;
    use crate::health::Health;
    use crate::revocation::{RevokedToken, TokenCuts};
    use crate::sessions::SessionCuts;
    use crate::subscription::{Application, EventType, Organisation, Subscription};
    use crate::time::Timestamp;
    match family {
        Family::Registry => match keys::registry_kind(key) {
            Some(keys::Kind::Organisation) => codec::decode::<Organisation>(value).is_ok(),
            Some(keys::Kind::Application) => codec::decode::<Application>(value).is_ok(),
            Some(keys::Kind::EventType) => codec::decode::<EventType>(value).is_ok(),
            Some(keys::Kind::Subscription) => codec::decode::<Subscription>(value).is_ok(),
            Some(keys::Kind::TokenCuts) => codec::decode::<TokenCuts>(value).is_ok(),
            Some(keys::Kind::RevokedToken) => codec::decode::<RevokedToken>(value).is_ok(),
            Some(keys::Kind::SessionCuts) => codec::decode::<SessionCuts>(value).is_ok(),
            Some(keys::Kind::Expunged) => codec::decode::<Expunged>(value).is_ok(),
            Some(keys::Kind::Task) => codec::decode::<Task>(value).is_ok(),
            None => false,
        },
        Family::Cursor => codec::decode::<Cursor>(value).is_ok(),
        Family::Retry => codec::decode::<Retry>(value).is_ok(),
        Family::Expired => codec::decode::<Expired>(value).is_ok(),
        Family::Health => codec::decode::<Health>(value).is_ok(),
        Family::Consumer => codec::decode::<ConsumerCursor>(value).is_ok(),
        Family::Answer => codec::decode::<AnswerRow>(value).is_ok(),
        Family::Delayed => match key.first() {
            Some(1) => codec::decode::<DelayedRow>(value).is_ok(),
            Some(2) => codec::decode::<Timestamp>(value).is_ok(),
            Some(3) => value.is_empty(),
            _ => false,
        },
        Family::State
        | Family::Log
        | Family::AppLog
        | Family::Attempt
        | Family::AttemptByEvent
        | Family::AttemptBySubscription => true,
    }
}
