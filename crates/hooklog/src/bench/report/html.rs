//! The report as one page of HTML that needs nothing else: the table, and plots as SVG.
//!
//! **Invariant:** well-formed as XML; every text is escaped; it fetches nothing from anywhere.
//! **Next:** `plot.rs`.

use std::fmt::Write as _;

use super::plot::{Axis, Line, lines};
use super::table::{headline, number};
use super::{OverTime, Report, Row};
use crate::bench::latency::{Latency, float};

/// Figures further apart than this could not be told from zero on a linear axis.
const WIDE: f64 = 20.0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;\
color:#222}table{border-collapse:collapse;width:100%;font-size:14px}th,td{border-bottom:1px solid #ddd;\
padding:.3rem .5rem;text-align:right}th:nth-child(-n+2),td:nth-child(-n+2){text-align:left}\
.met{color:#17692f}.missed{color:#b3261e}.warning{background:#fff3d6;padding:.4rem .8rem;margin:.4rem 0}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(28rem,1fr));gap:1rem}\
svg{width:100%;height:auto}pre{white-space:pre-wrap}";

/// The whole page.
pub fn page(report: &Report) -> anyhow::Result<String> {
    let mut out =
        String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>");
    write!(
        out,
        "<title>hooklog bench</title><style>{STYLE}</style></head><body>"
    )?;
    writeln!(
        out,
        "<h1>hooklog bench</h1><pre>{}</pre>",
        escape(&headline(report))
    )?;
    for warning in &report.warnings {
        writeln!(out, "<p class=\"warning\">{}</p>", escape(warning))?;
    }
    out.push_str(
        "<p>A figure counts as a ratio against its limit in the same run: a bare program that does only \
         what cannot be left out. Latencies count from the moment at which an event was meant to be sent. \
         CPU, bytes and memory are of the server's process alone.</p>\n",
    );
    results(report, &mut out)?;
    costs(report, &mut out)?;
    out.push_str("<div class=\"plots\">\n");
    for row in &report.rows {
        plots(row, &mut out)?;
    }
    out.push_str("</div>\n");
    let settings = serde_json::to_string_pretty(&report.options)?;
    writeln!(
        out,
        "<h2>Settings</h2><pre>{}</pre></body></html>",
        escape(&settings)
    )?;
    Ok(out)
}

fn results(report: &Report, out: &mut String) -> std::fmt::Result {
    out.push_str(
        "<table><tr><th></th><th>work</th><th>hooklog</th><th>limit</th><th>ratio</th><th>from–to</th>\
         <th>target</th><th></th></tr>\n",
    );
    for row in &report.rows {
        write!(out, "<tr><td>{}</td><td>{}", row.id, escape(&row.work))?;
        for note in &row.notes {
            write!(out, "<br/><small>{}</small>", escape(note))?;
        }
        write!(
            out,
            "</td><td>{} {}</td>",
            number(row.ours),
            escape(row.unit)
        )?;
        match &row.limit {
            Some(limit) => write!(
                out,
                "<td>{} {}</td>",
                number(limit.value),
                escape(&limit.name)
            )?,
            None => out.push_str("<td>–</td>"),
        }
        match &row.ratio {
            Some(ratio) => write!(
                out,
                "<td>{:.2}</td><td>{:.2}–{:.2}</td>",
                ratio.median, ratio.min, ratio.max
            )?,
            None => out.push_str("<td>–</td><td>–</td>"),
        }
        match &row.target {
            Some(target) => {
                let met = if target.met { "met" } else { "missed" };
                write!(
                    out,
                    "<td>{}</td><td class=\"{met}\">{met}</td>",
                    escape(&target.text)
                )?;
            }
            None => out.push_str("<td>–</td><td></td>"),
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
    Ok(())
}

fn costs(report: &Report, out: &mut String) -> std::fmt::Result {
    out.push_str(
        "<h2>Latency and cost</h2><table><tr><th></th><th>work</th><th>p50 ms</th><th>p99 ms</th>\
         <th>p99.9 ms</th><th>CPU µs an event</th><th>disk bytes a payload byte</th><th>RSS MiB</th>\
         <th>at most</th></tr>\n",
    );
    for row in &report.rows {
        let latency = |of: fn(&Latency) -> f64| row.latency.as_ref().map(of);
        let mebibytes = |bytes: Option<u64>| bytes.map(|bytes| float(bytes >> 20));
        let cells = [
            latency(|latency| latency.p50_ms),
            latency(|latency| latency.p99_ms),
            latency(|latency| latency.p999_ms),
            row.cost.cpu_us,
            row.cost.disk_per_byte,
            mebibytes(row.cost.rss),
            mebibytes(row.cost.rss_peak),
        ];
        if cells.iter().all(Option::is_none) {
            continue;
        }
        write!(out, "<tr><td>{}</td><td>{}</td>", row.id, escape(&row.work))?;
        for cell in cells {
            let text = cell.map_or_else(|| "–".to_owned(), number);
            write!(out, "<td>{text}</td>")?;
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
    Ok(())
}

fn plots(row: &Row, out: &mut String) -> anyhow::Result<()> {
    let name = format!("{} {}", row.id, row.work);
    let drawn = [
        distribution(&name, row)?,
        row.over_time
            .as_ref()
            .map(|windows| over_time(&name, row.unit, windows))
            .transpose()?
            .flatten(),
        curve(row)?,
    ];
    for svg in drawn.into_iter().flatten() {
        writeln!(out, "<figure>{svg}</figure>")?;
    }
    Ok(())
}

/// Latencies over their quantiles, each nine as wide as the one before.
fn distribution(name: &str, row: &Row) -> anyhow::Result<Option<String>> {
    let points = |latency: &Latency| {
        // The highest has no quantile below 1 that is its own; it stands where one of all lies.
        let last = 1.0 - 1.0 / float(latency.count).max(2.0);
        let places = latency.curve.iter();
        let places = places.map(|(quantile, ms)| (1.0 / (1.0 - quantile.min(last)), *ms));
        places.collect::<Vec<_>>()
    };
    let sides = [("hooklog", &row.latency), ("limit", &row.limit_latency)];
    let drawn: Vec<Line<'_>> = sides
        .into_iter()
        .filter_map(|(name, latency)| {
            let points = points(latency.as_ref()?);
            Some(Line { name, points })
        })
        .collect();
    let x = Axis {
        name: "quantile",
        is_logarithmic: true,
    };
    let y = Axis {
        name: "ms",
        is_logarithmic: true,
    };
    let label = |value: &f64| format!("{}%", round(100.0 - 100.0 / value));
    lines(&format!("{name}: latency"), x, y, &drawn, &label)
}

/// Without the digits that the division made.
fn round(percent: f64) -> f64 {
    (percent * 1e4).round() / 1e4
}

fn over_time(name: &str, unit: &str, windows: &OverTime) -> anyhow::Result<Option<String>> {
    let seconds = windows.window_ms / 1e3;
    let points = |rates: &[f64]| {
        let places = rates.iter().zip(1_u32..);
        places
            .map(|(rate, at)| (f64::from(at) * seconds, *rate))
            .collect::<Vec<_>>()
    };
    let sides = [("hooklog", &windows.ours), ("limit", &windows.limit)];
    let sides = sides.into_iter().filter(|(_, rates)| !rates.is_empty());
    let drawn = sides.map(|(name, rates)| Line {
        name,
        points: points(rates),
    });
    let x = Axis {
        name: "s",
        is_logarithmic: false,
    };
    let y = Axis {
        name: unit,
        is_logarithmic: false,
    };
    let drawn: Vec<Line<'_>> = drawn.collect();
    lines(&format!("{name}: over time"), x, y, &drawn, &|value| {
        format!("{value:.2}")
    })
}

fn curve(row: &Row) -> anyhow::Result<Option<String>> {
    let Some(curve) = &row.curve else {
        return Ok(None);
    };
    let x = Axis {
        name: curve.along,
        is_logarithmic: true,
    };
    let sides = [("hooklog", &curve.points), ("limit", &curve.limit)];
    let figures = || sides.iter().flat_map(|(_, points)| points.iter());
    let (low, high) = figures().fold((f64::INFINITY, 0_f64), |(low, high), (_, y)| {
        (low.min(*y), high.max(*y))
    });
    let y = Axis {
        name: curve.what,
        is_logarithmic: low > 0.0 && high / low > WIDE,
    };
    let sides = sides.into_iter().filter(|(_, points)| !points.is_empty());
    let drawn: Vec<Line<'_>> = sides
        .map(|(name, points)| Line {
            name,
            points: points.clone(),
        })
        .collect();
    lines(&curve.title, x, y, &drawn, &|value| number(*value))
}

/// As text of an element or of an attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter => out.push(letter),
        }
    }
    out
}
