//! Events as a stream (server-sent events): what is there, and then what comes.
//!
//! **Invariant:** a stream is a place in the log and a seat: no event waits in memory for it. A
//! client that reads slowly is read for slowly, and one that comes again goes on behind what it had
//! last. It ends at an event's border: when the server stops, its time is over, or its token is no longer
//! good.
//! **Next:** `sse.rs`, then `streamed.rs`.

use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{Limit, Offset, Start, Uid};
use http::{HeaderValue, StatusCode, header};
use tokio::time::Instant;

use crate::answers::Room;
use crate::consumers;
use crate::error::ApiError;
use crate::feed::{Feed, Found, Wanted};
use crate::place::Place;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::revocation::Pass;
use crate::sse::Text;
use crate::state;
use crate::streamed::{Piece, Pieces, Step, Steps};
use crate::token::Capability;
use crate::waiters::{Purpose, Seat};
use crate::wire::{ExpiredRangeOut, Issue, PolledOut};

/// How soon a client comes again; the server is back as soon as it is restarted.
const RETRY: Duration = Duration::from_secs(1);
/// Most of one piece: small, since each stream may hold one (a larger event comes alone).
const PIECE: Limit = Limit {
    items: 64,
    bytes: 128 << 10,
};
/// How soon a stream looks again when the memory for answers or the readers were busy.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// The polling endpoint whose consumers `?consumer=` names, unless `?sink=` does.
const SINK_DEFAULT: &str = "default";

/// `GET …/stream`.
pub(crate) async fn follow(call: Call) -> Answer {
    let application = call.application()?.id;
    let sink: Option<Uid> = call.query.name("sink")?;
    let sink = sink.as_ref().map_or(SINK_DEFAULT, Uid::as_str);
    let wanted = Wanted::parse(&call, application, sink)?;
    let key = match call.query.text("consumer") {
        Some(consumer) => {
            // Its cursor moves with `Last-Event-ID`, as by a poll.
            if !call.bearer()?.grant.may(|| Capability::CreateAttempts) {
                return Err(ApiError::Forbidden);
            }
            Some(consumers::key(application, sink, consumer)?)
        }
        None => None,
    };
    let start = consumers::starting_position(&call.query)?;
    let next = match (resume(&call)?, key) {
        (Some(place), Some(key)) => {
            // It comes again, so it had everything up to there.
            consumers::settle(&call.state, &key, place).await?;
            place
        }
        (Some(place), None) => place,
        (None, Some(key)) => {
            let start = start.unwrap_or(Start::Beginning);
            consumers::cursor(&call.state, &key, start).await?
        }
        (None, None) => match (call.query.time("after")?, start) {
            (Some(after), _) => call.state.read(move |log| log.offset_at(after)).await?,
            (None, Some(Start::Beginning)) => call.state.log.low().events,
            (None, _) => call.state.log.end(),
        },
    };
    let holder = call.holder()?;
    let waiters = &call.state.waiters;
    let seat = waiters.seat(application, holder, Purpose::Stream)?;
    let live = Live {
        feed: Feed {
            state: Arc::clone(&call.state),
            application,
            wanted: Arc::new(wanted),
            next,
        },
        seat,
        pass: Pass::of(call.bearer()?),
        told: None,
        ends: Instant::now() + call.state.limits.event_stream_age_max,
    };
    let mut response = reply::empty(StatusCode::OK);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        // nginx would gather events until its buffer is full.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let pieces = Pieces::new(Steps::new(live, |live| Box::pin(live.step()) as Step<_>));
    response.extensions_mut().insert(pieces);
    Ok(response)
}

/// Where the stream broke off: the header of one that comes again by itself, or the parameter.
fn resume(call: &Call) -> Result<Option<Offset>, ApiError> {
    let header = call.asked.last_event_id.as_ref();
    let (text, issue): (_, fn(String) -> Issue) = match header.filter(|id| !id.is_empty()) {
        Some(id) => (id.to_str().ok(), |m| Issue::header("last-event-id", m)),
        None => match call.query.text("last_event_id").filter(|id| !id.is_empty()) {
            Some(id) => (Some(id), |m| Issue::query("last_event_id", m)),
            None => return Ok(None),
        },
    };
    let place = Place::parse(text.unwrap_or_default(), &call.state.log);
    let place = place.map_err(|error| issue(error.to_string()))?;
    Ok(Some(place.0))
}

/// A stream that goes on.
struct Live {
    feed: Feed,
    seat: Seat,
    pass: Pass,
    /// Where the client would go on now; `None` before the first piece.
    told: Option<Offset>,
    ends: Instant,
}

impl Live {
    /// The next piece.
    async fn step(mut self) -> Option<(Piece, Self)> {
        let text = if self.told.is_none() {
            let mut text = Text::default();
            text.start(RETRY, &Place(self.feed.next));
            self.told = Some(self.feed.next);
            text
        } else {
            self.events().await?
        };
        let bytes = text.into_string();
        let room = self.room(bytes.len()).await?;
        // The token may have ended meanwhile; its client comes again, and is told so.
        let log = &self.feed.state.log;
        self.pass.check(log, state::now()).ok()?;
        let bytes = bytes.into();
        Some((Piece { bytes, room }, self))
    }

    /// What comes next, be it a sign of life; `None` at the end.
    async fn events(&mut self) -> Option<Text> {
        let state = Arc::clone(&self.feed.state);
        let silent = Instant::now() + state.limits.heartbeat_interval;
        loop {
            if state.stopping.is_cancelled() || Instant::now() >= self.ends {
                return None;
            }
            let until = tokio::time::sleep_until(silent.min(self.ends));
            let mut text = Text::default();
            match self.feed.wait(&mut self.seat, PIECE, until).await {
                Ok(found) => self.write(&found, &mut text),
                Err(ApiError::Busy(_)) => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                    continue;
                }
                // Its application was deleted.
                Err(ApiError::NotFound) => return None,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "a stream of events cannot be read on");
                    return None;
                }
            }
            if text.is_empty() && Instant::now() >= silent {
                let moved = self.told != Some(self.feed.next);
                let place = Place(self.feed.next);
                text.heartbeat(moved.then_some(&place as _));
                self.told = Some(self.feed.next);
            }
            if !text.is_empty() {
                return Some(text);
            }
            // A filter leaves much out: others get their turn.
            tokio::task::yield_now().await;
        }
    }

    fn write(&mut self, found: &Found, text: &mut Text) {
        if let Some(expired) = ExpiredRangeOut::new(&found.expired)
            && let Ok(data) = serde_json::to_string(&expired)
        {
            text.event(&Place(found.expired.end), Some("expired"), &data);
            self.told = Some(found.expired.end);
        }
        for record in &found.records {
            // A map of texts and a payload that was parsed: it does not fail.
            if let Ok(data) = serde_json::to_string(&PolledOut::with_offset(record)) {
                text.event(&record.id, None, &data);
                self.told = Some(record.offset.next());
            }
        }
    }

    /// Room in the memory for answers, once there is some; `None` if the server stops.
    async fn room(&self, bytes: usize) -> Option<Room> {
        let state = &self.feed.state;
        loop {
            if let Ok(room) = state.read_answers.take(bytes) {
                return Some(room);
            }
            tokio::select! {
                () = state.stopping.cancelled() => return None,
                () = tokio::time::sleep(BUSY_PAUSE) => {}
            }
        }
    }
}
