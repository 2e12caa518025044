//! What a publisher says about an event whose body is the payload: by query parameters or headers.
//!
//! | query | header | |
//! |---|---|---|
//! | `event_type` | `hooklog-event-type` | needed, unless the body is a CloudEvent |
//! | `event_id` | `hooklog-event-id` | unique in the application |
//! | `channel` | `hooklog-channel` | up to 5, repeated or with commas |
//! | `tag` | `hooklog-tag` | up to 8, likewise |
//! | `ordering_key` | `hooklog-ordering-key` | |
//! | `deliver_at` | `hooklog-deliver-at` | not pushed before this time |
//! | | `hooklog-header-NAME` | sent as `NAME` with each delivery |
//!
//! **Invariant:** what is said twice is refused, since two readers could choose differently; a header
//! that deliveries set themselves cannot be given.
//! **Next:** `cloudevents.rs`.

use std::str::FromStr;

use bytes::Bytes;
use hooklog_storage::{
    ApplicationId, Channel, Event, EventId, EventTypeName, Header, NameError, OrderingKey, Tag,
    Timestamp, Uid,
};
use http::HeaderMap;

use crate::brief::quoted;
use crate::error::ApiError;
use crate::publish;
use crate::request::Call;
use crate::wire::Issue;

/// Most channels of one event, as of a message.
const CHANNELS_MAX: usize = 5;
/// Most tags of one event: those of a message in this API family.
const TAGS_MAX: usize = 8;
/// In front of the names of headers to send on.
const SENT_ON: &str = "hooklog-header-";
/// What a delivery says itself, or a connection.
const OWN_HEADERS: &[&str] = &["authorization", "traceparent", "tracestate"];
const OWN_PREFIXES: &[&str] = &["ce-", "hooklog-"];

/// Where something was said.
#[derive(Clone, Copy, Debug)]
enum Place {
    Query,
    Header,
}

/// One attribute: its name in the query, and in headers.
struct Name {
    query: &'static str,
    header: &'static str,
}

const EVENT_TYPE: Name = Name {
    query: "event_type",
    header: "hooklog-event-type",
};
const EVENT_ID: Name = Name {
    query: "event_id",
    header: "hooklog-event-id",
};
const CHANNEL: Name = Name {
    query: "channel",
    header: "hooklog-channel",
};
const TAG: Name = Name {
    query: "tag",
    header: "hooklog-tag",
};
const ORDERING_KEY: Name = Name {
    query: "ordering_key",
    header: "hooklog-ordering-key",
};

const DELIVER_AT: Name = Name {
    query: "deliver_at",
    header: "hooklog-deliver-at",
};

impl Name {
    fn issue(&self, place: Place, message: impl Into<String>) -> ApiError {
        match place {
            Place::Query => Issue::query(self.query, message).into(),
            Place::Header => Issue::header(self.header, message).into(),
        }
    }

    /// Every value, and where they are.
    fn values<'a>(&self, call: &'a Call) -> Result<(Place, Vec<&'a str>), ApiError> {
        let query: Vec<&str> = call.query.texts(self.query).collect();
        let header = call.headers.get_all(self.header).iter();
        let header = header
            .map(|value| value.to_str())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| self.issue(Place::Header, "must be visible ASCII"))?;
        match (query.is_empty(), header.is_empty()) {
            (false, false) => {
                let message = format!("is given as the header {} too", self.header);
                Err(self.issue(Place::Query, message))
            }
            (true, false) => Ok((Place::Header, header)),
            (_, true) => Ok((Place::Query, query)),
        }
    }

    /// The one value there may be, and where it is.
    fn text<'a>(&self, call: &'a Call) -> Result<Option<(Place, &'a str)>, ApiError> {
        let (place, values) = self.values(call)?;
        match values.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((place, one))),
            _ => Err(self.issue(place, "must be given once")),
        }
    }

    /// A time, if it is not too far ahead.
    fn time(&self, call: &Call) -> Result<Option<Timestamp>, ApiError> {
        let Some((place, text)) = self.text(call)? else {
            return Ok(None);
        };
        let message = "must be a time as 2026-01-31T12:00:00Z";
        let time: Result<jiff::Timestamp, _> = text.trim().parse();
        let time = time.map_err(|_| self.issue(place, message))?;
        let time = Some(Timestamp::from_millis(time.as_millisecond()));
        match publish::too_late(&call.state, time) {
            Some(message) => Err(self.issue(place, message)),
            None => Ok(time),
        }
    }

    fn one<T: FromStr<Err = NameError>>(&self, call: &Call) -> Result<Option<T>, ApiError> {
        let Some((place, text)) = self.text(call)? else {
            return Ok(None);
        };
        let parsed = text.trim().parse();
        let told = |error: NameError| self.issue(place, error.to_string());
        parsed.map(Some).map_err(told)
    }

    fn list<T: FromStr<Err = NameError>>(
        &self,
        call: &Call,
        limit: usize,
    ) -> Result<Vec<T>, ApiError> {
        let (place, values) = self.values(call)?;
        let texts = values.iter().flat_map(|value| value.split(','));
        let texts = texts.map(str::trim).filter(|text| !text.is_empty());
        let names = texts
            .map(|text| {
                let told =
                    |error: NameError| self.issue(place, format!("{} {error}", quoted(text)));
                text.parse().map_err(told)
            })
            .collect::<Result<Vec<T>, _>>()?;
        if names.len() > limit {
            let message = format!("has {} items, more than the limit of {limit}", names.len());
            return Err(self.issue(place, message));
        }
        Ok(names)
    }
}

/// What was said about an event beside its body.
#[derive(Debug)]
pub(super) struct Attributes {
    pub(super) event_type: Option<EventTypeName>,
    pub(super) uid: Option<Uid>,
    pub(super) channels: Vec<Channel>,
    pub(super) tags: Vec<Tag>,
    pub(super) ordering_key: Option<OrderingKey>,
    pub(super) headers: Vec<Header>,
    pub(super) deliver_at: Option<Timestamp>,
}

impl Attributes {
    pub(super) fn parse(call: &Call) -> Result<Self, ApiError> {
        let uid: Option<Uid> = EVENT_ID.one(call)?;
        if uid
            .as_ref()
            .is_some_and(|uid| uid.as_str().starts_with(EventId::PREFIX))
        {
            let message = format!("must not start with `{}`", EventId::PREFIX);
            return Err(EVENT_ID.issue(Place::Query, message));
        }
        Ok(Self {
            event_type: EVENT_TYPE.one(call)?,
            uid,
            channels: CHANNEL.list(call, CHANNELS_MAX)?,
            tags: TAG.list(call, TAGS_MAX)?,
            ordering_key: ORDERING_KEY.one(call)?,
            headers: sent_on(&call.headers)?,
            deliver_at: DELIVER_AT.time(call)?,
        })
    }

    /// The event that a body is.
    pub(super) fn event(
        self,
        application: ApplicationId,
        content_type: String,
        payload: Bytes,
    ) -> Result<Event, ApiError> {
        let missing = || {
            let message = "is needed: as the query parameter `event_type` or the header \
                           `hooklog-event-type`";
            EVENT_TYPE.issue(Place::Query, message)
        };
        let event_type = self.event_type.ok_or_else(missing)?;
        Ok(Event {
            channels: self.channels,
            uid: self.uid,
            content_type,
            tags: self.tags,
            ordering_key: self.ordering_key,
            headers: self.headers,
            deliver_at: self.deliver_at,
            ..Event::new(application, event_type, payload)
        })
    }
}

/// The headers that deliveries are to carry.
fn sent_on(headers: &HeaderMap) -> Result<Vec<Header>, ApiError> {
    let mut found = Vec::new();
    for (name, value) in headers {
        let Some(own) = name.as_str().strip_prefix(SENT_ON) else {
            continue;
        };
        let refused = |message: String| {
            let message = format!("{name}: {message}");
            ApiError::from(Issue::header("hooklog-header", message))
        };
        let text = value.to_str().map_err(|error| refused(error.to_string()))?;
        let header = Header::new(own, text.trim()).map_err(|error| refused(error.to_string()))?;
        let is_own =
            OWN_HEADERS.contains(&own) || OWN_PREFIXES.iter().any(|prefix| own.starts_with(prefix));
        if is_own || header.is_reserved() {
            return Err(refused("deliveries set this header themselves".to_owned()));
        }
        if found.iter().any(|header: &Header| header.is(own)) {
            return Err(refused("must be given once".to_owned()));
        }
        found.push(header);
    }
    check_bounds(&found)?;
    Ok(found)
}

/// Refuses more headers than a delivery may carry.
pub(super) fn check_bounds(headers: &[Header]) -> Result<(), ApiError> {
    let bytes: usize = headers.iter().map(Header::bytes).sum();
    if headers.len() > Header::COUNT_MAX || bytes > Header::TOTAL_BYTES_MAX {
        let message = format!(
            "{} headers and attributes of {bytes} bytes are more than the limits of {} and {}",
            headers.len(),
            Header::COUNT_MAX,
            Header::TOTAL_BYTES_MAX
        );
        return Err(Issue::header("hooklog-header", message).into());
    }
    Ok(())
}
