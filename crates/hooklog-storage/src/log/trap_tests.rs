//! The known traps of sled 0.34.7 and of the journal. Each is set for sled alone first, to see what it
//! does, then for the log, which heals it or refuses with an error that names the place.
//!
//! | trap | what happens without the fence | fence | test |
//! |---|---|---|---|
//! | leftover `snap.*.generating` | no open succeeds any more | removed before sled opens | `a_half_written_snapshot_is_removed` |
//! | truncated `conf` | opens with any segment size, rows gone | the size is in MANIFEST | `a_lost_segment_size_is_known_from_the_manifest` |
//! | wrong segment size | refused for good, or rows gone | MANIFEST refuses it before sled opens | `another_segment_size_is_refused_before_the_database_is_touched` |
//! | non-empty `blobs/` | a lost blob is a panic in open, or lost rows | refused; values too small for blobs | `blobs_are_refused` |
//! | bits flipped in data | rows gone without a word | sequence, chain | `damage_to_the_database_is_healed_or_told`, `damage_tests.rs` |
//! | bits flipped in an index | rows gone without a word | index held against its batch | `verify/tests.rs`, `an_index_row_that_is_gone_is_told` |
//! | bits flipped in the journal | (ours) | CRC, proof by later frames | `damage_to_the_journal_names_the_byte`, `journal/tests.rs` |
//! | torn journal tail | (ours) | dropped, since never acked | `a_torn_tail_of_the_journal_is_dropped`, `journal/tests.rs` |
//! | stale frames in a recycled segment | (ours) | epoch, salt | `journal/tests.rs`: `stale_frames_are_there_and_are_not_read` |
//! | missing middle segment | (ours) | first sequence of each segment, note of the successor | `a_missing_segment_in_the_middle_names_its_frames`, `journal/tests.rs` |
//! | panic inside sled's open | the process ends | caught, tried once without snapshots | `a_panic_of_the_database_is_an_error_of_the_open` |
//! | sled older than the oldest segment | (ours) | first sequence against sled's state | `damage_to_the_database_is_healed_or_told`, `damage_tests.rs` |

use std::fs;
use std::ops::Bound;
use std::path::Path;

use tempfile::TempDir;

use super::tests::{config, event, open, payloads};
use super::*;
use crate::config::Compression;
use crate::directory::DirectoryError;
use crate::engine::testing::{Raw, open as open_raw, write as write_raw};
use crate::engine::{Edge, Engine, EngineError, Op, SEGMENT_BYTES};
use crate::index::Index;
use crate::journal::scan::segment_name;
use crate::keys::{self, Family};
use crate::recovery::OpenErrorKind;
use crate::testing::copy_directory;

/// sled's own default.
const OTHER_SEGMENT_BYTES: u64 = 512 << 10;

/// A directory that a log wrote and closed, and what was acked in it.
struct Written {
    directory: TempDir,
    acked: Vec<String>,
}

impl Written {
    /// Events of `bytes` each; with `applied`, all but the last ones are in sled, and the journal has
    /// begun to use its segments again if they are many.
    fn new(events: usize, bytes: usize) -> Self {
        let directory = TempDir::new().unwrap();
        let plain = Config {
            compression: Compression::None,
            // All of it in sled, so that there is something to damage.
            inline_bytes_max: usize::MAX,
            ..config(&directory)
        };
        let log = EventLog::open(plain).unwrap();
        let mut acked = Vec::new();
        for index in 0..events {
            let payload = format!("{index}{}", "y".repeat(bytes));
            log.append_blocking(vec![event(1, payload.clone())])
                .unwrap();
            acked.push(payload);
            if index % 5 == 0 {
                log.delivery_state().unwrap();
            }
        }
        log.close().unwrap();
        drop(log);
        Self { directory, acked }
    }

    /// Four segments of sled, so that there are middle ones.
    fn large() -> Self {
        Self::new(60, 200_000)
    }

    fn small() -> Self {
        Self::new(20, 100)
    }

    /// Opened and closed once more, after which sled has written a snapshot.
    fn with_snapshot(self) -> Self {
        drop(open(&self.directory));
        assert!(has_snapshot(&self.directory.path().join("log/sled")));
        self
    }

    /// A copy, after something was done to its directory of sled.
    fn copy(&self, set: impl FnOnce(&Path)) -> TempDir {
        let copy = TempDir::new().unwrap();
        copy_directory(&self.directory.path().join("log"), &copy.path().join("log"));
        set(&copy.path().join("log/sled"));
        copy
    }

    /// What sled alone makes of a copy.
    fn raw(&self, segment_bytes: u64, set: impl FnOnce(&Path)) -> Raw {
        open_raw(&self.copy(set).path().join("log/sled"), segment_bytes)
    }

    /// The log serves all that was acked.
    #[track_caller]
    fn served(&self, copy: &TempDir) {
        let log = open(copy);
        assert!(payloads(&log) == self.acked, "acked events are missing");
    }
}

fn has_snapshot(sled: &Path) -> bool {
    let entries = fs::read_dir(sled).unwrap();
    let mut names = entries.map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_string_lossy().starts_with("snap."))
}

/// The error of an open, after it named its directory.
#[track_caller]
fn refused(directory: &TempDir) -> OpenErrorKind {
    let error = EventLog::open(config(directory)).unwrap_err();
    assert_eq!(error.directory, directory.path().join("log"));
    error.kind
}

fn edit(file: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    edit(&mut bytes);
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_half_written_snapshot_is_removed() {
    let written = Written::small();
    // A crash while sled writes it; its name sorts after every snapshot's (sled issue 1527).
    let set = |sled: &Path| fs::write(sled.join("snap.00000000000FFFFF.generating"), b"x").unwrap();
    let raw = written.raw(SEGMENT_BYTES, set);
    assert!(
        matches!(&raw, Raw::Refused(reason) if reason.contains("corrupted")),
        "{raw:?}"
    );
    written.served(&written.copy(set));
}

#[test]
fn a_lost_segment_size_is_known_from_the_manifest() {
    let written = Written::large();
    let set = |sled: &Path| fs::write(sled.join("conf"), b"").unwrap();
    let whole = written.raw(SEGMENT_BYTES, |_| {}).rows("log");
    assert!(whole > 0);
    let raw = written.raw(OTHER_SEGMENT_BYTES, set);
    assert!(matches!(raw, Raw::Opened(_)), "{raw:?}");
    assert_eq!(
        raw.rows("log"),
        0,
        "sled opens it with a wrong size, and everything is gone"
    );
    written.served(&written.copy(set));
    // Half of it, and a file of the same length that is not it.
    written.served(&written.copy(|sled| edit(&sled.join("conf"), |conf| conf.truncate(7))));
    let copy = written.copy(|sled| edit(&sled.join("conf"), |conf| conf.fill(b'x')));
    assert!(matches!(refused(&copy), OpenErrorKind::Engine(_)));
}

#[test]
fn another_segment_size_is_refused_before_the_database_is_touched() {
    let written = Written::small();
    let raw = written.raw(OTHER_SEGMENT_BYTES, |_| {});
    assert!(matches!(&raw, Raw::Refused(reason) if reason.contains("please change it back")));
    // A directory of a program with another size says so in its MANIFEST.
    let copy = written.copy(|_| {});
    let manifest = copy.path().join("log/MANIFEST");
    let text = fs::read_to_string(&manifest).unwrap();
    let (body, _) = text.split_once("crc32c ").unwrap();
    let body = body.replace(&SEGMENT_BYTES.to_string(), &OTHER_SEGMENT_BYTES.to_string());
    let crc = crc32c::crc32c(body.as_bytes());
    fs::write(&manifest, format!("{body}crc32c {crc:08x}\n")).unwrap();
    let before = fs::read(copy.path().join("log/sled/db")).unwrap();
    match refused(&copy) {
        OpenErrorKind::Directory(DirectoryError::Mismatch {
            path,
            field,
            found,
            expected,
        }) => {
            assert_eq!(path, manifest);
            assert_eq!(field, "sled_segment_bytes");
            assert_eq!((found, expected), (OTHER_SEGMENT_BYTES, SEGMENT_BYTES));
        }
        error => panic!("{error}"),
    }
    assert!(fs::read(copy.path().join("log/sled/db")).unwrap() == before);
    // And a database of another size under our MANIFEST is refused by sled, whose word we pass on.
    let copy = written.copy(|sled| {
        fs::remove_dir_all(sled).unwrap();
        write_raw(sled, OTHER_SEGMENT_BYTES, &[10; 10]);
    });
    let error = refused(&copy).to_string();
    assert!(error.contains("please change it back to 524288"), "{error}");
}

#[test]
fn blobs_are_refused() {
    // A leaf of two values of 64 KiB is above a quarter of sled's own segment: it becomes a blob.
    let scratch = TempDir::new().unwrap();
    let sled = scratch.path().join("sled");
    write_raw(&sled, OTHER_SEGMENT_BYTES, &[64 << 10; 40]);
    let blobs = |sled: &Path| -> Vec<_> {
        let entries = fs::read_dir(sled.join("blobs")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    assert!(!blobs(&sled).is_empty());
    assert_eq!(open_raw(&sled, OTHER_SEGMENT_BYTES).rows("log"), 40);
    // sled never syncs them, so a power cut takes them away.
    let cut = copy_directory(&sled, &scratch.path().join("cut"));
    for blob in blobs(&cut) {
        fs::remove_file(blob).unwrap();
    }
    let raw = open_raw(&cut, OTHER_SEGMENT_BYTES);
    assert!(raw.rows("log") < 40, "{raw:?}");
    // Ours: never written (`large_events_are_stored_in_chunks_and_never_as_blobs`), and refused.
    let written = Written::small();
    let copy = written.copy(|ours| {
        copy_directory(&sled.join("blobs"), &ours.join("blobs"));
    });
    match refused(&copy) {
        OpenErrorKind::Directory(DirectoryError::Blobs { path }) => {
            assert_eq!(path, copy.path().join("log/sled/blobs"));
        }
        error => panic!("{error}"),
    }
}

/// What is done to sled's data file.
type Harm = (&'static str, fn(&mut Vec<u8>));

const SEGMENT: usize = 8 << 20;

/// In the middle of the database and near its end, in messages and in headers of segments.
const HARMS: [Harm; 8] = [
    ("the header of the first segment is gone", |db| {
        db[..20].fill(0);
    }),
    ("a bit of an early message is flipped", |db| db[100] ^= 1),
    ("a bit in the second segment is flipped", |db| {
        db[SEGMENT + (3 << 20)] ^= 1;
    }),
    ("the header of the second segment is gone", |db| {
        db[SEGMENT..][..20].fill(0);
    }),
    ("a bit in the fourth segment is flipped", |db| {
        db[3 * SEGMENT + 100] ^= 1;
    }),
    ("the header of the fourth segment is gone", |db| {
        db[3 * SEGMENT..][..20].fill(0);
    }),
    ("the second half is gone", |db| db.truncate(db.len() / 2)),
    ("all of it is gone", Vec::clear),
];

#[test]
fn damage_to_the_database_is_healed_or_told() {
    let written = Written::large();
    let whole = written.raw(SEGMENT_BYTES, |_| {});
    let written_again = Written::large().with_snapshot();
    let (mut lost, mut panicked, mut said) = (0, 0, 0);
    for (written, snapshot) in [(&written, false), (&written_again, true)] {
        for (what, harm) in HARMS {
            let set = |sled: &Path| edit(&sled.join("db"), harm);
            match written.raw(SEGMENT_BYTES, set) {
                Raw::Opened(rows) if Raw::Opened(rows.clone()) != whole => lost += 1,
                Raw::Opened(_) => {}
                Raw::Panicked(_) => panicked += 1,
                Raw::Refused(_) => said += 1,
            }
            let copy = written.copy(set);
            match EventLog::open(config(&copy)) {
                // Damage to what sled reads through a snapshot shows when it is read.
                Ok(log) => {
                    if let Ok(records) = log.read(Offset::ZERO, ALL) {
                        assert_eq!(records.len(), written.acked.len(), "{what}");
                    }
                }
                Err(error) => match error.kind {
                    OpenErrorKind::Engine(
                        EngineError::Panicked { .. } | EngineError::Failed { .. },
                    )
                    | OpenErrorKind::Damaged { .. } => {}
                    // sled went back in time without a word, further than the journal reaches.
                    OpenErrorKind::Journal { reason } => {
                        assert!(reason.contains("are missing"), "{what}: {reason}");
                    }
                    error => panic!("{what}, snapshot {snapshot}: {error}"),
                },
            }
        }
    }
    // What the fences are for: sled alone lost rows without a word, panicked, and refused.
    assert!(
        lost > 3 && panicked > 1 && said > 0,
        "{lost} {panicked} {said}"
    );
}

const ALL: Limit = Limit {
    items: usize::MAX,
    bytes: usize::MAX,
};

#[test]
fn a_panic_of_the_database_is_an_error_of_the_open() {
    let written = Written::large();
    let set = |sled: &Path| edit(&sled.join("db"), |db| db[SEGMENT + (3 << 20)] ^= 1);
    let raw = written.raw(SEGMENT_BYTES, set);
    assert!(
        matches!(&raw, Raw::Panicked(reason) if reason.contains("serialize")),
        "{raw:?}"
    );
    match refused(&written.copy(set)) {
        OpenErrorKind::Engine(EngineError::Panicked { action, reason }) => {
            assert_eq!(action, "open");
            assert!(reason.contains("tried to serialize"), "{reason}");
        }
        error => panic!("{error}"),
    }
    // The process goes on: another directory opens and is written to.
    let copy = written.copy(|_| {});
    let log = open(&copy);
    log.append_blocking(vec![event(1, "after")]).unwrap();
    assert_eq!(payloads(&log).len(), written.acked.len() + 1);
}

#[test]
fn a_snapshot_that_is_damaged_is_set_aside() {
    let written = Written::small().with_snapshot();
    let set = |sled: &Path| {
        for entry in fs::read_dir(sled).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("snap.")
            {
                edit(&path, |bytes| bytes[40] ^= 1);
            }
        }
    };
    let raw = written.raw(SEGMENT_BYTES, set);
    assert!(matches!(raw, Raw::Refused(_)), "{raw:?}");
    let copy = written.copy(set);
    written.served(&copy);
    assert!(has_snapshot(&copy.path().join("log/sled-snapshots-aside")));
}

#[test]
fn an_index_row_that_is_gone_is_told() {
    let written = Written::small();
    let copy = written.copy(|sled| {
        let engine = Engine::open(sled, &sled.join("db"), crate::engine::Sizes::STANDARD).unwrap();
        let all = (Bound::Unbounded, Bound::Unbounded);
        let first = engine.edge(Family::AppLog, all, Edge::First).unwrap();
        let (key, _) = first.unwrap();
        let (family, value) = (Family::AppLog, None);
        engine.commit(&[Op { family, key, value }]).unwrap();
        engine.barrier().unwrap();
    });
    match refused(&copy) {
        OpenErrorKind::Damaged { reason } => {
            let told = "the events at 0 are not in the index of application app_";
            assert!(reason.contains(told), "{reason}");
        }
        error => panic!("{error}"),
    }
}

/// A directory whose events are in the journal alone, as kill -9 leaves it.
fn killed(events: usize, bytes: usize) -> Written {
    let live = TempDir::new().unwrap();
    let slow = Config {
        barrier_interval: std::time::Duration::from_hours(1),
        ..config(&live)
    };
    let log = EventLog::open(slow).unwrap();
    let directory = TempDir::new().unwrap();
    // sled as it was before the first event, and the journal as it is after the last one.
    copy_directory(&live.path().join("log"), &directory.path().join("log"));
    let mut acked = Vec::new();
    for index in 0..events {
        let payload = format!("{index}{}", "y".repeat(bytes));
        log.append_blocking(vec![event(1, payload.clone())])
            .unwrap();
        acked.push(payload);
    }
    let journal = |root: &TempDir| root.path().join("log/journal");
    copy_directory(&journal(&live), &journal(&directory));
    Written { directory, acked }
}

/// A commit that is too large for one transaction is applied in several. What a crash leaves of it is not
/// what the next apply writes: that one takes the commits behind it along.
#[test]
fn what_was_applied_halfway_is_removed_before_it_is_applied_again() {
    let written = killed(10, 1000);
    let copy = written.copy(|sled| {
        let engine = Engine::open(sled, &sled.join("db"), crate::engine::Sizes::STANDARD).unwrap();
        let mut index = Index::new(Family::AppLog);
        (0..5).for_each(|offset| index.add([1; 20], 0, offset, 0));
        let mut ops: Vec<Op> = index.finish().collect();
        for base in [0, 3] {
            ops.push(Op {
                family: Family::Log,
                key: keys::batch(base, 0),
                value: Some(vec![7; 100]),
            });
        }
        engine.commit(&ops).unwrap();
        engine.barrier().unwrap();
    });
    written.served(&copy);
    let log = open(&copy);
    let application = ApplicationId::from_bytes([1; 20]);
    let limit = Limit {
        items: 100,
        bytes: 1 << 20,
    };
    for order in [Order::Ascending, Order::Descending] {
        let whole = Offset::ZERO..log.end();
        let page = log
            .read_application(application, whole, order, limit)
            .unwrap();
        assert_eq!(page.records.len(), 10);
    }
    log.close().unwrap();
    drop(log);
    let scratch = copy.path().join("scratch");
    let report = crate::check(&copy.path().join("log"), &scratch, |_| {}).unwrap();
    assert!(report.is_good(), "{report:?}");
}

#[test]
fn damage_to_the_journal_names_the_byte() {
    let written = killed(10, 1000);
    written.served(&written.copy(|_| {}));
    let segment = |sled: &Path| sled.join("../journal").join(segment_name(0));
    let copy = written.copy(|sled| edit(&segment(sled), |bytes| bytes[4096 + 100] ^= 1));
    match refused(&copy) {
        OpenErrorKind::Journal { reason } => {
            assert!(
                reason.contains("journal frame 0 is damaged at byte 4096 of"),
                "{reason}"
            );
            assert!(reason.contains(&segment_name(0)), "{reason}");
        }
        error => panic!("{error}"),
    }
}

#[test]
fn a_torn_tail_of_the_journal_is_dropped() {
    let written = killed(10, 1000);
    let segment = |sled: &Path| sled.join("../journal").join(segment_name(0));
    let copy = written.copy(|sled| {
        edit(&segment(sled), |bytes| {
            // A frame has a block of its own, and that of an event more than 1,000 bytes; what seals has less.
            let has_event = |block: &[u8]| block[600..].iter().any(|byte| *byte != 0);
            let last = bytes.chunks(4096).rposition(has_event).unwrap();
            bytes[last * 4096 + 600..].fill(0);
        });
    });
    let found = payloads(&open(&copy));
    assert_eq!(found, written.acked[..9]);
}

#[test]
fn a_missing_segment_in_the_middle_names_its_frames() {
    let written = killed(30, 100_000);
    let journal = |copy: &TempDir| copy.path().join("log/journal");
    let segments = fs::read_dir(journal(&written.directory)).unwrap().count();
    assert!(segments >= 3, "{segments} segments have no middle one");
    written.served(&written.copy(|_| {}));
    let copy = written.copy(|_| {});
    fs::remove_file(journal(&copy).join(segment_name(1))).unwrap();
    match refused(&copy) {
        OpenErrorKind::Journal { reason } => {
            let told = reason.contains("journal frame") || reason.contains("journal frames");
            assert!(
                told && reason.contains("proves") || reason.contains("are missing"),
                "{reason}"
            );
        }
        error => panic!("{error}"),
    }
}
