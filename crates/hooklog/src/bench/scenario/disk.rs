//! P10: disk used for each payload byte that is kept, while the window of retention turns.
//!
//! **Invariant:** it is looked at only once the window is full and has turned as a whole.
//! **Next:** `../report.rs`.

use anyhow::Context as _;

use crate::bench::append::{Append, Appended, To, Until};
use crate::bench::latency::median;
use crate::bench::options::Work;
use crate::bench::part::Part;
use crate::bench::payload::Payload;
use crate::bench::report::Row;

use super::Run;
use super::append::cost;

/// Bytes of an event.
const PAYLOAD_BYTES: usize = 512;
/// Events of a commit.
const PER_COMMIT: usize = 256;
/// Targets: of what nothing compresses, and of real JSON.
const RANDOM: f64 = 2.2;
const CORPUS: f64 = 0.6;

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payload = run.options.payload(PAYLOAD_BYTES);
    run.begin(Work::Disk, "a window of retention turns");
    let kept = run.options.window_bytes;
    let part = Part::Append(Append {
        to: To::Log,
        directory: run.starter.fresh("append")?,
        payload: payload.clone(),
        per_commit: PER_COMMIT,
        durability: run.options.durability,
        segment_bytes: run.options.segment_bytes,
        until: Until::Turned { kept },
    });
    let appended: Appended = run.starter.result(&part).await?;
    let ratio = median(&appended.disk).context("the window did not turn")?;
    let work = format!(
        "disk ÷ payloads kept, {} MiB of {}",
        kept >> 20,
        payload.name()
    );
    let mut row = Row::new(Work::Disk.id(), work, "×", ratio);
    row.count = appended.events;
    row.cost = cost(&appended);
    let target = match payload {
        Payload::Bytes(_) => RANDOM,
        Payload::Corpus(_) => CORPUS,
    };
    run.rows.push(row.below(target));
    Ok(())
}
