//! What a run found, as values: the table, the JSON and the HTML are made of it.
//!
//! **Invariant:** every figure has its unit beside it; a ratio is of sides that took turns within the same
//! run; what was not measured is absent.
//! **Next:** `report/table.rs`, for people; `report/html.rs`, with plots.

pub mod html;
mod plot;
pub mod table;

use serde::Serialize;

use super::against::Comparison;
use super::latency::{Latency, median};
use super::machine::Machine;
use super::options::Options;

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of the program.
    pub hooklog: String,
    /// `release` or `debug`.
    pub build: String,
    /// When it ran, as RFC 3339.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// Where it ran.
    pub machine: Machine,
    /// Why the figures may mislead.
    pub warnings: Vec<String>,
    /// What was asked for.
    pub options: Options,
    /// What was found.
    pub rows: Vec<Row>,
    /// The same beside stored figures, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Comparison>,
}

/// One figure with what belongs to it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which target it stands for.
    pub id: &'static str,
    /// What was done.
    pub work: String,
    /// Of `ours` and of the limit's value.
    pub unit: &'static str,
    /// What was reached; the median of all rounds.
    pub ours: f64,
    /// Events or deliveries behind it.
    pub count: u64,
    /// What it is held against.
    pub limit: Option<Reference>,
    /// `ours` ÷ the limit.
    pub ratio: Option<Ratio>,
    /// What it should be.
    pub target: Option<Target>,
    /// Of ours.
    pub latency: Option<Latency>,
    /// Of the limit, at the same rate.
    pub limit_latency: Option<Latency>,
    /// Of the server's process alone.
    pub cost: Cost,
    /// How it went while it ran.
    pub over_time: Option<OverTime>,
    /// How it depends on something.
    pub curve: Option<Curve>,
    /// What else should be known.
    pub notes: Vec<String>,
}

impl Row {
    /// A figure of which nothing else is said.
    pub fn new(id: &'static str, work: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self {
            id,
            work: work.into(),
            unit,
            ours,
            count: 0,
            limit: None,
            ratio: None,
            target: None,
            latency: None,
            limit_latency: None,
            cost: Cost::default(),
            over_time: None,
            curve: None,
            notes: Vec::new(),
        }
    }

    /// Held against the limit of the same rounds.
    #[must_use]
    pub fn against(mut self, name: &str, ours: &[f64], limit: &[f64]) -> Self {
        self.limit = median(limit).map(|value| Reference {
            name: name.to_owned(),
            value,
        });
        self.ratio = Ratio::of(ours, limit);
        self
    }

    /// With a ratio that should be at least this.
    #[must_use]
    pub fn at_least(mut self, least: f64) -> Self {
        self.target = self.ratio.as_ref().map(|ratio| Target {
            text: format!("≥ {least}"),
            met: ratio.median >= least,
        });
        self
    }

    /// With a ratio that should be at most this.
    #[must_use]
    pub fn at_most(mut self, most: f64) -> Self {
        self.target = self.ratio.as_ref().map(|ratio| Target {
            text: format!("≤ {most}"),
            met: ratio.median <= most,
        });
        self
    }

    /// Whether it has a target and missed it.
    pub fn is_missed(&self) -> bool {
        self.target.as_ref().is_some_and(|target| !target.met)
    }

    /// With a value that should be at most this.
    #[must_use]
    pub fn below(mut self, most: f64) -> Self {
        self.target = Some(Target {
            text: format!("≤ {most} {}", self.unit),
            met: self.ours <= most,
        });
        self
    }
}

/// What something is held against.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reference {
    /// Which program or run.
    pub name: String,
    /// What it reached, the median of all rounds.
    pub value: f64,
}

/// Quotients of the pairs of all rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The one in the middle, which is the one to be quoted.
    pub median: f64,
    /// The lowest: together with the highest, how noisy the run was.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// Of each round.
    pub rounds: Vec<f64>,
}

impl Ratio {
    /// Of figures that belong together by their place; a limit of nothing is left out.
    pub fn of(ours: &[f64], limit: &[f64]) -> Option<Self> {
        let pairs = ours.iter().zip(limit).map(|(ours, limit)| ours / limit);
        let rounds: Vec<f64> = pairs.filter(|ratio| ratio.is_finite()).collect();
        Some(Self {
            median: median(&rounds)?,
            min: rounds.iter().copied().min_by(f64::total_cmp)?,
            max: rounds.iter().copied().max_by(f64::total_cmp)?,
            rounds,
        })
    }
}

/// What something should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// For people.
    pub text: String,
    /// Whether it is.
    pub met: bool,
}

/// What it cost. The sink, the load generator and the limits are processes of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Microseconds of CPU an event or delivery, user and system.
    pub cpu_us: Option<f64>,
    /// Bytes that all disks of the machine got for each payload byte: true on a quiet machine.
    pub disk_per_byte: Option<f64>,
    /// Bytes handed to write calls for each payload byte; only of work in process, for a server's sockets
    /// would count.
    pub handed_per_byte: Option<f64>,
    /// Resident memory at the end, in bytes.
    pub rss: Option<u64>,
    /// Resident memory at its highest, in bytes.
    pub rss_peak: Option<u64>,
}

/// Rates of pieces of the time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OverTime {
    /// Length of a piece.
    pub window_ms: f64,
    /// Of ours.
    pub ours: Vec<f64>,
    /// Of the limit.
    pub limit: Vec<f64>,
}

/// One figure against another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// What is shown.
    pub title: String,
    /// What was varied.
    pub along: &'static str,
    /// What came of it, with its unit.
    pub what: &'static str,
    /// Both; zero has no place on the logarithmic axis of the plot, and stands in the table alone.
    pub points: Vec<(f64, f64)>,
    /// The same of the limit, if there is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limit: Vec<(f64, f64)>,
}

#[cfg(test)]
mod tests;
