//! Backup: an open log as a stream of bytes, while publishing goes on.
//!
//! 1. Everything acked so far is applied.
//! 2. The applier is held still while the state is read and the replaced rows are copied into an
//!    unlinked file of the data directory. Acks do not wait: the journal goes on, until as much is
//!    unapplied as may be (`unapplied_bytes_max`). Then publishing waits for the rest of the rows.
//! 3. Batches and their index rows below the state's ends never change; a pin keeps them from being
//!    removed, and they are streamed page by page.
//!
//! **Invariant:** what was acked before the backup began is in it; it is the log at one moment.
//! **Next:** `format.rs`, the bytes; `restore.rs`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::attempt::Low;
use crate::codec::{self, CodecError};
use crate::commit::{APPLIER_PATIENCE, stuck};
use crate::directory::{IoError, io_error};
use crate::engine::{Engine, EngineError};
use crate::frame;
use crate::keys::{self, Family};
use crate::offset::{AttemptSeq, Offset};
use crate::ring::Room;
use crate::shared::Shared;
use crate::state::{Chain, State};
use crate::transfer::compact::total_bytes;
use crate::transfer::format::{self, BackupPoint, Done, Header, Tag};
use crate::transfer::pins::Pin;
use crate::transfer::rows::{Rows, Window, families};

/// The replaced rows are read back in pieces of this size.
const CHUNK_BYTES: usize = 256 << 10;

/// Why a backup could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The log stopped after an error, so not all that was acked can be read.
    #[error("the log is stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// The older backup is of another log.
    #[error("the backup to go on from (up to event {point}) is not of this log")]
    OtherLog {
        /// Where that one ends.
        point: BackupPoint,
    },
    /// Events above the older backup's end have expired since.
    #[error(
        "events from {from} on are not in the backup to go on from, and the log keeps only those from {first} on: make a full backup"
    )]
    Expired {
        /// The first that the older backup lacks.
        from: u64,
        /// The first that is stored.
        first: u64,
    },
    /// The data directory did not take the rows that are set aside.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The database failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The state could not be decoded.
    #[error("the database's state is damaged: {reason}")]
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
}

impl From<CodecError> for BackupError {
    fn from(error: CodecError) -> Self {
        Self::Damaged {
            reason: error.to_string(),
        }
    }
}

/// The bytes of a backup, piece by piece (each about 256 KiB); complete only when the iterator ends
/// with `None`. Each step may read the disk.
#[derive(Debug)]
pub struct Backup {
    shared: Arc<Shared>,
    state: State,
    /// The header and the state, until they were handed out.
    head: Option<Vec<u8>>,
    /// The replaced rows as blocks, and how many bytes of them are left.
    aside: File,
    aside_path: std::path::PathBuf,
    aside_left: u64,
    batches: Rows,
    rows: u64,
    bytes: u64,
    crc: u32,
    is_done: bool,
    total: u64,
    /// Keeps the batches from being removed.
    _pin: Pin,
}

impl Backup {
    /// Starts a backup of all, or of what lies above an older one. Blocks until the log is applied.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        since: Option<BackupPoint>,
    ) -> Result<Self, BackupError> {
        let poisoned = || shared.poison.reason().is_some();
        let room = shared.ring.wait_applied(APPLIER_PATIENCE, poisoned);
        stopped(shared)?;
        if room == Room::None {
            return Err(BackupError::Stopped {
                reason: stuck(APPLIER_PATIENCE),
            });
        }
        let pin = shared.pins.pin();
        let engine = &shared.engine;
        let mut aside = Aside::create(&shared.config.directory)?;
        let state = {
            let _still = engine.hold();
            let state = engine.get(Family::State, keys::STATE)?;
            let state: State = state.map_or(Ok(State::default()), |row| codec::decode(&row))?;
            aside.fill(shared, &state)?;
            state
        };
        let mut window = Window::of(&state);
        if let Some(point) = since {
            check_point(engine, &state, point)?;
            window.events.start = point.events.get();
            window.attempts.start = point.attempts.get();
        }
        pin.raise(Low {
            events: Offset::new(window.events.start),
            attempts: AttemptSeq::new(window.attempts.start),
        });
        let copy = State {
            // A restored log has a journal of its own, and is verified from its first batch on.
            journal_epoch: 0,
            ..state.clone()
        };
        let mut head = Header { since }.encode();
        head.extend(format::block(Tag::State, &codec::encode(&copy)?));
        let (rows, aside_left, aside_path, file) = aside.finish()?;
        let below = since.map_or(0, |_| state.events.bytes);
        Ok(Self {
            shared: Arc::clone(shared),
            head: Some(head),
            aside: file,
            aside_path,
            aside_left,
            batches: Rows::new(families(true), window),
            rows,
            bytes: 0,
            crc: 0,
            is_done: false,
            total: aside_left + total_bytes(&state).saturating_sub(below),
            state,
            _pin: pin,
        })
    }

    /// Where it ends: what an incremental backup later goes on from.
    pub fn end(&self) -> BackupPoint {
        BackupPoint::end(&self.state)
    }

    /// Bytes that a full backup will have, about; less is known of an incremental one.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    fn piece(&mut self) -> Result<Option<Bytes>, BackupError> {
        if let Some(head) = self.head.take() {
            return Ok(Some(self.count(head)));
        }
        if self.aside_left > 0 {
            let mut bytes = Vec::new();
            let wanted = self.aside_left.min(CHUNK_BYTES as u64);
            let read = Read::by_ref(&mut self.aside)
                .take(wanted)
                .read_to_end(&mut bytes);
            let read = read.map_err(io_error("read", &self.aside_path))?;
            if read as u64 != wanted {
                let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(io_error("read", &self.aside_path)(cut).into());
            }
            self.aside_left -= wanted;
            return Ok(Some(self.count(bytes)));
        }
        while let Some(page) = self.batches.next(&self.shared.engine)? {
            if let Some(first) = page.first() {
                self.rows += page.len() as u64;
                let body = format::rows(first.family, &page);
                return Ok(Some(self.count(format::block(Tag::Rows, &body))));
            }
        }
        if self.is_done {
            return Ok(None);
        }
        self.is_done = true;
        let done = Done {
            rows: self.rows,
            bytes: self.bytes,
            crc: self.crc,
        };
        Ok(Some(self.count(format::block(Tag::Done, &done.encode()))))
    }

    fn count(&mut self, bytes: Vec<u8>) -> Bytes {
        self.bytes += bytes.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, &bytes);
        bytes.into()
    }
}

impl Iterator for Backup {
    type Item = Result<Bytes, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.piece().transpose()
    }
}

/// An error if the log is stopped.
fn stopped(shared: &Shared) -> Result<(), BackupError> {
    match shared.poison.reason() {
        Some(reason) => Err(BackupError::Stopped {
            reason: reason.to_string(),
        }),
        None => Ok(()),
    }
}

/// The older backup must end where one of this log's batches begins, behind the same batch.
fn check_point(engine: &Engine, state: &State, point: BackupPoint) -> Result<(), BackupError> {
    let (events, attempts) = (&state.events, &state.attempts);
    let bounds = [
        (point.events.get(), events.first.position.get()),
        (point.attempts.get(), attempts.first.position.get()),
    ];
    for (from, first) in bounds {
        if from < first {
            return Err(BackupError::Expired { from, first });
        }
    }
    let before = |family, from: u64, chain: (u64, u32), first: (u64, u32)| match from {
        from if from == chain.0 => Ok(Some(chain.1)),
        from if from == first.0 => Ok(Some(first.1)),
        from => {
            let chunk = engine.get(family, &keys::batch(from, 0))?;
            Ok::<_, EngineError>(chunk.and_then(|head| frame::previous_crc(&head)))
        }
    };
    let of_events = before(
        Family::Log,
        point.events.get(),
        ends(events, Offset::get),
        (events.first.position.get(), events.first.crc),
    )?;
    let of_attempts = before(
        Family::Attempt,
        point.attempts.get(),
        ends(attempts, AttemptSeq::get),
        (attempts.first.position.get(), attempts.first.crc),
    )?;
    if (of_events, of_attempts) == (Some(point.events_crc), Some(point.attempts_crc)) {
        Ok(())
    } else {
        Err(BackupError::OtherLog { point })
    }
}

fn ends<P: Copy>(chain: &Chain<P>, number: impl Fn(P) -> u64) -> (u64, u32) {
    (number(chain.end), chain.crc)
}

/// The replaced rows, set aside in a file that has no name any more.
struct Aside {
    path: std::path::PathBuf,
    out: BufWriter<File>,
    rows: u64,
}

impl Aside {
    fn create(directory: &Path) -> Result<Self, IoError> {
        let mut random = [0; 8];
        // Without random bytes the name is taken at worst, which is told.
        let _outcome = getrandom::fill(&mut random);
        let path = directory.join(format!("backup-{:016x}", u64::from_be_bytes(random)));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("create", &path))?;
        fs::remove_file(&path).map_err(io_error("remove", &path))?;
        Ok(Self {
            path,
            out: BufWriter::with_capacity(CHUNK_BYTES, file),
            rows: 0,
        })
    }

    /// Copies all rows of the replaced families; the caller holds the applier still. Whoever waits for
    /// the applier sees each page as a sign of life, so many rows take their time and stop nothing.
    fn fill(&mut self, shared: &Shared, state: &State) -> Result<(), BackupError> {
        let mut pages = Rows::new(families(false), Window::of(state));
        while let Some(page) = pages.next(&shared.engine)? {
            shared.ring.sign_of_life();
            stopped(shared)?;
            if let Some(first) = page.first() {
                self.rows += page.len() as u64;
                let body = format::rows(first.family, &page);
                self.out
                    .write_all(&format::block(Tag::Rows, &body))
                    .map_err(io_error("write", &self.path))?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(u64, u64, std::path::PathBuf, File), IoError> {
        let path = self.path;
        let mut file = self
            .out
            .into_inner()
            .map_err(|error| io_error("write", &path)(error.into_error()))?;
        let bytes = file.stream_position().map_err(io_error("write", &path))?;
        file.rewind().map_err(io_error("read", &path))?;
        Ok((self.rows, bytes, path, file))
    }
}

#[cfg(test)]
mod tests;
