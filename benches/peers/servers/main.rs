//! Publishing to the server and to its peers, and consuming from them at the same time: Redis Streams, NATS
//! JetStream, any Svix-compatible server, beside the limit.
//!
//! 64 connections with one event of 512 B in flight each, the same load generator for all of them; the
//! servers take turns. Generator, consumer and server share the machine.
//!
//! **Invariant:** an event counts when its ack came, and is consumed when its consumer acked it, of which
//! none may be missing; what each ack means is printed below the figures, and a server that is not
//! installed is named with the reason.
//! **Next:** `peer.rs`, who they are.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;

use crate::ledger::{Consumed, Ledger, PATIENCE};
use crate::load::{Done, Load};
use crate::measure::{Memory, Usage};
use crate::peer::{Peer, Programs, Work};
use crate::process::Running;
use crate::table::{Row, float};

mod hooklog;
mod http;
mod ledger;
mod load;
#[path = "../../../crates/hooklog/src/bench/measure.rs"]
#[cfg_attr(not(test), expect(dead_code, reason = "more of it is used elsewhere"))]
mod measure;
mod nats;
mod peer;
mod process;
mod protocol;
mod redis;
mod sink;
mod stamp;
mod table;
mod wire;

/// Publishing to the server and to its peers, and consuming from them.
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
    connections: u16,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 512)]
    payload: usize,
    /// Only this: publishing, or consuming at the same time.
    #[arg(long, value_delimiter = ',', default_values_t = Work::ALL, value_enum)]
    work: Vec<Work>,
    /// Most events that a consumer pulls at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=250))]
    batch: u16,
    /// Only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Peer>,
    /// Where the fresh directories are made: on the disk that is to be measured.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
    #[command(flatten)]
    programs: Programs,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let load = Load {
        connections: args.connections.max(1),
        payload_bytes: args.payload.max(64),
        time: Duration::from_secs(args.seconds.max(1)),
    };
    let mut rows = rows(&args);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} ({elapsed}) {msg:30}");
    let rounds = args.rounds.max(1);
    let bar =
        ProgressBar::new((rows.len() * rounds) as u64).with_style(style.expect("a valid template"));
    for _ in 0..rounds {
        for row in &mut rows {
            bar.set_message(row.peer.name());
            let directory = tempfile::TempDir::with_prefix_in("peers-", &args.directory)?;
            if let Err(error) = one(row, load, &args, &runtime, directory.path()) {
                let said =
                    std::fs::read_to_string(directory.path().join("stderr")).unwrap_or_default();
                return Err(Error::other(format!(
                    "{}, {:?}: {error}\n{said}",
                    row.peer.name(),
                    row.work
                )));
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    println!(
        "events of {} B, {} in flight, {rounds} rounds of {} s\n",
        load.payload_bytes,
        load.connections,
        load.time.as_secs()
    );
    for work in Work::ALL {
        table::print(&rows, work);
    }
    table::print_meanings(&rows, args.batch);
    Ok(())
}

/// Who does which work, empty still.
fn rows(args: &Args) -> Vec<Row> {
    let mut rows = Vec::new();
    let is_wanted = |peer: &Peer| args.only.is_empty() || args.only.contains(peer);
    for peer in Peer::ALL.into_iter().filter(is_wanted) {
        let works = Work::ALL.into_iter();
        let works = works.filter(|work| args.work.contains(work) && peer.does(*work));
        match peer.version(&args.programs) {
            Ok(version) => rows.extend(works.map(|work| Row::new(work, peer, version.clone()))),
            Err(why) => println!("{}: skipped, {why}", peer.name()),
        }
    }
    // All of a work in turns.
    rows.sort_by_key(|row| row.work as u8);
    rows
}

/// One round of a row, with a fresh server.
fn one(row: &mut Row, load: Load, args: &Args, runtime: &Runtime, directory: &Path) -> Result<()> {
    let (peer, work) = (row.peer, row.work);
    let server = peer.start(&args.programs, directory, load.connections)?;
    let before = server.id().and_then(Usage::of);
    // Ctrl-C ends it here, so that no server, directory or application is left.
    let (done, consumed) = runtime.block_on(async {
        tokio::select! {
            done = perform(peer, work, &server, load, args.batch) => done,
            _ = tokio::signal::ctrl_c() => Err(Error::other("stopped by SIGINT")),
        }
    })?;
    let after = server.id().and_then(Usage::of);
    let used = after
        .zip(before)
        .map(|(after, before)| after.since(&before).cpu());
    row.cpu_us = used.map(|seconds| seconds * 1e6 / float(done.count));
    row.rss = server.id().and_then(Memory::of).map(|memory| memory.peak);
    row.published.push(done.per_second);
    row.last = Some(done.latency);
    if let Some(consumed) = consumed {
        let time = consumed.last.duration_since(done.started);
        row.consumed.push(float(done.count) / time.as_secs_f64());
        row.again += consumed.again;
        row.last = Some(consumed.latency);
    }
    Ok(())
}

/// Publishes, and has it consumed if that is the work, until the last event is acked.
async fn perform(
    peer: Peer,
    work: Work,
    server: &Running,
    load: Load,
    batch: u16,
) -> Result<(Done, Option<Consumed>)> {
    let ledger = Arc::new(Ledger::new());
    let publish = || load::run(load, server.address, &server.protocol, ledger.epoch);
    if work == Work::Publish {
        return Ok((publish().await?, None));
    }
    let mut consumers = peer.consume(server, batch, &ledger).await?;
    let done = publish().await?;
    let consumed = ledger.wait(&done.stamps, &mut consumers, PATIENCE).await?;
    peer.verify(server)?;
    Ok((done, Some(consumed)))
}
