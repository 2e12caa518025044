//! Publishing to the server and to its peers: Redis Streams, NATS JetStream, any Svix-compatible server,
//! beside the limit.
//!
//! 64 connections with one event of 512 B in flight each, the same load generator for all of them; the
//! servers take turns. Generator and server share the machine.
//!
//! **Invariant:** an event counts when its ack came; what each ack means is printed beside the figures,
//! and a server that is not installed is named with the reason.
//! **Next:** `peer.rs`, which starts them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use crate::load::{Done, Load};
use crate::measure::{Memory, Usage};
use crate::peer::{Peer, Programs};

mod load;
#[path = "../../../crates/hooklog/src/bench/measure.rs"]
#[cfg_attr(not(test), expect(dead_code, reason = "more of it is used elsewhere"))]
mod measure;
mod peer;
mod protocol;

/// Publishing to the server and to its peers.
#[derive(Debug, Parser)]
struct Args {
    /// How long each server is published to.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often they take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Connections, each with one event in flight.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 512)]
    payload: usize,
    /// Only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Peer>,
    /// Where the fresh directories are made: on the disk that is to be measured.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
    #[command(flatten)]
    programs: Programs,
}

/// A peer with what came of all rounds.
struct Row {
    peer: Peer,
    version: String,
    rates: Vec<f64>,
    last: Option<Done>,
    cpu_us: Option<f64>,
    rss: Option<u64>,
}

fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let load = Load {
        connections: args.connections.max(1),
        payload_bytes: args.payload.max(64),
        time: Duration::from_secs(args.seconds.max(1)),
    };
    let mut rows = Vec::new();
    for peer in Peer::ALL {
        if !args.only.is_empty() && !args.only.contains(&peer) {
            continue;
        }
        match peer.version(&args.programs) {
            Ok(version) => rows.push(Row {
                peer,
                version,
                rates: Vec::new(),
                last: None,
                cpu_us: None,
                rss: None,
            }),
            Err(why) => println!("{}: skipped, {why}", peer.name()),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} ({elapsed}) {msg:30}");
    let bar = ProgressBar::new((rows.len() * args.rounds) as u64)
        .with_style(style.expect("a valid template"));
    for _ in 0..args.rounds.max(1) {
        for row in &mut rows {
            bar.set_message(row.peer.name());
            let directory = tempfile::TempDir::with_prefix_in("peers-", &args.directory)?;
            let result = one(row, load, &args.programs, &runtime, directory.path());
            if let Err(error) = result {
                let said =
                    std::fs::read_to_string(directory.path().join("stderr")).unwrap_or_default();
                return Err(std::io::Error::other(format!(
                    "{}: {error}\n{said}",
                    row.peer.name()
                )));
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    print(&rows, &args);
    Ok(())
}

/// Publishes to a fresh server.
fn one(
    row: &mut Row,
    load: Load,
    programs: &Programs,
    runtime: &tokio::runtime::Runtime,
    directory: &std::path::Path,
) -> std::io::Result<()> {
    let server = row.peer.start(programs, directory)?;
    let before = server.id().and_then(Usage::of);
    // Ctrl-C ends it here, so that no server, directory or application is left.
    let done = runtime.block_on(async {
        tokio::select! {
            done = load::run(load, server.address, &server.protocol) => done,
            _ = tokio::signal::ctrl_c() => Err(std::io::Error::other("stopped by SIGINT")),
        }
    })?;
    let after = server.id().and_then(Usage::of);
    let used = after
        .zip(before)
        .map(|(after, before)| after.since(&before).cpu());
    row.cpu_us = used.map(|seconds| seconds * 1e6 / float(done.count));
    row.rss = server.id().and_then(Memory::of).map(|memory| memory.peak);
    row.rates.push(done.per_second);
    row.last = Some(done);
    Ok(())
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX))
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    f64::midpoint(sorted[sorted.len() / 2], sorted[(sorted.len() - 1) / 2])
}

fn print(rows: &[Row], args: &Args) {
    println!(
        "publishing {} B, {} in flight, {} rounds of {} s\n",
        args.payload, args.connections, args.rounds, args.seconds
    );
    println!(
        "{:<24} {:>9} {:>17} {:>10} {:>8} {:>8} {:>7} {:>8}",
        "", "events/s", "from–to", "÷ hooklog", "p50 ms", "p99 ms", "CPU µs", "RSS MiB"
    );
    let ours = rows
        .iter()
        .find(|row| row.peer == Peer::Hooklog)
        .map(|row| median(&row.rates));
    for row in rows {
        let rate = median(&row.rates);
        let low = row.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let high = row.rates.iter().copied().fold(0.0, f64::max);
        let latency = |quantile| {
            let micros = row
                .last
                .as_ref()
                .map_or(0, |done| done.latency.value_at_quantile(quantile));
            float(micros) / 1e3
        };
        let optional = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        println!(
            "{:<24} {rate:>9.0} {:>17} {:>10} {:>8.2} {:>8.2} {:>7} {:>8}",
            row.peer.name(),
            format!("{low:.0}–{high:.0}"),
            optional(ours.map(|ours| format!("{:.2}", rate / ours))),
            latency(0.5),
            latency(0.99),
            optional(row.cpu_us.map(|cpu| format!("{cpu:.1}"))),
            optional(row.rss.map(|rss| (rss >> 20).to_string())),
        );
    }
    println!();
    for row in rows {
        println!("{}: {}", row.peer.name(), row.version);
        println!("  settings: {}", row.peer.settings());
        println!("  its ack: {}", row.peer.ack());
    }
}
