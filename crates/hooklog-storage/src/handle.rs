//! What an open log is made of: its threads, what they share, and the way in and out.
//!
//! **Invariant:** the queue is bounded in requests and bytes; a closed log takes nothing, and closing
//! ends in bounded time even when the database hangs.
//! **Next:** `commit.rs`, which takes from the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use parking_lot::{Mutex, RwLock};

use crate::answers::Answers;
use crate::apply::{Applier, ApplyLoop, Durable};
use crate::commit::seat::{Seat, Thread};
use crate::commit::{APPLIER_PATIENCE, Committer, Next};
use crate::commit_error::CommitError;
use crate::config::Config;
use crate::consumer::Consumers;
use crate::directory::Directory;
use crate::event_keys::{EventKeys, upkeep};
use crate::key_index::Limits;
use crate::poison::Poison;
use crate::recovery::{OpenErrorKind, Recovered};
use crate::registry::Registry;
use crate::request::{Queued, Request};
use crate::retention::RetentionLoop;
use crate::ring::Ring;
use crate::shared::Shared;

/// Requests that may wait for the committer; together with `queue_bytes_max` the queue's bound.
const QUEUE_REQUESTS: usize = 16_384;
/// How long `close` waits for each thread.
const CLOSE_PATIENCE: Duration = Duration::from_mins(1);

/// Owns the threads.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    /// `None` once closed.
    queue: RwLock<Option<Sender<Queued>>>,
    seat: Seat,
    threads: Mutex<Vec<Running>>,
    /// Dropped to end the retention thread, which would keep the queue open.
    retention: Mutex<Option<Sender<()>>>,
}

/// A request that the queue did not take.
pub(crate) struct Refused {
    pub(crate) error: CommitError,
    pub(crate) request: Request,
}

impl From<Refused> for CommitError {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// Brings the keys of a recovered log up to date and starts its threads.
pub(crate) fn start(config: Config, recovered: Recovered) -> Result<Handle, OpenErrorKind> {
    let Recovered {
        directory,
        applier,
        journal,
        registry,
        consumers,
        answers,
    } = recovered;
    let next = Next::after(&applier.state);
    let shared = share(config, directory, &applier, (registry, consumers, answers))?;
    shared.fill_keys(next.timestamp)?;
    let apply = ApplyLoop {
        applier,
        ring: Arc::clone(&shared.ring),
        durable: Arc::clone(&shared.durable),
        poison: shared.poison.clone(),
        barrier_interval: shared.config.barrier_interval,
        barrier_bytes: shared.config.barrier_bytes(),
        pins: Arc::clone(&shared.pins),
    };
    let (keys, seal, merge) = upkeep::loops(&shared);
    let (queue, input) = crossbeam_channel::bounded(QUEUE_REQUESTS);
    let committer = Committer {
        shared: Arc::clone(&shared),
        journal,
        input,
        next,
        wall: next.timestamp,
        rng: fastrand::Rng::new(),
        keys,
        sync_due: None,
        patience: APPLIER_PATIENCE,
        disk_room: 0,
        sealable: None,
        thread: Thread::Looks,
    };
    let seat = Seat::new(committer);
    let (end_retention, retention) = RetentionLoop::new(&shared, &queue, next.timestamp);
    let mut threads = vec![
        spawn(&shared, "hooklog-commit", {
            let seat = seat.clone();
            move || seat.run()
        })?,
        spawn(&shared, "hooklog-apply", move || apply.run())?,
        spawn(&shared, "hooklog-seal", move || seal.run())?,
        spawn(&shared, "hooklog-merge", move || merge.run())?,
    ];
    if shared.config.retention.is_limited() {
        threads.push(spawn(&shared, "hooklog-retain", move || retention.run())?);
    }
    Ok(Handle {
        shared,
        queue: RwLock::new(Some(queue)),
        seat,
        threads: Mutex::new(threads),
        retention: Mutex::new(Some(end_retention)),
    })
}

/// What the threads of a recovered log share. Its keys may lag behind it.
pub(crate) fn share(
    config: Config,
    directory: Directory,
    applier: &Applier,
    (registry, consumers, answers): (Registry, Consumers, Answers),
) -> Result<Arc<Shared>, OpenErrorKind> {
    let state = &applier.state;
    let next = Next::after(state);
    let durable = Arc::new(Durable::default());
    durable.set(state.applied);
    let ring = Ring::new(
        next.sequence,
        next.offset,
        state.low(),
        config.tail_bytes_max,
    );
    let keys = EventKeys::open(&directory.keys(), Limits::STANDARD, next.offset, &config)?;
    Ok(Arc::new(Shared {
        config,
        engine: Arc::clone(&applier.engine),
        ring: Arc::new(ring),
        registry: RwLock::new(registry),
        consumers: Mutex::new(consumers),
        answers: Mutex::new(answers),
        closed: AtomicBool::new(false),
        keys,
        durable,
        poison: Poison::default(),
        pins: Arc::default(),
        queued_bytes: AtomicUsize::new(0),
        _directory: directory,
    }))
}

/// A thread, and a channel that disconnects when it ends.
type Running = (JoinHandle<()>, Receiver<()>);

/// Starts a thread whose panic poisons the log. Its name is what `top -H` shows, at most 15 characters
/// of it on Linux.
fn spawn(
    shared: &Shared,
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<Running, OpenErrorKind> {
    let (alive, ended) = crossbeam_channel::bounded(1);
    let (poison, ring) = (shared.poison.clone(), Arc::clone(&shared.ring));
    let builder = std::thread::Builder::new().name(name.to_owned());
    let thread = builder.spawn(move || {
        let _alive = alive;
        let _guard = PanicGuard::new(poison, ring);
        work();
    });
    let thread = thread.map_err(OpenErrorKind::Thread)?;
    Ok((thread, ended))
}

struct PanicGuard {
    poison: Poison,
    ring: Arc<Ring>,
    /// A caller may append while a panic of its own unwinds.
    was_panicking: bool,
}

impl PanicGuard {
    fn new(poison: Poison, ring: Arc<Ring>) -> Self {
        Self {
            poison,
            ring,
            was_panicking: std::thread::panicking(),
        }
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            self.poison.set("a storage thread panicked");
            // Whoever waits for what this thread would have done must look at the poison.
            self.ring.wake();
        }
    }
}

impl Handle {
    /// Hands a request to the committer, if there is room; else gives it back.
    pub(crate) fn submit(&self, request: Request, bytes: usize) -> Result<(), Refused> {
        if let Err(error) = self.shared.poison.check() {
            return Err(Refused { error, request });
        }
        let queue = self.queue.read();
        let Some(queue) = queue.as_ref() else {
            return Err(Refused {
                error: CommitError::Closed,
                request,
            });
        };
        let busy = || CommitError::Busy {
            what: "the commit queue",
        };
        let held = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        // One request always fits into an empty queue.
        if held > 0 && held + bytes > self.shared.config.queue_bytes_max {
            self.shared.release(bytes);
            return Err(Refused {
                error: busy(),
                request,
            });
        }
        queue.try_send(Queued { request, bytes }).map_err(|error| {
            self.shared.release(bytes);
            match error {
                TrySendError::Full(queued) => Refused {
                    error: busy(),
                    request: queued.request,
                },
                TrySendError::Disconnected(queued) => Refused {
                    error: self.gone(),
                    request: queued.request,
                },
            }
        })
    }

    /// Has a request committed by this thread, if nobody else is committing; else hands it to the committer.
    pub(crate) fn commit(&self, request: Request, bytes: usize) -> Result<(), Refused> {
        if self.shared.poison.reason().is_some() {
            return self.submit(request, bytes);
        }
        self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let (poison, ring) = (self.shared.poison.clone(), Arc::clone(&self.shared.ring));
        let _guard = PanicGuard::new(poison, ring);
        match self.seat.commit(Queued { request, bytes }) {
            Ok(Thread::Looks) => {}
            // If the queue is full it does not sleep for long; if it is closed, its end syncs all.
            Ok(Thread::Sleeps) => drop(self.submit(Request::Look, 0)),
            Err(Queued { request, bytes }) => {
                self.shared.release(bytes);
                return self.submit(request, bytes);
            }
        }
        Ok(())
    }

    /// Why there is no answer.
    pub(crate) fn gone(&self) -> CommitError {
        self.shared
            .poison
            .check()
            .err()
            .unwrap_or(CommitError::Closed)
    }

    pub(crate) fn close(&self) -> Result<(), CommitError> {
        drop(self.retention.lock().take());
        self.shared.keys.stop();
        drop(self.queue.write().take());
        let mut threads = self.threads.lock();
        for (thread, ended) in threads.drain(..) {
            // A thread that hangs inside sled is left behind: the process must be able to end.
            if matches!(
                ended.recv_timeout(CLOSE_PATIENCE),
                Err(RecvTimeoutError::Timeout)
            ) {
                self.shared
                    .poison
                    .set("a storage thread did not end in time");
                continue;
            }
            if thread.join().is_err() {
                self.shared.poison.set("a storage thread panicked");
            }
        }
        drop(threads);
        // Whoever waits for the next event must hear that there will be none.
        self.shared.closed.store(true, Ordering::Release);
        self.shared.ring.wake();
        self.shared.poison.check()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Poison has been logged where it was set; a drop has nobody to tell.
        drop(self.close());
    }
}
