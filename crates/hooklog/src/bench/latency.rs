//! Latencies: recorded as nanoseconds, told as milliseconds.
//!
//! **Invariant:** where a rate is offered, each latency counts from the moment at which the request
//! was meant to be sent, so that a server that stalls cannot hide the requests that waited for it.
//! **Next:** `measure.rs`, what a process used meanwhile.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The quantiles of a distribution's plot: evenly spread where many are, by nines at the end.
const QUANTILES: [f64; 16] = [
    0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99995,
    0.99999, 1.0,
];

/// Nanoseconds to three digits.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> anyhow::Result<Self> {
        Histogram::new(3)
            .map(Self)
            .context("the bounds of a histogram")
    }

    /// Counts one; the histogram grows with what it gets.
    pub fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if self.0.record(nanoseconds).is_err() {
            self.0.saturating_record(nanoseconds);
        }
    }

    /// Counts those of another.
    pub fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.0.add(&other.0).context("another range of a histogram")
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds at a quantile.
    pub fn milliseconds(&self, quantile: f64) -> f64 {
        float(self.0.value_at_quantile(quantile)) / 1e6
    }

    /// What a report tells of them; nothing if there are none.
    pub fn told(&self, offered: Option<f64>) -> Option<Latency> {
        let count = self.count();
        // A quantile above which less than one lies says nothing.
        let shown = |quantile: &f64| {
            *quantile >= 1.0 || (1.0 - quantile) * float(count) >= 1.0 || *quantile <= 0.5
        };
        (count > 0).then(|| Latency {
            count,
            offered_per_second: offered,
            p50_ms: self.milliseconds(0.5),
            p99_ms: self.milliseconds(0.99),
            p999_ms: self.milliseconds(0.999),
            max_ms: float(self.0.max()) / 1e6,
            curve: QUANTILES
                .iter()
                .copied()
                .filter(shown)
                .map(|quantile| (quantile, self.milliseconds(quantile)))
                .collect(),
        })
    }
}

/// A distribution as a report tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Open loop: requests a second that were offered. `None`: closed loop, the next one is sent when the
    /// last one is answered.
    pub offered_per_second: Option<f64>,
    /// The median.
    pub p50_ms: f64,
    /// One of a hundred is slower.
    pub p99_ms: f64,
    /// One of a thousand is slower.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Quantiles and their milliseconds.
    pub curve: Vec<(f64, f64)>,
}

/// Where the nanoseconds that events carry begin. One for the process: load generator and sink share it.
pub(crate) fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// Nanoseconds since [`epoch`].
pub(crate) fn nanoseconds(at: Instant) -> u64 {
    let since = at.saturating_duration_since(epoch());
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A count as a number to divide.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub fn float(count: u64) -> f64 {
    count as f64
}

/// The number in the middle; of an even count the mean of both.
pub fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_told_in_milliseconds() {
        let mut latencies = Latencies::new().unwrap();
        assert_eq!(latencies.told(None), None);
        for milliseconds in 1..=1000 {
            latencies.record(Duration::from_millis(milliseconds));
        }
        let told = latencies.told(Some(100.0)).unwrap();
        let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.002;
        assert!(close(told.p50_ms, 500.0), "{told:?}");
        assert!(close(told.p99_ms, 990.0), "{told:?}");
        assert!(close(told.p999_ms, 999.0), "{told:?}");
        assert!(close(told.max_ms, 1000.0), "{told:?}");
        let quantiles: Vec<f64> = told.curve.iter().map(|(quantile, _)| *quantile).collect();
        // Of a thousand, none stands for the ten thousandth.
        assert_eq!(quantiles[quantiles.len() - 2..], [0.999, 1.0]);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }
}
