//! The events of an application from a place on, for who asks: some now, and word when there is more.
//!
//! **Invariant:** what lies between two places that a feed tells of was found, left out by the
//! filter, or is told of as expired. One look reads a bounded number of events; when nothing came,
//! it reads none, and what memory holds is read without a thread.
//! **Next:** `poll.rs` and `stream.rs`.

use std::sync::Arc;

use hooklog_storage::{
    ApplicationId, Event, EventLog, EventPage, Filter, Limit, Offset, OffsetRange, Order, Record,
    SubscriptionId,
};

use crate::error::ApiError;
use crate::request::Call;
use crate::state::State;
use crate::waiters::{Look, Seat};

/// Events one look looks at, whatever the filter leaves of them; as for lists.
const SCAN_EVENTS_MAX: usize = 5_000;
/// Events read at a time where a filter leaves some out; as for lists.
const ROUND_EVENTS: usize = 128;
/// Places of the log that are looked through at once, between other work: some hundred microseconds.
const IN_PLACE_MAX: u64 = 4096;

/// Which events are wanted: what the polling endpoint takes and the request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) sink: Filter,
    pub(crate) asked: Filter,
}

impl Wanted {
    /// From `event_type` (or `event_types`) and `channel` of a request to the polling endpoint
    /// `sink`. If that is an endpoint's id or uid its filter counts, too; any other name is a
    /// polling endpoint of its own, which takes everything.
    pub(crate) fn parse(
        call: &Call,
        application: ApplicationId,
        sink: &str,
    ) -> Result<Self, ApiError> {
        let registry = call.state.log.registry();
        let found = registry.find_subscription(application, sink);
        let sink = match found {
            Some(subscription) => subscription.filter.clone(),
            // What looks like an id was one once.
            None if sink.parse::<SubscriptionId>().is_ok() => {
                return Err(ApiError::NotFound);
            }
            None => Filter::default(),
        };
        let types = match call.query.names("event_type")? {
            Some(types) => Some(types),
            None => call.query.names("event_types")?,
        };
        let asked = Filter {
            event_types: types,
            channels: call.query.names("channel")?,
            condition: None,
        };
        Ok(Self { sink, asked })
    }

    fn takes(&self, event: &Event) -> bool {
        self.sink.takes(event) && self.asked.takes(event)
    }

    fn takes_all(&self) -> bool {
        let all = Filter::default();
        self.sink == all && self.asked == all
    }
}

/// The events of an application from a place on.
pub(crate) struct Feed {
    pub(crate) state: Arc<State>,
    pub(crate) application: ApplicationId,
    pub(crate) wanted: Arc<Wanted>,
    /// Everything below was found, left out, or had expired.
    pub(crate) next: Offset,
}

/// What a look brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) records: Vec<Record>,
    /// Where to go on; `None` if it is where it was, as nothing came.
    pub(crate) place: Option<Offset>,
    /// What had expired before it was looked at; empty if nothing had.
    pub(crate) expired: OffsetRange,
    /// Whether there may be more now.
    pub(crate) more: bool,
    /// How many events were looked at for it.
    pub(crate) looked: usize,
}

impl Found {
    /// Whether it cost next to nothing: there was nothing to look at.
    pub(crate) fn is_free(&self) -> bool {
        !self.is_something() && self.looked == 0
    }

    /// Whether there is reason to answer with it.
    pub(crate) fn is_something(&self) -> bool {
        !self.records.is_empty() || !self.expired.is_empty()
    }
}

impl Feed {
    /// What there is now.
    pub(crate) async fn look(&mut self, limit: Limit) -> Result<Found, ApiError> {
        let (state, application) = (&self.state, self.application);
        if state.log.registry().application(application).is_none() {
            return Err(ApiError::NotFound);
        }
        let start = match state.waiters.look(application, self.next) {
            Look::From(start) => start,
            Look::Quiet(end) => {
                self.next = self.next.max(end);
                return Ok(Found {
                    records: Vec::new(),
                    place: None,
                    expired: end..end,
                    more: false,
                    looked: 0,
                });
            }
        };
        let range = start..state.log.end().max(start);
        let found = if let Some(found) = self.in_memory(range.clone(), limit) {
            found
        } else {
            let wanted = Arc::clone(&self.wanted);
            let read = move |log: &EventLog| {
                scan(range, limit, &wanted, |range, limit| {
                    log.read_application(application, range, Order::Ascending, limit)
                })
            };
            state.read(read).await?
        };
        self.next = found.place.unwrap_or(self.next);
        Ok(found)
    }

    /// Without a thread and the disk, if that is possible.
    fn in_memory(&self, range: OffsetRange, limit: Limit) -> Option<Found> {
        // A condition parses payloads, which is no work between other work.
        let parses = self.wanted.sink.condition.is_some();
        if parses || range.end.since(range.start) > IN_PLACE_MAX {
            return None;
        }
        let (log, application) = (&self.state.log, self.application);
        let read = |range, limit| {
            log.read_application_in_memory(application, range, limit)
                .ok_or(())
        };
        scan(range, limit, &self.wanted, read).ok()
    }

    /// What there is, once there is something: waits for it until `until` is ready.
    pub(crate) async fn wait(
        &mut self,
        seat: &mut Seat,
        limit: Limit,
        until: impl Future<Output = ()>,
    ) -> Result<Found, ApiError> {
        let mut until = std::pin::pin!(until);
        let (mut place, mut looked) = (None, 0);
        loop {
            seat.mark();
            let mut found = self.look(limit).await?;
            found.place = found.place.or(place);
            found.looked += looked;
            (place, looked) = (found.place, found.looked);
            if found.is_something() || found.more {
                return Ok(found);
            }
            tokio::select! {
                () = seat.news() => {}
                () = &mut until => return Ok(found),
                () = self.state.stopping.cancelled() => return Ok(found),
            }
        }
    }
}

/// Looks through a range for what is wanted of it.
fn scan<E>(
    mut range: OffsetRange,
    limit: Limit,
    wanted: &Wanted,
    mut read: impl FnMut(OffsetRange, Limit) -> Result<EventPage, E>,
) -> Result<Found, E> {
    let (mut records, mut bytes, mut looked) = (Vec::new(), 0, 0);
    let mut expired = range.start..range.start;
    let mut next = range.start;
    let takes_all = wanted.takes_all();
    while !range.is_empty() && looked < SCAN_EVENTS_MAX {
        // One more than fits tells whether this is all there is.
        let room = limit.items + 1 - records.len();
        let items = if takes_all {
            room
        } else {
            room.max(ROUND_EVENTS)
        };
        let page = read(range, Limit { items, ..limit })?;
        if !page.expired.is_empty() {
            (expired, next) = (page.expired.clone(), page.expired.end);
        }
        for record in page.records {
            looked += 1;
            let behind = record.offset.next();
            if wanted.takes(&record.event) {
                bytes += record.event.payload.len();
                let is_over = !records.is_empty() && bytes > limit.bytes;
                if records.len() == limit.items || is_over {
                    return Ok(Found {
                        records,
                        place: Some(next),
                        expired,
                        more: true,
                        looked,
                    });
                }
                records.push(record);
            }
            next = behind;
        }
        range = page.rest;
        if range.is_empty() {
            next = next.max(range.end);
        }
    }
    Ok(Found {
        records,
        place: Some(next),
        expired,
        more: !range.is_empty(),
        looked,
    })
}

#[cfg(test)]
mod tests;
