//! The report as text: results, then what they cost.
//!
//! **Invariant:** with the default options a line has at most 140 columns; what was not measured is a dash, never a zero.
//! **Next:** `html.rs`.

use std::fmt::Write as _;

use super::{Report, Row};
use crate::bench::against::{Compared, Verdict};

/// Blanks between columns.
const GAP: &str = "  ";

/// The whole text.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(report, &mut out);
    out
}

fn write(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(out, "{}", headline(report))?;
    for warning in &report.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    writeln!(out)?;
    let results = report.rows.iter().map(result).collect::<Vec<_>>();
    let head = [
        "",
        "work",
        "hooklog",
        "limit",
        "ratio",
        "from–to",
        "target",
        "",
    ];
    out.push_str(&table(&head, &results));
    let costs = report.rows.iter().filter_map(cost).collect::<Vec<_>>();
    if !costs.is_empty() {
        writeln!(out)?;
        let head = [
            "", "p50 ms", "p99 ms", "p99.9 ms", "at", "CPU µs", "disk B/B", "RSS MiB", "at most",
        ];
        out.push_str(&table(&head, &costs));
    }
    for row in &report.rows {
        for note in &row.notes {
            writeln!(out, "{}: {note}", row.id)?;
        }
    }
    if let Some(comparison) = &report.against {
        writeln!(out, "\nagainst {}", comparison.with)?;
        let head = ["", "work", "of", "stored", "now", "at worst", ""];
        let rows = comparison.figures.iter().map(compared).collect::<Vec<_>>();
        out.push_str(&table(&head, &rows));
    }
    Ok(())
}

fn compared(figure: &Compared) -> Vec<String> {
    let verdict = match figure.verdict {
        Verdict::Holds => "holds",
        Verdict::Better => "far better: store it anew",
        Verdict::Worse => "FAR WORSE",
        Verdict::Missing => "NOT MEASURED",
        Verdict::Shown => "a time, only shown",
    };
    vec![
        figure.id.clone(),
        figure.work.clone(),
        figure.unit.clone(),
        number(figure.stored),
        figure.found.map_or_else(dash, number),
        figure.bound.map_or_else(dash, number),
        verdict.to_owned(),
    ]
}

/// Machine and settings in two lines.
pub(super) fn headline(report: &Report) -> String {
    let machine = &report.machine;
    let named = |before: &str, text: &Option<String>| {
        let text = text.as_ref();
        text.map_or_else(String::new, |text| format!("{before}{text}"))
    };
    let memory = machine.memory.map_or_else(String::new, |bytes| {
        format!(
            ", {:.0} GiB",
            super::super::latency::float(bytes) / 1024_f64.powi(3)
        )
    });
    format!(
        "hooklog {} ({} build), {} in {:.0} s\n{} cores{}{memory}, {}{}; {} rounds of {:?}, {}",
        report.hooklog,
        report.build,
        report.started,
        report.seconds,
        machine.cores,
        named(" of ", &machine.processor),
        machine.system,
        named(" ", &machine.kernel),
        report.options.rounds,
        report.options.duration,
        report.options.durability.name(),
    )
}

fn result(row: &Row) -> Vec<String> {
    let ratio = row.ratio.as_ref();
    let target = row.target.as_ref();
    vec![
        row.id.to_owned(),
        row.work.clone(),
        format!("{} {}", number(row.ours), row.unit),
        row.limit.as_ref().map_or_else(dash, |limit| {
            format!("{} {}", number(limit.value), limit.name)
        }),
        ratio.map_or_else(dash, |ratio| format!("{:.2}", ratio.median)),
        ratio.map_or_else(dash, |ratio| format!("{:.2}–{:.2}", ratio.min, ratio.max)),
        target.map_or_else(dash, |target| target.text.clone()),
        target.map_or_else(String::new, |target| {
            if target.met { "met" } else { "missed" }.to_owned()
        }),
    ]
}

fn cost(row: &Row) -> Option<Vec<String>> {
    let (latency, cost) = (row.latency.as_ref(), row.cost);
    let is_empty = latency.is_none() && cost == super::Cost::default();
    let milliseconds = |of: fn(&super::Latency) -> f64| {
        latency.map_or_else(dash, |latency| format!("{:.2}", of(latency)))
    };
    let mebibytes = |bytes: Option<u64>| bytes.map_or_else(dash, |bytes| (bytes >> 20).to_string());
    let decimal = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.1}"));
    (!is_empty).then(|| {
        vec![
            format!("{} {}", row.id, row.work),
            milliseconds(|latency| latency.p50_ms),
            milliseconds(|latency| latency.p99_ms),
            milliseconds(|latency| latency.p999_ms),
            latency.map_or_else(dash, |latency| match latency.offered_per_second {
                Some(rate) => format!("{}/s", number(rate)),
                None => "one by one".to_owned(),
            }),
            decimal(cost.cpu_us),
            decimal(cost.disk_per_byte),
            mebibytes(cost.rss),
            mebibytes(cost.rss_peak),
        ]
    })
}

/// Absent.
fn dash() -> String {
    "–".to_owned()
}

/// With as many digits as mean something.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.trim_start_matches('-').len();
    let mut grouped = String::new();
    for (at, digit) in whole.trim_start_matches('-').chars().enumerate() {
        if at > 0 && (digits - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    format!("{sign}{grouped}{rest}")
}

/// Columns as wide as their widest cell; the first two of words, the others of numbers to the right.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let words = |column: usize| column == 0 || (column == 1 && head.get(1) == Some(&"work"));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let title = head.get(column).map_or(0, |title| title.chars().count());
            let widest = cells.map(|cell| cell.chars().count()).max();
            widest.unwrap_or(0).max(title)
        })
        .collect();
    let mut out = String::new();
    let head: Vec<String> = head.iter().map(|&title| title.to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| {
            if words(column) {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        out.push_str(cells.collect::<Vec<_>>().join(GAP).trim_end());
        out.push('\n');
    }
    out
}
