//! Durable appends to the log and to its peers: SQLite, fjall and redb, beside a plain file.
//!
//! Peers store a number and the payload and nothing else; the log also gives each event an id and a
//! time, keeps its application and type, and indexes it by application. Each side runs for the same
//! time, and the ratio to the plain file's median (before and after them) is the figure that counts.
//!
//! **Invariant:** on every side a commit is durable (fdatasync or fsync returned) before the next one
//! starts; what opens and fills files beforehand does not count.
//! **Next:** `stores.rs`, which says how each is told to be durable.

use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

use crate::payload::{Kind, Payload, payloads};

#[path = "../common/events.rs"]
mod events;
#[path = "../common/payload.rs"]
mod payload;
#[path = "../../crates/hooklog/src/bench/limit/file.rs"]
mod plain;
mod stores;

/// Payload and events a commit of each row. 1,024 events of the JSON corpus are more than a commit
/// of the log may hold, so there the corpus is cut into pieces of 512 B.
const WORK: &[(&str, usize)] = &[
    ("512", 1),
    ("512", 64),
    ("512", 1024),
    ("json512", 64),
    ("json512", 1024),
    ("json", 1),
    ("json", 64),
];
/// The limit runs for this part of a store's time, before the stores and after them.
const LIMIT_PART: u32 = 2;

/// Durable appends to the log and to its peers.
#[derive(Debug, Parser)]
struct Args {
    /// How long each store is appended to.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only this payload: json, json512 (the corpus cut into 512 B), or the bytes of a random one.
    #[arg(long, requires = "per_commit")]
    payload: Option<String>,
    /// Only this many events a commit.
    #[arg(long, requires = "payload")]
    per_commit: Option<usize>,
    /// Only these stores.
    #[arg(long, value_delimiter = ',')]
    stores: Vec<String>,
}

/// One store's run.
struct Run {
    all: f64,
    second_half: f64,
    latency: Histogram<u64>,
}

fn main() {
    let args = Args::parse();
    let seconds = Duration::from_secs(args.seconds);
    println!(
        "hooklog {}, {}; {} s each",
        env!("CARGO_PKG_VERSION"),
        stores::versions(),
        args.seconds
    );
    println!(
        "{:>8} {:>8} {:>14} {:>10} {:>10} {:>6} {:>8} {:>8}",
        "payload", "a commit", "store", "events/s", "2nd half", "ratio", "p50 µs", "p99 µs"
    );
    let only = args.payload.as_deref().zip(args.per_commit);
    let work = only.map_or_else(|| WORK.to_vec(), |one| vec![one]);
    for (name, count) in work {
        let kind: Kind = name
            .parse()
            .unwrap_or_else(|error| panic!("--payload: {error}"));
        let payloads = payloads(kind);
        let limit = |payloads| run("plain file", payloads, count, seconds / LIMIT_PART);
        let before = limit(&payloads);
        let wanted = stores::NAMES
            .iter()
            .filter(|name| args.stores.is_empty() || args.stores.iter().any(|only| only == *name));
        let runs: Vec<_> = wanted
            .map(|store| (*store, run(store, &payloads, count, seconds)))
            .collect();
        let after = limit(&payloads);
        let mean = f64::midpoint(before.all, after.all);
        let limits = [("plain file", before), ("plain file", after)];
        for (store, run) in runs.into_iter().chain(limits) {
            println!(
                "{name:>8} {count:>8} {store:>14} {:>10.0} {:>10.0} {:>6.2} {:>8} {:>8}",
                run.all,
                run.second_half,
                run.second_half / mean,
                run.latency.value_at_quantile(0.5),
                run.latency.value_at_quantile(0.99)
            );
        }
    }
}

/// Commits to a new store for `time`.
fn run(name: &str, payloads: &[Payload], count: usize, time: Duration) -> Run {
    // Beside the executable: a disk, as /tmp need not be one.
    let executable = std::env::current_exe().expect("a path");
    let directory = tempfile::TempDir::new_in(executable.parent().expect("a folder"));
    let directory = directory.expect("a scratch directory");
    let mut store = stores::open(name, directory.path(), payloads);
    let style = ProgressStyle::with_template("{prefix:10} {bar:40} {pos}/{len} s");
    let style = style.expect("a valid template");
    let bar = ProgressBar::new(time.as_secs()).with_style(style);
    bar.set_prefix(name.to_owned());
    let mut latency = Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds");
    let (mut commits, mut at_half) = (0_u32, None);
    let start = Instant::now();
    let mut last = Duration::ZERO;
    while last < time {
        store.commit(count);
        let now = start.elapsed();
        let micros = (now - last).as_micros();
        latency.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
        commits += 1;
        if at_half.is_none() && now >= time / 2 {
            at_half = Some((now, commits));
        }
        last = now;
        bar.set_position(now.as_secs());
    }
    bar.finish_and_clear();
    let events = f64::from(u32::try_from(count).expect("a small number"));
    let rate = |commits: u32, time: Duration| f64::from(commits) * events / time.as_secs_f64();
    let (half, first) = at_half.unwrap_or_default();
    Run {
        all: rate(commits, last),
        second_half: rate(commits - first, last.saturating_sub(half)),
        latency,
    }
}
