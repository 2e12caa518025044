//! Durable appends for a minute, not a burst, beside the limit in the same run; and a log of several
//! gigabytes read through while memory is watched.
//!
//! `cargo bench --bench sustained -- --seconds 60 --per-commit 64 --payload 512`; `--help` for more.
//!
//! The limit runs before and after the log, a third of its time in all, since noise of the machine
//! hits both then; the log is not interrupted, so that it reaches the bound of what is acked and not
//! yet in the database. The quoted ratio is that of the second half, which is past this bound.
//!
//! **Invariant:** a writer's next commit starts when its last one is durable, on both sides.
//! **Next:** `sustained/append.rs` and `sustained/scan.rs`.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark prints, and stops at the first thing that goes wrong"
)]

use clap::{Parser, ValueEnum};

use crate::payload::Kind;

#[path = "sustained/append.rs"]
mod append;
#[path = "common/events.rs"]
mod events;
#[path = "common/payload.rs"]
mod payload;
#[path = "sustained/scan.rs"]
mod scan;
#[path = "sustained/second.rs"]
mod second;

/// Durable appends for a while, or a long log read through.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// What to do.
    #[arg(long, value_enum, default_value = "append")]
    mode: Mode,
    /// How long the log is appended to; the limit runs for a third of it.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Events of an append, which is one commit for one writer.
    #[arg(long, default_value_t = 64)]
    per_commit: usize,
    /// json, json512 (the corpus cut into 512 B) or the bytes of a random payload.
    #[arg(long, default_value = "512")]
    payload: Kind,
    /// Threads that append, each its own commits; the limit has one writer always.
    #[arg(long, default_value_t = 1)]
    writers: usize,
    /// Applications that the events go to, in turns.
    #[arg(long, default_value_t = 1)]
    applications: u8,
    /// How batches are compressed.
    #[arg(long, value_enum, default_value = "lz4")]
    compression: Compression,
    /// Events of the log that is read through by `--mode scan`.
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// Leaves the limit out, for a profiler.
    #[arg(long)]
    no_limit: bool,
    /// The limit writes everything a second time behind its commits, as a log with a journal does.
    #[arg(long)]
    limit_twice: bool,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Durable appends.
    Append,
    /// A log of many events is written, opened again and read from its beginning.
    Scan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compression {
    None,
    Lz4,
}

impl From<Compression> for hooklog_storage::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
        }
    }
}

fn main() {
    // Run by `cargo test --benches`, which gives no `--bench`: proves that it works, in a second.
    let mut args = Args::parse();
    if !args.bench {
        args.seconds = 1;
        args.events = 10_000;
    }
    match args.mode {
        Mode::Append => append::run(&args),
        Mode::Scan => scan::run(&args),
    }
    if !args.bench {
        scan::run(&args);
    }
}

/// Settings of a log for these arguments.
fn config(directory: &std::path::Path, args: &Args) -> hooklog_storage::Config {
    let mut config = hooklog_storage::Config::new(directory);
    config.compression = args.compression.into();
    config
}

/// A scratch directory beside what Cargo builds: a disk, as /tmp need not be one.
fn scratch() -> tempfile::TempDir {
    tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch directory")
}

/// A count as a number to divide; the benchmarks count far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Resident memory of this process now and at its highest, in bytes.
fn memory() -> (u64, u64) {
    let memory = hooklog::bench::measure::Memory::own();
    memory.map_or((0, 0), |memory| (memory.now, memory.peak))
}
