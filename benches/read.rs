//! Reading: new events at the tail, from memory; the whole log, from disk; one application of a
//! hundred. Each beside its limit in the same group. `cargo bench --bench read`.
//!
//! The limit of the tail is a copy of the same bytes out of a vector of shared ones; that of the disk
//! is a plain file with the same payloads, read 64 KiB at a time (as many bytes as a batch of the log
//! holds) with a CRC32C of it all, which the log checks as well. The page cache is warm for both.
//!
//! **Invariant:** making and filling logs and files does not count, and both sides of a group touch
//! the same payload bytes.
//! **Next:** `sustained.rs`, which also reads a long log; `README.md`, which records results.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark stops at the first thing that goes wrong"
)]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use hooklog_storage::{Config, EventLog, Limit, Offset, Order, Tail, TailItem};

use crate::events::{Events, application};
use crate::payload::{Kind, payloads};

#[path = "common/events.rs"]
mod events;
#[path = "common/payload.rs"]
mod payload;

/// Random, so that the limit reads as many bytes as the log does.
const KIND: Kind = Kind::Random(PAYLOAD_BYTES);
const PAYLOAD_BYTES: usize = 512;
/// Events of an append while a log is filled.
const AT_ONCE: usize = 1024;
/// Events that are new at the tail: 4 MiB, far less than memory keeps.
const TAIL_EVENTS: usize = 8 * AT_ONCE;
/// Events of the log that is read from disk: 100 MiB, more than the database's cache.
const DISK_EVENTS: usize = 200 * AT_ONCE;
/// The same with `cargo test --benches`, which only shows that it runs.
const DISK_EVENTS_TEST: usize = 4 * AT_ONCE;
/// Applications that the events of the disk log belong to in turns.
const APPLICATIONS: u8 = 100;
/// What the limit reads at a time: about a batch of the log.
const BLOCK_BYTES: usize = 64 << 10;
/// What is asked for at a time: what the tail asks for while it catches up, and a page of the API.
const PAGE: Limit = Limit {
    items: 1024,
    bytes: 1 << 20,
};
const APPLICATION_PAGE: Limit = Limit {
    items: 250,
    bytes: 1 << 20,
};

fn tail(criterion: &mut Criterion) {
    let mut group = group(criterion, "read/tail", TAIL_EVENTS);
    let payloads = payloads(KIND);
    let mut sink = Vec::with_capacity(TAIL_EVENTS * PAYLOAD_BYTES);
    let shared = payloads.iter().cycle().take(TAIL_EVENTS);
    let shared: Vec<Arc<[u8]>> = shared.map(|(_, payload)| Arc::from(&payload[..])).collect();
    group.bench_function("limit", |bencher| {
        bencher.iter(|| {
            sink.clear();
            for payload in &shared {
                sink.extend_from_slice(payload);
            }
            black_box(&sink);
        });
    });
    let directory = scratch();
    let log = EventLog::open(Config::new(directory.path())).expect("an empty log");
    let mut events = Events::new(&payloads, 1);
    group.bench_function("log", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let mut tail = log.tail(log.end());
                while tail.poll_next().expect("the registry").is_some() {}
                fill(&log, &mut events, TAIL_EVENTS);
                let start = Instant::now();
                drain(&mut tail, &mut sink);
                spent += start.elapsed();
                assert_eq!(sink.len(), TAIL_EVENTS * PAYLOAD_BYTES, "all were seen");
            }
            spent
        });
    });
    group.finish();
}

/// Copies the payloads of everything that is new.
fn drain(tail: &mut Tail, sink: &mut Vec<u8>) {
    sink.clear();
    while let Some(item) = tail.poll_next().expect("an item") {
        if let TailItem::Records(records) = item {
            for record in records.iter() {
                sink.extend_from_slice(&record.event.payload);
            }
        }
    }
    black_box(sink);
}

fn disk(criterion: &mut Criterion) {
    let test = !std::env::args().any(|argument| argument == "--bench");
    let count = if test { DISK_EVENTS_TEST } else { DISK_EVENTS };
    let directory = scratch();
    let log = on_disk(directory.path(), count);
    let file = plain(directory.path(), count);

    let mut whole = group(criterion, "read/catch-up", count);
    whole.bench_function("limit", |bencher| {
        let blocks = (count * PAYLOAD_BYTES).div_ceil(BLOCK_BYTES);
        bencher.iter(|| blocks_crc(&file, 0..blocks));
    });
    whole.bench_function("log", |bencher| {
        bencher.iter(|| {
            let (mut next, mut bytes) = (Offset::ZERO, 0);
            while next < log.end() {
                for record in log.read(next, PAGE).expect("a page") {
                    bytes += record.event.payload.len();
                    next = record.offset.next();
                }
            }
            assert_eq!(bytes, count * PAYLOAD_BYTES, "all were read");
        });
    });
    whole.finish();

    // Each application has an event in almost every block, so the limit reads them all, too, if only
    // up to as many events as are asked for.
    let of_one = count / usize::from(APPLICATIONS);
    let mut one = group(criterion, "read/application", of_one);
    one.bench_function("limit", |bencher| {
        let blocks = (count * PAYLOAD_BYTES).div_ceil(BLOCK_BYTES);
        bencher.iter(|| blocks_crc(&file, 0..blocks));
    });
    one.bench_function("log", |bencher| {
        let owner = application(APPLICATIONS / 2);
        bencher.iter(|| {
            let (mut range, mut found) = (Offset::ZERO..log.end(), 0);
            while range.start < range.end {
                let page = log
                    .read_application(owner, range, Order::Ascending, APPLICATION_PAGE)
                    .expect("a page");
                found += page.records.len();
                range = page.rest;
            }
            assert!(found.abs_diff(of_one) <= 1 + of_one / 8, "all were found");
        });
    });
    one.finish();
}

/// A log whose events are on disk alone: it was closed and opened again, which empties its memory.
fn on_disk(directory: &Path, count: usize) -> EventLog {
    let config = Config::new(directory.join("log"));
    let log = EventLog::open(config.clone()).expect("an empty log");
    fill(&log, &mut Events::new(&payloads(KIND), APPLICATIONS), count);
    log.close().expect("a clean close");
    drop(log);
    EventLog::open(config).expect("the log again")
}

fn fill(log: &EventLog, events: &mut Events, count: usize) {
    for _ in 0..count / AT_ONCE {
        log.append_blocking(events.take(AT_ONCE))
            .expect("an append");
    }
}

/// A file with the same payloads.
fn plain(directory: &Path, count: usize) -> File {
    let mut bytes = Vec::with_capacity(count * PAYLOAD_BYTES);
    for (_, payload) in payloads(KIND).iter().cycle().take(count) {
        bytes.extend_from_slice(payload);
    }
    let path = directory.join("plain");
    std::fs::write(&path, bytes).expect("a scratch file");
    File::open(path).expect("the file")
}

/// Reads blocks of a file, and the CRC32C of each.
fn blocks_crc(file: &File, blocks: std::ops::Range<usize>) -> u32 {
    let mut buffer = vec![0; BLOCK_BYTES];
    let crcs = blocks.map(|block| {
        let read = file.read_at(&mut buffer, (block * BLOCK_BYTES) as u64);
        crc32c::crc32c(&buffer[..read.expect("a block")])
    });
    crcs.fold(0, |all, crc| black_box(all ^ crc))
}

/// A group in which an iteration reads so many events. A few long ones tell more than many.
fn group<'c>(
    criterion: &'c mut Criterion,
    name: &str,
    events: usize,
) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::ElementsAndBytes {
        elements: events as u64,
        bytes: (events * PAYLOAD_BYTES) as u64,
    });
    group
}

/// A scratch directory beside what Cargo builds: a disk, as /tmp need not be one.
fn scratch() -> tempfile::TempDir {
    tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch directory")
}

criterion_group!(benches, tail, disk);
criterion_main!(benches);
