//! P5: from publish to arrival at a steady rate, beside one durable commit at that rate.
//!
//! **Invariant:** a latency counts from the moment at which the event was meant to be published, and it is
//! the event itself that carries it to the sink.
//! **Next:** `subscriptions.rs`.

use std::sync::Arc;

use anyhow::Context as _;

use crate::bench::load;
use crate::bench::options::Work;
use crate::bench::report::{Reference, Row, Target};
use crate::bench::sink::{Manner, Sink};

use super::publish::trouble;
use super::{Run, arrive, bytes_of, cost};

/// Bytes of an event of this target.
const PAYLOAD_BYTES: usize = 512;
/// What the median may take beside the commit.
const BESIDE_MS: f64 = 1.0;
/// What the slowest of a hundred may take.
const P99_MS: f64 = 5.0;

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    let payloads = Arc::new(payload.json()?);
    let rate = run.options.rate;
    run.begin(Work::Arrival, "hyper and a file at the rate");
    let limit = run.limit(run.load(Some(rate)), &payloads, true).await?;
    run.begin(Work::Arrival, "from publish to arrival");
    let sink = Sink::start(Manner::Take).await?;
    let (server, application) = run.serve().await?;
    server
        .api
        .endpoint(&application, &sink.url(0), None)
        .await?;
    let before = server
        .child
        .as_ref()
        .and_then(crate::bench::child::Child::usage);
    let target = server.target(&application, &payloads);
    let done = load::run(run.load(Some(rate)), target).await?;
    arrive(&sink, done.count).await?;
    let bytes = bytes_of(&payloads, done.count);
    let cost = cost(server.child.as_ref(), before.as_ref(), done.count, bytes);
    run.finish(server).await?;

    let latency = sink
        .latencies()
        .told(Some(rate))
        .context("nothing arrived")?;
    let limit = limit.latencies.told(Some(rate)).context("no commit")?;
    let work = format!("publish → arrival, {rate}/s");
    let mut median = Row::new(
        Work::Arrival.id(),
        format!("{work}, p50"),
        "ms",
        latency.p50_ms,
    );
    median.limit = Some(Reference {
        name: "hyper + file, p50".to_owned(),
        value: limit.p50_ms,
    });
    median.target = Some(Target {
        text: format!("≤ commit + {BESIDE_MS} ms"),
        met: latency.p50_ms <= limit.p50_ms + BESIDE_MS,
    });
    median.count = latency.count;
    median.cost = cost;
    median.notes.extend(trouble(&done));
    let mut tail = Row::new(
        Work::Arrival.id(),
        format!("{work}, p99"),
        "ms",
        latency.p99_ms,
    );
    tail.limit = Some(Reference {
        name: "hyper + file, p99".to_owned(),
        value: limit.p99_ms,
    });
    tail.count = latency.count;
    median.limit_latency = Some(limit);
    median.latency = Some(latency);
    run.rows.push(median);
    run.rows.push(tail.below(P99_MS));
    Ok(())
}
