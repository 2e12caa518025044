//! Embedded append, durable, beside its limit: a plain preallocated file with the same bytes and one
//! `fdatasync` a commit.
//!
//! `cargo bench --bench append -- [seconds per round, default 5]`; prints events per second and the
//! ratio of each pair, which is the figure that counts: both run in turns on the same machine.
//!
//! **Invariant:** both sides make every commit durable before the next one starts.
//! **Next:** `README.md`, which records results.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hooklog::storage::{ApplicationId, Config, Event, EventLog};

/// The event size that performance figures of this field are usually given for.
const PAYLOAD_BYTES: usize = 512;
/// Events a commit: one, a busy server's group, a bulk load.
const COMMITS: [usize; 3] = [1, 64, 1024];
/// Rounds of each pair; the median of their ratios is quoted.
const ROUNDS: usize = 3;

fn main() {
    let seconds = std::env::args()
        .skip(1)
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(5);
    let round = Duration::from_secs(seconds);
    println!("events of {PAYLOAD_BYTES} B, {ROUNDS} rounds of {seconds} s each");
    println!(
        "{:>8} {:>14} {:>14} {:>7}",
        "a commit", "log events/s", "file events/s", "ratio"
    );
    for commit in COMMITS {
        let mut ratios: Vec<(f64, f64, f64)> = (0..ROUNDS)
            .map(|_| {
                let (log, file) = (log(commit, round), file(commit, round));
                (log / file, log, file)
            })
            .collect();
        ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (ratio, log, file) = ratios.get(ROUNDS / 2).unwrap();
        println!("{commit:>8} {log:>14.0} {file:>14.0} {ratio:>7.2}");
    }
}

fn log(commit: usize, round: Duration) -> f64 {
    let directory = tempfile::TempDir::new_in(".").unwrap();
    let log = EventLog::open(Config::new(directory.path())).unwrap();
    // JSON-like but not repetitive: half of it is random hex.
    let mut rng = fastrand::Rng::with_seed(1);
    let text: String = (0..PAYLOAD_BYTES)
        .map(|index| {
            if index % 2 == 0 {
                'a'
            } else {
                char::from_digit(rng.u32(..16), 16).unwrap()
            }
        })
        .collect();
    let event = Event {
        application: ApplicationId::from_bytes([1; 20]),
        event_type: "bench".parse().unwrap(),
        channels: Vec::new(),
        uid: None,
        content_type: "application/json".to_owned(),
        payload: Bytes::from(text),
    };
    let start = Instant::now();
    let mut events = 0;
    while start.elapsed() < round {
        log.append_blocking(vec![event.clone(); commit]).unwrap();
        events += commit;
    }
    rate(events, start)
}

fn file(commit: usize, round: Duration) -> f64 {
    // As large as a journal segment, written from the start again when it is full.
    const BYTES: usize = 64 << 20;
    let directory = tempfile::TempDir::new_in(".").unwrap();
    let file = File::create(directory.path().join("plain")).unwrap();
    file.write_all_at(&vec![0; BYTES], 0).unwrap();
    file.sync_all().unwrap();
    let data = vec![b'x'; commit * PAYLOAD_BYTES];
    let (mut events, mut position) = (0, 0);
    let start = Instant::now();
    while start.elapsed() < round {
        if position + data.len() > BYTES {
            position = 0;
        }
        file.write_all_at(&data, position as u64).unwrap();
        file.sync_data().unwrap();
        position += data.len();
        events += commit;
    }
    rate(events, start)
}

fn rate(events: usize, start: Instant) -> f64 {
    f64::from(u32::try_from(events).unwrap()) / start.elapsed().as_secs_f64()
}
