//! P6: what an event costs the server beside many subscriptions that it is not for, and beside ten.
//!
//! **Invariant:** the cost is the CPU time of the server's process; the pair takes turns, and what lies
//! between is measured once, for the curve.
//! **Next:** `isolation.rs`.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;

use crate::bench::latency::median;
use crate::bench::load::{self, Done};
use crate::bench::options::{Options, Work};
use crate::bench::report::{Cost, Curve, Row};

use super::{Run, bytes_of, cost};

/// Bytes of an event.
pub(super) const PAYLOAD_BYTES: usize = 512;
/// What the most are held against.
const FEW: u64 = 10;
/// From one point of the curve to the next.
const FACTOR: u64 = 100;

/// The points of the curve between the few and the most.
pub(super) fn between(options: &Options) -> Vec<u64> {
    let points = std::iter::successors(Some(FEW * FACTOR), |point| point.checked_mul(FACTOR));
    points
        .take_while(|point| *point < options.subscriptions)
        .collect()
}

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    let payloads = Arc::new(payload.json()?);
    let most = run.options.subscriptions.max(FEW);
    let (mut few, mut many, mut count) = (Vec::new(), Vec::new(), 0);
    let mut last = Cost::default();
    for round in 1..=run.options.rounds {
        run.begin(
            Work::Subscriptions,
            &format!("{FEW} subscriptions, round {round}"),
        );
        few.extend(one(run, FEW, &payloads).await?.1.cpu_us);
        run.begin(
            Work::Subscriptions,
            &format!("{most} subscriptions, round {round}"),
        );
        let (done, cost) = one(run, most, &payloads).await?;
        many.extend(cost.cpu_us);
        count += done.count;
        last = cost;
    }
    let mut points = Vec::new();
    for subscriptions in between(run.options) {
        run.begin(
            Work::Subscriptions,
            &format!("{subscriptions} subscriptions"),
        );
        let (_, cost) = one(run, subscriptions, &payloads).await?;
        points.extend(cost.cpu_us.map(|cpu| (number(subscriptions), cpu)));
    }
    points.extend(median(&few).map(|cpu| (number(FEW), cpu)));
    points.extend(median(&many).map(|cpu| (number(most), cpu)));
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Without /proc there is no cost to be told.
    let Some(cpu) = median(&many) else {
        return Ok(());
    };
    let work = format!("CPU of an event, {most} subscriptions");
    let mut row = Row::new(Work::Subscriptions.id(), work, "µs", cpu)
        .against("10 subscriptions", &many, &few)
        .at_most(1.1);
    row.count = count;
    row.cost = last;
    row.curve = Some(Curve {
        title: format!("{} CPU of an event", Work::Subscriptions.id()),
        along: "idle subscriptions",
        what: "CPU of an event, µs",
        points,
        limit: Vec::new(),
    });
    run.rows.push(row);
    Ok(())
}

/// Publishes beside so many subscriptions.
pub(super) async fn one(
    run: &Run<'_>,
    subscriptions: u64,
    payloads: &Arc<Vec<Bytes>>,
) -> anyhow::Result<(Done, Cost)> {
    let prepared = run.prepare(|prepare| prepare.idle = subscriptions).await?;
    let server = run.start().await?;
    let child = server.child.as_ref().context("a server of our own")?;
    let before = child.usage();
    let target = server.target(&prepared.application, payloads);
    let done = load::run(run.load(None), target).await?;
    let bytes = bytes_of(payloads, done.count);
    let cost = cost(Some(child), before.as_ref(), done.count, bytes);
    Ok((done, cost))
}

/// As a coordinate.
fn number(count: u64) -> f64 {
    crate::bench::latency::float(count)
}
