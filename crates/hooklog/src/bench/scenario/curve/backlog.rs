//! A server that starts with a backlog, along its length: how soon it delivers, how fast, and what memory
//! it takes meanwhile.
//!
//! **Invariant:** it drains for a bounded time, whatever is left then; the log is written before the
//! server starts.
//! **Next:** `log_size.rs`.

use std::time::Instant;

use anyhow::Context as _;

use crate::bench::along::Along;
use crate::bench::child::Child;
use crate::bench::latency::float;
use crate::bench::options::Work;
use crate::bench::report::Row;
use crate::bench::scenario::memory::PAYLOAD_BYTES;
use crate::bench::scenario::{Run, STALL};
use crate::bench::sink::{Manner, Sink};

use super::{Quantity, points, row};

const ALONG: Along = Along::Backlog;

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    run.begin(Work::Curve(ALONG), "raw connections");
    let limit = run.raw_client(&payload).await?.per_second;
    let mut quantities = ["start → first delivery", "drain", "memory at most"]
        .map(|name| Quantity::new(ALONG, name));
    for events in points(run.options, ALONG) {
        run.begin(Work::Curve(ALONG), &format!("{events} events wait"));
        let rows = point(run, events, limit).await?;
        for (quantity, row) in quantities.iter_mut().zip(rows) {
            if let Some(row) = row {
                quantity.add(events, row);
            }
        }
    }
    for quantity in quantities {
        run.rows.extend(quantity.rows());
    }
    Ok(())
}

/// First delivery, rate and memory; without a backlog memory alone.
async fn point(run: &Run<'_>, events: u64, limit: f64) -> anyhow::Result<[Option<Row>; 3]> {
    let sink = Sink::start(Manner::Take).await?;
    let prepared = run.prepare(|prepare| {
        prepare.payload = run.options.payload(PAYLOAD_BYTES);
        prepare.endpoints = vec![sink.url(0)];
        prepare.backlog = events;
    });
    prepared.await?;
    let started = Instant::now();
    let server = run.start().await?;
    if events > 0 {
        let first = tokio::time::timeout(STALL, sink.until(1)).await;
        first.with_context(|| format!("nothing of {events} events arrived"))?;
    }
    // In time or not, what has arrived counts.
    let _drained = tokio::time::timeout(run.options.duration, sink.until(events)).await;
    if events == 0 {
        tokio::time::sleep(run.options.duration).await;
    }
    let memory = server.child.as_ref().and_then(Child::memory);
    let (rate, arrived) = (sink.rate(), sink.count());
    let first = sink
        .span()
        .map(|(first, _)| first.saturating_duration_since(started));
    let wait = format!("{events} wait");
    let with_count = |mut row: Row| {
        row.count = arrived.max(1);
        row
    };
    let first = first.map(|first| {
        let work = format!("start → first delivery, {wait}");
        with_count(row(ALONG, work, "s", first.as_secs_f64()))
    });
    let rate = rate.map(|rate| {
        let at = row(ALONG, format!("drain, {wait}"), "deliveries/s", rate);
        with_count(at.against("raw hyper client", &[rate], &[limit]))
    });
    let memory = memory.map(|memory| {
        let mebibytes = float(memory.peak) / float(1 << 20);
        let work = format!("memory at most, {wait}");
        with_count(row(ALONG, work, "MiB", mebibytes))
    });
    Ok([first, rate, memory])
}
