//! Opening: from files to a log that may be written to.
//!
//! 1. LOCK, MANIFEST, sled's files (`directory.rs`).
//! 2. sled, with one retry without its derived snapshots.
//! 3. The rows that sled recovered are checked against sums and chains (`verify.rs`).
//! 4. What lies above sled's state is removed, and the journal above it is applied.
//! 5. A barrier; from here the journal starts anew.
//!
//! **Invariant:** after `recover` everything that was ever acked is in sled, durably, or the error
//! says what is not. Doing it twice is doing it once.
//! **Next:** `log.rs`, which starts the threads.

pub(crate) mod full;
mod load;
mod rest;

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::answers::Answers;
use crate::apply::Applier;
use crate::attempt::Cursor;
use crate::codec::{self, CodecError};
use crate::config::Config;
use crate::consumer::Consumers;
use crate::directory::{Directory, DirectoryError, Manifest};
use crate::engine::{self, Engine, EngineError, Sizes};
use crate::entry::Committed;
use crate::journal::scan::{Scan, ScanError};
use crate::journal::{self, Journal, JournalError, Start};
use crate::keys::{self, Family};
use crate::offset::Sequence;
use crate::plan::PlanError;
use crate::registry::Registry;
use crate::state::{RowSum, State};
use crate::verify::{self, Depth, VerifyError};

/// Why a log did not open. The directory is as it was, but for what recovery had applied.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log in {directory}: {kind}")]
pub struct OpenError {
    /// The data directory.
    pub directory: std::path::PathBuf,
    /// What is wrong.
    pub kind: OpenErrorKind,
}

/// What can be wrong with a data directory.
#[derive(Debug, thiserror::Error)]
pub enum OpenErrorKind {
    /// A setting is out of its range.
    #[error("{field} is {found}, but must be {expected}")]
    Config {
        /// Which setting.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What is allowed.
        expected: String,
    },
    /// The directory cannot be used as it is, or another process uses it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The database did not open, or failed while the journal was applied.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The journal is damaged: acked events would be missing.
    #[error("{reason}; restore a backup, or keep the directory for salvage")]
    Journal {
        /// The first damaged or missing place.
        reason: String,
    },
    /// The journal cannot be written.
    #[error("the journal cannot be started: {reason}")]
    JournalStart {
        /// What was tried and what the system said.
        reason: String,
    },
    /// The disk is full. The log is as it was.
    #[error(
        "the disk is full: an open takes up to {needed} bytes beside what is there, and {directory} \
         has {free} left; make room, or move it to a larger disk ({reason})"
    )]
    NoSpace {
        /// The data directory.
        directory: PathBuf,
        /// Bytes that an open may take, a little more than it does.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// What could not be written.
        reason: String,
    },
    /// The system starts no more threads.
    #[error("a thread of the log cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    /// The index of keys does not fit.
    #[error("{reason}; remove the directory `keys`, which is made anew from the log")]
    Keys {
        /// What is wrong with it.
        reason: String,
    },
    /// The database opened, but what it recovered is not what was written.
    #[error(
        "the database is damaged: {reason}; restore a backup, or keep the directory for salvage"
    )]
    Damaged {
        /// The first damaged place.
        reason: String,
    },
}

impl From<ScanError> for OpenErrorKind {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Io(error) => Self::Directory(error.into()),
            ScanError::Damaged { .. }
            | ScanError::Missing { .. }
            | ScanError::Epoch { .. }
            | ScanError::Cut { .. } => Self::Journal {
                reason: error.to_string(),
            },
        }
    }
}

impl From<JournalError> for OpenErrorKind {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io(error) => Self::Directory(error.into()),
            JournalError::Codec(_) | JournalError::TooLarge { .. } => Self::JournalStart {
                reason: error.to_string(),
            },
        }
    }
}

impl From<PlanError> for OpenErrorKind {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Engine(error) => Self::Engine(error),
            PlanError::Codec(error) => error.into(),
        }
    }
}

impl From<CodecError> for OpenErrorKind {
    fn from(error: CodecError) -> Self {
        Self::Damaged {
            reason: error.to_string(),
        }
    }
}

impl From<VerifyError> for OpenErrorKind {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Engine(error) => Self::Engine(error),
            VerifyError::Read(error) => Self::Damaged {
                reason: error.to_string(),
            },
            VerifyError::Hole { .. } | VerifyError::Chain { .. } | VerifyError::Index { .. } => {
                Self::Damaged {
                    reason: error.to_string(),
                }
            }
        }
    }
}

/// Everything that a recovered log starts from.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) directory: Directory,
    pub(crate) applier: Applier,
    pub(crate) journal: Journal,
    pub(crate) registry: Registry,
    pub(crate) consumers: Consumers,
    pub(crate) answers: Answers,
}

/// Opens, creating or recovering. An existing directory keeps the journal segments it has, and
/// `config` is told so.
pub(crate) fn recover(config: &mut Config) -> Result<Recovered, OpenErrorKind> {
    check(config)?;
    let manifest = Manifest {
        journal_segment_bytes: config.journal_segment_bytes,
        sled_segment_bytes: engine::SEGMENT_BYTES,
    };
    let directory = Directory::open(&config.directory, manifest)?;
    let segment_bytes = directory.manifest.journal_segment_bytes;
    config.journal_segment_bytes = segment_bytes;
    check(config)?;
    let engine = Arc::new(open_engine(&directory, config.sizes())?);
    let state = match read_state(&engine)? {
        Some(state) => state,
        None if directory.fresh => State::default(),
        None => return Err(no_state()),
    };
    let mut applier = Applier::new(engine, state, config.compression);
    check_sum(&applier.engine, &applier.state)?;
    let verified = verify::verify(&applier.engine, &applier.state, Depth::Recent)?;
    (
        applier.state.events.verified,
        applier.state.attempts.verified,
    ) = verified;

    // What a killed process left in sled may not be durable, and counts like what is applied now.
    applier.barrier()?;
    rest::remove(&applier.engine, &applier.state)?;
    let scan = replay(&directory, &mut applier)?;
    applier.barrier()?;
    // What an interrupted apply or removal left; everything was verified by now.
    applier.engine.remove_extents()?;

    let next = applier.state.applied.map_or(Sequence::ZERO, Sequence::next);
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).map_err(|error| OpenErrorKind::JournalStart {
        reason: format!("no random bytes: {error}"),
    })?;
    let start = Start {
        segment_bytes,
        last_epoch: scan.last_epoch,
        salt: u64::from_be_bytes(salt),
        chain: applier.state.journal_crc,
        next,
    };
    let journal = Journal::open(&directory.journal(), start)?;
    // From here on the loss of the segment just started is noticed.
    applier.state.journal_epoch = journal.epoch();
    applier.apply(&[])?;
    applier.barrier()?;
    if directory.fresh {
        directory.finish()?;
    }
    let registry = load::registry(&applier.engine, applier.state.low())?;
    let consumers = load::consumers(&applier.engine)?;
    let answers = rest::load_answers(&applier.engine)?;
    Ok(Recovered {
        directory,
        applier,
        journal,
        registry,
        consumers,
        answers,
    })
}

/// Applies the journal above the applier's state.
fn replay(directory: &Directory, applier: &mut Applier) -> Result<Scan, OpenErrorKind> {
    let mut waiting: Vec<Arc<Committed>> = Vec::new();
    let mut bytes = 0;
    let (applied, epoch) = (applier.state.applied, applier.state.journal_epoch);
    let scan =
        journal::scan::scan::<OpenErrorKind>(&directory.journal(), applied, epoch, |commit| {
            bytes += commit.bytes;
            waiting.push(Arc::new(commit));
            if bytes >= REPLAY_BYTES {
                applier.apply(&waiting)?;
                waiting.clear();
                bytes = 0;
            }
            Ok(())
        })?;
    applier.apply(&waiting)?;
    Ok(scan)
}

/// Journal frames are applied in pieces of this size while they are read back.
const REPLAY_BYTES: usize = 8 << 20;

/// Smallest and largest journal segment: room for a few commits; a few seconds of zero-filling.
const JOURNAL_SEGMENT_BYTES: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 30);

fn check(config: &Config) -> Result<(), OpenErrorKind> {
    let found = config.journal_segment_bytes;
    if !JOURNAL_SEGMENT_BYTES.contains(&found) {
        let expected = format!(
            "from {} to {}",
            JOURNAL_SEGMENT_BYTES.start(),
            JOURNAL_SEGMENT_BYTES.end()
        );
        return Err(OpenErrorKind::Config {
            field: "journal_segment_bytes",
            found,
            expected,
        });
    }
    let limit = config.payload_bytes_limit();
    if config.payload_bytes_max > limit {
        return Err(OpenErrorKind::Config {
            field: "payload_bytes_max",
            found: config.payload_bytes_max as u64,
            expected: format!("at most {limit} with journal segments of {found} bytes"),
        });
    }
    Ok(())
}

/// Opens sled. Its I/O threads may hold the files of a log that was closed just now for a moment
/// longer; nobody else can, since LOCK is ours.
fn open_engine(directory: &Directory, sizes: Sizes) -> Result<Engine, OpenErrorKind> {
    let error = match open_patiently(&directory.sled(), sizes) {
        Ok(engine) => return Ok(engine),
        Err(error) => error,
    };
    tracing::warn!(%error, "the database did not open; trying without its snapshots, which are derived");
    directory.set_snapshots_aside()?;
    Ok(open_patiently(&directory.sled(), sizes)?)
}

/// Opens sled in a directory, waiting a little for threads of an engine that was just closed.
pub(crate) fn open_patiently(sled: &Path, sizes: Sizes) -> Result<Engine, EngineError> {
    let started = Instant::now();
    loop {
        match Engine::open(sled, &sled.join("db"), sizes) {
            Err(error) if error.is_locked() && started.elapsed() < SLED_LOCK_PATIENCE => {
                std::thread::park_timeout(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

/// Where the applier stood.
pub(crate) fn read_state(engine: &Engine) -> Result<Option<State>, OpenErrorKind> {
    let row = engine.get(Family::State, keys::STATE)?;
    Ok(row.map(|bytes| codec::decode(&bytes)).transpose()?)
}

/// The state is written before the MANIFEST is: a database without it is not the one that was there,
/// and would pass for that of an empty log.
pub(crate) fn no_state() -> OpenErrorKind {
    OpenErrorKind::Damaged {
        reason: "the row that says where it ends is missing, so most or all of it is lost"
            .to_owned(),
    }
}

/// Checks everything that an open checks, from the first stored batch on, whatever was verified
/// before.
pub(crate) fn verify_whole(engine: &Engine) -> Result<State, OpenErrorKind> {
    let state = read_state(engine)?.ok_or_else(no_state)?;
    check_sum(engine, &state)?;
    let mut whole = state.clone();
    (whole.events.verified, whole.attempts.verified) = (whole.events.first, whole.attempts.first);
    verify::verify(engine, &whole, Depth::Whole)?;
    Ok(state)
}

/// How long sled's own lock is waited for.
const SLED_LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Compares the rows of the summed families with their sum, and decodes each once.
fn check_sum(engine: &Engine, state: &State) -> Result<(), OpenErrorKind> {
    let mut sum = RowSum::default();
    for family in Family::SUMMED {
        let all = (Bound::Unbounded, Bound::Unbounded);
        engine.scan::<OpenErrorKind>(family, all, |key, value| {
            sum.add(family, key, value);
            if family == Family::Cursor {
                codec::decode::<Cursor>(value)?;
            }
            Ok(())
        })?;
    }
    if sum == state.sum {
        return Ok(());
    }
    let reason =
        "rows of the registry, of cursors, consumers or parked deliveries are missing or old";
    Err(OpenErrorKind::Damaged {
        reason: reason.to_owned(),
    })
}
