//! What was consumed and acked, held against what was published.
//!
//! **Invariant:** an event counts once, however often it comes; a run is over when each event that was
//! published has been acked by its consumer, and anything else is an error.
//! **Next:** `sink.rs`, the first of those who consume.

use std::collections::HashSet;
use std::io::{Error, Result};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::stamp;

/// Longest time without an event while some are still to come: NATS delivers again what was not acked for
/// 30 s, and who has nothing to show after that has lost it.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// How often it is looked whether all are there. The end is taken from the last ack, not from the look.
const LOOK: Duration = Duration::from_millis(5);
/// Microseconds: an hour.
const LATENCY_MAX: u64 = 3_600_000_000;

/// Those who consume, as tasks that end with an error or not at all.
pub type Consumers = JoinSet<Result<()>>;

/// What came so far.
pub struct Ledger {
    /// When the run began: what stamps count from.
    pub epoch: Instant,
    state: Mutex<State>,
}

struct State {
    seen: HashSet<u64>,
    again: u64,
    latency: Histogram<u64>,
    last: Instant,
}

/// What came in all.
pub struct Consumed {
    /// When the last new event was acked.
    pub last: Instant,
    /// How many came once more.
    pub again: u64,
    /// Microseconds from being sent to being read by the consumer.
    pub latency: Histogram<u64>,
}

impl Ledger {
    pub fn new() -> Self {
        let epoch = Instant::now();
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("valid bounds");
        Self {
            epoch,
            state: Mutex::new(State {
                seen: HashSet::new(),
                again: 0,
                latency,
                last: epoch,
            }),
        }
    }

    /// These, which were read at that time, are acked now.
    pub fn acked(&self, stamps: &[u64], read: Instant) {
        if stamps.is_empty() {
            return;
        }
        let now = Instant::now();
        let read = read.saturating_duration_since(self.epoch);
        let mut state = self.state.lock();
        for stamp in stamps {
            if state.seen.insert(*stamp) {
                let micros = read.saturating_sub(stamp::after(*stamp)).as_micros();
                let micros = u64::try_from(micros).unwrap_or(u64::MAX).max(1);
                state.latency.saturating_record(micros);
                state.last = now;
            } else {
                state.again += 1;
            }
        }
    }

    /// Waits until all of these are acked; not longer than the patience for any of them.
    pub async fn wait(
        &self,
        published: &[u64],
        consumers: &mut Consumers,
        patience: Duration,
    ) -> Result<Consumed> {
        let (mut seen, mut since) = (self.state.lock().seen.len(), Instant::now());
        while seen < published.len() {
            if let Some(ended) = consumers.try_join_next() {
                ended.map_err(Error::other)??;
                return Err(Error::other("a consumer ended"));
            }
            tokio::time::sleep(LOOK).await;
            let now = self.state.lock().seen.len();
            if now > seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > patience {
                let all = published.len();
                return Err(Error::other(format!(
                    "{seen} of {all} events were consumed, and no more in {patience:?}"
                )));
            }
        }
        let state = self.state.lock();
        let missing = published.iter().filter(|one| !state.seen.contains(one));
        let missing = missing.count();
        if missing > 0 || state.seen.len() > published.len() {
            let strange = state.seen.len() + missing - published.len();
            return Err(Error::other(format!(
                "{missing} events were not consumed, {strange} came that nobody published"
            )));
        }
        Ok(Consumed {
            last: state.last,
            again: state.again,
            latency: state.latency.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_is_over_when_each_event_was_acked() {
        let ledger = Ledger::new();
        let published = [1, 2].map(|connection| stamp::stamp(Duration::ZERO, connection));
        let read = ledger.epoch + Duration::from_millis(7);
        ledger.acked(&published[..1], read);
        ledger.acked(&published, read);
        // A patience that ends at once.
        let (mut nobody, patience) = (Consumers::new(), Duration::ZERO);
        let consumed = ledger
            .wait(&published, &mut nobody, patience)
            .await
            .unwrap();
        assert_eq!((consumed.again, consumed.latency.len()), (1, 2));
        assert!((6_990..=7_010).contains(&consumed.latency.max()));
        let wrong: [(&[u64], &str); 3] = [
            (
                &[published[0], 9],
                "1 events were not consumed, 1 came that nobody published",
            ),
            (
                &published[..1],
                "0 events were not consumed, 1 came that nobody published",
            ),
            (
                &[published[0], published[1], 9],
                "2 of 3 events were consumed, and no more in 0ns",
            ),
        ];
        for (published, expected) in wrong {
            let error = ledger.wait(published, &mut nobody, patience).await.err();
            assert_eq!(error.unwrap().to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_consumer_that_fails_ends_the_run() {
        let mut consumers = Consumers::new();
        consumers.spawn(async { Err(Error::other("refused")) });
        let ledger = Ledger::new();
        let error = ledger.wait(&[1], &mut consumers, PATIENCE).await.err();
        assert_eq!(error.unwrap().to_string(), "refused");
    }
}
