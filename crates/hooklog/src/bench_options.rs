//! `hooklog bench`: its options, its progress bar, and where its report goes.
//!
//! **Invariant:** the report is all that is on stdout; whatever ends the command, no child process and no
//! scratch directory is left behind.
//! **Next:** `bench.rs` of the library, which measures.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use hooklog::bench;
use hooklog::bench::against::Stored;
use hooklog::bench::along::Along;
use hooklog::bench::options::{Durability, Options, SOAK_PIECES, Work};
use hooklog::bench::payload::Payload;
use hooklog::bench::report::Report;
use serde::Serialize;
use url::Url;

use crate::config::Settings;
use crate::signals::Signals;
use crate::units::{ByteSize, HumanDuration};
use crate::{bar, open_files, output};

/// Smallest payload: a stamp and an empty text.
const PAYLOAD_MIN: usize = 64;
/// Largest payload: what a default server takes, with room for what is around it.
const PAYLOAD_MAX: usize = 1 << 20;
/// Most connections: what a default server takes.
const CONNECTIONS_MAX: usize = 4096;
/// Most endpoints that get events: they are created one by one.
const ENDPOINTS_MAX: usize = 1000;
/// Points of the longest curve.
const POINTS_MAX: usize = 8;
/// Most rounds: beyond it they should be runs of their own.
const ROUNDS_MAX: usize = 100;

/// Measure this machine: what the server does beside the least that each work needs.
#[derive(Args, Serialize)]
#[command(after_help = HELP)]
pub(crate) struct Flags {
    /// Only these targets, P1 to P10; `instructions` is what hot functions take, counted by valgrind
    /// [default: all targets, or all that can be done with --url].
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    #[serde(skip)]
    only: Vec<Work>,
    /// How long each measurement takes; there are some forty.
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    #[serde(skip)]
    duration: HumanDuration,
    /// How often the sides of each comparison take turns.
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = count::<ROUNDS_MAX>)]
    #[serde(skip)]
    rounds: usize,
    /// Keep-alive connections that publish, and attempts in flight to an endpoint.
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = count::<CONNECTIONS_MAX>)]
    #[serde(skip)]
    connections: usize,
    /// Bytes of a payload, random text [default: 512, deliveries 1024].
    #[arg(long, value_name = "SIZE", conflicts_with = "corpus", value_parser = payload)]
    #[serde(skip)]
    payload: Option<ByteSize>,
    /// Payloads from a file of NDJSON or a directory of them: each line `{"payload":…}`.
    #[arg(long, value_name = "PATH")]
    #[serde(skip)]
    corpus: Option<PathBuf>,
    /// Endpoints that get events; a multiple of --fan-out [default: 1, and 20 of P7].
    #[arg(long, value_name = "COUNT", value_parser = count::<ENDPOINTS_MAX>)]
    #[serde(skip)]
    endpoints: Option<usize>,
    /// Endpoints that get each event.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = count::<ENDPOINTS_MAX>)]
    #[serde(skip)]
    fan_out: usize,
    /// Events that wait for an endpoint; P2 drains a fifth of them.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    #[serde(skip)]
    backlog: u64,
    /// Most idle subscriptions; P8 looks at a tenth of them.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    #[serde(skip)]
    subscriptions: u64,
    /// Share of endpoints that answer 500 in P7.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    #[serde(skip)]
    failing: f64,
    /// Share of endpoints that never answer in P7.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    #[serde(skip)]
    hanging: f64,
    /// What an ack means, of the server and of its limits.
    #[arg(long, value_name = "MODE", value_enum, default_value = "power-safe")]
    #[serde(skip)]
    durability: Durability,
    /// Events a second of P5 and P7.
    #[arg(long, value_name = "RATE", default_value_t = 1000.0)]
    #[serde(skip)]
    rate: f64,
    /// Share of the throughput at which P1 tells latencies.
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    #[serde(skip)]
    load: f64,
    /// Payload bytes that P10 keeps while it appends three times as many.
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    #[serde(skip)]
    window: ByteSize,
    /// Where the fresh directory is made: on the disk that is to be measured [default: the directory for
    /// temporary files].
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    directory: Option<PathBuf>,
    /// A Svix-compatible server to be measured instead, for P1, P3, P5 and P7; it must be able to reach
    /// this machine's 127.0.0.1.
    #[arg(long, value_name = "URL")]
    #[serde(skip)]
    url: Option<Url>,
    /// Bearer token for --url; the variable `HOOKLOG_TOKEN` shows it to nobody else.
    #[arg(long, value_name = "TOKEN", requires = "url")]
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Soak instead: publish at --rate for so long, deliver, fail, expire and be killed, and compare the
    /// second half with the first; exit code 1 if memory, disk, open files, latency or rate are not flat.
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["only", "duration", "url", "against"])]
    #[serde(skip)]
    soak: Option<HumanDuration>,
    /// Curves instead: publishing along `connections` (1 to 1024) and `payload` (64 B to 1 MiB),
    /// deliveries along `fan-out` (1 to 1000), cost along `subscriptions` (10 to 100000), starts along
    /// `backlog` (0 to 10 M events), opening, appending and reading along `log-size` (0 to 20 GiB).
    #[arg(long, value_name = "ALONG", value_delimiter = ',', hide_possible_values = true,
          conflicts_with_all = ["only", "soak", "url", "against"])]
    #[serde(skip)]
    curve: Vec<Along>,
    /// Points of each curve, from its first one on: fewer are a shorter run and a smaller log.
    #[arg(long, value_name = "COUNT", default_value_t = POINTS_MAX, requires = "curve",
          value_parser = count::<POINTS_MAX>)]
    #[serde(skip)]
    points: usize,
    /// Hold the figures against stored ones, a report of --json, and fail with exit code 1 if one is far
    /// worse: a ratio by a factor of 2, memory and disk of 1.5, instructions of 1.25. Of several rounds
    /// the best counts; times are only shown.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    against: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    #[serde(skip)]
    json: bool,
    /// Write the report as a page with plots, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    html: Option<PathBuf>,
}

const HELP: &str = "\
A figure counts as a ratio against its limit in the same run: bare hyper with or without a file,
raw connections, a plain file. Latencies are those of an open loop, from the moment at which an
event was meant to be sent; throughput is that of a closed loop. Load generator and sink share the
machine with the server, which runs as a process of its own, so that CPU, bytes and memory are its
alone.

Examples:
  hooklog bench --html report.html
  hooklog bench --only P1,P4 --duration 30s --directory /srv
  hooklog bench --curve connections,payload --html curves.html
  hooklog bench --only P1,P4,instructions --against benches/ratios.json
  hooklog bench --soak 10m --rate 500
  hooklog bench --only P1,P5 --url http://127.0.0.1:8071 --token \"$TOKEN\"";

fn count<const MAX: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MAX).contains(&count) => Ok(count),
        _ => Err(format!("must be a number from 1 to {MAX}")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..1.0).contains(&value) => Ok(value),
        _ => Err("must be a number from 0 to below 1".to_owned()),
    }
}

fn payload(text: &str) -> Result<ByteSize, String> {
    match text.parse() {
        Ok(ByteSize(bytes)) if (PAYLOAD_MIN..=PAYLOAD_MAX).contains(&bytes) => Ok(ByteSize(bytes)),
        Ok(_) => Err(format!(
            "must be from {PAYLOAD_MIN} B to {} MiB",
            PAYLOAD_MAX >> 20
        )),
        Err(error) => Err(error.to_string()),
    }
}

impl Flags {
    fn options(&self, settings: &Settings) -> anyhow::Result<Options> {
        let only: BTreeSet<Work> = if self.soak.is_some() {
            BTreeSet::from([Work::Soak])
        } else if !self.curve.is_empty() {
            self.curve.iter().copied().map(Work::Curve).collect()
        } else if self.only.is_empty() {
            let all = Work::ALL.into_iter();
            all.filter(|work| self.url.is_none() || work.is_remote())
                .collect()
        } else {
            self.only.iter().copied().collect()
        };
        let piece = self.soak.map(|HumanDuration(soak)| soak / SOAK_PIECES);
        let corpus = self.corpus.clone().map(Payload::Corpus);
        let payload = self.payload.map(|ByteSize(bytes)| Payload::Bytes(bytes));
        Ok(Options {
            only,
            duration: piece.unwrap_or(self.duration.0),
            rounds: self.rounds,
            connections: self.connections,
            payload: corpus.or(payload),
            endpoints: self.endpoints,
            fan_out: self.fan_out,
            backlog: self.backlog,
            subscriptions: self.subscriptions,
            failing: self.failing,
            hanging: self.hanging,
            durability: self.durability,
            rate: self.rate,
            load: self.load,
            window_bytes: u64::try_from(self.window.0)?,
            segment_bytes: u64::try_from(settings.journal_segment.0)?,
            points: self.points,
            url: self.url.clone(),
            token: settings.token.clone(),
        })
    }
}

/// Measures, and prints what came of it.
pub(crate) fn run(settings: &Settings, flags: &Flags) -> anyhow::Result<()> {
    open_files::raise();
    let options = flags.options(settings)?;
    options.check()?;
    let stored = stored(flags)?;
    let executable = std::env::current_exe().context("where this program lies")?;
    let parent = flags.directory.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::Builder::new()
        .prefix("hooklog-bench-")
        .tempdir_in(&parent);
    let scratch = scratch.with_context(|| format!("no directory in {}", parent.display()))?;
    #[expect(clippy::disallowed_methods, reason = "a report says when it was made")]
    let now = jiff::Timestamp::try_from(SystemTime::now())?;
    let started = now.round(jiff::Unit::Second)?.to_string();
    let bar = bar::steps(bench::steps(&options));
    let step = |what: &str| {
        bar.set_message(what.to_owned());
        bar.inc(1);
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let stop = async { format!("stopped by {}", signals.next().await) };
        bench::run(options, executable, scratch.path(), started, &step, stop).await
    });
    bar.finish_and_clear();
    runtime.shutdown_timeout(SHUTDOWN);
    scratch
        .close()
        .context("cannot remove the scratch directory")?;
    let mut report = report?;
    if let Some((name, stored)) = &stored {
        let compared = stored.compare(name.clone(), &report.options, &report.rows);
        report.against = Some(compared?);
    }
    if let Some(path) = &flags.html {
        let page = bench::report::html::page(&report)?;
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if flags.json {
        output::line(serde_json::to_string_pretty(&report)?)?;
    } else {
        output::line(bench::report::table::text(&report).trim_end())?;
    }
    verdict(&report, flags)
}

/// An error, and with it an exit code, for what a run was to show and did not.
fn verdict(report: &Report, flags: &Flags) -> anyhow::Result<()> {
    if let Some(compared) = &report.against
        && let Some(fallen) = compared.fallen()
    {
        anyhow::bail!("far behind {}: {fallen}", compared.with);
    }
    if flags.soak.is_some() {
        let missed = report.rows.iter().filter(|row| row.is_missed());
        let missed: Vec<&str> = missed.map(|row| row.work.as_str()).collect();
        anyhow::ensure!(missed.is_empty(), "not flat: {}", missed.join(", "));
    }
    Ok(())
}

/// The stored figures that a run is held against, read before it begins.
fn stored(flags: &Flags) -> anyhow::Result<Option<(String, Stored)>> {
    let Some(path) = &flags.against else {
        return Ok(None);
    };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let stored = Stored::parse(&text).with_context(|| format!("cannot use {name}"))?;
    Ok(Some((name, stored)))
}

/// Longest wait for tasks that are at work: none waits for anything.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// The hidden command of the children.
#[derive(Args, Serialize)]
pub(crate) struct PartFlags {
    /// What to do, as JSON.
    #[serde(skip)]
    part: String,
}

/// Does one part of a benchmark.
pub(crate) fn part(flags: &PartFlags) -> anyhow::Result<()> {
    open_files::raise();
    bench::part::run(&flags.part, &mut |line| output::line(line))
}
