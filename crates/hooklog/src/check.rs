//! `hooklog check`: is a data directory whole, and if not, what can be saved of it?
//!
//! **Invariant:** it writes nothing into the directory; exit code 0 means that nothing is wrong.
//! **Next:** the end of the commands; `client.rs` sends.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use hooklog::storage::{self, ChainReport, CheckReport, Repaired};
use serde::Serialize;

use crate::bar::Bar;
use crate::compact::copy_config;
use crate::config::Settings;
use crate::output;

/// How many problems and ranges are printed; `--json` has more.
const SHOWN: usize = 20;

/// Verify a data directory while the server is stopped, or save what can be read of a damaged one.
#[derive(Args, Serialize)]
#[command(after_help = HELP)]
pub(crate) struct Flags {
    /// Data directory to check [default: ./hooklog-data].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Save everything readable into this new directory. The damaged one stays as it is.
    #[arg(long, value_name = "NEW_DIR")]
    #[serde(skip)]
    pub(crate) repair: Option<PathBuf>,
    /// Where the database is copied to while it is checked, since opening it writes; must not exist
    /// [default: beside the data directory].
    #[arg(long, value_name = "DIR", conflicts_with = "repair")]
    #[serde(skip)]
    pub(crate) scratch: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long, conflicts_with = "repair")]
    #[serde(skip)]
    pub(crate) json: bool,
}

const HELP: &str = "\
Looks at every batch of events and attempts, every index row, the registry, cursors, the journal, and
the index of idempotency keys and uids (`keys`), which can be made from the rest again.
Needs free space for a copy of the database file. The exit code is 1 if anything is wrong.

After a repair, events keep their ids. What is lost is marked as lost, and readers pass over it.

Examples:
  hooklog check --data-dir /var/lib/hooklog
  hooklog check --data-dir /var/lib/hooklog --repair /var/lib/hooklog-repaired";

/// What is wrong was printed; this only sets the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{directory} is damaged: {count} problems; {remedy}")]
struct Damaged {
    directory: String,
    count: u64,
    remedy: &'static str,
}

/// Checks, or repairs.
pub(crate) fn run(settings: &Settings, flags: &Flags) -> anyhow::Result<()> {
    let directory = settings.data_dir.as_path();
    let mut bar = Bar::new("saving");
    if let Some(new) = &flags.repair {
        let mut config = copy_config(settings);
        config.directory.clone_from(new);
        let done = storage::repair(directory, &config, |step| bar.update(step));
        bar.finish();
        return print_repaired(new, &done?);
    }
    let scratch = match &flags.scratch {
        Some(path) => path.clone(),
        None => beside(directory),
    };
    let report = storage::check(directory, &scratch, |step| bar.update(step));
    bar.finish();
    let report = report?;
    let said = if flags.json {
        output::line(serde_json::to_string_pretty(&report)?)
    } else {
        print(&report)
    };
    if report.is_good() {
        return said;
    }
    Err(Damaged {
        directory: directory.display().to_string(),
        count: report.problems_total,
        remedy: if report.only_keys_are_bad() {
            "no event is lost: remove its directory `keys`, and the next start makes it anew"
        } else {
            "save what is readable with --repair NEW_DIR"
        },
    }
    .into())
}

fn beside(directory: &Path) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(".checking");
    name.into()
}

fn print(report: &CheckReport) -> anyhow::Result<()> {
    print_chain("events", &report.events)?;
    print_chain("attempts", &report.attempts)?;
    match report.journal_events {
        Some((from, to)) => output::line(format_args!("journal   events {from}..{to}"))?,
        None => output::line("journal   no events that the database does not hold")?,
    }
    output::line(format_args!(
        "rows      {} of the registry, cursors and parked deliveries",
        report.rows
    ))?;
    output::line(format_args!(
        "keys      {} idempotency keys and uids in {} files",
        report.keys, report.key_runs
    ))?;
    for problem in report.problems.iter().take(SHOWN) {
        let at = problem
            .position
            .map_or_else(String::new, |at| format!(" at {at}"));
        output::line(format_args!(
            "damaged   {}{at}: {}",
            problem.place, problem.what
        ))?;
    }
    if report.is_good() {
        output::line("good: nothing is wrong")?;
    }
    Ok(())
}

fn print_chain(what: &str, chain: &ChainReport) -> anyhow::Result<()> {
    let ranges = |ranges: &[(u64, u64)]| {
        let shown = ranges.iter().take(SHOWN);
        let shown: Vec<_> = shown.map(|(from, to)| format!("{from}..{to}")).collect();
        let more = if ranges.len() > SHOWN { ", …" } else { "" };
        format!("{}{more}", shown.join(", "))
    };
    let bad = chain.first_bad.map_or_else(String::new, |first| {
        let readable = ranges(&chain.readable);
        format!("; first bad at {first}; readable: {readable}")
    });
    let lost = match chain.marked_lost.as_slice() {
        [] => String::new(),
        lost => format!("; lost before a repair: {}", ranges(lost)),
    };
    output::line(format_args!(
        "{what:<9} {}..{} in {} batches{bad}{lost}",
        chain.first, chain.end, chain.batches
    ))
}

fn print_repaired(new: &Path, done: &Repaired) -> anyhow::Result<()> {
    let lost = |lost: &[Range<u64>]| {
        let count: u64 = lost.iter().map(|range| range.end - range.start).sum();
        let shown = lost.iter().take(SHOWN);
        let shown: Vec<_> = shown
            .map(|range| format!("{}..{}", range.start, range.end))
            .collect();
        match count {
            0 => "none lost".to_owned(),
            count => format!("{count} lost: {}", shown.join(", ")),
        }
    };
    let saved = [
        ("events", &done.events, lost(&done.events_lost)),
        ("attempts", &done.attempts, lost(&done.attempts_lost)),
    ];
    for (what, range, lost) in saved {
        output::line(format_args!(
            "{what:<9} {}..{}, {lost}",
            range.start, range.end
        ))?;
    }
    output::line(format_args!(
        "rows      {} saved, {} lost; {} journal frames applied",
        done.rows, done.rows_lost, done.frames
    ))?;
    for note in &done.notes {
        output::line(format_args!("note      {note}"))?;
    }
    output::line(format_args!("repaired into {}", new.display()))
}
