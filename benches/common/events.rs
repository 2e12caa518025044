//! The log's side: payloads as events of one or several applications.
//!
//! **Invariant:** commits follow one another through all payloads and begin again at the end.
//! **Next:** `bench/limit/file.rs` of the library, what the log is held against.

use hooklog_storage::{ApplicationId, Event};

use crate::payload::Payload;

/// Events in turns, without end.
pub(crate) struct Events {
    pool: Vec<Event>,
    next: usize,
}

impl Events {
    /// The payloads as events that go to `applications` applications in turns.
    pub(crate) fn new(payloads: &[Payload], applications: u8) -> Self {
        let owners = (0..applications).cycle();
        let pool = payloads
            .iter()
            .zip(owners)
            .map(|((name, payload), owner)| Event {
                application: application(owner),
                event_type: name.parse().expect("a valid event type"),
                channels: Vec::new(),
                uid: None,
                idempotency: None,
                content_type: "application/json".to_owned(),
                payload: payload.clone(),
                tags: Vec::new(),
                ordering_key: None,
                headers: Vec::new(),
                only: None,
                deliver_at: None,
            });
        Self {
            pool: pool.collect(),
            next: 0,
        }
    }

    /// The next `count` events. Their making counts as a part of the append: a publisher makes its
    /// events, too.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Event> {
        let events = self.pool.iter().cycle().skip(self.next).take(count);
        let events = events.cloned().collect();
        self.next = (self.next + count) % self.pool.len();
        events
    }
}

/// The application with this number.
pub(crate) fn application(number: u8) -> ApplicationId {
    ApplicationId::from_bytes([number; 20])
}
