//! P7: arrival at healthy endpoints while others hang and fail, beside the same while all are healthy.
//!
//! **Invariant:** the same endpoints are looked at in both runs; the others have sinks of their own.
//! **Next:** `memory.rs`.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;

use crate::bench::latency::{Latency, float};
use crate::bench::load;
use crate::bench::options::Work;
use crate::bench::report::Row;
use crate::bench::sink::{Manner, Sink};

use super::both::fan;
use super::publish::trouble;
use super::{Run, STALL};

/// Bytes of an event.
const PAYLOAD_BYTES: usize = 512;
/// Endpoints, if no other number is asked for: a tenth of them are two.
const ENDPOINTS: usize = 20;

/// Endpoints by what they do.
struct Shares {
    endpoints: usize,
    hanging: usize,
    failing: usize,
}

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    let payloads = Arc::new(payload.json()?);
    let fan_out = run.options.fan_out;
    let endpoints = run
        .options
        .endpoints
        .unwrap_or(ENDPOINTS.div_ceil(fan_out) * fan_out);
    let shares = Shares {
        endpoints,
        hanging: share(run.options.hanging, endpoints),
        failing: share(run.options.failing, endpoints),
    };
    anyhow::ensure!(
        shares.hanging + shares.failing < endpoints,
        "of {endpoints} endpoints none is left to be healthy"
    );
    let (mut healthy, mut beside, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=run.options.rounds {
        run.begin(
            Work::Isolation,
            &format!("all endpoints healthy, round {round}"),
        );
        healthy.push(one(run, &shares, &payloads, false, &mut notes).await?);
        run.begin(
            Work::Isolation,
            &format!("some hang or fail, round {round}"),
        );
        beside.push(one(run, &shares, &payloads, true, &mut notes).await?);
    }
    let p99 = |all: &[Latency]| all.iter().map(|one| one.p99_ms).collect::<Vec<f64>>();
    let (calm, ours) = (p99(&healthy), p99(&beside));
    let work = format!(
        "p99 arrival, {} of {endpoints} hang, {} fail",
        shares.hanging, shares.failing
    );
    let value = crate::bench::latency::median(&ours).context("no round")?;
    let mut row = Row::new(Work::Isolation.id(), work, "ms", value)
        .against("all healthy", &ours, &calm)
        .at_most(1.2);
    row.count = beside.iter().map(|one| one.count).sum();
    row.latency = beside.pop();
    row.limit_latency = healthy.pop();
    row.notes = notes;
    run.rows.push(row);
    Ok(())
}

/// So many of all; at least one if any are wanted.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a small positive number"
)]
fn share(part: f64, of: usize) -> usize {
    let count = (part * float(of as u64)).round() as usize;
    if part > 0.0 { count.max(1) } else { 0 }
}

async fn one(
    run: &Run<'_>,
    shares: &Shares,
    payloads: &Arc<Vec<Bytes>>,
    is_bad: bool,
    notes: &mut Vec<String>,
) -> anyhow::Result<Latency> {
    let manner = |bad| if is_bad { bad } else { Manner::Take };
    let healthy = Sink::start(Manner::Take).await?;
    let hanging = Sink::start(manner(Manner::Hang)).await?;
    let failing = Sink::start(manner(Manner::Fail)).await?;
    let (server, application) = run.serve().await?;
    let bad = shares.hanging + shares.failing;
    let url = |number: usize| match number {
        number if number < shares.hanging => hanging.url(number),
        number if number < bad => failing.url(number),
        number => healthy.url(number),
    };
    let event_types = fan(run, &server, &application, shares.endpoints, url).await?;
    let groups = event_types.len();
    let mut target = server.target(&application, payloads);
    target.event_types = event_types;
    let done = load::run(run.load(Some(run.options.rate)), target).await?;
    notes.extend(trouble(&done));
    // Events go round the groups, and each group has its part of the healthy endpoints.
    let expected: u64 = (0..groups)
        .map(|group| {
            let here = done
                .count
                .saturating_sub(group as u64)
                .div_ceil(groups as u64);
            let members = (bad..shares.endpoints).filter(|number| number % groups == group);
            here * members.count() as u64
        })
        .sum();
    let arrived = tokio::time::timeout(STALL, healthy.until(expected)).await;
    arrived.with_context(|| format!("{} of {expected} arrived", healthy.count()))?;
    run.finish(server).await?;
    healthy
        .latencies()
        .told(Some(run.options.rate))
        .context("nothing arrived")
}
