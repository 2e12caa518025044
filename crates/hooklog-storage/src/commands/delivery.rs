//! Commands on single deliveries: they travel through the log to the dispatcher.
//!
//! **Invariant:** durable once they return: the row of the parked delivery says what was asked, so
//! it happens even if the process dies right after.
//! **Next:** `plan/change.rs`, which writes the row; the dispatcher's `board/follow.rs`.

use super::NO_SUBSCRIPTION;
use crate::change::{Change, ChangeError};
use crate::id::{EventId, SubscriptionId};
use crate::log::EventLog;
use crate::offset::Offset;
use crate::time::Timestamp;

impl EventLog {
    /// Asks for one more delivery of an event, whatever became of it before.
    pub async fn redeliver(
        &self,
        subscription: SubscriptionId,
        event: EventId,
    ) -> Result<(), ChangeError> {
        self.command(subscription, event, move |offset, asked| {
            Change::Redeliver {
                subscription,
                offset,
                asked,
            }
        })
        .await
    }

    /// Settles a delivery without another attempt, so that what is ordered behind it goes on. An
    /// attempt that is under way ends first; if it succeeds, the event was delivered.
    pub async fn skip(
        &self,
        subscription: SubscriptionId,
        event: EventId,
    ) -> Result<(), ChangeError> {
        self.command(subscription, event, move |offset, asked| Change::Skip {
            subscription,
            offset,
            asked,
        })
        .await
    }

    /// Makes the next attempt of a parked delivery now, also if the endpoint is taken to be down or
    /// asked to be left alone. Does nothing if the delivery is not parked.
    pub async fn retry_now(
        &self,
        subscription: SubscriptionId,
        event: EventId,
    ) -> Result<(), ChangeError> {
        self.command(subscription, event, move |offset, asked| Change::RetryNow {
            subscription,
            offset,
            asked,
        })
        .await
    }

    async fn command(
        &self,
        subscription: SubscriptionId,
        event: EventId,
        change: impl FnOnce(Offset, Timestamp) -> Change + Send + 'static,
    ) -> Result<(), ChangeError> {
        self.change(move |registry, turn| {
            registry.subscription(subscription).ok_or(NO_SUBSCRIPTION)?;
            Ok((vec![change(event.offset(), turn.now)], ()))
        })
        .await
    }
}
