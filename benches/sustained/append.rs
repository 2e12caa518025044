//! The run of appends: limit, log, limit; windows, latencies and what it cost.
//!
//! **Invariant:** what opens, fills and closes files does not count; the time that the close takes to
//! apply what was acked is printed, because the windows do not contain it.
//! **Next:** `bench/limit/file.rs` of the library, the limit.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hooklog::bench::limit::file::PlainFile;
use hooklog::bench::measure::{Usage, disk_usage};
use hooklog_storage::EventLog;
use indicatif::{ProgressBar, ProgressStyle};

use crate::events::Events;
use crate::payload::{Payload, payloads};
use crate::second::Second;
use crate::{Args, config, float, memory, scratch};

/// How often a figure is taken.
const WINDOW: Duration = Duration::from_secs(5);
/// Part of the log's time that the limit runs before it, and again after it.
const LIMIT_PART: u32 = 6;

/// One side's run.
struct Run {
    /// Events and bytes a second, by window.
    windows: Vec<(f64, f64)>,
    /// Microseconds of each commit.
    latency: Histogram<u64>,
    events: u64,
    bytes: u64,
    used: Usage,
}

/// A thing that commits events of the next payloads durably, and says how many bytes they had.
type Commit<'a> = Box<dyn FnMut() -> usize + Send + 'a>;

pub(crate) fn run(args: &Args) {
    let payloads = payloads(args.payload);
    let seconds = Duration::from_secs(args.seconds);
    println!(
        "{} events of {:?} a commit, {} applications, {} writers, {:?}, {} s",
        args.per_commit,
        args.payload,
        args.applications,
        args.writers,
        args.compression,
        args.seconds
    );
    let before = limit(args, &payloads, seconds / LIMIT_PART);
    let log = log(args, &payloads, seconds);
    let after = limit(args, &payloads, seconds / LIMIT_PART);
    print("log", &log);
    let half = log.windows.len() / 2;
    let (burst, steady) = (log.windows[0].0, median(&log.windows[half..]));
    println!("log    first window {burst:.0} events/s, second half {steady:.0} events/s");
    let (Some(before), Some(after)) = (before, after) else {
        return;
    };
    print("limit", &before);
    print("limit", &after);
    let all: Vec<_> = before
        .windows
        .iter()
        .chain(&after.windows)
        .copied()
        .collect();
    let limit = median(&all);
    println!(
        "ratio  first window {:.2}, median {:.2}, second half {:.2}",
        burst / limit,
        median(&log.windows) / limit,
        steady / limit
    );
}

fn log(args: &Args, payloads: &[Payload], time: Duration) -> Run {
    let directory = scratch();
    let log = EventLog::open(config(directory.path(), args)).expect("an empty log");
    let writers = (0..args.writers).map(|writer| -> Commit<'_> {
        let mut events = Events::new(payloads, args.applications);
        // Each writer is elsewhere in the pool, or all would send the same bytes.
        drop(events.take(writer * args.per_commit));
        let log = log.clone();
        let count = args.per_commit;
        Box::new(move || {
            let events = events.take(count);
            let bytes = events.iter().map(|event| event.payload.len()).sum();
            log.append_blocking(events).expect("a durable append");
            bytes
        })
    });
    let run = measure("log", args.per_commit, writers.collect(), time);
    let (rss, peak) = memory();
    let start = Instant::now();
    log.close().expect("a clean close");
    let disk = disk_usage(directory.path());
    println!(
        "log    RSS {} MiB, at most {} MiB; close took {:.1} s; on disk {:.2} × the payloads",
        rss >> 20,
        peak >> 20,
        start.elapsed().as_secs_f64(),
        float(disk) / float(run.bytes)
    );
    run
}

fn limit(args: &Args, payloads: &[Payload], time: Duration) -> Option<Run> {
    if args.no_limit {
        return None;
    }
    let directory = scratch();
    let file = PlainFile::create(
        directory.path(),
        payloads.iter().map(|payload| &*payload.1),
        true,
    );
    let mut file = file.expect("a scratch file");
    let random: Vec<u8> = payloads
        .iter()
        .flat_map(|payload| payload.1.iter().copied())
        .collect();
    let mut second = args
        .limit_twice
        .then(|| Second::start(directory.path(), &random));
    let commit: Commit<'_> = Box::new(move || {
        let bytes = file.commit(args.per_commit).expect("a commit");
        if let Some(second) = &mut second {
            second.add(bytes);
        }
        bytes
    });
    Some(measure("limit", args.per_commit, vec![commit], time))
}

/// Lets every writer commit for `time`, each in a thread of its own.
fn measure(name: &'static str, count: usize, writers: Vec<Commit<'_>>, time: Duration) -> Run {
    let (events, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let mut latency = histogram();
    let mut windows = Vec::new();
    let style = ProgressStyle::with_template("{prefix:5} {bar:40} {pos}/{len} s {msg}").unwrap();
    let bar = ProgressBar::new(time.as_secs())
        .with_style(style)
        .with_prefix(name);
    let before = Usage::own().unwrap_or_default();
    let mut used = Usage::default();
    std::thread::scope(|scope| {
        let (done, end) = sync_channel(writers.len());
        for (index, mut commit) in writers.into_iter().enumerate() {
            let (done, events, bytes, stop) = (done.clone(), &events, &bytes, &stop);
            let work = move || {
                let mut latency = histogram();
                while !stop.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    let written = commit();
                    let micros = start.elapsed().as_micros();
                    latency.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
                    bytes.fetch_add(written as u64, Ordering::Relaxed);
                    events.fetch_add(count as u64, Ordering::Relaxed);
                }
                done.send(latency).expect("the measuring thread");
            };
            let thread = std::thread::Builder::new().name(format!("writer-{index}"));
            thread.spawn_scoped(scope, work).expect("a thread");
        }
        drop(done);
        let start = Instant::now();
        let (mut from, mut seen) = (start, (0, 0));
        while start.elapsed() < time {
            // A short run has one window all the same.
            let next = WINDOW.min(time.saturating_sub(start.elapsed()));
            if let Err(RecvTimeoutError::Disconnected) | Ok(_) = end.recv_timeout(next) {
                break; // A writer failed; the scope passes its panic on.
            }
            let now = (
                events.load(Ordering::Relaxed),
                bytes.load(Ordering::Relaxed),
            );
            let elapsed = from.elapsed().as_secs_f64();
            from = Instant::now();
            let rate = |now: u64, seen: u64| float(now - seen) / elapsed;
            let window = (rate(now.0, seen.0), rate(now.1, seen.1));
            seen = now;
            bar.set_position(start.elapsed().as_secs());
            bar.set_message(format!(
                "{:.0} events/s, RSS {} MiB",
                window.0,
                memory().0 >> 20
            ));
            windows.push(window);
        }
        // Before the writers end and take their CPU time with them.
        used = Usage::own().unwrap_or_default().since(&before);
        stop.store(true, Ordering::Relaxed);
        while let Ok(of_one) = end.recv() {
            latency.add(of_one).expect("the same bounds");
        }
    });
    bar.finish_and_clear();
    let (events, bytes) = (events.into_inner(), bytes.into_inner());
    Run {
        windows,
        latency,
        events,
        bytes,
        used,
    }
}

/// Microseconds up to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds")
}

fn print(name: &str, run: &Run) {
    let windows: Vec<String> = run.windows.iter().map(|w| format!("{:.0}", w.0)).collect();
    println!("{name:6} events/s by 5 s: {}", windows.join(" "));
    let bytes: Vec<_> = run.windows.iter().map(|w| (w.1, 0.0)).collect();
    println!(
        "{name:6} median {:.0} events/s, {:.1} MB/s; commit p50 {} µs, p99 {} µs, max {} µs",
        median(&run.windows),
        median(&bytes) / 1e6,
        run.latency.value_at_quantile(0.5),
        run.latency.value_at_quantile(0.99),
        run.latency.max()
    );
    let millions = float(run.events) / 1e6;
    let a_byte = |bytes: u64| float(bytes) / float(run.bytes);
    println!(
        "{name:6} bytes a payload byte: {:.2} handed to writes, {:.2} dirtied, {:.2} to all disks",
        a_byte(run.used.handed),
        a_byte(run.used.dirtied),
        a_byte(run.used.disks.unwrap_or(0))
    );
    println!(
        "{name:6} CPU s per million events: {:.2} user, {:.2} system",
        run.used.user / millions,
        run.used.system / millions
    );
    let busy = run
        .used
        .threads
        .iter()
        .filter(|(_, seconds)| **seconds > 0.05);
    let busy: Vec<String> = busy
        .map(|((_, name), seconds)| format!("{name} {:.2}", seconds / millions))
        .collect();
    println!("{name:6} of it by thread: {}", busy.join(", "));
}

/// The median of the first figures.
fn median(figures: &[(f64, f64)]) -> f64 {
    let mut figures: Vec<f64> = figures.iter().map(|figure| figure.0).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
