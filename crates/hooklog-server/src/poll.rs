//! Polls: messages from a place on, for who asks, oldest first.
//!
//! **Invariant:** a poll that finds nothing and may wait holds a seat of a bounded number, and
//! neither a thread nor a read; it ends with the first event, its time, or the server. A place that
//! was handed out stays the same until there is something new, so that asking again costs nothing;
//! asking again for what there is costs what it cost before.
//! **Next:** `stream.rs`, the same without end.

use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{ConsumerInfo, ConsumerKey, Limit, Offset, Start, Uid};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::consumers;
use crate::error::ApiError;
use crate::etag::{self, Keep};
use crate::feed::{Feed, Found, Wanted};
use crate::page::{self, PAGE_BYTES_MAX};
use crate::place::Place;
use crate::rate::Free;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::revocation::Pass;
use crate::state;
use crate::waiters::Purpose;
use crate::wire::{CommittedPollOut, Issue, PollOut};

/// RFC 7240.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// A cursor that only passed what was left out, or other applications, is written after so many
/// offsets: to look at them again is quick, and a write for each poll would be one for nothing.
const SKIPPED_MAX: u64 = 4096;

/// `GET …/poller/{sink}`: the client keeps the place.
pub(crate) async fn stateless(call: Call) -> Answer {
    let (feed, limit) = asked(&call)?;
    let (next, looked) = match iterator(&call)? {
        Some(place) => (place, 0),
        None => match call.query.time("after")? {
            // To find a time is a look at the log.
            Some(after) => {
                let place = call.state.read(move |log| log.offset_at(after)).await?;
                (place, 1)
            }
            None => (call.state.log.low().events, 0),
        },
    };
    let mut found = poll(&call, Feed { next, ..feed }, limit).await?;
    found.looked += looked;
    answer(&call, &found, &PollOut::new(&found, place(next, &found)))
}

/// `GET …/poller/{sink}/consumer/{consumer}`: the server keeps the cursor, and moves it when it is
/// asked for what comes behind `iterator`. Without one it shows again what it showed last.
pub(crate) async fn by_consumer(call: Call) -> Answer {
    let (feed, limit) = asked(&call)?;
    let key = consumers::of_path(&call, feed.application)?;
    let before = call.state.log.find_consumer(&key);
    let next = match iterator(&call)? {
        Some(place) => {
            consumers::settle(&call.state, &key, place).await?;
            place
        }
        None => consumers::cursor(&call.state, &key, Start::Beginning).await?,
    };
    let mut found = poll(&call, Feed { next, ..feed }, limit).await?;
    found.looked += moved(before.as_ref(), next);
    skip(&call, &key, next, &found).await?;
    answer(&call, &found, &PollOut::new(&found, place(next, &found)))
}

/// `GET …/polling-endpoint/{sink}/consumer/{consumer}`: the cursor moves by commits alone.
pub(crate) async fn by_commits(call: Call) -> Answer {
    // Events would have to be kept from other readers for a while.
    call.query.refuse(&["lease_duration_ms"])?;
    let (feed, limit) = asked(&call)?;
    let key = consumers::of_path(&call, feed.application)?;
    let before = call.state.log.find_consumer(&key);
    let start = consumers::starting_position(&call.query)?.unwrap_or(Start::Beginning);
    let next = consumers::cursor(&call.state, &key, start).await?;
    let mut found = poll(&call, Feed { next, ..feed }, limit).await?;
    found.looked += moved(before.as_ref(), next);
    skip(&call, &key, next, &found).await?;
    answer(&call, &found, &CommittedPollOut::new(&found))
}

/// What a poll's own cursor costs: nothing where it stood already, and else a write.
fn moved(before: Option<&ConsumerInfo>, next: Offset) -> usize {
    usize::from(before.is_none_or(|before| before.cursor != next))
}

/// What is asked for, from a place that is still to be found, and how much of it.
fn asked(call: &Call) -> Result<(Feed, Limit), ApiError> {
    let limit = Limit {
        items: page::limit(&call.query)?,
        bytes: PAGE_BYTES_MAX,
    };
    let application = call.application()?.id;
    let sink = call.part("sink")?;
    // An endpoint's uid is a name, too, and so is what stands for neither.
    sink.parse::<Uid>()
        .map_err(|error| Issue::path("sink", error.to_string()))?;
    let wanted = Wanted::parse(call, application, sink)?;
    let feed = Feed {
        state: Arc::clone(&call.state),
        application,
        wanted: Arc::new(wanted),
        next: Offset::ZERO,
    };
    Ok((feed, limit))
}

fn iterator(call: &Call) -> Result<Option<Offset>, ApiError> {
    let text = call.query.text("iterator").filter(|text| !text.is_empty());
    text.map(|text| {
        let place = Place::parse(text, &call.state.log);
        place
            .map(|place| place.0)
            .map_err(|error| Issue::query("iterator", error.to_string()).into())
    })
    .transpose()
}

/// What there is; if that is nothing, what comes while the client would wait.
async fn poll(call: &Call, mut feed: Feed, limit: Limit) -> Result<Found, ApiError> {
    let found = feed.look(limit).await?;
    let wait = wait(call);
    if found.is_something() || found.more || wait.is_zero() {
        return Ok(found);
    }
    let holder = call.holder()?;
    let mut seat = call
        .state
        .waiters
        .seat(feed.application, holder, Purpose::Poll)?;
    let pass = Pass::of(call.bearer()?);
    let later = feed
        .wait(&mut seat, limit, tokio::time::sleep(wait))
        .await?;
    // It may have ended while it waited.
    pass.check(&call.state.log, state::now())?;
    Ok(Found {
        place: later.place.or(found.place),
        looked: found.looked + later.looked,
        ..later
    })
}

/// How long the client waits, within our bound.
fn wait(call: &Call) -> Duration {
    let asked = call.asked.wait.unwrap_or_default();
    asked.min(call.state.limits.poll_wait_max)
}

/// Where to go on behind what was found.
fn place(next: Offset, found: &Found) -> String {
    Place(found.place.unwrap_or(next)).to_string()
}

/// Moves a cursor past what nobody is shown, so that it is not looked at again and again.
async fn skip(call: &Call, key: &ConsumerKey, next: Offset, found: &Found) -> Result<(), ApiError> {
    let Some(place) = found.place.filter(|_| !found.is_something()) else {
        return Ok(());
    };
    if found.more || place.since(next) >= SKIPPED_MAX {
        call.state.log.advance_consumer(key, place).await?;
    }
    Ok(())
}

fn answer<T: Serialize>(call: &Call, found: &Found, out: &T) -> Answer {
    let mut response = reply::json(StatusCode::OK, out)?;
    let wait = wait(call);
    if !wait.is_zero()
        && let Ok(applied) = HeaderValue::try_from(format!("wait={}", wait.as_secs()))
    {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    let mut response = etag::tagged(&call.asked, Keep::Revalidate, response);
    // A page that is there again was read again, and `*` knows nothing of what it has.
    let is_known = response.status() == StatusCode::NOT_MODIFIED && !call.asked.has_whatever();
    if is_known && found.is_free() {
        response.extensions_mut().insert(Free);
    }
    Ok(response)
}
