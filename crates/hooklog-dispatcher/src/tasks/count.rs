//! Counts deliveries by application: of an event to a subscription, once, at its first attempt.
//!
//! **Invariant:** a step looks at a bounded number of attempts, in the order of their numbers, and at
//! none twice. Deliveries of subscriptions that were deleted since count, too.
//! **Next:** `../board/follow.rs`.

use std::collections::{BTreeMap, HashMap};

use hooklog_storage::{
    ApplicationId, ApplicationKind, Attempt, AttemptSeq, AttemptsOf, CountStep, Counted, Counting,
    EventLog, Limit, Order, ReadError, SubscriptionId, Task, Trigger,
};

/// Attempts read at a time, at most; a page ends where a batch of some hundred does.
const PAGE_ITEMS: usize = 1_000;
/// Pages of one step: some 20 ms of reading for one commit of at most 60 KB.
const PAGES_MAX: usize = 64;
/// Attempts of one event that are read at a time, and looked at, for an earlier one.
const EARLIER: Limit = Limit {
    items: 32,
    bytes: usize::MAX,
};
const EARLIER_MAX: usize = 5_000;

/// The next step. Blocks.
pub(super) fn look(log: &EventLog, task: &Task, work: &Counting) -> Result<CountStep, ReadError> {
    let (mut next, end) = (work.next, work.range.end);
    let mut more = BTreeMap::new();
    let mut owners = Owners::default();
    let mut pages = 0;
    while next < end && pages < PAGES_MAX {
        let page = log.attempts_by_number(next..end, PAGE_ITEMS)?;
        for attempt in &page.attempts {
            if !is_first(log, attempt)? {
                continue;
            }
            let Some(application) = owners.of(log, attempt)? else {
                continue;
            };
            if is_meant(log, task, work, application) {
                *more.entry(application).or_default() += 1;
            }
        }
        next = page.rest.start;
        pages += 1;
    }
    Ok(CountStep {
        from: work.next,
        next,
        more,
    })
}

/// Whether no attempt of the delivery went before it. One by the schedule says so itself; one that was
/// asked for may be of an event that was sent before.
fn is_first(log: &EventLog, attempt: &Attempt) -> Result<bool, ReadError> {
    let (made, seq) = (&attempt.attempt, attempt.id.seq());
    match (made.number, made.trigger) {
        (0, Trigger::Scheduled) => return Ok(true),
        (0, Trigger::Manual | Trigger::Delayed) => {}
        (_, _) => return Ok(false),
    }
    let event = AttemptsOf::Event(made.event.offset());
    let mut range = AttemptSeq::ZERO..seq;
    let mut looked = 0;
    while !range.is_empty() && looked < EARLIER_MAX {
        let page = log.attempts(event, range, Order::Descending, EARLIER)?;
        let mut of_page = page.attempts.iter();
        if of_page.any(|earlier| earlier.attempt.subscription == made.subscription) {
            return Ok(false);
        }
        looked += page.attempts.len();
        range = page.rest;
    }
    Ok(true)
}

/// Whose subscriptions they are; of one step.
#[derive(Default)]
struct Owners(HashMap<SubscriptionId, ApplicationId>);

impl Owners {
    /// The application of an attempt; `None` if its subscription is gone and its event has expired.
    fn of(
        &mut self,
        log: &EventLog,
        attempt: &Attempt,
    ) -> Result<Option<ApplicationId>, ReadError> {
        let (id, event) = (attempt.attempt.subscription, attempt.attempt.event);
        if let Some(known) = self.0.get(&id) {
            return Ok(Some(*known));
        }
        let known = log
            .registry()
            .subscription(id)
            .map(|value| value.application);
        let found = match known {
            Some(application) => Some(application),
            None => log.get(event)?.map(|record| record.event.application),
        };
        // A later event of one that is gone may not have expired.
        if let Some(application) = found {
            self.0.insert(id, application);
        }
        Ok(found)
    }
}

fn is_meant(log: &EventLog, task: &Task, work: &Counting, application: ApplicationId) -> bool {
    match work.of {
        Counted::Named => work.counts.contains_key(&application),
        Counted::All => {
            let registry = log.registry();
            let owner = registry.application(application);
            owner.is_some_and(|owner| {
                owner.organisation == task.organisation && owner.kind == ApplicationKind::Customer
            })
        }
    }
}
