//! Whether anyone would get a message, so that its publisher can spare itself the making.
//!
//! **Invariant:** what it says is what routing would do now.
//! **Next:** `expunge.rs`.

use std::ops::Bound;

use bytes::Bytes;
use hooklog_storage::Event;
use http::StatusCode;

use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{Fields, PrecheckIn, PrecheckOut};

pub(crate) async fn active(call: Call) -> Answer {
    let asked = PrecheckIn::parse(&Fields::parse(call.bytes())?)?;
    let application = call.application()?.id;
    let event = Event {
        channels: asked.channels,
        ..Event::new(application, asked.event_type, Bytes::new())
    };
    let active = {
        let registry = call.state.log.registry();
        let mut all = registry.subscriptions(application, (Bound::Unbounded, Bound::Unbounded));
        all.any(|value| value.state.is_enabled() && value.filter.may_take(&event))
    };
    reply::json(StatusCode::OK, &PrecheckOut { active })
}
