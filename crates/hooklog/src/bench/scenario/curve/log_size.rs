//! Opening, appending and reading one application, along the size of the log.
//!
//! **Invariant:** one log grows from point to point; whatever does not fit on the disk with room to spare
//! is left out and said to be.
//! **Next:** `../../grow.rs`, the part that writes and reads it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::bench::along::Along;
use crate::bench::append::{Append, Appended, To, Until};
use crate::bench::grow::{Grow, Grown, KILLED_BYTES, Look, Looked};
use crate::bench::latency::float;
use crate::bench::options::Work;
use crate::bench::part::{PATIENCE, Part};
use crate::bench::payload::Payload;
use crate::bench::scenario::Run;

use super::{Quantity, bytes, points, row, without_plot};

/// Bytes of an event: twenty million of them are the largest log.
const PAYLOAD_BYTES: usize = 1024;
/// Events of a commit, as those of the first row of P4.
const PER_COMMIT: usize = 64;
/// Free space that there must be for a payload byte: what is on disk beside the payloads, indexes and the
/// journal, is at most as much as they are.
const ROOM: u64 = 2;
/// And beside it.
const ROOM_BYTES: u64 = 1 << 30;

const ALONG: Along = Along::LogSize;

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    let directory = run.starter.fresh("grown")?;
    let mut opens = Quantity::new(ALONG, "open after an orderly end");
    let mut kills = Quantity::new(ALONG, "open after kill -9");
    let mut appends = Quantity::new(ALONG, "append");
    let mut reads = Quantity::new(ALONG, "read one application");
    let mut size = 0;
    for goal in points(run.options, ALONG) {
        if free(&directory)? < (goal - size.min(goal)) * ROOM + ROOM_BYTES {
            run.warnings.push(format!(
                "log-size: no room on the disk for {} and what comes after",
                bytes(goal)
            ));
            break;
        }
        let begin = |what: &str| {
            let goal = bytes(goal);
            run.begin(Work::Curve(ALONG), &format!("{goal}: {what}"));
        };
        begin("the log grows");
        size += grow(run, &directory, &payload, goal - size.min(goal)).await?;
        let name = gibibytes(size);
        begin("it is opened and read");
        let part = look(run, &directory, run.options.duration, None);
        let orderly: Looked = run.starter.result(&part).await?;
        let work = format!("open {name} after an orderly end");
        let mut at = row(ALONG, work, "s", orderly.open_seconds);
        at.count = 1;
        opens.add(size, at);
        if let Some(per_second) = orderly.per_second {
            let work = format!("read one application of a hundred in {name}");
            let mut at = row(ALONG, work, "events/s", per_second);
            at.count = orderly.events;
            reads.add(size, at);
        }
        begin("it is appended to, and a plain file");
        let (ours, limit) = append(run, &directory, &payload).await?;
        let work = format!("append {} to {name}, {PER_COMMIT} a commit", payload.name());
        let mut at = row(ALONG, work, "events/s", ours.per_second).against(
            "plain file",
            &[ours.per_second],
            &[limit.per_second],
        );
        at.count = ours.events;
        at.latency = ours.latency.map(without_plot);
        at.limit_latency = limit.latency.map(without_plot);
        appends.add(size, at);
        size += ours.bytes;
        begin("it is killed and opened");
        let killed = killed(run, &directory, &payload).await?;
        size += KILLED_BYTES;
        let work = format!("open {} after kill -9", gibibytes(size));
        let mut at = row(ALONG, work, "s", killed.open_seconds);
        at.count = 1;
        kills.add(size, at);
    }
    for quantity in [opens, kills, appends, reads] {
        run.rows.extend(quantity.rows());
    }
    std::fs::remove_dir_all(&directory).context("the log that has grown")
}

/// As a report tells the size, which is never quite the one that was asked for: measuring adds to it.
fn gibibytes(size: u64) -> String {
    format!("{:.2} GiB", float(size) / float(1 << 30))
}

/// Bytes that may still be written there.
fn free(directory: &Path) -> anyhow::Result<u64> {
    let system = rustix::fs::statvfs(directory).context("the room on the disk")?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// The part that opens the log.
fn look(run: &Run<'_>, directory: &Path, time: Duration, killed: Option<Payload>) -> Part {
    Part::Look(Look {
        directory: directory.to_owned(),
        segment_bytes: run.options.segment_bytes,
        time,
        killed,
    })
}

/// Writes some more, kills whoever does, and opens what is left.
async fn killed(run: &Run<'_>, directory: &Path, payload: &Payload) -> anyhow::Result<Looked> {
    let part = look(run, directory, Duration::ZERO, Some(payload.clone()));
    let mut child = run.starter.part(&part)?;
    child.line(PATIENCE).await?;
    child.kill();
    let part = look(run, directory, Duration::ZERO, None);
    run.starter.result(&part).await
}

/// Adds so many payload bytes; says how many they were.
async fn grow(
    run: &Run<'_>,
    directory: &Path,
    payload: &Payload,
    bytes: u64,
) -> anyhow::Result<u64> {
    let part = Part::Grow(Grow {
        directory: directory.to_owned(),
        segment_bytes: run.options.segment_bytes,
        payload: payload.clone(),
        bytes,
    });
    let grown: Grown = run.starter.result(&part).await?;
    Ok(grown.bytes)
}

/// The log at its size, and a plain file beside it.
async fn append(
    run: &Run<'_>,
    directory: &Path,
    payload: &Payload,
) -> anyhow::Result<(Appended, Appended)> {
    let part = |to, directory| {
        Part::Append(Append {
            to,
            directory,
            payload: payload.clone(),
            per_commit: PER_COMMIT,
            durability: run.options.durability,
            segment_bytes: run.options.segment_bytes,
            until: Until::Time(run.options.duration),
        })
    };
    let limit = part(To::File, run.starter.fresh("append")?);
    let limit = run.starter.result(&limit).await?;
    let ours = part(To::Log, directory.to_owned());
    Ok((run.starter.result(&ours).await?, limit))
}
