//! Power cuts: a log on a disk that forgets what was not synced.
//!
//! A program writes to a log on the file system of `power/fuse.rs`. At chosen operations of the disk
//! the disk is copied, with the list of what had been acked by then, while the program goes on. Of
//! each copy several cuts are made, and each is opened and checked: nothing acked is missing.
//!
//! **Invariant:** what a copy is held to was acked before the copy was made.
//! **Next:** `power/disk.rs`.

mod acked;
mod disk;
mod fuse;
mod program;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use parking_lot::Mutex;

use self::acked::{Acked, Found, check};
use self::disk::{Disk, Syncs};
use self::fuse::{Mounted, Watch, can_mount};
use self::writer::{List, Writer};
use crate::harness::{PATIENCE, can_run, note, number, shared};

/// The disk at one moment.
struct Moment {
    /// Changes of the disk before it.
    operation: u64,
    /// How many of the list had been acked.
    acked: usize,
    disk: Disk,
}

/// One cut, and what became of the log.
struct Verdict {
    /// What makes it happen again, as far as threads allow.
    which: String,
    result: Result<Found, String>,
}

/// What a round leaves to the next one.
struct Left {
    disk: Disk,
    acked: Vec<Acked>,
}

/// Moments of a round.
const MOMENTS: u64 = 6;
/// Cuts of a moment.
const CUTS: u64 = 2;
/// Every so many rounds begin with an empty disk, the others with what a cut left.
const LINEAGE: u64 = 3;
/// Changes of the disk between two moments: at most this power of two.
const GAP_BITS: u32 = 11;

/// Chooses moments of all sizes of time: right after each other, and far apart.
fn watch(seed: u64, list: &List) -> (Watch, Receiver<Moment>) {
    // Copies share their pages, so a few may wait.
    let (sender, moments) = sync_channel(2);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut gap = move || {
        let bits = random.u32(1..=GAP_BITS);
        random.u64(1..=1 << bits)
    };
    let list = Arc::clone(list);
    let (mut operation, mut next) = (0, gap());
    let watch = move |disk: &Disk| {
        operation += 1;
        if operation == next {
            next += gap();
            let acked = list.lock().len();
            let disk = disk.clone();
            // Nobody listens any more when the round is over.
            let _ = sender.send(Moment {
                operation,
                acked,
                disk,
            });
        }
    };
    (Box::new(watch), moments)
}

/// Writes, cuts and checks.
fn round(seed: u64, from: Left, verdicts: &mut Vec<Verdict>) -> Left {
    let list: List = Arc::new(Mutex::new(from.acked));
    let (watch, moments) = watch(seed, &list);
    let mut last = None;
    let mounted = Mounted::new(from.disk, watch).unwrap();
    let writer = Writer::start(&mounted.path().join("data"), seed, &list);
    for _ in 0..MOMENTS {
        let moment = match moments.recv_timeout(PATIENCE) {
            Ok(moment) => moment,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                drop(moments);
                let complaint = writer.stop();
                panic!("HOOKLOG_TEST_SEED, round {seed}: the program stands still: {complaint}");
            }
        };
        let acked = list.lock()[..moment.acked].to_vec();
        for cut in 0..CUTS {
            let which = format!("round {seed}, operation {}, cut {cut}", moment.operation);
            let disk = moment
                .disk
                .cut((seed << 32) ^ (moment.operation << 8) ^ cut);
            let result = judge(&disk, &acked);
            verdicts.push(Verdict { which, result });
            last = Some(Left {
                disk,
                acked: acked.clone(),
            });
        }
    }
    drop(moments);
    writer.stop();
    mounted.unmount();
    last.unwrap()
}

/// Opens a cut disk as a real directory.
fn judge(disk: &Disk, acked: &[Acked]) -> Result<Found, String> {
    let scratch = scratch();
    disk.write_to(scratch.path()).unwrap();
    check(&scratch.path().join("data"), acked).map_err(|reason| {
        let kept = keep(disk);
        format!("{reason} (as cut: {})", kept.display())
    })
}

/// In memory where that is possible.
fn scratch() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.or_else(|_| tempfile::tempdir()).unwrap()
}

/// Leaves what did not open for a person to look at, if one asked for it.
fn keep(disk: &Disk) -> PathBuf {
    if std::env::var_os("HOOKLOG_TEST_KEEP").is_none() {
        return "not kept; set HOOKLOG_TEST_KEEP".into();
    }
    let kept = tempfile::tempdir().unwrap().keep();
    disk.write_to(&kept).unwrap();
    kept
}

fn empty(syncs: Syncs) -> Left {
    Left {
        disk: Disk::new(syncs),
        acked: Vec::new(),
    }
}

#[test]
fn no_power_cut_loses_what_was_acked() {
    if !can_run("power cuts", can_mount()) {
        return;
    }
    let _machine = shared();
    let seed = number("HOOKLOG_TEST_SEED", 1);
    let rounds = number("HOOKLOG_TEST_ROUNDS", 1);
    let mut verdicts = Vec::new();
    let mut left = empty(Syncs::Kept);
    for index in 0..rounds {
        if index.is_multiple_of(LINEAGE) {
            left = empty(Syncs::Kept);
        }
        left = round(seed + index, left, &mut verdicts);
    }
    let mut wrong = Vec::new();
    for Verdict { which, result } in verdicts {
        match result {
            Ok(Found { events }) => note(&format!("{which}: {events} events")),
            Err(reason) => wrong.push(format!("{which}: {reason}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "HOOKLOG_TEST_SEED={seed}:\n{}",
        wrong.join("\n")
    );
}

/// The proof that the proof can fail.
#[test]
fn a_disk_that_forgets_syncs_is_found_out() {
    if !can_run("power cuts", can_mount()) {
        return;
    }
    let _machine = shared();
    let seed = number("HOOKLOG_TEST_SEED", 1);
    for syncs in [Syncs::Forgotten, Syncs::ForgottenFor("db")] {
        let mut verdicts = Vec::new();
        round(seed, empty(syncs), &mut verdicts);
        let mut wrong = Vec::new();
        for Verdict { which, result } in verdicts {
            wrong.extend(result.err().map(|reason| format!("{which}: {reason}")));
        }
        note(&format!("{syncs:?}: {wrong:#?}"));
        assert!(!wrong.is_empty(), "{syncs:?}: nobody noticed");
    }
}
