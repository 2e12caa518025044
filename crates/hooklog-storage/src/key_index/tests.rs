use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use tempfile::TempDir;

use super::*;
use crate::id::EventId;
use crate::testing::{assert_golden, copy_directory};
use crate::time::Timestamp;

/// Small enough that every path is walked with some hundred keys.
pub(super) const SMALL: Limits = Limits {
    entries_max: 100_000,
    memtable_max: 400,
};
pub(super) static GO: AtomicBool = AtomicBool::new(false);

/// Spreads a number evenly (splitmix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(super) fn hash(key: u64) -> KeyHash {
    let (high, low) = (mix(key), mix(!key));
    let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    KeyHash::new(bytes)
}

/// The event at an offset; there is one every 4 ms, as exact as ids are.
pub(super) fn time(offset: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + i64::try_from(offset).unwrap() * 4)
}

pub(super) fn entry(key: u64, offset: u64) -> KeyEntry {
    KeyEntry {
        hash: hash(key),
        id: EventId::at(time(offset), Offset::new(offset), [7; 7]),
        fingerprint: mix(offset),
    }
}

pub(super) fn open(directory: &Path, end: u64) -> KeyIndex {
    KeyIndex::open(directory, SMALL, Offset::new(end)).unwrap()
}

/// Inserts key `n` at offset `n` for all of the range and seals them.
pub(super) fn seal(index: &KeyIndex, keys: std::ops::Range<u64>) {
    for key in keys.clone() {
        index.insert(&entry(key, key)).unwrap();
    }
    index.seal(Offset::new(keys.end)).unwrap();
}

fn merge_all(index: &KeyIndex) -> usize {
    let mut steps = 0;
    while index.merge_step(&GO).unwrap() == MergeStep::Merged {
        steps += 1;
    }
    steps
}

fn floor_at(offset: u64) -> Floor {
    Floor {
        offset: Offset::new(offset),
        ..Floor::default()
    }
}

/// Which of the keys are found; each must be the event at its own offset.
pub(super) fn found(index: &KeyIndex, keys: std::ops::Range<u64>) -> Vec<u64> {
    keys.filter(|key| {
        let found = index.get(&hash(*key)).unwrap();
        assert!(found.is_none_or(|found| found == entry(*key, *key)));
        found.is_some()
    })
    .collect()
}

#[test]
fn the_bytes_of_a_run_and_of_the_list_are_golden() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), u64::MAX);
    index.insert(&entry(1, 5)).unwrap();
    index.insert(&entry(2, 6)).unwrap();
    index.seal(Offset::new(7)).unwrap();
    let run = fs::read(run_writer::run_path(directory.path(), 0)).unwrap();
    // Header, filter, entries; the rest is zeros and the checksum of the block.
    assert_eq!(run.len(), 3 * 4096);
    let mut golden = run[..80].to_vec();
    golden.extend_from_slice(&run[4096..4096 + 64]);
    golden.extend_from_slice(&run[8192..8192 + 96]);
    golden.extend_from_slice(&run[3 * 4096 - 8..]);
    assert_golden("key_run.hex", &golden);
    assert!(run[80..4096].iter().all(|byte| *byte == 0));
    seal(&index, 7..8);
    drop(index);
    drop(open(directory.path(), 6));
    let list = fs::read_to_string(directory.path().join("RUNS")).unwrap();
    assert_golden("key_runs_list.hex", list.as_bytes());
    assert!(list.contains("covered 6\nnext 2\nrun 0 end 6\ncrc32c "));
}

/// The log beside the index, and what the index must answer.
struct Model {
    directory: TempDir,
    index: KeyIndex,
    /// Every key in the order of the log; its place is its offset.
    log: Vec<KeyEntry>,
    live: HashMap<KeyHash, KeyEntry>,
    floor: Floor,
}

impl Model {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let index = open(directory.path(), 0);
        let (log, live, floor) = (Vec::new(), HashMap::new(), Floor::default());
        Self {
            directory,
            index,
            log,
            live,
            floor,
        }
    }

    /// What the committer does with an event that has a key.
    fn publish(&mut self, key: u64) {
        let found = self.index.get(&hash(key)).unwrap();
        assert_eq!(found, self.live.get(&hash(key)).copied());
        if found.is_none() {
            let entry = entry(key, self.log.len() as u64);
            self.index.insert(&entry).unwrap();
            self.log.push(entry);
            // After a cut the next events may lie below the floor.
            if self.floor.keeps(&entry.id) {
                self.live.insert(entry.hash, entry);
            }
        }
    }

    fn expire(&mut self, floor: Floor) {
        self.floor.raise(floor);
        self.index.expire(floor).unwrap();
        let floor = self.floor;
        self.live.retain(|_, entry| floor.keeps(&entry.id));
    }

    /// A restart, after which the log ends at `end`.
    fn reopen(&mut self, end: usize) {
        self.log.truncate(end);
        let end = Offset::new(end as u64);
        self.live.retain(|_, entry| entry.id.offset() < end);
        self.index = KeyIndex::open(self.directory.path(), SMALL, end).unwrap();
        let covered = self.index.covered();
        assert!(covered <= end);
        for entry in &self.log[usize::try_from(covered.get()).unwrap()..] {
            self.index.insert(entry).unwrap();
        }
        self.index.expire(self.floor).unwrap();
    }

    fn check(&self, keys: u64) {
        for key in 0..keys {
            let expected = self.live.get(&hash(key)).copied();
            assert_eq!(self.index.get(&hash(key)).unwrap(), expected, "key {key}");
        }
    }
}

#[test]
fn it_answers_as_a_map_does() {
    // Keys come back after they expired, so runs hold several entries of one hash.
    const KEYS: u64 = 600;
    for seed in 0..6 * crate::testing::rounds() {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut model = Model::new();
        let mut merges = 0;
        for _ in 0..900 {
            let end = model.log.len() as u64;
            match rng.u32(..100) {
                0..75 => model.publish(rng.u64(..KEYS)),
                75..84 => {
                    let up_to = end.saturating_sub(rng.u64(..3));
                    model.index.seal(Offset::new(up_to)).unwrap();
                }
                84..92 => merges += merge_all(&model.index),
                92..96 => model.expire(floor_at(end.saturating_sub(rng.u64(..300)))),
                96..98 => model.expire(Floor {
                    time: time(end.saturating_sub(rng.u64(..300))),
                    ..Floor::default()
                }),
                98 => model.reopen(model.log.len()),
                _ => model.reopen(model.log.len().saturating_sub(rng.usize(..20))),
            }
            if model.index.stats().memtable > 300 {
                model
                    .index
                    .seal(Offset::new(model.log.len() as u64))
                    .unwrap();
            }
        }
        model.check(KEYS);
        model.index.verify().unwrap();
        assert!(merges > 0, "seed {seed} merged nothing");
        assert!(model.log.len() > 100, "seed {seed} published too little");
    }
}

#[test]
fn a_seal_takes_what_is_below_and_says_what_is_covered() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), 0);
    for key in 0..10 {
        index.insert(&entry(key, key)).unwrap();
    }
    index.seal(Offset::new(7)).unwrap();
    assert_eq!(
        (index.stats().memtable, index.covered()),
        (3, Offset::new(7))
    );
    assert_eq!(found(&index, 0..12), (0..10).collect::<Vec<_>>());
    drop(index);
    let index = open(directory.path(), 10);
    assert_eq!(
        (index.stats().memtable, index.covered()),
        (0, Offset::new(7))
    );
    assert_eq!(found(&index, 0..12), (0..7).collect::<Vec<_>>());
    // Without keys a seal only moves the mark, and never back.
    index.seal(Offset::new(9)).unwrap();
    index.seal(Offset::new(8)).unwrap();
    assert_eq!((index.stats().runs, index.covered()), (1, Offset::new(9)));
    drop(index);
    assert_eq!(open(directory.path(), 10).covered(), Offset::new(9));
    // The floor expires everything: no run, but covered all the same.
    let index = open(directory.path(), 10);
    index.expire(floor_at(9)).unwrap();
    assert_eq!((index.stats().runs, index.covered()), (0, Offset::new(9)));
}

#[test]
fn expiry_is_exact_and_deletes_whole_runs() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), 0);
    seal(&index, 0..100);
    seal(&index, 100..200);
    seal(&index, 200..250);
    for key in 250..300 {
        index.insert(&entry(key, key)).unwrap();
    }
    for (floor, first, runs) in [
        (floor_at(37), 37, 3),
        (floor_at(20), 37, 3),
        (
            Floor {
                time: time(99),
                ..Floor::default()
            },
            99,
            3,
        ),
        (floor_at(100), 100, 2),
        (
            Floor {
                time: time(260),
                ..Floor::default()
            },
            260,
            0,
        ),
        (floor_at(300), 300, 0),
    ] {
        index.expire(floor).unwrap();
        assert_eq!(found(&index, 0..300), (first..300).collect::<Vec<_>>());
        assert_eq!(index.stats().runs, runs);
        let files = crate::testing::files(directory.path());
        assert_eq!(files.len(), runs + 1, "the runs and their list");
    }
}

#[test]
fn the_bounds_hold() {
    let directory = TempDir::new().unwrap();
    let limits = Limits {
        entries_max: 800,
        memtable_max: 100,
    };
    let index = KeyIndex::open(directory.path(), limits, Offset::ZERO).unwrap();
    for key in 0..100 {
        index.insert(&entry(key, key)).unwrap();
    }
    let full = index.insert(&entry(100, 100)).unwrap_err();
    assert!(matches!(full, KeyIndexError::Full { limit: 100 }), "{full}");
    for start in (0..2000).step_by(50) {
        index.seal(Offset::new(start)).unwrap();
        seal(&index, start.max(100)..start + 50);
        merge_all(&index);
        assert!(index.stats().entries <= 800);
    }
    let stats = index.stats();
    // No run is above 100 entries, so at most that much is missing from what is allowed.
    assert!((700..=800).contains(&stats.entries), "{stats:?}");
    assert_eq!(stats.entries + stats.dropped, 2000);
    let kept = found(&index, 0..2000);
    assert_eq!(kept, (2000 - stats.entries..2000).collect::<Vec<_>>());
    let limits = Limits {
        entries_max: 799,
        ..limits
    };
    let error = KeyIndex::open(directory.path(), limits, Offset::MAX).unwrap_err();
    assert!(matches!(error, KeyIndexError::Limits { .. }), "{error}");
}

#[test]
fn seals_stop_when_merging_is_behind() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), 0);
    for key in 0..RUNS_MAX as u64 {
        seal(&index, key..key + 1);
    }
    let next = RUNS_MAX as u64;
    index.insert(&entry(next, next)).unwrap();
    let error = index.seal(Offset::new(next + 1)).unwrap_err();
    assert!(matches!(error, KeyIndexError::Behind { .. }), "{error}");
    assert_eq!(index.merge_step(&GO).unwrap(), MergeStep::Merged);
    index.seal(Offset::new(next + 1)).unwrap();
    merge_all(&index);
    assert!(index.stats().runs < 2 * merge::FAN_IN);
    assert_eq!(found(&index, 0..next + 1).len(), RUNS_MAX + 1);
}

#[test]
fn what_a_failed_seal_set_aside_is_written_by_the_next() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("keys");
    let index = open(&directory, 0);
    for key in 0..10 {
        index.insert(&entry(key, key)).unwrap();
    }
    fs::remove_dir(&directory).unwrap();
    let error = index.seal(Offset::new(10)).unwrap_err();
    assert!(matches!(error, KeyIndexError::Io(_)), "{error}");
    for key in 10..15 {
        index.insert(&entry(key, key)).unwrap();
    }
    assert_eq!(
        (index.stats().memtable, index.covered()),
        (15, Offset::ZERO)
    );
    assert_eq!(found(&index, 0..20), (0..15).collect::<Vec<_>>());
    fs::create_dir(&directory).unwrap();
    index.seal(Offset::new(14)).unwrap();
    let stats = index.stats();
    assert_eq!((stats.runs, stats.entries, stats.memtable), (2, 14, 1));
    assert_eq!(found(&index, 0..20), (0..15).collect::<Vec<_>>());
    drop(index);
    let index = open(&directory, 15);
    assert_eq!(index.covered(), Offset::new(14));
    assert_eq!(found(&index, 0..20), (0..14).collect::<Vec<_>>());
}

#[test]
fn of_equal_hashes_the_newer_counts() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), 0);
    for offset in 0..8 {
        index.insert(&entry(1, offset)).unwrap();
        index.insert(&entry(100 + offset, offset)).unwrap();
        assert_eq!(index.get(&hash(1)).unwrap(), Some(entry(1, offset)));
        index.seal(Offset::new(offset + 1)).unwrap();
        assert_eq!(index.get(&hash(1)).unwrap(), Some(entry(1, offset)));
    }
    assert_eq!(merge_all(&index), 1);
    assert_eq!(index.get(&hash(1)).unwrap(), Some(entry(1, 7)));
    assert_eq!(index.stats().entries, 9, "the older ones are gone");
    assert_eq!(index.verify().unwrap(), 9);
}

#[test]
fn what_the_log_lost_is_forgotten_for_good() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), 0);
    seal(&index, 0..100);
    seal(&index, 100..200);
    seal(&index, 200..300);
    drop(index);
    let index = open(directory.path(), 150);
    assert_eq!((index.stats().runs, index.covered()), (2, Offset::new(150)));
    assert_eq!(found(&index, 0..300), (0..150).collect::<Vec<_>>());
    // Other events get the offsets that were lost.
    for key in 150..180 {
        index.insert(&entry(key + 1000, key)).unwrap();
    }
    index.seal(Offset::new(180)).unwrap();
    drop(index);
    let index = open(directory.path(), 180);
    assert_eq!(found(&index, 0..300), (0..150).collect::<Vec<_>>());
    assert_eq!(index.get(&hash(1160)).unwrap(), Some(entry(1160, 160)));
    for start in 180..190 {
        seal(&index, start..start + 1);
    }
    assert!(merge_all(&index) > 0);
    assert_eq!(found(&index, 0..160), (0..150).collect::<Vec<_>>());
    assert_eq!(index.verify().unwrap(), index.stats().entries);
}

#[test]
fn a_merge_that_is_told_to_stop_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), 0);
    for start in 0..8 {
        seal(&index, start * 10..start * 10 + 10);
    }
    let before = crate::testing::files(directory.path());
    let stopped = index.merge_step(&AtomicBool::new(true)).unwrap();
    assert_eq!(stopped, MergeStep::Stopped);
    assert_eq!(crate::testing::files(directory.path()), before);
    assert_eq!(index.merge_step(&GO).unwrap(), MergeStep::Merged);
    assert_eq!(index.merge_step(&GO).unwrap(), MergeStep::Idle);
    assert_eq!(found(&index, 0..80).len(), 80);
}

#[test]
fn a_merge_of_expired_keys_leaves_no_run() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), 0);
    // Each run has one key that keeps it alive by offset and one that does by time: none is wholly
    // below the floor, all its keys are.
    for offset in 0..8 {
        let mut old = entry(offset, offset + 100);
        old.id = EventId::at(time(0), Offset::new(offset + 100), [7; 7]);
        let mut low = entry(offset + 50, offset);
        low.id = EventId::at(time(900), Offset::new(offset), [7; 7]);
        index.insert(&old).unwrap();
        index.insert(&low).unwrap();
        index.seal(Offset::new(offset + 101)).unwrap();
    }
    let floor = Floor {
        time: time(500),
        offset: Offset::new(50),
    };
    index.expire(floor).unwrap();
    assert_eq!(index.stats().runs, 8);
    assert_eq!(index.get(&hash(3)).unwrap(), None);
    assert_eq!(index.merge_step(&GO).unwrap(), MergeStep::Merged);
    assert_eq!(index.stats().runs, 0);
    assert_eq!(crate::testing::files(directory.path()).len(), 1);
}

#[test]
fn crowded_hashes_spill_into_the_next_blocks() {
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), 0);
    // All at the lower and the upper end: the homes between are empty, the last one spills.
    let crowd = |key: u64| {
        let mut bytes = *hash(key).as_bytes();
        bytes[..4].copy_from_slice(if key.is_multiple_of(2) {
            &[0; 4]
        } else {
            &[255; 4]
        });
        KeyHash::new(bytes)
    };
    for key in 0..400 {
        let mut entry = entry(key, key);
        entry.hash = crowd(key);
        index.insert(&entry).unwrap();
    }
    index.seal(Offset::new(400)).unwrap();
    assert_eq!(index.verify().unwrap(), 400);
    for key in 0..400 {
        let found = index.get(&crowd(key)).unwrap().unwrap();
        assert_eq!(found.id, entry(key, key).id);
        assert_eq!(index.get(&crowd(key + 400)).unwrap(), None);
    }
}

#[test]
fn lookups_go_on_while_runs_are_sealed_merged_and_dropped() {
    const SEALS: u64 = 60;
    const EACH: u64 = 40;
    let directory = TempDir::new().unwrap();
    let index = open(directory.path(), 0);
    // Keys from `low` up to `high` must be found at any time.
    let (low, high) = (AtomicU64::new(0), AtomicU64::new(0));
    let (writing, merging) = (AtomicBool::new(true), AtomicBool::new(true));
    let lookups = std::thread::scope(|scope| {
        let look = |seed: u64| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut lookups = 0;
            while merging.load(Ordering::Acquire) || lookups < 1000 {
                let upper = high.load(Ordering::Acquire);
                let key = rng.u64(..upper.max(1) + 10);
                let found = index.get(&hash(key)).unwrap();
                // Read afterwards: what is below it now may have expired during the lookup.
                let lower = low.load(Ordering::Acquire);
                assert!(found.is_none_or(|found| found == entry(key, key)));
                assert!(found.is_some() || key >= upper || key < lower, "key {key}");
                lookups += 1;
            }
            lookups
        };
        let readers: Vec<_> = (0..3).map(|seed| scope.spawn(move || look(seed))).collect();
        let merger = scope.spawn(|| {
            let mut merged = 0;
            while writing.load(Ordering::Acquire) {
                merged += merge_all(&index);
                std::thread::yield_now();
            }
            merging.store(false, Ordering::Release);
            merged
        });
        for start in (0..SEALS).map(|seal| seal * EACH) {
            for key in start..start + EACH {
                index.insert(&entry(key, key)).unwrap();
                high.store(key + 1, Ordering::Release);
            }
            index.seal(Offset::new(start + EACH)).unwrap();
            if start % 400 == 0 {
                let below = start.saturating_sub(1200);
                low.store(below, Ordering::Release);
                index.expire(floor_at(below)).unwrap();
            }
        }
        writing.store(false, Ordering::Release);
        assert!(merger.join().unwrap() > 0, "nothing was merged meanwhile");
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum::<u64>()
    });
    assert!(lookups >= 3000);
    let kept = found(&index, 0..SEALS * EACH);
    assert_eq!(kept, (low.into_inner()..SEALS * EACH).collect::<Vec<_>>());
    // Another process that opens a copy finds the same.
    let copy = TempDir::new().unwrap();
    copy_directory(directory.path(), copy.path());
    let copy = open(copy.path(), SEALS * EACH);
    copy.expire(floor_at(kept[0])).unwrap();
    assert_eq!(found(&copy, 0..SEALS * EACH), kept);
}
