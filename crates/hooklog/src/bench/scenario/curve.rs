//! Curves: how figures depend on one thing while all else stays, each point beside its limit.
//!
//! **Invariant:** a point is a row like any other; the last row of each quantity carries the curve through
//! all of them.
//! **Next:** `curve/publish.rs`, the first of them.

mod backlog;
mod fan_out;
mod log_size;
mod publish;
mod subscriptions;

use crate::bench::along::Along;
use crate::bench::latency::{Latency, float};
use crate::bench::options::{Options, Work};
use crate::bench::report::{Curve, Row};

use super::Run;

pub(super) async fn run(run: &mut Run<'_>, along: Along) -> anyhow::Result<()> {
    match along {
        Along::Connections => publish::connections(run).await,
        Along::Payload => publish::payload(run).await,
        Along::FanOut => fan_out::run(run).await,
        Along::Subscriptions => subscriptions::run(run).await,
        Along::Backlog => backlog::run(run).await,
        Along::LogSize => log_size::run(run).await,
    }
}

/// The points of a curve that are asked for.
pub(super) fn points(options: &Options, along: Along) -> impl Iterator<Item = u64> + use<> {
    along.points().iter().copied().take(options.points)
}

/// How many measurements a curve makes.
pub(super) fn steps(options: &Options, along: Along) -> u64 {
    let points = points(options, along).count() as u64;
    points * along.steps() + u64::from(along == Along::Backlog)
}

/// One quantity at the points of a curve.
struct Quantity {
    along: Along,
    name: &'static str,
    rows: Vec<Row>,
    points: Vec<(f64, f64)>,
    limits: Vec<(f64, f64)>,
}

impl Quantity {
    fn new(along: Along, name: &'static str) -> Self {
        Self {
            along,
            name,
            rows: Vec::new(),
            points: Vec::new(),
            limits: Vec::new(),
        }
    }

    /// Adds a point.
    fn add(&mut self, at: u64, row: Row) {
        let x = match self.along {
            Along::LogSize => float(at) / float(1 << 30),
            _ => float(at),
        };
        self.points.push((x, row.ours));
        let limit = row.limit.as_ref();
        self.limits.extend(limit.map(|limit| (x, limit.value)));
        self.rows.push(row);
    }

    /// Its rows, the last one with the curve.
    fn rows(self) -> Vec<Row> {
        let mut rows = self.rows;
        if let Some(last) = rows.last_mut() {
            last.curve = Some(Curve {
                title: format!("{}: {}", self.along.id(), self.name),
                along: self.along.axis(),
                what: last.unit,
                points: self.points,
                limit: self.limits,
            });
        }
        rows
    }
}

/// A point of a curve.
fn row(along: Along, work: String, unit: &'static str, ours: f64) -> Row {
    Row::new(Work::Curve(along).id(), work, unit, ours)
}

/// A distribution of a point: figures, but no plot of its own.
fn without_plot(mut latency: Latency) -> Latency {
    latency.curve.clear();
    latency
}

/// A number of bytes as people write it.
fn bytes(count: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = |shift: &u32| count > 0 && count.is_multiple_of(1 << shift);
    let unit = units.iter().find(|(shift, _)| whole(shift));
    unit.map_or_else(
        || format!("{count} B"),
        |(shift, name)| format!("{} {name}", count >> shift),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_of_a_quantity_carries_its_curve() {
        let mut quantity = Quantity::new(Along::LogSize, "append");
        for (at, ours) in [(0, 9.0), (1 << 29, 8.0), (2 << 30, 4.0)] {
            let row = row(Along::LogSize, bytes(at), "events/s", ours);
            quantity.add(at, row.against("file", &[ours], &[10.0]));
        }
        let rows = quantity.rows();
        assert_eq!(rows.len(), 3);
        assert!(rows[0].curve.is_none() && rows[1].curve.is_none());
        let curve = rows[2].curve.clone().unwrap();
        assert_eq!(curve.points, [(0.0, 9.0), (0.5, 8.0), (2.0, 4.0)]);
        assert_eq!(curve.limit, [(0.0, 10.0), (0.5, 10.0), (2.0, 10.0)]);
        assert!(Quantity::new(Along::Backlog, "").rows().is_empty());
    }

    #[test]
    fn bytes_have_the_largest_unit_that_fits() {
        let cases = [
            (0, "0 B"),
            (64, "64 B"),
            (1 << 10, "1 KiB"),
            (256 << 10, "256 KiB"),
            (64 << 20, "64 MiB"),
            (20 << 30, "20 GiB"),
            (1500, "1500 B"),
        ];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
        }
    }
}
