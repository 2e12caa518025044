//! Publishing, along the number of subscriptions that the events are not for.
//!
//! **Invariant:** what each point is held against is the first one of the same run.
//! **Next:** `backlog.rs`.

use std::sync::Arc;

use crate::bench::along::Along;
use crate::bench::latency::float;
use crate::bench::options::Work;
use crate::bench::scenario::Run;
use crate::bench::scenario::subscriptions::{PAYLOAD_BYTES, one};

use super::{Quantity, points, row};

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    let payloads = Arc::new(payload.json()?);
    let along = Along::Subscriptions;
    let mut rates = Quantity::new(along, "publish");
    let mut costs = Quantity::new(along, "CPU of an event");
    let mut memory = Quantity::new(along, "memory");
    let mut first = None;
    for count in points(run.options, along) {
        let work = format!("{count} idle subscriptions");
        run.begin(Work::Curve(along), &work);
        let (done, cost) = one(run, count, &payloads).await?;
        let (rate, cpu) = (done.per_second, cost.cpu_us);
        let (first_rate, first_cpu) = *first.get_or_insert((rate, cpu));
        let mut at = row(along, format!("publish, {work}"), "events/s", rate);
        at = at.against("the first point", &[rate], &[first_rate]);
        at.count = done.count;
        at.cost = cost;
        rates.add(count, at);
        // Without /proc there are neither.
        if let Some((cpu, first)) = cpu.zip(first_cpu) {
            let mut at = row(along, format!("CPU of an event, {work}"), "µs", cpu);
            at = at.against("the first point", &[cpu], &[first]);
            at.count = done.count;
            costs.add(count, at);
        }
        if let Some(rss) = cost.rss {
            let mebibytes = float(rss) / float(1 << 20);
            let mut at = row(along, format!("memory, {work}"), "MiB", mebibytes);
            at.count = done.count;
            memory.add(count, at);
        }
    }
    for quantity in [rates, costs, memory] {
        run.rows.extend(quantity.rows());
    }
    Ok(())
}
