//! P2: a backlog that drains, beside raw connections that sign and send to the same sink.
//!
//! **Invariant:** the log is written before the server starts, and the clock runs from the first arrival
//! to the last, so that opening the log does not count; each attempt is recorded.
//! **Next:** `both.rs`.

use anyhow::Context as _;

use crate::bench::latency::median;
use crate::bench::measure::Usage;
use crate::bench::options::Work;
use crate::bench::payload::Payload;
use crate::bench::report::{Cost, OverTime, Row};
use crate::bench::sink::{Manner, Sink};

use super::{LOOK, Run, arrive, cost};

/// Bytes of an event of this target.
pub(super) const PAYLOAD_BYTES: usize = 1024;
/// Part of the backlog that is drained: a few seconds of a fast server.
pub(super) const BACKLOG_PART: u64 = 5;

/// What came of one backlog.
pub(super) struct Drained {
    pub(super) deliveries: u64,
    pub(super) per_second: f64,
    pub(super) windows: Vec<f64>,
    pub(super) cost: Cost,
}

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    let events = (run.options.backlog / BACKLOG_PART).max(2);
    let endpoints = run.options.endpoints.unwrap_or(1);
    let (mut limits, mut ours, mut last) = (Vec::new(), Vec::new(), None);
    for round in 1..=run.options.rounds {
        run.begin(Work::Deliver, &format!("raw connections, round {round}"));
        limits.push(run.raw_client(&payload).await?.per_second);
        run.begin(Work::Deliver, &format!("a backlog drains, round {round}"));
        let drained = drain(run, &payload, events, endpoints).await?;
        ours.push(drained.per_second);
        last = Some(drained);
    }
    let last = last.context("no round")?;
    let work = format!(
        "drain {events} of {}, {endpoints} endpoint{}",
        payload.name(),
        if endpoints == 1 { "" } else { "s" }
    );
    let per_second = median(&ours).context("no round")?;
    let mut row = Row::new(Work::Deliver.id(), work, "deliveries/s", per_second)
        .against("raw hyper client", &ours, &limits)
        .at_least(0.7);
    row.count = last.deliveries * run.options.rounds as u64;
    row.cost = last.cost;
    row.over_time = Some(OverTime {
        window_ms: LOOK.as_secs_f64() * 1e3,
        ours: last.windows,
        limit: Vec::new(),
    });
    run.rows.push(row);
    run.limits.deliver = limits;
    Ok(())
}

/// Drains so many events to each of so many endpoints.
pub(super) async fn drain(
    run: &Run<'_>,
    payload: &Payload,
    events: u64,
    endpoints: usize,
) -> anyhow::Result<Drained> {
    let deliveries = events * endpoints as u64;
    let sink = Sink::start(Manner::Take).await?;
    let prepared = run.prepare(|prepare| {
        prepare.payload = payload.clone();
        prepare.endpoints = (0..endpoints).map(|number| sink.url(number)).collect();
        prepare.backlog = events;
    });
    let prepared = prepared.await?;
    let server = run.start().await?;
    let windows = arrive(&sink, deliveries).await?;
    // It began with the process.
    let before = Usage {
        disks: None,
        ..Usage::default()
    };
    let bytes = prepared.bytes;
    Ok(Drained {
        deliveries,
        per_second: sink.rate().context("nothing arrived")?,
        windows,
        cost: cost(server.child.as_ref(), Some(&before), deliveries, bytes),
    })
}
