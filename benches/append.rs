//! Embedded append, durable, beside its limit: a plain file, the same bytes, one `fdatasync` a
//! commit. `cargo bench --bench append`.
//!
//! What counts is the ratio of `log` and `limit` of one group. These are bursts: a log that is
//! appended to for long also waits for its database, which `sustained.rs` measures.
//!
//! **Invariant:** both sides make every commit durable before the next one starts.
//! **Next:** `read.rs`, the same for reading; `README.md`, which records results.
#![expect(
    clippy::expect_used,
    reason = "a benchmark stops at the first thing that goes wrong"
)]

use std::time::{Duration, Instant};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use hooklog::bench::limit::file::PlainFile;
use hooklog_storage::{Config, EventLog};

use crate::events::Events;
use crate::payload::{Kind, payloads};

#[path = "common/events.rs"]
mod events;
#[path = "common/payload.rs"]
mod payload;

/// What is appended: name, payload, events a commit. 512 B is the event that figures of this field
/// are usually given for; one event a commit, a busy server's group, a bulk load. 16 KiB is more than
/// most webhooks. Payloads that compress have rows of their own.
const WORK: &[(&str, Kind, &[usize])] = &[
    ("append/random-512", Kind::Random(512), &[1, 64, 1024]),
    ("append/random-16K", Kind::Random(16 << 10), &[1, 64]),
    ("append/json-512", Kind::Json512, &[64, 1024]),
    // Some 10 KB each; 1,024 of them are more than a commit may hold.
    ("append/json", Kind::Json, &[1, 64]),
];

fn append(criterion: &mut Criterion) {
    for (name, kind, commits) in WORK {
        let payloads = payloads(*kind);
        let total: usize = payloads.iter().map(|(_, payload)| payload.len()).sum();
        let mut group = criterion.benchmark_group(*name);
        // Every sample the same number of commits: what the log has behind it is alike then.
        group.sampling_mode(SamplingMode::Flat);
        group.sample_size(20);
        group.warm_up_time(Duration::from_secs(1));
        for &count in *commits {
            let bytes = (count * total / payloads.len()) as u64;
            group.throughput(Throughput::ElementsAndBytes {
                elements: count as u64,
                bytes,
            });
            group.bench_function(BenchmarkId::new("limit", count), |bencher| {
                let directory = scratch();
                let file = PlainFile::create(
                    directory.path(),
                    payloads.iter().map(|payload| &*payload.1),
                    true,
                );
                let mut file = file.expect("a scratch file");
                bencher.iter(|| file.commit(count).expect("a durable commit"));
            });
            group.bench_function(BenchmarkId::new("log", count), |bencher| {
                let directory = scratch();
                let log = EventLog::open(Config::new(directory.path())).expect("an empty log");
                let mut events = Events::new(&payloads, 1);
                bencher.iter_custom(|commits| {
                    let start = Instant::now();
                    for _ in 0..commits {
                        log.append_blocking(events.take(count)).expect("an append");
                    }
                    start.elapsed()
                });
            });
        }
        group.finish();
    }
}

/// A scratch directory beside what Cargo builds: a disk, as /tmp need not be one.
fn scratch() -> tempfile::TempDir {
    tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch directory")
}

criterion_group!(benches, append);
criterion_main!(benches);
