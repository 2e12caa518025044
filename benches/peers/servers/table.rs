//! The tables, and below them what the figures mean.
//!
//! **Invariant:** a rate is the median of the rounds, with the lowest and the highest beside it; the other
//! figures are those of the last round.
//! **Next:** `../README.md`, what came of it.

use hdrhistogram::Histogram;

use crate::peer::{Peer, Work};

/// Wide enough for each title and its figures.
const NAME: usize = 24;
const WIDTHS: [(&str, usize); 8] = [
    ("events/s", 9),
    ("from–to", 17),
    ("÷ hooklog", 10),
    ("published/s", 12),
    ("p50 ms", 8),
    ("p99 ms", 8),
    ("CPU µs", 7),
    ("RSS MiB", 8),
];
/// Where the rate of publishing is, which is the first one already if events are published only.
const PUBLISHED: usize = 3;

/// A peer at a work with what came of all rounds.
pub struct Row {
    pub work: Work,
    pub peer: Peer,
    pub version: String,
    /// Events a second, to the ack of the publish.
    pub published: Vec<f64>,
    /// Events a second, from the first publish to the last ack of the consumer.
    pub consumed: Vec<f64>,
    pub last: Option<Histogram<u64>>,
    pub again: u64,
    pub cpu_us: Option<f64>,
    pub rss: Option<u64>,
}

impl Row {
    pub fn new(work: Work, peer: Peer, version: String) -> Self {
        Self {
            work,
            peer,
            version,
            published: Vec::new(),
            consumed: Vec::new(),
            last: None,
            again: 0,
            cpu_us: None,
            rss: None,
        }
    }

    fn rates(&self) -> &[f64] {
        match self.work {
            Work::Publish => &self.published,
            Work::Consume => &self.consumed,
        }
    }

    /// The figures, in the order of their titles.
    fn figures(&self, ours: Option<f64>) -> [String; 8] {
        let rate = median(self.rates());
        let low = self.rates().iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.rates().iter().copied().fold(0.0, f64::max);
        let latency = |quantile| {
            let last = self.last.as_ref();
            let micros = last.map_or(0, |last| last.value_at_quantile(quantile));
            format!("{:.2}", float(micros) / 1e3)
        };
        let optional = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        [
            format!("{rate:.0}"),
            format!("{low:.0}–{high:.0}"),
            optional(ours.map(|ours| format!("{:.2}", rate / ours))),
            format!("{:.0}", median(&self.published)),
            latency(0.5),
            latency(0.99),
            optional(self.cpu_us.map(|cpu| format!("{cpu:.1}"))),
            optional(self.rss.map(|rss| (rss >> 20).to_string())),
        ]
    }
}

pub fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX))
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    f64::midpoint(sorted[sorted.len() / 2], sorted[(sorted.len() - 1) / 2])
}

/// The table of a work, if anyone does it.
pub fn print(rows: &[Row], work: Work) {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.work == work).collect();
    if rows.is_empty() {
        return;
    }
    println!(
        "{}",
        match work {
            Work::Publish => "published: events until their publish is acked\n",
            Work::Consume =>
                "published and consumed at the same time: events until their one consumer has acked them, \
                 latency until it has them\n",
        }
    );
    println!(
        "{}",
        line("", WIDTHS.map(|(title, _)| title.to_owned()), work)
    );
    let ours = rows.iter().find(|row| row.peer == Peer::Hooklog);
    let ours = ours.map(|row| median(row.rates()));
    for row in &rows {
        println!("{}", line(row.peer.name(), row.figures(ours), work));
    }
    for row in rows.iter().filter(|row| row.again > 0) {
        println!("{}: {} events came again", row.peer.name(), row.again);
    }
    println!();
}

fn line(name: &str, cells: [String; 8], work: Work) -> String {
    let mut line = format!("{name:<NAME$}");
    for (at, (cell, (_, width))) in cells.iter().zip(WIDTHS).enumerate() {
        if at != PUBLISHED || work == Work::Consume {
            line += &format!(" {cell:>width$}");
        }
    }
    line
}

/// Versions, settings, and what the acks mean.
pub fn print_meanings(rows: &[Row], batch: u16) {
    for peer in Peer::ALL {
        let of_peer = || rows.iter().filter(|row| row.peer == peer);
        let Some(row) = of_peer().next() else {
            continue;
        };
        println!("{}: {}", peer.name(), row.version);
        println!("  settings: {}", peer.settings());
        println!("  its ack: {}", peer.ack());
        if let Some(how) = peer.consumption()
            && of_peer().any(|row| row.work == Work::Consume)
        {
            println!("  consumed: {how}");
        }
    }
    if rows.iter().any(|row| row.work == Work::Consume) {
        println!("a batch: at most {batch} events");
    }
}
