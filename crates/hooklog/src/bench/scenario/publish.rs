//! P1: durable publishes over HTTP, beside bare hyper with a file and beside bare hyper that stores
//! nothing; throughput in a closed loop, latencies in an open one at a part of it.
//!
//! **Invariant:** all sides get the same requests from the same load generator.
//! **Next:** `deliver.rs`.

use std::sync::Arc;

use anyhow::Context as _;

use crate::bench::latency::{float, median};
use crate::bench::load::{self, Done, Load};
use crate::bench::options::Work;
use crate::bench::report::{Cost, Row};

use super::{Run, bytes_of, cost, over_time};

/// Bytes of an event of this target.
pub(super) const PAYLOAD_BYTES: usize = 512;

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    let payloads = Arc::new(payload.json()?);
    let (mut bare, mut limit, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=run.options.rounds {
        run.begin(
            Work::Publish,
            &format!("hyper that stores nothing, round {round}"),
        );
        bare.push(run.limit(run.load(None), &payloads, false).await?);
        run.begin(Work::Publish, &format!("hyper and a file, round {round}"));
        limit.push(run.limit(run.load(None), &payloads, true).await?);
        run.begin(Work::Publish, &format!("hooklog, round {round}"));
        ours.push(publish(run, run.load(None), &payloads).await?);
    }
    let rates = |all: &[Done]| all.iter().map(|done| done.per_second).collect::<Vec<f64>>();
    let (bare, limits) = (rates(&bare), rates(&limit));
    let (ours, costs): (Vec<Done>, Vec<Cost>) = ours.into_iter().unzip();
    let reached = rates(&ours);
    let per_second = median(&reached).context("no round")?;

    // Latencies of a server that is driven as hard as it can be tell how many wait, and no more.
    let offered = (per_second * run.options.load).max(1.0);
    run.begin(Work::Publish, "hooklog at a part of its throughput");
    let (open, _) = publish(run, run.load(Some(offered)), &payloads).await?;
    run.begin(Work::Publish, "hyper and a file at the same rate");
    let limit_open = run.limit(run.load(Some(offered)), &payloads, true).await?;

    let connections = run.options.connections;
    let work = format!("publish {}, {connections} connections", payload.name());
    let mut row = Row::new(Work::Publish.id(), work, "events/s", per_second)
        .against("hyper + file", &reached, &limits)
        .at_least(0.8);
    row.count = ours.iter().map(|done| done.count).sum();
    row.latency = open.latencies.told(Some(offered));
    row.limit_latency = limit_open.latencies.told(Some(offered));
    row.cost = costs.last().copied().unwrap_or_default();
    let windows = ours.last().map(|done| done.windows.clone());
    let limit_windows = limit.last().map(|done| done.windows.clone());
    let (windows, limit_windows) = (
        windows.unwrap_or_default(),
        limit_windows.unwrap_or_default(),
    );
    row.over_time = Some(over_time(run.options.duration, windows, limit_windows));
    row.notes.extend(trouble(&open));
    row.notes.extend(ours.iter().find_map(trouble));
    let count = row.count;
    run.rows.push(row);

    let mut row = Row::new(Work::Publish.id(), "the same", "events/s", per_second).against(
        "bare hyper",
        &reached,
        &bare,
    );
    row.count = count;
    run.rows.push(row);
    run.limits.publish = limits;
    Ok(())
}

/// Publishes to a fresh server; says what it cost.
pub(super) async fn publish(
    run: &Run<'_>,
    load: Load,
    payloads: &Arc<Vec<bytes::Bytes>>,
) -> anyhow::Result<(Done, Cost)> {
    let (server, application) = run.serve().await?;
    let before = server
        .child
        .as_ref()
        .and_then(crate::bench::child::Child::usage);
    let done = load::run(load, server.target(&application, payloads)).await?;
    let bytes = bytes_of(payloads, done.count);
    let cost = cost(server.child.as_ref(), before.as_ref(), done.count, bytes);
    run.finish(server).await?;
    Ok((done, cost))
}

/// What makes a load's figures doubtful.
pub(super) fn trouble(done: &Done) -> Option<String> {
    if done.is_late {
        return Some("the offered rate was not kept up, so latencies are without bound".to_owned());
    }
    let share = float(done.refused) / float(done.count + done.refused).max(1.0);
    (done.refused > 0).then(|| format!("{:.1} % were told to come later", share * 100.0))
}
