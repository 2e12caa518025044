//! What a curve goes along, and its points.
//!
//! **Invariant:** points ascend, and a run takes them from the first one on, so that fewer points are a
//! shorter run and a smaller log.
//! **Next:** `scenario/curve.rs`, which measures at each of them.

/// What is varied while all else stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Along {
    /// Connections that publish.
    Connections,
    /// Bytes of a payload that is published.
    Payload,
    /// Endpoints that get each event.
    FanOut,
    /// Subscriptions that no event is for.
    Subscriptions,
    /// Events that wait for an endpoint.
    Backlog,
    /// Payload bytes in the log.
    LogSize,
}

impl Along {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::Connections,
        Self::Payload,
        Self::FanOut,
        Self::Subscriptions,
        Self::Backlog,
        Self::LogSize,
    ];

    /// As it is written.
    pub fn id(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Payload => "payload",
            Self::FanOut => "fan-out",
            Self::Subscriptions => "subscriptions",
            Self::Backlog => "backlog",
            Self::LogSize => "log-size",
        }
    }

    /// Its axis.
    pub(crate) fn axis(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Payload => "bytes of a payload",
            Self::FanOut => "endpoints that get each event",
            Self::Subscriptions => "idle subscriptions",
            Self::Backlog => "events that wait",
            Self::LogSize => "GiB in the log",
        }
    }

    /// Where it is measured: a factor of at least four apart, so that a bend is seen in a few minutes.
    pub(crate) fn points(self) -> &'static [u64] {
        match self {
            Self::Connections => &[1, 4, 16, 64, 256, 1024],
            Self::Payload => &[
                64,
                256,
                1 << 10,
                4 << 10,
                16 << 10,
                64 << 10,
                256 << 10,
                1 << 20,
            ],
            Self::FanOut => &[1, 10, 100, 1000],
            Self::Subscriptions => &[10, 100, 1000, 10_000, 100_000],
            Self::Backlog => &[0, 10_000, 100_000, 1_000_000, 10_000_000],
            Self::LogSize => &[0, 64 << 20, 256 << 20, 1 << 30, 5 << 30, 20 << 30],
        }
    }

    /// How many measurements each point takes.
    pub(crate) fn steps(self) -> u64 {
        match self {
            Self::Subscriptions | Self::Backlog => 1,
            Self::Connections | Self::Payload | Self::FanOut => 2,
            Self::LogSize => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn each_has_its_name_and_points_that_ascend() {
        for along in Along::ALL {
            let named = along.to_possible_value().unwrap();
            assert_eq!(named.get_name(), along.id());
            let points = along.points();
            assert!(points.len() >= 4 && points.is_sorted_by(|a, b| a < b));
        }
        assert_eq!(Along::ALL.len(), Along::value_variants().len());
    }
}
