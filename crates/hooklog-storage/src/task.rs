//! Background tasks: replays of a subscription's past events and counts of what was sent, done a few
//! at a time.
//!
//! **Invariant:** a step of a task (what it sends again or counts, and how far it came) is one commit,
//! so after a crash it goes on behind its last step and repeats none. A task ends by itself: its range
//! is fixed when it is made.
//! **Next:** `commands/tasks.rs`, which makes and moves them.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::id::{ApplicationId, OrganisationId, SubscriptionId, TaskId};
use crate::name::{Channel, EventTypeName, Tag};
use crate::offset::{AttemptSeq, Offset, OffsetRange};
use crate::standing::{Delivered, DeliveryStatus};
use crate::time::Timestamp;

/// Running tasks of one organisation at once: each keeps a page of events in memory while it works.
pub const TASKS_RUNNING_MAX: usize = 100;
/// Running tasks of all organisations at once: each costs a look at its subscription every second at
/// least, so that this many cost little, and ten tenants at their own bound fit.
pub const TASKS_RUNNING_ALL_MAX: usize = 1000;
/// Tasks of one organisation that are remembered; above it the oldest that ended is forgotten.
pub const TASKS_KEPT_MAX: usize = 1000;
/// Counts of one organisation that are remembered beside those that run, for each may have a table: 3 MB
/// of them.
pub const COUNTS_KEPT_MAX: usize = 50;
/// Applications that one task counts for: with 28 bytes each they stay below what one row of the
/// registry may have.
pub const COUNTED_MAX: usize = 2_000;

/// What is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replay {
    /// Events whose delivery was given up.
    Failed,
    /// Events that were never tried.
    Missing,
    /// Events of these kinds, whatever became of them.
    All(ReplayFilter),
}

/// Which events a bulk replay takes, beside the subscription's own filter. `None` takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayFilter {
    /// Of one of these types.
    pub event_types: Option<Vec<EventTypeName>>,
    /// On one of these channels.
    pub channels: Option<Vec<Channel>>,
    /// With this tag.
    pub tag: Option<Tag>,
    /// Whose delivery stands like this.
    pub status: Option<Delivered>,
    /// Whose last answer had a status of this hundred (0: none came).
    pub status_class: Option<u16>,
}

impl ReplayFilter {
    fn takes(&self, event: &Event, status: DeliveryStatus) -> bool {
        let of_type = |types: &Vec<_>| types.contains(&event.event_type);
        let on_channel = |wanted: &Vec<_>| {
            let mut channels = event.channels.iter();
            channels.any(|channel| wanted.contains(channel))
        };
        self.event_types.as_ref().is_none_or(of_type)
            && self.channels.as_ref().is_none_or(on_channel)
            && self.tag.as_ref().is_none_or(|tag| event.tags.contains(tag))
            && self.status.is_none_or(|wanted| wanted == status.delivered)
            && self.status_class.is_none_or(|class| {
                status.delivered != Delivered::Never
                    && status.status_code.unwrap_or(0) / 100 * 100 == class
            })
    }
}

impl Replay {
    /// Whether an event that the subscription's filter takes, and whose delivery stands like this,
    /// is sent again. What is under way anyway never is.
    pub fn takes(&self, event: &Event, status: DeliveryStatus) -> bool {
        match (self, status.delivered) {
            (_, Delivered::Pending) => false,
            (Self::Failed, delivered) => delivered == Delivered::Failed,
            (Self::Missing, delivered) => delivered == Delivered::Never,
            (Self::All(filter), _) => filter.takes(event, status),
        }
    }
}

/// How a task is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskState {
    /// There is more to do.
    Running,
    /// It has looked at its whole range.
    Finished,
    /// Somebody stopped it.
    Cancelled,
    /// It could not go on.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Past events that are sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaying {
    /// The application whose events it looks at.
    pub application: ApplicationId,
    /// Who gets them again.
    pub subscription: SubscriptionId,
    /// Which of them.
    pub replay: Replay,
    /// The offsets that it looks at, of all applications.
    pub range: OffsetRange,
    /// The first offset that it has not looked at.
    pub next: Offset,
    /// How many events it has asked to be sent again.
    pub replayed: u64,
}

/// Which applications' deliveries are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Counted {
    /// Those of every application of the organisation; who has none is not told of.
    All,
    /// Those of the applications that are in the table already.
    Named,
}

/// Deliveries that are counted: of an event to a subscription, once, at its first attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counting {
    /// Of which applications.
    pub of: Counted,
    /// The attempts that it looks at, of all organisations.
    pub range: Range<AttemptSeq>,
    /// The first attempt that it has not looked at.
    pub next: AttemptSeq,
    /// The deliveries so far; at most [`COUNTED_MAX`] applications.
    pub counts: BTreeMap<ApplicationId, u64>,
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// It sends past events to a subscription again.
    Replay(Replaying),
    /// It counts deliveries.
    Count(Counting),
    /// It took the payloads of all past events of an application out, when it was made: that is one
    /// mark, however many events there are.
    Expunge(ApplicationId),
}

/// A background task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Public id.
    pub id: TaskId,
    /// The tenant.
    pub organisation: OrganisationId,
    /// What it does, and how far it is.
    pub work: Work,
    /// How it is.
    pub state: TaskState,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

impl Task {
    /// Whether there is more to do.
    pub fn is_running(&self) -> bool {
        match self.state {
            TaskState::Running => true,
            TaskState::Finished | TaskState::Cancelled | TaskState::Failed { .. } => false,
        }
    }

    /// The application that it is for, and goes with.
    pub fn application(&self) -> Option<ApplicationId> {
        match &self.work {
            Work::Replay(work) => Some(work.application),
            Work::Expunge(application) => Some(*application),
            Work::Count(_) => None,
        }
    }
}
