//! A soak: publishing, deliveries, failures, retention and kill -9 for a while; what the second half needs
//! beside the first.
//!
//! Behind the first two pieces each half has the same four, and a restart after every second one, so that
//! pieces at the same place are alike.
//!
//! **Invariant:** every event that was taken arrives at the healthy endpoint, however often the server is
//! killed; retention turns several times in each half.
//! **Next:** `../report.rs`.

use std::ffi::OsString;
use std::sync::Arc;

use anyhow::Context as _;

use crate::bench::latency::{float, median};
use crate::bench::load;
use crate::bench::measure::{disk_usage, open_files};
use crate::bench::options::{SOAK_PIECES, SOAK_PIECES_OF_A_LIFE, Work};
use crate::bench::report::{OverTime, Row};
use crate::bench::server::Server;
use crate::bench::sink::{Manner, Sink};

use super::{Run, arrive, bytes_of};

/// Bytes of an event.
const PAYLOAD_BYTES: usize = 512;
/// The first pieces, of which nothing is said: files give their space back as a whole, so the disk has
/// what it will have only when the first of them have expired.
const WARM_PIECES: usize = 2;
/// Events are kept for this part of a piece, so that what is kept does not grow after the first.
const KEPT_PART: f64 = 2.0;
/// What the second half may need beside the first: above the noise of a short run, below what a leak of
/// one byte in ten makes.
const FLAT: f64 = 1.25;
/// The same for latencies, which a busy machine spreads far more.
const FLAT_LATENCY: f64 = 2.0;

/// What is looked at after each piece.
#[derive(Default)]
struct Samples {
    memory: Vec<f64>,
    disk: Vec<f64>,
    files: Vec<f64>,
    p50: Vec<f64>,
    rates: Vec<f64>,
}

pub(super) async fn run(run: &mut Run<'_>) -> anyhow::Result<()> {
    let payloads = Arc::new(run.options.payload(PAYLOAD_BYTES).json()?);
    let sinks = [
        Sink::start(Manner::Take).await?,
        Sink::start(Manner::Fail).await?,
        Sink::start(Manner::Hang).await?,
    ];
    let healthy = sinks.first().context("a sink")?;
    let directory = run.starter.fresh("serve")?;
    let mut server = start(run).await?;
    let application = server.api.application("soak").await?;
    for sink in &sinks {
        server
            .api
            .endpoint(&application, &sink.url(0), None)
            .await?;
    }
    let (mut samples, mut count) = (Samples::default(), 0);
    for piece in 0..SOAK_PIECES {
        if piece > 0 && piece.is_multiple_of(SOAK_PIECES_OF_A_LIFE) {
            server.child.context("a server of our own")?.kill();
            server = start(run).await?;
        }
        run.begin(Work::Soak, &format!("piece {} of {SOAK_PIECES}", piece + 1));
        let load = run.load(Some(run.options.rate));
        let done = load::run(load, server.target(&application, &payloads)).await?;
        count += done.count;
        samples.rates.push(done.per_second);
        samples.p50.push(done.latencies.milliseconds(0.5));
        samples.disk.push(float(disk_usage(&directory)));
        let child = server.child.as_ref().context("a server of our own")?;
        samples
            .memory
            .extend(child.memory().map(|memory| float(memory.now)));
        samples.files.extend(open_files(child.id()).map(float));
    }
    // At least once: what a kill interrupted comes again.
    arrive(healthy, count).await?;
    run.rows.extend(rows(
        &samples,
        count,
        run.options.duration.as_secs_f64() * 1e3,
    ));
    Ok(())
}

async fn start(run: &Run<'_>) -> anyhow::Result<Server> {
    let payload = run.options.payload(PAYLOAD_BYTES).json()?;
    let piece = run.options.rate * run.options.duration.as_secs_f64();
    let bytes = float(bytes_of(&payload, 1)) * piece / KEPT_PART;
    // By bytes, so that files are small enough to give their space back within a piece.
    let extra: [OsString; 4] = [
        format!("--retention-bytes={bytes:.0}").into(),
        format!("--attempt-retention-bytes={bytes:.0}").into(),
        // Deliveries that fail are given up within a piece.
        "--retry-schedule=0s,100ms,200ms".into(),
        "--attempt-timeout=1s".into(),
    ];
    let directory = run.starter.scratch.join("serve");
    Server::start(&run.starter, run.options, &directory, &extra).await
}

fn rows(samples: &Samples, count: u64, window_ms: f64) -> Vec<Row> {
    let mebi = float(1 << 20);
    let of = |name: &str, unit, values: &[f64], scale: f64| {
        let (_, values) = values.split_at_checked(WARM_PIECES)?;
        let (first, second) = values.split_at(values.len() / 2);
        let (first, second) = (median(first)? / scale, median(second)? / scale);
        let work = format!("{name} in the second half");
        let row = Row::new(Work::Soak.id(), work, unit, second);
        let mut row = row.against("the first half", &[second], &[first]);
        row.count = count;
        row.over_time = Some(OverTime {
            window_ms,
            ours: values.iter().map(|value| value / scale).collect(),
            limit: Vec::new(),
        });
        Some(row)
    };
    let rows = [
        of("memory", "MiB", &samples.memory, mebi).map(|row| row.at_most(FLAT)),
        of("disk", "MiB", &samples.disk, mebi).map(|row| row.at_most(FLAT)),
        of("open files", "files", &samples.files, 1.0).map(|row| row.at_most(FLAT)),
        of("publish p50", "ms", &samples.p50, 1.0).map(|row| row.at_most(FLAT_LATENCY)),
        of("rate", "events/s", &samples.rates, 1.0).map(|row| row.at_least(1.0 / FLAT)),
    ];
    rows.into_iter().flatten().collect()
}
