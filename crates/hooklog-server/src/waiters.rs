//! Who waits for events of an application, and what is known of applications that are asked about.
//!
//! One look at the log's commits serves everybody: it notes where the asked-about applications got
//! events and wakes who waits for them. So a poll of an application that got none is answered from
//! this table, and a waiter costs a few hundred bytes and no task.
//!
//! **Invariant:** what is said to be quiet is quiet up to the log's end at the time of the question,
//! acked events included; nothing here reads the disk. Applications and waiters are bounded, in all
//! and for each holder of a token.
//! **Next:** `feed.rs`, which reads what came.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hooklog_storage::{ApplicationId, EventLog, Offset, OrganisationId, Record, Watch, Watched};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::error::ApiError;

/// Commits with events that are remembered of one application: behind so many a poller reads the
/// index, from the oldest of them on.
const COMMITS_MAX: usize = 16;
/// Applications that are remembered while nobody waits for them, so that those who ask every few
/// seconds are answered from memory: about 2 MiB.
const IDLE_APPLICATIONS_MAX: usize = 4096;

/// Whose tokens: those of a tenant count together, and those of each of its applications.
pub(crate) type Holder = (OrganisationId, Option<ApplicationId>);

/// What a seat is for; each has bounds of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// One answer, when something came.
    Poll,
    /// A stream of events.
    Stream,
}

/// What is known about an application from an offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It has no event from there to below this.
    Quiet(Offset),
    /// Its first event from there on is not below this.
    From(Offset),
}

/// All waiters of a server.
#[derive(Debug)]
pub(crate) struct Waiters {
    log: EventLog,
    limits: Limits,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    watch: Watch,
    followed: HashMap<ApplicationId, Followed>,
    /// Seats of polls and of streams, in all and by holder.
    seats: [Seats; 2],
}

#[derive(Debug, Default)]
struct Seats {
    count: usize,
    by_holder: HashMap<Holder, usize>,
}

/// An application that is asked about.
#[derive(Debug)]
struct Followed {
    /// From here on every event is in `commits`.
    since: Offset,
    /// The first and the last event of each commit that had some.
    commits: VecDeque<(Offset, Offset)>,
    waiting: usize,
    news: watch::Sender<()>,
}

impl Followed {
    fn new(since: Offset) -> Self {
        Self {
            since,
            commits: VecDeque::new(),
            waiting: 0,
            news: watch::Sender::new(()),
        }
    }

    /// An event came, with others of the commit that begins at `base`.
    fn note(&mut self, base: Offset, offset: Offset) {
        match self.commits.back_mut() {
            Some((first, last)) if *first >= base => *last = offset,
            _ => {
                self.commits.push_back((offset, offset));
                if self.commits.len() > COMMITS_MAX
                    && let Some((_, last)) = self.commits.pop_front()
                {
                    self.since = last.next();
                }
            }
        }
    }

    fn look(&self, from: Offset, end: Offset) -> Look {
        if from < self.since {
            return Look::From(from);
        }
        let commit = self.commits.iter().find(|(_, last)| *last >= from);
        match commit {
            Some((first, _)) => Look::From(from.max(*first)),
            None => Look::Quiet(end),
        }
    }
}

impl Table {
    /// Takes in what was committed.
    fn advance(&mut self) {
        while let Some(watched) = self.watch.poll_next() {
            match watched {
                Watched::Records(records) => self.note(&records),
                Watched::Missed => {
                    let end = self.watch.end();
                    for followed in self.followed.values_mut() {
                        followed.commits.clear();
                        followed.since = end;
                        followed.news.send_replace(());
                    }
                }
            }
        }
    }

    fn note(&mut self, records: &[Record]) {
        let Some(first) = records.first().filter(|_| !self.followed.is_empty()) else {
            return;
        };
        let mut rest = records;
        // Runs of one application are looked up once; most commits are of few.
        while let Some(record) = rest.first() {
            let id = record.event.application;
            let run = rest.iter().take_while(|r| r.event.application == id);
            let (run, others) = rest.split_at(run.count());
            rest = others;
            if let (Some(followed), Some(last)) = (self.followed.get_mut(&id), run.last()) {
                followed.note(first.offset, record.offset);
                followed.note(first.offset, last.offset);
                followed.news.send_replace(());
            }
        }
    }

    fn followed(&mut self, application: ApplicationId) -> &mut Followed {
        let idle = |followed: &Followed| followed.waiting == 0;
        if self.followed.len() >= IDLE_APPLICATIONS_MAX
            && !self.followed.contains_key(&application)
            && self.followed.values().filter(|f| idle(f)).count() >= IDLE_APPLICATIONS_MAX
        {
            // Once in so many: their pollers read the index once more.
            self.followed.retain(|_, followed| !idle(followed));
        }
        let end = self.watch.end();
        self.followed
            .entry(application)
            .or_insert_with(|| Followed::new(end))
    }
}

impl Waiters {
    pub(crate) fn new(log: EventLog, limits: &Limits) -> Self {
        let table = Table {
            watch: log.watch(),
            followed: HashMap::new(),
            seats: Default::default(),
        };
        Self {
            log,
            limits: *limits,
            table: Mutex::new(table),
        }
    }

    /// What is known about an application from `from` on, now.
    pub(crate) fn look(&self, application: ApplicationId, from: Offset) -> Look {
        let mut table = self.table.lock();
        table.advance();
        let end = table.watch.end();
        table.followed(application).look(from, end)
    }

    /// A place to wait for events of an application, if there is one left.
    pub(crate) fn seat(
        self: &Arc<Self>,
        application: ApplicationId,
        holder: Holder,
        purpose: Purpose,
    ) -> Result<Seat, ApiError> {
        let (total_max, holder_max, what) = match purpose {
            Purpose::Poll => (
                self.limits.waiters_max,
                self.limits.waiters_per_holder_max,
                "polls that wait",
            ),
            Purpose::Stream => (
                self.limits.event_streams_max,
                self.limits.event_streams_per_holder_max,
                "event streams",
            ),
        };
        let mut table = self.table.lock();
        let seats = table.seats_of(purpose);
        if seats.by_holder.get(&holder).copied().unwrap_or(0) >= holder_max {
            return Err(ApiError::TooMany(format!(
                "more than {holder_max} {what} at once"
            )));
        }
        if seats.count >= total_max {
            return Err(ApiError::Busy(format!("too many {what}")));
        }
        seats.count += 1;
        *seats.by_holder.entry(holder).or_default() += 1;
        table.advance();
        let followed = table.followed(application);
        followed.waiting += 1;
        let news = followed.news.subscribe();
        Ok(Seat {
            waiters: Arc::clone(self),
            application,
            holder,
            purpose,
            news,
        })
    }

    /// Wakes who waits, commit by commit, until the server stops.
    pub(crate) async fn run(self: Arc<Self>, stopping: CancellationToken) {
        let mut commits = self.log.watch();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = commits.wait() => self.table.lock().advance(),
            }
        }
    }

    /// How many wait, for whatever purpose.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.table
            .lock()
            .seats
            .iter()
            .map(|seats| seats.count)
            .sum()
    }
}

impl Table {
    fn seats_of(&mut self, purpose: Purpose) -> &mut Seats {
        let [polls, streams] = &mut self.seats;
        match purpose {
            Purpose::Poll => polls,
            Purpose::Stream => streams,
        }
    }
}

/// A place to wait, given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    waiters: Arc<Waiters>,
    application: ApplicationId,
    holder: Holder,
    purpose: Purpose,
    news: watch::Receiver<()>,
}

impl Seat {
    /// From now on, [`news`](Self::news) returns once something comes. Look after this call.
    pub(crate) fn mark(&mut self) {
        self.news.mark_unchanged();
    }

    /// Returns once the application got events since the last [`mark`](Self::mark).
    ///
    /// # Cancel safety
    /// A dropped call loses nothing.
    pub(crate) async fn news(&mut self) {
        // The sender is kept for as long as someone waits.
        if self.news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.waiters.table.lock();
        let seats = table.seats_of(self.purpose);
        seats.count = seats.count.saturating_sub(1);
        if let Some(count) = seats.by_holder.get_mut(&self.holder) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                seats.by_holder.remove(&self.holder);
            }
        }
        if let Some(followed) = table.followed.get_mut(&self.application) {
            followed.waiting = followed.waiting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
