//! P3: publishing and delivering at the same time, beside what is left if both limits share the machine:
//! 1 ÷ (1 ÷ publish + deliveries of an event ÷ deliver).
//!
//! **Invariant:** an event counts when all of its deliveries have arrived; the clock runs from the first
//! publish to the last arrival.
//! **Next:** `append.rs`.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;

use crate::bench::append::EVENT_TYPE;
use crate::bench::latency::{float, median};
use crate::bench::left::Made;
use crate::bench::load;
use crate::bench::options::Work;
use crate::bench::report::Row;
use crate::bench::server::Server;
use crate::bench::sink::{Manner, Sink};

use super::publish::trouble;
use super::{Run, arrive, bytes_of, cost, over_time};

/// Bytes of an event of the limits that this is held against.
const PAYLOAD_BYTES: usize = 512;

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    let payloads = Arc::new(payload.json()?);
    let fan_out = run.options.fan_out;
    let endpoints = run.options.endpoints.unwrap_or(fan_out);
    let (mut publish, mut deliver) = (run.limits.publish.clone(), run.limits.deliver.clone());
    let (mut ours, mut limits, mut count) = (Vec::new(), Vec::new(), 0);
    let (mut last, mut costs, mut notes) = (None, None, None);
    for round in 0..run.options.rounds {
        if publish.len() <= round {
            run.begin(
                Work::Both,
                &format!("hyper and a file, round {}", round + 1),
            );
            publish.push(run.limit(run.load(None), &payloads, true).await?.per_second);
        }
        if deliver.len() <= round {
            run.begin(Work::Both, &format!("raw connections, round {}", round + 1));
            deliver.push(run.raw_client(&payload).await?.per_second);
        }
        run.begin(Work::Both, &format!("hooklog, round {}", round + 1));
        let sink = Sink::start(Manner::Take).await?;
        let (server, application) = run.serve().await?;
        let url = |number| sink.url(number);
        let event_types = fan(run, &server, &application, endpoints, url).await?;
        let before = server
            .child
            .as_ref()
            .and_then(crate::bench::child::Child::usage);
        let mut target = server.target(&application, &payloads);
        target.event_types = event_types;
        let started = Instant::now();
        let done = load::run(run.load(None), target).await?;
        arrive(&sink, done.count * fan_out as u64).await?;
        let (_, end) = sink.span().context("nothing arrived")?;
        ours.push(float(done.count) / (end - started).as_secs_f64());
        let limit =
            |publish: f64, deliver: f64| 1.0 / (1.0 / publish + float(fan_out as u64) / deliver);
        let pair = publish.get(round).zip(deliver.get(round));
        limits.extend(pair.map(|(publish, deliver)| limit(*publish, *deliver)));
        count += done.count;
        let bytes = bytes_of(&payloads, done.count);
        costs = Some(cost(
            server.child.as_ref(),
            before.as_ref(),
            done.count,
            bytes,
        ));
        notes = notes.or_else(|| trouble(&done));
        last = Some(done.windows);
        run.finish(server).await?;
    }
    let per_second = median(&ours).context("no round")?;
    let connections = run.options.connections;
    let work = format!(
        "publish {} + deliver ×{fan_out}, {connections} connections",
        payload.name()
    );
    let mut row = Row::new(Work::Both.id(), work, "events/s", per_second)
        .against("both limits", &ours, &limits)
        .at_least(0.6);
    row.count = count;
    row.cost = costs.unwrap_or_default();
    row.over_time = last.map(|windows| over_time(run.options.duration, windows, Vec::new()));
    row.notes.extend(notes);
    run.rows.push(row);
    Ok(())
}

/// Creates endpoints of which each event gets to as many as `--fan-out` says; says the event types to be sent in turns.
pub(super) async fn fan(
    run: &Run<'_>,
    server: &Server,
    application: &str,
    endpoints: usize,
    url: impl Fn(usize) -> String,
) -> anyhow::Result<Vec<String>> {
    let groups = (endpoints / run.options.fan_out.max(1)).max(1);
    let names: Vec<String> = (0..groups).map(|group| format!("bench.g{group}")).collect();
    if groups == 1 {
        for number in 0..endpoints {
            server.api.endpoint(application, &url(number), None).await?;
        }
        return Ok(vec![EVENT_TYPE.to_owned()]);
    }
    for name in &names {
        // One that was there before is not ours to remove.
        if server.api.event_type(name).await? && server.child.is_none() {
            run.left.made(&server.api, Made::EventType(name.clone()));
        }
    }
    for number in 0..endpoints {
        let name = names.get(number % groups).map(String::as_str);
        server.api.endpoint(application, &url(number), name).await?;
    }
    Ok(names)
}
