//! The driver: select → apply → perform. It does what the board wants.
//!
//! One task owns the board and all that it knows; attempts, reads and records run beside it and
//! come back as inputs.
//!
//! **Invariant:** this is the only loop of the dispatcher and the only file of it that reads a
//! clock or a random number (`resolve.rs`, `pool.rs` and `http1.rs` aside, which forget after a while, and
//! what measures how long an attempt took); both are passed on from here. The loop never waits for one attempt,
//! one read or one commit alone.
//! **Next:** `carriers.rs`, the tasks that make attempts.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hooklog_storage::{CommitError, DispatchState, EventLog, Offset, TailItem, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::board::{Board, Effect, Finished, Input};
use crate::carriers::{Broken, Carriers, Flight};
use crate::config::Config;
use crate::deliver::Deliver;
use crate::errand::{self, Errand};
use crate::releases::{self, Alarm};
use crate::{reader, tasks};

/// Items that the tail's reader may be ahead by; each is a batch of records.
const TAIL_ITEMS_MAX: usize = 4;
/// Longest sleep: a clock that was set must be noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Longest time for recording the last outcomes at a stop; what is not recorded is sent again.
const LAST_RECORD_MAX: Duration = Duration::from_secs(10);

/// The wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the dispatcher that reads it"
)]
pub(crate) fn clock() -> Timestamp {
    SystemTime::now().into()
}

/// What woke the loop.
enum Woken {
    Errand(Errand),
    /// By attempts that have ended, which lie ready.
    Finished,
    Tail(TailItem),
    /// Stop within this time.
    Stop(Duration),
    /// A task died; its panic was reported when it happened.
    Broken,
    Timer,
}

/// How the loop ended.
enum Ended {
    Stop(Duration),
    /// The log takes nothing more.
    Log(CommitError),
    Broken,
}

/// The dispatcher's task.
pub(crate) struct Driver {
    log: EventLog,
    board: Board,
    rng: fastrand::Rng,
    carriers: Carriers,
    /// Attempts that have ended and are not taken in.
    finished: Vec<Finished>,
    errands: JoinSet<Errand>,
    /// Counts what may have made work for the background tasks.
    tasks_changed: watch::Sender<u64>,
    /// Rings when the time of an event may have come.
    alarm: Arc<Alarm>,
}

impl Driver {
    /// A driver that goes on from a delivery state that was read at `read_at`.
    pub(crate) fn new(
        log: EventLog,
        deliver: Deliver,
        config: &Config,
        state: DispatchState,
        read_at: Timestamp,
    ) -> Self {
        Self {
            carriers: Carriers::new(log.clone(), deliver),
            finished: Vec::new(),
            log,
            board: Board::new(config, state, read_at),
            rng: fastrand::Rng::new(),
            errands: JoinSet::new(),
            tasks_changed: watch::Sender::new(0),
            alarm: Arc::default(),
        }
    }

    /// Runs until it is told to stop, or the log is stopped.
    pub(crate) async fn run(mut self, from: Offset, mut stop: oneshot::Receiver<Duration>) {
        let (sender, mut tail) = mpsc::channel(TAIL_ITEMS_MAX);
        let mut reader = JoinSet::new();
        reader.spawn(reader::follow(self.log.clone(), from, sender));
        let changed = self.tasks_changed.subscribe();
        reader.spawn(tasks::run(self.log.clone(), changed, clock));
        let alarm = Arc::clone(&self.alarm);
        reader.spawn(releases::run(self.log.clone(), alarm, clock));
        let ended = self.turn_until_ended(&mut tail, &mut stop).await;
        reader.abort_all();
        match ended {
            Ended::Stop(drain) => {
                drop(tail);
                self.drain(drain).await;
                self.record_last().await;
            }
            Ended::Log(error) => {
                tracing::error!(error = %error, "dispatch stopped: the log takes no progress");
            }
            Ended::Broken => tracing::error!("dispatch stopped: a task of it panicked"),
        }
    }

    async fn turn_until_ended(
        &mut self,
        tail: &mut mpsc::Receiver<TailItem>,
        stop: &mut oneshot::Receiver<Duration>,
    ) -> Ended {
        loop {
            self.perform_all();
            let woken = self.wait(Some(tail), stop).await;
            match woken {
                Woken::Stop(drain) => return Ended::Stop(drain),
                Woken::Broken => return Ended::Broken,
                Woken::Finished if self.finished.len() < self.board.in_flight() => {
                    // Others are about to end, too; outcomes and what follows from them are cheaper
                    // to take in together.
                    tokio::task::yield_now().await;
                    self.carriers.take_finished(&mut self.finished);
                }
                _ => {}
            }
            if let Err(error) = self.apply(woken) {
                return Ended::Log(error);
            }
        }
    }

    /// Waits for whatever happens first.
    async fn wait(
        &mut self,
        tail: Option<&mut mpsc::Receiver<TailItem>>,
        stop: &mut oneshot::Receiver<Duration>,
    ) -> Woken {
        let now = clock();
        let sleep = self
            .board
            .deadline(now)
            .map_or(SLEEP_MAX, |at| at.since(now));
        let item = async {
            match tail {
                Some(tail) => tail.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A dispatcher that was dropped stops at once.
            drain = stop => Woken::Stop(drain.unwrap_or(Duration::ZERO)),
            Some(errand) = self.errands.join_next() => errand.map_or(Woken::Broken, Woken::Errand),
            finished = self.carriers.finished(&mut self.finished) => match finished {
                Ok(()) => Woken::Finished,
                Err(Broken) => Woken::Broken,
            },
            item = item => item.map_or(Woken::Broken, Woken::Tail),
            () = tokio::time::sleep(sleep.min(SLEEP_MAX)) => Woken::Timer,
        }
    }

    fn apply(&mut self, woken: Woken) -> Result<(), CommitError> {
        let input = match woken {
            Woken::Errand(Errand::Done(input)) => *input,
            Woken::Errand(Errand::Refused(error)) => return Err(error),
            Woken::Finished => Input::Finished(std::mem::take(&mut self.finished)),
            Woken::Tail(item) => {
                if tasks::concerns(&item) {
                    self.tasks_changed
                        .send_modify(|count| *count = count.wrapping_add(1));
                }
                self.alarm.set(releases::earliest(&item));
                Input::Tail(item)
            }
            Woken::Stop(_) | Woken::Broken | Woken::Timer => return Ok(()),
        };
        self.board.apply(input, clock());
        Ok(())
    }

    fn perform_all(&mut self) {
        let (now, begun) = (clock(), Instant::now());
        while let Some(effect) = self.board.next(now) {
            self.perform(effect, now, begun);
        }
    }

    fn perform(&mut self, effect: Effect, now: Timestamp, begun: Instant) {
        let log = &self.log;
        match effect {
            Effect::Attempt {
                subscription,
                start,
            } => {
                let sample = self.rng.f64();
                self.carriers.start(Flight {
                    subscription,
                    start,
                    now,
                    begun,
                    sample,
                });
            }
            Effect::Read {
                subscription,
                reading,
                range,
                limit,
            } => {
                let log = log.clone();
                self.errands.spawn_blocking(move || {
                    errand::read(&log, &subscription, reading, range, limit)
                });
            }
            Effect::Load(subscription) => {
                self.errands.spawn(errand::load(log.clone(), subscription));
            }
            Effect::Scan(scans) => {
                self.errands.spawn(errand::scan(log.clone(), scans));
            }
            Effect::Resync(behind) => {
                self.errands.spawn(errand::resync(log.clone(), behind));
            }
            Effect::Disable {
                subscription,
                url,
                reason,
            } => {
                self.errands
                    .spawn(errand::disable(log.clone(), subscription, url, reason));
            }
            Effect::Record(progress) => {
                self.errands.spawn(errand::record(log.clone(), progress));
            }
        }
    }

    /// Lets attempts in flight end, but starts none.
    async fn drain(&mut self, limit: Duration) {
        self.board.stop();
        let until = tokio::time::sleep(limit);
        tokio::pin!(until);
        let (_never, mut stop) = oneshot::channel();
        while self.board.in_flight() > 0 {
            self.perform_all();
            let woken = tokio::select! {
                woken = self.wait(None, &mut stop) => woken,
                () = until.as_mut() => break,
            };
            if let Err(error) = self.apply(woken) {
                tracing::error!(error = %error, "outcomes of the last attempts are not on record");
                break;
            }
        }
        self.carriers.shutdown().await;
    }

    /// Records all outcomes and cursors that are not on record.
    async fn record_last(&mut self) {
        let recording = async {
            loop {
                while let Some(errand) = self.errands.join_next().await {
                    let Ok(errand) = errand else {
                        return Ok::<_, CommitError>(());
                    };
                    self.apply(Woken::Errand(errand))?;
                }
                let Some(effect) = self.board.last_record(clock()) else {
                    return Ok(());
                };
                self.perform(effect, clock(), Instant::now());
            }
        };
        match tokio::time::timeout(LAST_RECORD_MAX, recording).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(error = %error, "the last outcomes are not on record");
            }
            Err(_) => tracing::error!("the log did not take the last outcomes in time"),
        }
    }
}

#[cfg(test)]
mod tests;
