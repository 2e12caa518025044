//! What subscriptions cost that have nothing to do: memory, the time to start, and the rate of those
//! that have.
//!
//! `cargo bench --bench subscriptions -- --subscriptions 100000`; `--help` for more.
//!
//! Each figure comes from a process of its own (this program, run as its own child), so that memory is
//! of one log alone and the page cache is warm for all.
//!
//! **Invariant:** subscriptions are as real ones (URL, secret, three event types, uid, description), and
//! whoever measures the rate has one match for each event, however many subscriptions there are.
//! **Next:** `subscriptions/child.rs`, which measures; `README.md`, which records results.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark prints, and stops at the first thing that goes wrong"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Parser;

use crate::child::Phase;

#[path = "subscriptions/child.rs"]
mod child;

/// As the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The fewest subscriptions, which all others are held against.
const FEW: usize = 10;

/// What idle subscriptions cost.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Subscriptions at most.
    #[arg(long, default_value_t = 100_000)]
    subscriptions: usize,
    /// Subscriptions of each application; both layouts run if it is left out.
    #[arg(long)]
    per_application: Option<usize>,
    /// How long each rate is measured, in each round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// How often all numbers of subscriptions take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Leaves the rates out.
    #[arg(long)]
    no_rates: bool,
    /// What a child of this program does; set by itself.
    #[arg(long, hide = true, value_enum)]
    phase: Option<Phase>,
    /// The log of a child.
    #[arg(long, hide = true)]
    directory: Option<std::path::PathBuf>,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a child has found, by name.
type Figures = BTreeMap<String, f64>;

fn main() {
    let mut args = Args::parse();
    if let (Some(phase), Some(directory)) = (args.phase, &args.directory) {
        child::run(phase, directory, &args);
        return;
    }
    // Run by `cargo test --benches`, which gives no `--bench`: proves that it works, in a second.
    if !args.bench {
        (args.subscriptions, args.seconds, args.rounds) = (200, 1, 1);
    }
    let layouts = args.per_application.map_or(vec![100, 1], |one| vec![one]);
    for per_application in layouts {
        let args = Args {
            per_application: Some(per_application),
            ..args.clone()
        };
        measure(&args, per_application);
    }
}

/// One layout: all that is to be known of it.
fn measure(args: &Args, per_application: usize) {
    let scratch = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("scratch");
    let mut counts = Vec::new();
    let mut count = FEW;
    while count < args.subscriptions && !args.no_rates {
        counts.push(count);
        count *= 10;
    }
    if args.no_rates {
        counts.push(FEW);
    }
    counts.push(args.subscriptions);
    println!("applications of up to {per_application} subscriptions");
    let mut few_memory = None;
    for count in &counts {
        let directory = scratch.path().join(count.to_string());
        // The first open follows a kill, the second an orderly end.
        let created = child(args, Phase::Create, &directory, *count);
        println!(
            "  {count} subscriptions created at {:.0}/s",
            get(&created, "rate")
        );
        for ended in ["kill -9", "an orderly end"] {
            let opened = child(args, Phase::Open, &directory, *count);
            println!(
                "    start after {ended}: {:.2} s to the first delivery (log open {:.2} s, dispatcher \
                 {:.2} s), RSS {:.1} MiB",
                get(&opened, "total"),
                get(&opened, "open"),
                get(&opened, "dispatcher"),
                get(&opened, "rss") / MIB,
            );
            let memory = ["rss_open", "rss_soon", "rss"].map(|name| get(&opened, name));
            let few = *few_memory.get_or_insert(memory);
            if ended == "an orderly end" && *count > FEW {
                let [open, soon, settled] = [0, 1, 2].map(|at: usize| {
                    let of = |memory: [f64; 3]| *memory.get(at).unwrap();
                    (of(memory) - of(few)) / float(count - FEW)
                });
                println!(
                    "    bytes of RSS for each subscription: {open:.0} once the log is open, {soon:.0} \
                     three seconds after the first delivery, {settled:.0} twelve seconds later",
                );
            }
        }
    }
    if !args.no_rates {
        rates(args, scratch.path(), &counts);
    }
}

/// Events published and delivered a second, once for each event, all counts in turns.
fn rates(args: &Args, scratch: &Path, counts: &[usize]) {
    let mut found: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
    for round in 0..args.rounds {
        for count in counts {
            let figures = child(args, Phase::Rate, &scratch.join(count.to_string()), *count);
            let (rate, cpu) = (get(&figures, "rate"), get(&figures, "cpu"));
            println!(
                "  round {round}, {count} subscriptions: {rate:.0} events/s, {cpu:.1} µs of CPU each"
            );
            found.entry(*count).or_default().push((rate, cpu));
        }
    }
    let few = found.get(&FEW).cloned().unwrap_or_default();
    for (count, rows) in &found {
        let ratios = |pick: fn(&(f64, f64)) -> f64| {
            let mut all: Vec<_> = rows
                .iter()
                .zip(&few)
                .map(|(many, few)| pick(many) / pick(few))
                .collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
        };
        println!(
            "  {count} subscriptions ÷ {FEW}: rate {:.2}, CPU of an event {:.2} (medians)",
            ratios(|row| row.0),
            ratios(|row| row.1)
        );
    }
}

/// Runs this program as a child, which prints lines of a name and a number.
fn child(args: &Args, phase: Phase, directory: &Path, count: usize) -> Figures {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .arg("--phase")
        .arg(phase.name())
        .arg("--directory")
        .arg(directory)
        .arg("--subscriptions")
        .arg(count.to_string())
        .arg("--per-application")
        .arg(args.per_application.unwrap_or(1).to_string())
        .arg("--seconds")
        .arg(args.seconds.to_string())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut figures = Figures::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((name, number)) = line.split_once(' ') else {
            panic!("a child said {line:?}");
        };
        if name == "kill" {
            child.kill().unwrap();
            break;
        }
        figures.insert(name.to_owned(), number.parse().unwrap());
    }
    let status = child.wait().unwrap();
    assert!(
        status.success() || phase == Phase::Create,
        "{phase:?} {status}"
    );
    figures
}

const MIB: f64 = 1_048_576.0;

fn get(figures: &Figures, name: &str) -> f64 {
    *figures.get(name).expect("a child's figure")
}

/// A count as a number to divide.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}
