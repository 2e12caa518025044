//! P8 and P9: memory of an idle server, of one with many endpoints, and of one with a backlog; how soon it
//! delivers again when it is killed in the middle of that backlog.
//!
//! **Invariant:** the server is killed by a signal, never asked to stop, and started on what is left.
//! **Next:** `disk.rs`.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::bench::latency::float;
use crate::bench::options::{Options, Work};
use crate::bench::report::{Cost, Row};
use crate::bench::server::Server;
use crate::bench::sink::{Manner, Sink};

use super::{Run, STALL};

/// Bytes of an event of the backlog.
pub(super) const PAYLOAD_BYTES: usize = 256;
/// Part of the backlog that is delivered before the server is killed.
const KILLED_AFTER: u64 = 50;
/// Endpoints of P8, as a part of the most subscriptions.
const ENDPOINTS_PART: u64 = 10;
/// How long a server is looked at: timers of the first second have fired.
const SETTLE: Duration = Duration::from_secs(1);
/// Targets in MiB.
const IDLE_MIB: f64 = 30.0;
const ENDPOINTS_MIB: f64 = 60.0;
const BACKLOG_MIB: f64 = 150.0;
/// Target in seconds.
const RESTART_SECONDS: f64 = 1.0;

/// Measurements of the backlog that count for this work: it is made once for both.
pub(super) fn needs_backlog(options: &Options, work: Work) -> u64 {
    let is_first = work == Work::Memory || !options.only.contains(&Work::Memory);
    if is_first { 2 } else { 0 }
}

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let endpoints = (run.options.subscriptions / ENDPOINTS_PART).max(1);
    for (count, target) in [(0, IDLE_MIB), (endpoints, ENDPOINTS_MIB)] {
        run.begin(Work::Memory, &format!("{count} endpoints"));
        run.prepare(|prepare| prepare.idle = count).await?;
        let server = run.start().await?;
        tokio::time::sleep(SETTLE.min(run.options.duration)).await;
        let work = match count {
            0 => "memory, idle".to_owned(),
            count => format!("memory, {count} endpoints"),
        };
        let row = memory(&server, work, count.max(1));
        run.rows.extend(row.map(|row| row.below(target)));
    }
    backlog(run).await
}

/// What is resident now; nothing where there is no /proc.
fn memory(server: &Server, work: String, count: u64) -> Option<Row> {
    let memory = server.child.as_ref()?.memory()?;
    let mut row = Row::new(Work::Memory.id(), work, "MiB", mebibytes(memory.now));
    row.count = count;
    row.cost = Cost {
        rss: Some(memory.now),
        rss_peak: Some(memory.peak),
        ..Cost::default()
    };
    Some(row)
}

fn mebibytes(bytes: u64) -> f64 {
    float(bytes) / float(1 << 20)
}

pub(super) async fn backlog(run: &mut Run<'_>) -> anyhow::Result<()> {
    let events = run.options.backlog.max(1);
    let payload = run.options.payload(PAYLOAD_BYTES);
    let is_wanted = |work| run.options.only.contains(&work);
    let (is_memory, is_restart) = (is_wanted(Work::Memory), is_wanted(Work::Restart));
    let work = if is_memory {
        Work::Memory
    } else {
        Work::Restart
    };
    run.begin(work, &format!("a backlog of {events} events is written"));
    let sink = Sink::start(Manner::Take).await?;
    let prepared = run.prepare(|prepare| {
        prepare.payload = payload.clone();
        prepare.endpoints = vec![sink.url(0)];
        prepare.backlog = events;
    });
    prepared.await?;
    run.begin(work, "it drains, and the server is killed");
    let server = run.start().await?;
    let some = (events / KILLED_AFTER).max(1);
    wait(&sink, some).await?;
    // A small backlog must not be gone before the server is.
    let settle = SETTLE.min(run.options.duration);
    let _in_time = tokio::time::timeout(settle, sink.until(events / 2)).await;
    let child = server.child.context("a server of our own")?;
    let memory = child.memory();
    child.kill();
    let before = sink.count();

    sink.forget().await;
    let started = Instant::now();
    let _server = run.start().await?;
    if before < events {
        wait(&sink, 1).await?;
    }
    let first = sink
        .span()
        .map(|(first, _)| first.saturating_duration_since(started));
    if let (true, Some(memory)) = (is_memory, memory) {
        let work = format!("memory, backlog of {events}, at most");
        let mut row = Row::new(Work::Memory.id(), work, "MiB", mebibytes(memory.peak));
        row.count = before;
        row.cost.rss = Some(memory.now);
        row.cost.rss_peak = Some(memory.peak);
        run.rows.push(row.below(BACKLOG_MIB));
    }
    if let (true, Some(first)) = (is_restart, first) {
        let left = events.saturating_sub(before);
        let work = format!("kill -9 → redelivery, {left} pending");
        let mut row = Row::new(Work::Restart.id(), work, "s", first.as_secs_f64());
        row.count = sink.count();
        run.rows.push(row.below(RESTART_SECONDS));
    }
    Ok(())
}

async fn wait(sink: &Sink, count: u64) -> anyhow::Result<()> {
    let arrived = tokio::time::timeout(STALL, sink.until(count)).await;
    arrived.with_context(|| {
        format!(
            "{} of {count} deliveries arrived in {STALL:?}",
            sink.count()
        )
    })
}
