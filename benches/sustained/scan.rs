//! A log of many events is written, closed, opened, and read from its beginning to its end, while the
//! memory of the process is watched. The target is that it stays within 150 MiB.
//!
//! **Invariant:** every event is seen, in order; nothing of what was read is kept.
//! **Next:** `README.md`, which records results.

use std::time::{Duration, Instant};

use hooklog_storage::{EventLog, Limit, Offset};
use indicatif::{ProgressBar, ProgressStyle};

use crate::events::Events;
use crate::payload::{Payload, payloads};
use crate::{Args, config, float, memory, scratch};

/// Appended at a time: about the largest group of the committer.
const APPEND_BYTES: usize = 512 << 10;
/// What a reader asks for at a time, as the tail does while it catches up.
const PAGE: Limit = Limit {
    items: 1024,
    bytes: 1 << 20,
};

/// Prints the memory once a second.
struct Watch {
    name: &'static str,
    bar: ProgressBar,
    start: Instant,
    printed: Duration,
}

pub(crate) fn run(args: &Args) {
    let directory = scratch();
    let payloads = payloads(args.payload);
    println!(
        "a log of {} events of {:?}, {:?}",
        args.events, args.payload, args.compression
    );
    let config = config(directory.path(), args);
    let log = EventLog::open(config.clone()).expect("an empty log");
    append(&log, &payloads, args.events);
    log.close().expect("a clean close");
    drop(log);
    let start = Instant::now();
    let log = EventLog::open(config).expect("the log again");
    let (rss, peak) = memory();
    println!(
        "opened again in {:.2} s; RSS {} MiB, at most {} MiB so far",
        start.elapsed().as_secs_f64(),
        rss >> 20,
        peak >> 20
    );
    read(&log, args.events);
    println!("RSS at most {} MiB in the whole run", memory().1 >> 20);
}

fn append(log: &EventLog, payloads: &[Payload], count: u64) {
    let mut watch = Watch::new("append", count);
    let mut events = Events::new(payloads, 1);
    let mean = payloads
        .iter()
        .map(|(_, payload)| payload.len())
        .sum::<usize>()
        / payloads.len();
    let at_once = (APPEND_BYTES / mean).clamp(1, 1024);
    let mut done = 0;
    while done < count {
        let left = usize::try_from(count - done).unwrap_or(at_once);
        let events = events.take(at_once.min(left));
        done += events.len() as u64;
        log.append_blocking(events).expect("a durable append");
        watch.at(done);
    }
    watch.end(count);
}

fn read(log: &EventLog, count: u64) {
    let mut watch = Watch::new("read", count);
    let (mut next, mut bytes) = (Offset::ZERO, 0);
    while next < log.end() {
        let records = log.read(next, PAGE).expect("a page");
        for record in records {
            assert_eq!(record.offset, next, "no event is missing");
            next = next.next();
            bytes += record.event.payload.len();
        }
        watch.at(next.get());
    }
    assert_eq!(next.get(), count, "all were read");
    println!("read   {} MiB of payloads", bytes >> 20);
    watch.end(count);
}

impl Watch {
    fn new(name: &'static str, count: u64) -> Self {
        let style = ProgressStyle::with_template("{prefix:6} {bar:40} {pos}/{len} {msg}").unwrap();
        Self {
            name,
            bar: ProgressBar::new(count).with_style(style).with_prefix(name),
            start: Instant::now(),
            printed: Duration::ZERO,
        }
    }

    fn at(&mut self, done: u64) {
        let elapsed = self.start.elapsed();
        if elapsed < self.printed + Duration::from_secs(1) {
            return;
        }
        self.printed = elapsed;
        let (rss, peak) = memory();
        self.bar.set_position(done);
        self.bar.suspend(|| {
            println!(
                "{:6} {:4} s {done:>12} events  RSS {:>5} MiB  at most {:>5} MiB",
                self.name,
                elapsed.as_secs(),
                rss >> 20,
                peak >> 20
            );
        });
    }

    fn end(&self, count: u64) {
        self.bar.finish_and_clear();
        let rate = float(count) / self.start.elapsed().as_secs_f64();
        let (rss, peak) = memory();
        println!(
            "{:6} {rate:.0} events/s; RSS {} MiB, at most {} MiB",
            self.name,
            rss >> 20,
            peak >> 20
        );
    }
}
