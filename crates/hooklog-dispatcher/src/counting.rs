//! The lookup of an event's subscriptions, made again and again: for `hooklog bench`, which counts the
//! instructions.
//!
//! **Invariant:** it is the lookup of `route.rs` itself, among subscriptions made of numbers alone.
//! **Next:** `route.rs`, which is counted.

use std::sync::Arc;

use hooklog_storage::{
    ApplicationId, Endpoint, Event, EventId, EventTypeName, Filter, Format, Offset, Ordering, Rare,
    Record, SecretKey, Subscription, SubscriptionId, SubscriptionState, Timestamp,
};

use crate::route::{Budget, Matches, Routes};

/// Subscriptions of an application.
const OF_ONE: u32 = 100;
/// One of so many subscriptions of the event's application takes it; the others want another type.
const WANTED: u32 = 10;

/// Subscriptions, and an event for some of them.
pub struct Lookup {
    routes: Routes,
    record: Record,
}

impl Lookup {
    /// So many subscriptions, a hundred for an application, beside the event's.
    pub fn new(subscriptions: u32, event: Event) -> Self {
        let mut routes = Routes::default();
        let other: Option<EventTypeName> = "bench.never".parse().ok();
        routes.stage();
        for number in 0..subscriptions {
            let application = match number / OF_ONE {
                0 => event.application,
                owner => ApplicationId::from_bytes(bytes(owner)),
            };
            let wanted = match &other {
                Some(other) if !number.is_multiple_of(WANTED) => other.clone(),
                _ => event.event_type.clone(),
            };
            let subscription = subscription(number, application, wanted);
            routes.insert(Arc::new(subscription), Offset::ZERO);
        }
        routes.pack();
        let time = Timestamp::from_millis(1_700_000_000_000);
        let offset = Offset::new(7);
        let record = Record {
            offset,
            id: EventId::at(time, offset, [7; 7]),
            timestamp: time,
            event,
        };
        Self { routes, record }
    }

    /// How many subscriptions want the event.
    pub fn matching(&self) -> usize {
        let mut matches = Matches::default();
        self.routes
            .matching(&self.record, &mut Budget::default(), &mut matches);
        matches.certain.len()
    }
}

/// Twenty bytes that carry a number.
fn bytes(number: u32) -> [u8; 20] {
    let mut bytes = [2; 20];
    for (to, from) in bytes.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    bytes
}

fn subscription(number: u32, application: ApplicationId, wanted: EventTypeName) -> Subscription {
    Subscription {
        id: SubscriptionId::from_bytes(bytes(number)),
        application,
        uid: None,
        description: Rare::default(),
        endpoint: Endpoint {
            url: "http://127.0.0.1/".into(),
            secret: SecretKey::new(vec![7; 24]),
            old_secrets: Rare::default(),
            headers: Rare::default(),
            format: Format::Payload,
        },
        filter: Filter {
            event_types: Some(vec![wanted]),
            ..Filter::default()
        },
        state: SubscriptionState::Enabled,
        metadata: Rare::default(),
        start: Offset::ZERO,
        created: Timestamp::default(),
        updated: Timestamp::default(),
        ordering: Ordering::None,
        policy: Arc::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_want_the_event_are_found() {
        let application = ApplicationId::from_bytes([1; 20]);
        let event = Event::new(application, "a.b".parse().unwrap(), "{}");
        assert_eq!(Lookup::new(1000, event.clone()).matching(), 10);
        assert_eq!(Lookup::new(0, event).matching(), 0);
    }
}
