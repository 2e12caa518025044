//! Publishing, along the number of connections and along the size of a payload, beside bare hyper with a
//! file.
//!
//! **Invariant:** server and limit get the same requests from the same load generator, one after the
//! other.
//! **Next:** `fan_out.rs`.

use std::sync::Arc;

use crate::bench::along::Along;
use crate::bench::load::Load;
use crate::bench::options::Work;
use crate::bench::payload::Payload;
use crate::bench::report::Row;
use crate::bench::scenario::Run;
use crate::bench::scenario::publish::{PAYLOAD_BYTES, publish, trouble};

use super::{Quantity, bytes, points, row, without_plot};

pub(super) async fn connections(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    let mut rates = Quantity::new(Along::Connections, "publish");
    for count in points(run.options, Along::Connections) {
        let load = Load {
            connections: usize::try_from(count)?,
            ..run.load(None)
        };
        let plural = if count == 1 { "" } else { "s" };
        let work = format!("publish {}, {count} connection{plural}", payload.name());
        rates.add(
            count,
            point(run, Along::Connections, load, &payload, work).await?,
        );
    }
    run.rows.extend(rates.rows());
    Ok(())
}

pub(super) async fn payload(run: &mut Run<'_>) -> anyhow::Result<()> {
    let mut rates = Quantity::new(Along::Payload, "publish");
    for size in points(run.options, Along::Payload) {
        let payload = Payload::Bytes(usize::try_from(size)?);
        let load = run.load(None);
        let work = format!("publish {}, {} connections", bytes(size), load.connections);
        rates.add(
            size,
            point(run, Along::Payload, load, &payload, work).await?,
        );
    }
    run.rows.extend(rates.rows());
    Ok(())
}

async fn point(
    run: &Run<'_>,
    along: Along,
    load: Load,
    payload: &Payload,
    work: String,
) -> anyhow::Result<Row> {
    let payloads = Arc::new(payload.json()?);
    run.begin(Work::Curve(along), &format!("{work}: hyper and a file"));
    let limit = run.limit(load, &payloads, true).await?;
    run.begin(Work::Curve(along), &format!("{work}: hooklog"));
    let (done, cost) = publish(run, load, &payloads).await?;
    let mut row = row(along, work, "events/s", done.per_second).against(
        "hyper + file",
        &[done.per_second],
        &[limit.per_second],
    );
    row.count = done.count;
    row.cost = cost;
    row.notes.extend(trouble(&done));
    row.latency = done.latencies.told(None).map(without_plot);
    row.limit_latency = limit.latencies.told(None).map(without_plot);
    Ok(row)
}
