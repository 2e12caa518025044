//! Which events a subscription wants, and which part of its filter refuses one.
//!
//! **Invariant:** payloads are parsed only for filters with a condition on them, once for each event
//! however many such filters look at it.
//! **Next:** `subscription.rs`.

use std::cell::OnceCell;

use hooklog_filter::{Condition, Mismatch};
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::name::{Channel, EventTypeName};

/// Which events of its application a subscription wants. `None` takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Wanted event types, never empty.
    pub event_types: Option<Vec<EventTypeName>>,
    /// Wanted channels, never empty; an event matches by any one of its channels.
    pub channels: Option<Vec<Channel>>,
    /// What must hold for the payload; one that is not JSON never matches.
    pub condition: Option<Condition>,
}

/// Why a filter does not take an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its type is none of those wanted.
    #[error("the event type is not one of those that it takes")]
    EventType,
    /// None of its channels is wanted.
    #[error("no channel of the event is one of those that it takes")]
    Channel,
    /// The condition does not hold for its payload.
    #[error("its filter does not match: {0}")]
    Condition(Mismatch),
    /// There is a condition, and the payload is not JSON.
    #[error("its filter does not match: the payload is not JSON")]
    NotJson,
}

/// An event whose payload is parsed when a condition first asks for it.
#[derive(Debug)]
pub struct Parsed<'a> {
    event: &'a Event,
    json: OnceCell<Option<serde_json::Value>>,
}

impl<'a> Parsed<'a> {
    /// This event.
    pub fn new(event: &'a Event) -> Self {
        let json = OnceCell::new();
        Self { event, json }
    }

    /// The payload, if it is JSON (whatever its content type says).
    fn json(&self) -> Option<&serde_json::Value> {
        let parse = || serde_json::from_slice(&self.event.payload).ok();
        self.json.get_or_init(parse).as_ref()
    }
}

impl Filter {
    /// Whether it takes this event (of whatever application).
    pub fn takes(&self, event: &Event) -> bool {
        self.takes_parsed(&Parsed::new(event))
    }

    /// The same, for an event that other filters look at too.
    pub fn takes_parsed(&self, parsed: &Parsed<'_>) -> bool {
        let Some(condition) = &self.condition else {
            return self.takes_outside(parsed.event).is_ok();
        };
        self.takes_outside(parsed.event).is_ok()
            && parsed.json().is_some_and(|json| condition.matches(json))
    }

    /// Whether it takes this event, and if not, why.
    pub fn explain(&self, event: &Event) -> Result<(), Refusal> {
        self.takes_outside(event)?;
        match &self.condition {
            Some(condition) => explain_condition(condition, &event.payload),
            None => Ok(()),
        }
    }

    /// Everything but the condition on the payload.
    fn takes_outside(&self, event: &Event) -> Result<(), Refusal> {
        let type_matches = |types: &Vec<_>| types.contains(&event.event_type);
        let channel_matches = |channels: &Vec<_>| {
            let mut published = event.channels.iter();
            published.any(|channel| channels.contains(channel))
        };
        if !self.event_types.as_ref().is_none_or(type_matches) {
            return Err(Refusal::EventType);
        }
        if !self.channels.as_ref().is_none_or(channel_matches) {
            return Err(Refusal::Channel);
        }
        Ok(())
    }
}

/// Whether a condition holds for a payload, and if not, why.
pub fn explain_condition(condition: &Condition, payload: &[u8]) -> Result<(), Refusal> {
    let json = serde_json::from_slice(payload).map_err(|_| Refusal::NotJson)?;
    condition.explain(&json).map_err(Refusal::Condition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ApplicationId;

    #[test]
    fn the_part_that_refuses_is_named() {
        let event = |payload: &'static str| Event {
            channels: vec!["eu".parse().unwrap()],
            ..Event::new(
                ApplicationId::from_bytes([1; 20]),
                "invoice.paid".parse().unwrap(),
                payload,
            )
        };
        let filter = |event_type: &str, channel: &str, condition: Option<&str>| Filter {
            event_types: Some(vec![event_type.parse().unwrap()]),
            channels: Some(vec![channel.parse().unwrap()]),
            condition: condition.map(|text| text.parse().unwrap()),
        };
        let paid = Some(r#"{"amount": {"$gte": 100}}"#);
        let cases = [
            (filter("invoice.paid", "eu", None), "<no JSON>", ""),
            (filter("invoice.paid", "eu", paid), r#"{"amount": 100}"#, ""),
            (
                filter("invoice.sent", "eu", paid),
                "{}",
                "the event type is not",
            ),
            (
                filter("invoice.paid", "us", paid),
                "{}",
                "no channel of the event",
            ),
            (
                filter("invoice.paid", "eu", paid),
                r#"{"amount": 99}"#,
                "its filter does not match: amount $gte 100 does not hold for 99",
            ),
            (
                filter("invoice.paid", "eu", paid),
                "<no JSON>",
                "its filter does not match: the payload",
            ),
        ];
        for (filter, payload, expected) in cases {
            let event = event(payload);
            let said = filter.explain(&event).err().map(|why| why.to_string());
            assert_eq!(filter.takes(&event), said.is_none(), "{filter:?}");
            assert!(said.unwrap_or_default().starts_with(expected), "{filter:?}");
        }
    }
}
