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

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

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
    /// How many of these must survive.
    durable: usize,
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
    /// How many of these survive whatever comes; the others are written, but not synced.
    durable: usize,
}

/// When a round makes its copies, and how often it cuts them.
#[derive(Clone, Copy)]
struct Plan {
    moments: u64,
    cuts: u64,
    /// Changes of the disk between two moments: from 1 to a random power of two, this at most.
    gap_bits: u32,
    acks: Acks,
}

/// When the log acks, and so what a cut must leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acks {
    /// Behind a sync: all that was acked.
    Synced,
    /// Before it: what was acked when the last sync of the journal that was completed began.
    BeforeSync,
    /// The same log, held to what it does not promise.
    BeforeSyncJudgedAsSynced,
}

/// Moments of all sizes of time: right after each other, and far apart.
const SPREAD: Plan = Plan {
    moments: 6,
    cuts: 2,
    gap_bits: 10,
    acks: Acks::Synced,
};
/// Each change while a log is created or recovered, which takes about 40.
const EACH: Plan = Plan {
    moments: 45,
    cuts: 1,
    gap_bits: 0,
    acks: Acks::Synced,
};
/// Many of the changes while a log is recovered.
const MANY: Plan = Plan {
    moments: 6,
    cuts: 1,
    gap_bits: 3,
    acks: Acks::Synced,
};
/// Every so many rounds begin with an empty disk, the others with what the one before left.
const LINEAGE: u64 = 3;
/// The seeds of rounds that begin with a recovery are this far above those of the others.
const RECOVERIES: u64 = 1 << 20;
/// The data directory on the disk; those above it are created with it.
const PLACE: &str = "srv/hooklog/data";

/// Rounds that may find nothing wrong with a disk that is: on a busy machine a sync may be over before
/// the next change of the disk, so that there was nothing to lose.
const TRIES: u64 = 8;

/// In the mode that acks before the sync, how long that may be put off: some dozen changes of the disk.
const SYNC_INTERVAL: Duration = Duration::from_millis(20);

fn watch(seed: u64, plan: Plan, list: &List, mut durable: usize) -> (Watch, Receiver<Moment>) {
    // Copies share their pages, so a few may wait.
    let (sender, moments) = sync_channel(2);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut gap = move || {
        let bits = random.u32(0..=plan.gap_bits);
        random.u64(1..=1 << bits)
    };
    let list = Arc::clone(list);
    let (mut operation, mut next, mut syncs) = (0, gap(), None);
    let watch = move |disk: &Disk| {
        operation += 1;
        // What is in the list now was written before it was acked, and so before this sync.
        let synced = syncs.replace(disk.journal_syncs());
        if synced.is_some_and(|before| before < disk.journal_syncs()) {
            durable = list.lock().len();
        }
        if operation == next {
            next += gap();
            let acked = list.lock().len();
            let durable = match plan.acks {
                Acks::BeforeSync => durable,
                Acks::Synced | Acks::BeforeSyncJudgedAsSynced => acked,
            };
            let disk = disk.clone();
            // Nobody listens any more when the round is over.
            let _ = sender.send(Moment {
                operation,
                acked,
                durable,
                disk,
            });
        }
    };
    (Box::new(watch), moments)
}

/// Writes, cuts and checks, until there were enough moments or `enough` says so.
fn round(
    seed: u64,
    plan: Plan,
    from: Left,
    mut enough: impl FnMut(Verdict) -> ControlFlow<()>,
) -> Left {
    let list: List = Arc::new(Mutex::new(from.acked));
    let (watch, moments) = watch(seed, plan, &list, from.durable);
    let killed = fastrand::Rng::with_seed(seed).bool();
    let mut left = None;
    let mounted = Mounted::new(from.disk, watch).unwrap();
    let interval = (plan.acks != Acks::Synced).then_some(SYNC_INTERVAL);
    let mut writer = Writer::start(&mounted.path().join(PLACE), seed, interval, &list);
    'round: for _ in 0..plan.moments {
        let Some(moment) = next_moment(&moments, &mut writer) else {
            drop(moments);
            let complaint = writer.stop();
            panic!("HOOKLOG_TEST_SEED={seed}: the program stands still or has ended: {complaint}");
        };
        let acked = list.lock()[..moment.acked].to_vec();
        let durable = moment.durable;
        for cut in 0..plan.cuts {
            let which = format!("seed {seed}, operation {}, cut {cut}", moment.operation);
            let disk = moment
                .disk
                .cut((seed << 32) ^ (moment.operation << 8) ^ cut);
            let survived = &acked[..durable];
            let result = judge(&disk, survived);
            left = Some(Left {
                disk,
                acked: survived.to_vec(),
                durable,
            });
            if enough(Verdict { which, result }).is_break() {
                break 'round;
            }
        }
        // Some rounds leave the disk as it was: the next one finds what a killed process left, and
        // a cut then takes what neither of them synced.
        if killed {
            let disk = moment.disk;
            left = Some(Left {
                disk,
                acked,
                durable,
            });
        }
    }
    drop(moments);
    writer.stop();
    mounted.unmount();
    left.unwrap()
}

/// The next moment; none if the program does not get there.
fn next_moment(moments: &Receiver<Moment>, writer: &mut Writer) -> Option<Moment> {
    // A thousand changes of the disk take a second, and far longer on a machine that is busy.
    let deadline = Instant::now() + 4 * PATIENCE;
    while Instant::now() < deadline {
        if let Ok(moment) = moments.recv_timeout(Duration::from_millis(100)) {
            return Some(moment);
        }
        if writer.has_ended() {
            break;
        }
    }
    None
}

/// Opens a cut disk as a real directory.
fn judge(disk: &Disk, acked: &[Acked]) -> Result<Found, String> {
    let scratch = scratch();
    disk.write_to(scratch.path()).unwrap();
    check(&scratch.path().join(PLACE), acked).map_err(|reason| {
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
        durable: 0,
    }
}

/// Collects what went wrong, and says so at the end.
#[derive(Default)]
struct Wrong {
    cuts: u64,
    lines: Vec<String>,
}

impl Wrong {
    fn take(&mut self, Verdict { which, result }: Verdict) -> ControlFlow<()> {
        self.cuts += 1;
        match result {
            Ok(Found { events }) => note(&format!("{which}: {events} events")),
            Err(reason) => {
                note(&format!("{which}: {reason}"));
                self.lines.push(format!("{which}: {reason}"));
            }
        }
        ControlFlow::Continue(())
    }

    #[track_caller]
    fn judge(self, seed: u64) {
        note(&format!("HOOKLOG_TEST_SEED={seed}: {} cuts", self.cuts));
        let wrong = self.lines.join("\n");
        assert!(wrong.is_empty(), "HOOKLOG_TEST_SEED={seed}:\n{wrong}");
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
    let mut wrong = Wrong::default();
    let mut left = empty(Syncs::Kept);
    for index in 0..rounds {
        if index.is_multiple_of(LINEAGE) {
            left = empty(Syncs::Kept);
        }
        left = round(seed + index, SPREAD, left, |verdict| wrong.take(verdict));
        left = round(seed + index + RECOVERIES, MANY, left, |verdict| {
            wrong.take(verdict)
        });
    }
    wrong.judge(seed);
}

#[test]
fn acks_before_the_sync_are_safe_from_the_last_sync_on() {
    if !can_run("power cuts", can_mount()) {
        return;
    }
    let _machine = shared();
    let seed = number("HOOKLOG_TEST_SEED", 1);
    let rounds = number("HOOKLOG_TEST_ROUNDS", 1);
    let before = |plan| Plan {
        acks: Acks::BeforeSync,
        ..plan
    };
    let mut wrong = Wrong::default();
    let mut left = empty(Syncs::Kept);
    for index in 0..rounds {
        if index.is_multiple_of(LINEAGE) {
            left = empty(Syncs::Kept);
        }
        let (written, recovered) = (before(SPREAD), before(MANY));
        left = round(seed + index, written, left, |verdict| wrong.take(verdict));
        left = round(seed + index + RECOVERIES, recovered, left, |verdict| {
            wrong.take(verdict)
        });
    }
    wrong.judge(seed);
}

#[test]
fn a_power_cut_while_a_log_is_created_or_recovered_leaves_one_that_opens() {
    if !can_run("power cuts", can_mount()) {
        return;
    }
    let _machine = shared();
    let seed = number("HOOKLOG_TEST_SEED", 1);
    let rounds = number("HOOKLOG_TEST_ROUNDS", 1).div_ceil(2);
    let mut wrong = Wrong::default();
    for seed in seed..seed + rounds {
        let created = round(seed, EACH, empty(Syncs::Kept), |verdict| {
            wrong.take(verdict)
        });
        round(seed, EACH, created, |verdict| wrong.take(verdict));
    }
    wrong.judge(seed);
}

/// The proof that the proof can fail.
#[test]
fn a_disk_that_forgets_syncs_is_found_out() {
    if !can_run("power cuts", can_mount()) {
        return;
    }
    let _machine = shared();
    let seed = number("HOOKLOG_TEST_SEED", 1);
    // Of the journal, of the database behind it, and of the batches beside that; and acks that came
    // before a sync that the disk keeps.
    for (syncs, acks) in [
        (Syncs::Forgotten, Acks::Synced),
        (Syncs::ForgottenFor("db"), Acks::Synced),
        (Syncs::ForgottenFor(".extent"), Acks::Synced),
        (Syncs::Forgotten, Acks::BeforeSync),
        (Syncs::Kept, Acks::BeforeSyncJudgedAsSynced),
    ] {
        let mut found = None;
        let plan = Plan { acks, ..SPREAD };
        for seed in seed..seed + TRIES {
            round(seed, plan, empty(syncs), |verdict| match verdict.result {
                Ok(_) => ControlFlow::Continue(()),
                Err(reason) => {
                    found = Some(format!("{}: {reason}", verdict.which));
                    ControlFlow::Break(())
                }
            });
            if found.is_some() {
                break;
            }
        }
        note(&format!("{syncs:?}, {acks:?}: {found:?}"));
        assert!(
            found.is_some(),
            "HOOKLOG_TEST_SEED={seed}: {syncs:?}, {acks:?}: nobody noticed"
        );
    }
}
