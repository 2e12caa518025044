//! A regression guard: figures of a run beside stored ones.
//!
//! What counts is what a machine's speed does not change: ratios to a limit of the same run, memory, disk
//! and instructions; times are only shown. Of several rounds the best counts, for a disturbance spoils one
//! and a regression all of them.
//!
//! **Invariant:** a figure fails only far outside the noise (the factors below), and a stored figure of
//! work that was asked for must have been measured, so that no figure is lost in silence.
//! **Next:** `report.rs`, which tells it.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::options::{Options, Work};
use super::report::Row;

/// Ratios may get worse by this. On a quiet machine those of several runs lie within a tenth of what is
/// stored; half a second each on two cores at a load of 8, some were a third below, for a limit needs less of
/// the processor than the log does.
const RATIO: f64 = 2.0;
/// Memory and disk may grow by this: of several runs they lie within a tenth, and what the system
/// gives back late differs with its load.
const BYTES: f64 = 1.5;
/// Instructions may grow by this. They repeat to half a percent with one compiler; another one or another
/// processor, for which libraries choose other code, may cost some more.
const INSTRUCTIONS: f64 = 1.25;

/// Stored figures: a report that `--json` printed, of which this is all that is read.
#[derive(Clone, Debug, Deserialize)]
pub struct Stored {
    rows: Vec<Figure>,
}

#[derive(Clone, Debug, Deserialize)]
struct Figure {
    id: String,
    work: String,
    unit: String,
    ours: f64,
    ratio: Option<Median>,
}

#[derive(Clone, Debug, Deserialize)]
struct Median {
    median: f64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// How the stored figures are called.
    pub with: String,
    /// Each stored figure of the work that was asked for.
    pub figures: Vec<Compared>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Which target it stands for.
    pub id: String,
    /// What was done.
    pub work: String,
    /// `ratio`, or the unit of the figure.
    pub unit: String,
    /// What it was.
    pub stored: f64,
    /// What it is, the best of all rounds; absent if it was not measured.
    pub found: Option<f64>,
    /// What it may be at the worst; absent for what is only shown.
    pub bound: Option<f64>,
    /// What that means.
    pub verdict: Verdict,
}

/// What a figure beside its stored one means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Within the noise, or better.
    Holds,
    /// So much better that a fall back would not be seen: it should be stored anew.
    Better,
    /// Far worse.
    Worse,
    /// It was asked for, and there is no such figure: other settings, or it could not be measured.
    Missing,
    /// A time, of which nothing follows on another machine.
    Shown,
}

impl Stored {
    /// From the text of a file.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let stored: Self = serde_json::from_str(text).context("no report of hooklog bench")?;
        anyhow::ensure!(!stored.rows.is_empty(), "a report without figures");
        Ok(stored)
    }

    /// Holds the figures of a run against these.
    pub fn compare(
        &self,
        with: String,
        options: &Options,
        rows: &[Row],
    ) -> anyhow::Result<Comparison> {
        let is_wanted = |figure: &&Figure| {
            let mut asked = options.only.iter().copied().map(Work::id);
            asked.any(|id| id == figure.id)
        };
        let figures = self.rows.iter().filter(is_wanted);
        let figures: Vec<Compared> = figures.map(|figure| figure.compare(rows)).collect();
        anyhow::ensure!(
            figures.iter().any(|one| one.bound.is_some()),
            "{with} holds no figure of this work to be compared with"
        );
        Ok(Comparison { with, figures })
    }
}

impl Figure {
    fn compare(&self, rows: &[Row]) -> Compared {
        let is_rate = self.unit.ends_with("/s");
        let row = rows
            .iter()
            .find(|row| row.id == self.id && row.work == self.work);
        let (unit, stored, found) = match &self.ratio {
            Some(stored) => {
                let found = row.and_then(|row| row.ratio.as_ref());
                let best = found.map(|ratio| if is_rate { ratio.max } else { ratio.min });
                ("ratio", stored.median, best)
            }
            None => (self.unit.as_str(), self.ours, row.map(|row| row.ours)),
        };
        let factor = match (unit, self.unit.as_str()) {
            // Ratios of the slowest of a hundred spread as far as those do.
            (_, "ms" | "s") => None,
            ("ratio", _) => Some(RATIO),
            ("MiB" | "×", _) => Some(BYTES),
            ("instructions", _) => Some(INSTRUCTIONS),
            _ => None,
        };
        let far = |factor: f64| {
            if is_rate {
                (stored / factor, stored * factor)
            } else {
                (stored * factor, stored / factor)
            }
        };
        let is_beyond = |found: f64, bound: f64, is_below: bool| {
            if is_below {
                found < bound
            } else {
                found > bound
            }
        };
        let verdict = match (found, factor.map(far)) {
            (None, _) => Verdict::Missing,
            (_, None) => Verdict::Shown,
            (Some(found), Some((worst, _))) if is_beyond(found, worst, is_rate) => Verdict::Worse,
            (Some(found), Some((_, best))) if is_beyond(found, best, !is_rate) => Verdict::Better,
            _ => Verdict::Holds,
        };
        Compared {
            id: self.id.clone(),
            work: self.work.clone(),
            unit: unit.to_owned(),
            stored,
            found,
            bound: factor.map(|factor| far(factor).0),
            verdict,
        }
    }
}

impl Comparison {
    /// What fell behind, for the end of a command; nothing if all holds.
    pub fn fallen(&self) -> Option<String> {
        let fallen = self.figures.iter().filter_map(|one| match one.verdict {
            Verdict::Worse => Some(format!("{} {}", one.id, one.work)),
            Verdict::Missing => Some(format!("{} {} (not measured)", one.id, one.work)),
            _ => None,
        });
        let fallen: Vec<String> = fallen.collect();
        (!fallen.is_empty()).then(|| fallen.join("; "))
    }
}

#[cfg(test)]
mod tests;
