//! P4: durable appends of a program with the log in it, beside a plain file.
//!
//! **Invariant:** what counts is the second half, past the first burst; the target speaks of a minute, so
//! a shorter run says so.
//! **Next:** `arrival.rs`.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;

use crate::bench::append::{Append, Appended, To, Until};
use crate::bench::latency::{float, median};
use crate::bench::options::Work;
use crate::bench::part::Part;
use crate::bench::payload::Payload;
use crate::bench::report::{Cost, OverTime, Row};

use super::Run;

/// Bytes of an event of this target.
const PAYLOAD_BYTES: usize = 512;
/// Events of a commit and the ratio that they should reach: a busy server's group, a bulk load.
const WORK: [(usize, f64); 2] = [(64, 0.8), (1024, 0.4)];
/// Payload bytes of a commit at most: half of what the log takes at once.
const COMMIT_BYTES_MAX: usize = 4 << 20;
/// What the target's "sustained" means.
const SUSTAINED: Duration = Duration::from_mins(1);

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    let largest = payload.binary()?.iter().map(Bytes::len).max().unwrap_or(1);
    for (events, target) in WORK {
        let per_commit = events.min((COMMIT_BYTES_MAX / largest.max(1)).max(1));
        let (mut ours, mut limits) = (Vec::new(), Vec::new());
        for round in 1..=run.options.rounds {
            run.begin(
                Work::Append,
                &format!("a plain file, {per_commit} a commit, round {round}"),
            );
            limits.push(append(run, To::File, &payload, per_commit).await?);
            run.begin(
                Work::Append,
                &format!("the log, {per_commit} a commit, round {round}"),
            );
            ours.push(append(run, To::Log, &payload, per_commit).await?);
        }
        let row = row(run, &payload, per_commit, &ours, &limits)?;
        run.rows.push(row.at_least(target));
    }
    Ok(())
}

fn row(
    run: &Run<'_>,
    payload: &Payload,
    per_commit: usize,
    ours: &[Appended],
    limits: &[Appended],
) -> anyhow::Result<Row> {
    let sustained: Vec<f64> = ours.iter().map(|one| one.second_half).collect();
    let limit: Vec<f64> = limits.iter().map(|one| one.per_second).collect();
    let last = ours.last().context("no round")?;
    let last_limit = limits.last().context("no round")?;
    let per_second = median(&sustained).context("no round")?;
    let work = format!(
        "append {} in process, {per_commit} a commit",
        payload.name()
    );
    let mut row = Row::new(Work::Append.id(), work, "events/s", per_second).against(
        "plain file",
        &sustained,
        &limit,
    );
    row.count = ours.iter().map(|one| one.events).sum();
    row.latency.clone_from(&last.latency);
    row.limit_latency.clone_from(&last_limit.latency);
    row.cost = cost(last);
    let time = run.options.duration;
    row.over_time = Some(OverTime {
        window_ms: time.as_secs_f64() * 1e3 / float(last.windows.len().max(1) as u64),
        ours: last.windows.clone(),
        limit: last_limit.windows.clone(),
    });
    if time < SUSTAINED {
        let seconds = time.as_secs_f64();
        row.notes.push(format!(
            "the second half of {seconds} s; the target speaks of a minute"
        ));
    }
    Ok(row)
}

async fn append(
    run: &Run<'_>,
    to: To,
    payload: &Payload,
    per_commit: usize,
) -> anyhow::Result<Appended> {
    let part = Part::Append(Append {
        to,
        directory: run.starter.fresh("append")?,
        payload: payload.clone(),
        per_commit,
        durability: run.options.durability,
        segment_bytes: run.options.segment_bytes,
        until: Until::Time(run.options.duration),
    });
    run.starter.result(&part).await
}

/// What the process itself says that it used.
pub(super) fn cost(appended: &Appended) -> Cost {
    let used = appended.used.as_ref();
    let per_byte = |bytes: u64| (appended.bytes > 0).then(|| float(bytes) / float(appended.bytes));
    Cost {
        cpu_us: used.map(|used| used.cpu() * 1e6 / float(appended.events.max(1))),
        disk_per_byte: used.and_then(|used| used.disks).and_then(per_byte),
        handed_per_byte: used.and_then(|used| per_byte(used.handed)),
        rss: appended.memory.map(|memory| memory.now),
        rss_peak: appended.memory.map(|memory| memory.peak),
    }
}
