#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::tests::{GO, entry, hash};
use super::*;

/// A line of `/proc/self/status` in MiB: `VmRSS`, or `VmHWM`, the most it ever was.
fn memory_mib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}

/// Median, 99th percentile and largest of some times.
fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let mut text = String::new();
    let last = times.len() - 1;
    for (name, place) in [("p50", last / 2), ("p99", last / 100 * 99), ("max", last)] {
        let micros = times[place].as_secs_f64() * 1e6;
        write!(text, " {name} {micros:.1} µs").unwrap();
    }
    text
}

fn timed_get(index: &KeyIndex, key: u64, expected: bool) -> Duration {
    let hash = hash(key);
    let start = Instant::now();
    let found = index.get(&hash).unwrap();
    let time = start.elapsed();
    assert_eq!(found.is_some(), expected, "key {key}");
    time
}

fn lookups(index: &KeyIndex, keys: std::ops::Range<u64>, count: usize, expected: bool) -> String {
    let mut rng = fastrand::Rng::with_seed(keys.start + 1);
    let get = |_| timed_get(index, rng.u64(keys.clone()), expected);
    percentiles((0..count).map(get).collect())
}

/// What a filling took.
#[derive(Default)]
struct Filling {
    most_runs: usize,
    seals: Vec<Duration>,
    absent: Vec<Duration>,
}

/// Inserts and seals as the committer does, while another thread merges.
fn fill(index: &KeyIndex, keys: u64) -> Filling {
    let mut filling = Filling::default();
    let filled = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let merger = scope.spawn(|| {
            loop {
                let last = filled.load(Ordering::Acquire);
                match index.merge_step(&GO).unwrap() {
                    MergeStep::Idle if last => break,
                    MergeStep::Idle => std::thread::yield_now(),
                    MergeStep::Merged | MergeStep::Stopped => {}
                }
            }
        });
        for key in 0..keys {
            // Every lookup would take minutes; some tell as much.
            if key.is_multiple_of(512) {
                filling.absent.push(timed_get(index, key, false));
            }
            index.insert(&entry(key, key)).unwrap();
            if index.seal_is_due() || key + 1 == keys {
                let start = Instant::now();
                while let Err(error) = index.seal(Offset::new(key + 1)) {
                    assert!(matches!(error, KeyIndexError::Behind { .. }), "{error}");
                    std::thread::yield_now();
                }
                filling.seals.push(start.elapsed());
                filling.most_runs = filling.most_runs.max(index.stats().runs);
            }
        }
        filled.store(true, Ordering::Release);
        merger.join().unwrap();
    });
    filling
}

/// `HOOKLOG_TEST_KEY_MILLIONS=50 cargo test --release -p hooklog-storage key_index::measure -- --nocapture`
/// measures with 50 million keys; otherwise it is 100,000, with smaller seals.
#[test]
fn an_index_at_its_bound_has_every_key_and_needs_little_memory() {
    let millions = std::env::var("HOOKLOG_TEST_KEY_MILLIONS")
        .map_or(0, |millions| millions.parse::<u64>().unwrap());
    let limits = match millions {
        0 => Limits {
            entries_max: 100_000,
            memtable_max: 4_000,
        },
        millions => Limits {
            entries_max: millions * 1_000_000,
            ..Limits::STANDARD
        },
    };
    let keys = limits.entries_max;
    let directory = TempDir::new().unwrap();
    let index = KeyIndex::open(directory.path(), limits, Offset::ZERO).unwrap();
    let (before, start) = (memory_mib("VmRSS:"), Instant::now());
    let filling = fill(&index, keys);
    let took = start.elapsed().as_secs_f64();
    let peak = memory_mib("VmHWM:");
    let stats = index.stats();
    println!(
        "{keys} keys in {took:.1} s: {:.0} keys/s",
        keys as f64 / took
    );
    println!("RSS {before} MiB before, at most {peak} MiB");
    println!(
        "{stats:?}, at most {} runs, {:.1} B/key",
        filling.most_runs,
        stats.bytes as f64 / keys as f64
    );
    println!("seals:          {}", percentiles(filling.seals));
    println!("absent, filling:{}", percentiles(filling.absent));
    let count = if millions == 0 { 2_000 } else { 200_000 };
    println!("present:        {}", lookups(&index, 0..keys, count, true));
    println!(
        "absent:         {}",
        lookups(&index, keys..u64::MAX, count, false)
    );
    drop(index);
    let reopened = Instant::now();
    let index = KeyIndex::open(directory.path(), limits, Offset::new(keys)).unwrap();
    println!(
        "opened in {:.1} ms",
        reopened.elapsed().as_secs_f64() * 1000.0
    );
    let verified = Instant::now();
    assert_eq!(index.verify().unwrap(), keys);
    println!("verified in {:.1} s", verified.elapsed().as_secs_f64());
    assert_eq!((stats.entries, stats.dropped), (keys, 0));
    assert!(stats.runs < 30, "{} runs", stats.runs);
    // Other tests run in this process, so the bound is only held against a run of its own.
    if millions > 0 {
        assert!(peak - before <= 30, "{before} MiB grew to {peak} MiB");
    }
}
