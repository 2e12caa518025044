//! What the log knows of deliveries, as methods of it.
//!
//! **Invariant:** these read and never write.
//! **Next:** `../attempts.rs`, `../standing.rs`.

use std::ops::Range;

use crate::attempt::{Attempt, Cursor, DeliveryState, Expired};
use crate::event::Record;
use crate::health::Health;
use crate::id::{AttemptId, SubscriptionId};
use crate::log::EventLog;
use crate::offset::{AttemptSeq, Offset};
use crate::page::{AttemptPage, AttemptsOf, Limit, Order};
use crate::read::ReadError;
use crate::standing::{Deliveries, DeliveryStatus, Standing};
use crate::subscription::Subscription;
use crate::time::Timestamp;

impl EventLog {
    /// What a subscription never got to see because retention was faster; `None` if nothing.
    pub fn expired(&self, subscription: SubscriptionId) -> Result<Option<Expired>, ReadError> {
        self.handle.shared.expired(subscription)
    }

    /// What is known of a subscription's endpoint.
    pub fn health(&self, subscription: SubscriptionId) -> Result<Health, ReadError> {
        self.handle.shared.health(subscription)
    }

    /// Where a subscription stands, as was recorded last; `None` if it never had anything
    /// outstanding, which means: level with the dispatcher's mark.
    pub fn cursor(&self, subscription: SubscriptionId) -> Result<Option<Cursor>, ReadError> {
        self.handle.shared.cursor(subscription)
    }

    /// The attempt with this id. May read the disk.
    pub fn attempt(&self, id: AttemptId) -> Result<Option<Attempt>, ReadError> {
        let mut attempt = self.handle.shared.attempt(id)?;
        self.handle.shared.without_responses(&mut attempt);
        Ok(attempt)
    }

    /// Attempts of an event or a subscription within `range` of attempt numbers; bounded by items
    /// (each is small). May read the disk.
    pub fn attempts(
        &self,
        of: AttemptsOf,
        range: Range<AttemptSeq>,
        order: Order,
        limit: Limit,
    ) -> Result<AttemptPage, ReadError> {
        let mut page = self.handle.shared.attempts(of, range, order, limit)?;
        self.handle.shared.without_responses(&mut page.attempts);
        Ok(page)
    }

    /// Attempts with numbers in `range`, ascending, whoever's they are: at most `items_max`, and fewer,
    /// even none, before `rest` is empty. May read the disk.
    pub fn attempts_by_number(
        &self,
        range: Range<AttemptSeq>,
        items_max: usize,
    ) -> Result<AttemptPage, ReadError> {
        let mut page = self.handle.shared.attempts_by_number(range, items_max)?;
        self.handle.shared.without_responses(&mut page.attempts);
        Ok(page)
    }

    /// The numbers of the attempts that were recorded within these times. May read the disk.
    pub fn attempts_between(
        &self,
        times: Range<Timestamp>,
    ) -> Result<Range<AttemptSeq>, ReadError> {
        self.handle.shared.attempts_between(times)
    }

    /// Where every subscription stands and all that it has parked, however much that is, with all that
    /// was recorded so far; for tools that want the whole. Blocks until it is applied.
    pub fn delivery_state(&self) -> Result<DeliveryState, ReadError> {
        self.handle.shared.delivery_state(None)
    }

    /// Where one subscription stands and what it has parked; as `delivery_state`, for one.
    pub fn delivery_state_of(
        &self,
        subscription: SubscriptionId,
    ) -> Result<DeliveryState, ReadError> {
        self.handle.shared.delivery_state(Some(subscription))
    }

    /// Where subscriptions stand, in short. Blocks until what was recorded so far is applied.
    pub fn standings<'s>(
        &self,
        subscriptions: impl IntoIterator<Item = &'s Subscription>,
    ) -> Result<Vec<Standing>, ReadError> {
        self.handle.shared.standings(subscriptions.into_iter())
    }

    /// Blocks until all that was recorded before is in the rows that statuses are told from.
    pub fn wait_applied(&self) {
        self.handle.shared.all_applied();
    }

    /// The first offsets that subscriptions have not settled or parked. Blocks as `standings` does.
    pub fn positions<'s>(
        &self,
        subscriptions: impl IntoIterator<Item = &'s Subscription>,
    ) -> Result<Vec<Offset>, ReadError> {
        self.handle.shared.positions(subscriptions.into_iter())
    }

    /// How the delivery of an event to a subscription that stands at a position is, as far as is
    /// applied. May read the disk.
    pub fn status(
        &self,
        record: &Record,
        subscription: &Subscription,
        position: Offset,
    ) -> Result<DeliveryStatus, ReadError> {
        let one = std::iter::once((subscription, position));
        let status = self.handle.shared.statuses(record, one)?.pop();
        Ok(status.unwrap_or(DeliveryStatus::NEVER))
    }

    /// The same for several subscriptions of the event's application, in their order.
    pub fn statuses<'s>(
        &self,
        record: &Record,
        subscriptions: impl Iterator<Item = (&'s Subscription, Offset)> + Clone,
    ) -> Result<Vec<DeliveryStatus>, ReadError> {
        self.handle.shared.statuses(record, subscriptions)
    }

    /// How the deliveries of many events to a subscription that stands at a position are, one after
    /// another. May read the disk.
    pub fn deliveries<'a>(
        &'a self,
        subscription: &'a Subscription,
        position: Offset,
    ) -> Result<Deliveries<'a>, ReadError> {
        Deliveries::new(&self.handle.shared, subscription, position)
    }

    /// How the delivery stands that an attempt belongs to, whatever came after that.
    pub fn status_after(
        &self,
        attempt: &Attempt,
        subscription: &Subscription,
    ) -> Result<DeliveryStatus, ReadError> {
        self.handle.shared.status_after(attempt, subscription)
    }

    /// The same for the last attempt of a delivery, as the caller knows it to be.
    pub fn status_after_last(
        &self,
        attempt: &Attempt,
        subscription: &Subscription,
    ) -> Result<DeliveryStatus, ReadError> {
        self.handle.shared.status_after_last(attempt, subscription)
    }
}
