//! What is measured, how long and how hard.
//!
//! **Invariant:** a report holds all of it, but no token.
//! **Next:** `scenario.rs`, which does it.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use super::along::Along;
use super::payload::Payload;

/// A piece of work that has a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// P1: publishing over HTTP.
    Publish,
    /// P2: draining a backlog.
    Deliver,
    /// P3: publishing and delivering at the same time.
    Both,
    /// P4: appending in process.
    Append,
    /// P5: from publish to arrival.
    Arrival,
    /// P6: cost with many idle subscriptions.
    Subscriptions,
    /// P7: healthy endpoints beside bad ones.
    Isolation,
    /// P8: memory.
    Memory,
    /// P9: restart after kill -9.
    Restart,
    /// P10: disk.
    Disk,
    /// No target: whether anything grows.
    Soak,
    /// No target: instructions of what every event needs.
    Instructions,
    /// No target: how figures depend on something.
    Curve(Along),
}

impl Work {
    /// All that have a target, in order.
    pub const ALL: [Self; 10] = [
        Self::Publish,
        Self::Deliver,
        Self::Both,
        Self::Append,
        Self::Arrival,
        Self::Subscriptions,
        Self::Isolation,
        Self::Memory,
        Self::Restart,
        Self::Disk,
    ];

    /// As it is written.
    pub fn id(self) -> &'static str {
        match self {
            Self::Publish => "P1",
            Self::Deliver => "P2",
            Self::Both => "P3",
            Self::Append => "P4",
            Self::Arrival => "P5",
            Self::Subscriptions => "P6",
            Self::Isolation => "P7",
            Self::Memory => "P8",
            Self::Restart => "P9",
            Self::Disk => "P10",
            Self::Soak => "soak",
            Self::Instructions => "instructions",
            Self::Curve(along) => along.id(),
        }
    }

    /// Whether it can be done with a server that is somewhere else.
    pub fn is_remote(self) -> bool {
        matches!(
            self,
            Self::Publish | Self::Both | Self::Arrival | Self::Isolation
        )
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().chain([Self::Instructions]);
        let mut found = known.filter(|work| work.id().eq_ignore_ascii_case(text));
        found
            .next()
            .ok_or_else(|| format!("{text:?} is neither one of P1 to P10 nor instructions"))
    }
}

impl Serialize for Work {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// Pieces that a soak has: two that fill files and caches, and four in each half.
pub const SOAK_PIECES: u32 = 10;
/// After so many of them the server is killed, again and again: most that one server measures.
pub(crate) const SOAK_PIECES_OF_A_LIFE: u32 = 2;

/// What an ack means, on both sides of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// It survives power loss; limits sync before they answer.
    PowerSafe,
    /// It survives kill -9; limits do not sync.
    ProcessSafe,
    /// Nothing waits for the disk; limits do not sync.
    None,
}

/// Longest time between an ack and its sync when it is process-safe: the default of the server.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);

impl Durability {
    /// As the server's option has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PowerSafe => "power-safe",
            Self::ProcessSafe => "process-safe",
            Self::None => "none",
        }
    }
}

impl From<Durability> for hooklog_storage::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::PowerSafe => Self::PowerSafe,
            Durability::ProcessSafe => Self::ProcessSafe(SYNC_INTERVAL),
            Durability::None => Self::None,
        }
    }
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Options {
    /// What is measured.
    pub only: BTreeSet<Work>,
    /// How long each measurement takes.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
    /// How often each pair of sides takes turns.
    pub rounds: usize,
    /// Keep-alive connections: of publishers, of the raw client, and attempts in flight of each endpoint.
    pub connections: usize,
    /// Payloads; `None` for what each target says.
    pub payload: Option<Payload>,
    /// Endpoints that get events; `None` for what each target says.
    pub endpoints: Option<usize>,
    /// Endpoints that get each event.
    pub fan_out: usize,
    /// Events that wait for an endpoint.
    pub backlog: u64,
    /// Most idle subscriptions.
    pub subscriptions: u64,
    /// Share of endpoints that fail.
    pub failing: f64,
    /// Share of endpoints that hang.
    pub hanging: f64,
    /// What an ack means.
    pub durability: Durability,
    /// Events a second where latencies from publish to arrival are told.
    pub rate: f64,
    /// Share of the throughput at which the latencies of publishing are told.
    pub load: f64,
    /// Payload bytes of the window of retention.
    pub window_bytes: u64,
    /// Bytes of a journal segment.
    pub segment_bytes: u64,
    /// How many points a curve has at most, from its first one on.
    pub points: usize,
    /// A server that is there already.
    pub url: Option<Url>,
    /// Its token.
    #[serde(skip)]
    pub token: Option<String>,
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

impl Options {
    /// What would only fail in the middle of a run.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.duration.is_zero(), "--duration must be above zero");
        anyhow::ensure!(
            self.rate > 0.0 && self.rate.is_finite(),
            "--rate must be above zero"
        );
        anyhow::ensure!(
            self.failing + self.hanging < 1.0,
            "--failing and --hanging leave no healthy endpoint"
        );
        if let Some(endpoints) = self.endpoints {
            anyhow::ensure!(
                endpoints > 0 && endpoints.is_multiple_of(self.fan_out),
                "--endpoints must be a multiple of --fan-out"
            );
        }
        if let Some(url) = &self.url {
            anyhow::ensure!(
                url.scheme() == "http",
                "--url must start with http://: TLS would be measured, too"
            );
            // The report tells the URL, and it may be shown to others.
            anyhow::ensure!(
                url.username().is_empty() && url.password().is_none(),
                "--url must hold no user and no password: a --token is what the server is told"
            );
            anyhow::ensure!(
                url.path() == "/" && url.query().is_none() && url.fragment().is_none(),
                "--url must end with host and port: the paths of the API are put behind it"
            );
            anyhow::ensure!(self.token.is_some(), "--url needs a --token of that server");
            let cannot = self.only.iter().find(|work| !work.is_remote());
            if let Some(work) = cannot {
                anyhow::bail!("{} needs a server of its own, so not --url", work.id());
            }
        }
        Ok(())
    }

    /// The payloads, with these unless others are asked for.
    pub(crate) fn payload(&self, bytes: usize) -> Payload {
        self.payload.clone().unwrap_or(Payload::Bytes(bytes))
    }
}

#[cfg(test)]
impl Options {
    /// Everything as small as it can be.
    pub(crate) fn small() -> Self {
        Self {
            only: Work::ALL.into(),
            duration: Duration::from_secs(1),
            rounds: 1,
            connections: 1,
            payload: None,
            endpoints: None,
            fan_out: 2,
            backlog: 10,
            subscriptions: 10,
            failing: 0.1,
            hanging: 0.1,
            durability: Durability::PowerSafe,
            rate: 1.0,
            load: 0.5,
            window_bytes: 1,
            segment_bytes: 1,
            points: 1,
            url: None,
            token: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_named_by_its_target() {
        for work in Work::ALL {
            assert_eq!(work.id().parse(), Ok(work));
            assert_eq!(work.id().to_lowercase().parse(), Ok(work));
        }
        assert_eq!("instructions".parse(), Ok(Work::Instructions));
        for wrong in ["", "P0", "P11", "1", "soak", "connections"] {
            assert!(wrong.parse::<Work>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_measured_is_refused_at_once() {
        type Change = fn(&mut Options);
        let cases: [(Change, &str); 12] = [
            (|o| o.duration = Duration::ZERO, "--duration"),
            (|o| o.rate = 0.0, "--rate"),
            (
                |o| (o.failing, o.hanging) = (0.5, 0.5),
                "no healthy endpoint",
            ),
            (|o| o.endpoints = Some(3), "a multiple of --fan-out"),
            (|o| o.url = Url::parse("https://a").ok(), "http://"),
            (|o| o.url = Url::parse("http://a").ok(), "--token"),
            (|o| o.url = Url::parse("http://me@a").ok(), "no user"),
            (|o| o.url = Url::parse("http://:b@a").ok(), "no password"),
            (
                |o| o.url = Url::parse("http://a/svix").ok(),
                "host and port",
            ),
            (|o| o.url = Url::parse("http://a/?b").ok(), "host and port"),
            (|o| o.url = Url::parse("http://a/#b").ok(), "host and port"),
            (|o| o.url = Url::parse("http://[::1]:8071/").ok(), "--token"),
        ];
        Options::small().check().unwrap();
        for (change, expected) in cases {
            let mut options = Options::small();
            change(&mut options);
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let mut options = Options::small();
        options.url = Url::parse("http://a").ok();
        options.token = Some("t".to_owned());
        let error = options.check().unwrap_err().to_string();
        assert_eq!(error, "P2 needs a server of its own, so not --url");
        options.only.retain(|work| work.is_remote());
        options.check().unwrap();
    }
}
