//! What a caller can choose about the dispatch.
//!
//! **Invariant:** every number has a source beside it, and a value that would stop the dispatch is
//! refused at the start.
//! **Next:** `backoff.rs`, the schedule of retries.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::backoff::Schedule;

/// Settings of a dispatcher; see [`Config::default`].
#[derive(Clone, Debug)]
pub struct Config {
    /// When failed deliveries are tried again.
    pub schedule: Schedule,
    /// Longest time of one attempt: names, connection, TLS, request and answer together.
    pub attempt_timeout: Duration,
    /// Most attempts of one subscription at a time.
    pub lane_concurrency: usize,
    /// Most deliveries of one subscription whose outcome is not on record yet: what a crash may
    /// repeat.
    pub lane_window: usize,
    /// Most parked deliveries of one subscription; at it, new events wait in the log.
    pub lane_retries_max: usize,
    /// A subscription that gave nothing but failures for so long is disabled; zero: never. Its
    /// events wait in the log.
    pub disable_after: Duration,
    /// Most attempts of all subscriptions to one host and port at a time.
    pub host_attempts_max: usize,
    /// Most attempts of all subscriptions at a time.
    pub attempts_in_flight_max: usize,
    /// Longest time that an outcome waits for others to be recorded with it.
    pub flush_interval: Duration,
    /// Most bytes of an answer's body that are read and kept.
    pub response_bytes_max: usize,
    /// Networks that may be sent to although they are not public.
    pub allow_networks: Vec<IpNet>,
    /// Whom to ask for the addresses of names, by UDP and TCP; none: those of `/etc/resolv.conf`.
    pub name_servers: Vec<SocketAddr>,
    /// The `user-agent` of every request.
    pub user_agent: String,
}

/// A batch of cursors needs no more delay than this to be cheap (design: at most 50 ms).
pub(crate) const FLUSH_INTERVAL_MAX: Duration = Duration::from_millis(50);

/// Longest attempt: senders in the field wait 10 to 30 s; above minutes a lane is only blocked.
pub(crate) const ATTEMPT_TIMEOUT_MAX: Duration = Duration::from_mins(5);

/// Most bytes of one kept answer: outcomes of a full window must fit into one commit of the log.
pub(crate) const RESPONSE_BYTES_LIMIT: usize = 64 << 10;

/// Above it, memory and file handles of one process are at risk whatever a caller wishes.
pub(crate) const COUNT_LIMIT: usize = 65_536;

impl Default for Config {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            // As other senders of webhooks: receivers are written for it.
            attempt_timeout: Duration::from_secs(15),
            // Enough to hide 100 ms of latency at 160 deliveries a second, small enough not to
            // flood a receiver.
            lane_concurrency: 16,
            lane_window: 256,
            lane_retries_max: 256,
            // As users of other senders know it.
            disable_after: Duration::from_hours(5 * 24),
            // A quarter of all: one host that hangs leaves most of the budget to the others.
            host_attempts_max: 256,
            // Below the usual limit of 1,024 × n open files with room for the server's own.
            attempts_in_flight_max: 1024,
            flush_interval: FLUSH_INTERVAL_MAX,
            // Enough for an error message; the answer is kept for people, not for programs.
            response_bytes_max: 4096,
            allow_networks: Vec::new(),
            name_servers: Vec::new(),
            user_agent: concat!("Hooklog/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A count is outside its limits.
    #[error("{field} is {found}, but must be 1 to {limit}")]
    Count {
        /// The field.
        field: &'static str,
        /// What it holds.
        found: usize,
        /// The most it may hold.
        limit: usize,
    },
    /// A duration is outside its limits.
    #[error("{field} is {found:?}, but must be above zero and at most {limit:?}")]
    Duration {
        /// The field.
        field: &'static str,
        /// What it holds.
        found: Duration,
        /// The most it may hold.
        limit: Duration,
    },
    /// The user agent cannot be a header's value.
    #[error("user_agent cannot be sent in a header")]
    UserAgent,
}

impl Config {
    /// Whether a dispatcher can run with it.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let counts = [
            ("lane_concurrency", self.lane_concurrency, COUNT_LIMIT),
            ("lane_window", self.lane_window, COUNT_LIMIT),
            ("lane_retries_max", self.lane_retries_max, COUNT_LIMIT),
            ("host_attempts_max", self.host_attempts_max, COUNT_LIMIT),
            (
                "attempts_in_flight_max",
                self.attempts_in_flight_max,
                COUNT_LIMIT,
            ),
            (
                "response_bytes_max",
                self.response_bytes_max,
                RESPONSE_BYTES_LIMIT,
            ),
        ];
        for (field, found, limit) in counts {
            if found == 0 || found > limit {
                return Err(ConfigError::Count {
                    field,
                    found,
                    limit,
                });
            }
        }
        let durations = [
            ("attempt_timeout", self.attempt_timeout, ATTEMPT_TIMEOUT_MAX),
            ("flush_interval", self.flush_interval, FLUSH_INTERVAL_MAX),
        ];
        for (field, found, limit) in durations {
            if found.is_zero() || found > limit {
                return Err(ConfigError::Duration {
                    field,
                    found,
                    limit,
                });
            }
        }
        match http::HeaderValue::from_str(&self.user_agent) {
            Ok(_) => Ok(()),
            Err(_) => Err(ConfigError::UserAgent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Edit = fn(&mut Config);

    #[test]
    fn values_that_would_stop_the_dispatch_are_refused() {
        assert_eq!(Config::default().check(), Ok(()));
        let cases: [(Edit, &str); 6] = [
            (
                |c| c.lane_concurrency = 0,
                "lane_concurrency is 0, but must be 1 to 65536",
            ),
            (
                |c| c.lane_window = 70_000,
                "lane_window is 70000, but must be 1 to 65536",
            ),
            (
                |c| c.response_bytes_max = 1 << 20,
                "response_bytes_max is 1048576, but must be 1 to 65536",
            ),
            (
                |c| c.attempt_timeout = Duration::ZERO,
                "attempt_timeout is 0ns, but must be above zero and at most 300s",
            ),
            (
                |c| c.flush_interval = Duration::from_secs(1),
                "flush_interval is 1s, but must be above zero and at most 50ms",
            ),
            (
                |c| c.user_agent = "a\nb".to_owned(),
                "user_agent cannot be sent in a header",
            ),
        ];
        for (edit, expected) in cases {
            let mut config = Config::default();
            edit(&mut config);
            assert_eq!(config.check().unwrap_err().to_string(), expected);
        }
    }
}
