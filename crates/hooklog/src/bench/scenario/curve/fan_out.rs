//! Delivering, along the number of endpoints that get each event, beside raw connections.
//!
//! **Invariant:** at each point about as many deliveries are made, of as many fewer events as more
//! endpoints get them.
//! **Next:** `subscriptions.rs`.

use crate::bench::along::Along;
use crate::bench::options::Work;
use crate::bench::scenario::Run;
use crate::bench::scenario::deliver::{self, BACKLOG_PART, PAYLOAD_BYTES};

use super::{Quantity, points, row};

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    let deliveries = run.options.backlog / BACKLOG_PART;
    let mut rates = Quantity::new(Along::FanOut, "drain");
    for endpoints in points(run.options, Along::FanOut) {
        let events = (deliveries / endpoints).max(2);
        let work = format!("drain {events} of {} ×{endpoints}", payload.name());
        let begin = |what| run.begin(Work::Curve(Along::FanOut), &format!("{work}: {what}"));
        begin("raw connections");
        let limit = run.raw_client(&payload).await?.per_second;
        begin("hooklog");
        let drained = deliver::drain(run, &payload, events, usize::try_from(endpoints)?).await?;
        let reached = drained.per_second;
        let mut row = row(Along::FanOut, work, "deliveries/s", reached);
        row = row.against("raw hyper client", &[reached], &[limit]);
        row.count = drained.deliveries;
        row.cost = drained.cost;
        rates.add(endpoints, row);
    }
    run.rows.extend(rates.rows());
    Ok(())
}
