//! The commands of the log for callers without a runtime.
//!
//! Each blocks the thread until the command is on disk. Inside a runtime use the `async` methods:
//! a blocked worker thread runs nothing else.
//!
//! **Invariant:** each does exactly what the method without `_blocking` does.
//! **Next:** `commands.rs`.

use std::sync::Arc;

use crate::attempt::Progress;
use crate::change::ChangeError;
use crate::commands::{NewApplication, NewSubscription};
use crate::id::{ApplicationId, EventId, OrganisationId, SubscriptionId};
use crate::log::{EventLog, Unrecorded};
use crate::name::EventTypeName;
use crate::subscription::{Application, EventType, Subscription};
use crate::time::Timestamp;
use crate::wait::wait;

impl EventLog {
    /// [`create_application`](Self::create_application); blocks.
    pub fn create_application_blocking(
        &self,
        new: NewApplication,
    ) -> Result<Arc<Application>, ChangeError> {
        wait(self.create_application(new))
    }

    /// [`update_application`](Self::update_application); blocks.
    pub fn update_application_blocking(
        &self,
        id: ApplicationId,
        edit: impl FnOnce(&mut Application) + Send + 'static,
    ) -> Result<Arc<Application>, ChangeError> {
        wait(self.update_application(id, edit))
    }

    /// [`delete_application`](Self::delete_application); blocks.
    pub fn delete_application_blocking(&self, id: ApplicationId) -> Result<(), ChangeError> {
        wait(self.delete_application(id))
    }

    /// [`create_event_type`](Self::create_event_type); blocks.
    pub fn create_event_type_blocking(
        &self,
        new: EventType,
    ) -> Result<Arc<EventType>, ChangeError> {
        wait(self.create_event_type(new))
    }

    /// [`update_event_type`](Self::update_event_type); blocks.
    pub fn update_event_type_blocking(
        &self,
        organisation: OrganisationId,
        name: EventTypeName,
        edit: impl FnOnce(&mut EventType) + Send + 'static,
    ) -> Result<Arc<EventType>, ChangeError> {
        wait(self.update_event_type(organisation, name, edit))
    }

    /// [`create_subscription`](Self::create_subscription); blocks.
    pub fn create_subscription_blocking(
        &self,
        new: NewSubscription,
    ) -> Result<Arc<Subscription>, ChangeError> {
        wait(self.create_subscription(new))
    }

    /// [`update_subscription`](Self::update_subscription); blocks.
    pub fn update_subscription_blocking(
        &self,
        id: SubscriptionId,
        edit: impl FnOnce(&mut Subscription, Timestamp) -> Result<(), ChangeError> + Send + 'static,
    ) -> Result<Arc<Subscription>, ChangeError> {
        wait(self.update_subscription(id, edit))
    }

    /// [`delete_subscription`](Self::delete_subscription); blocks.
    pub fn delete_subscription_blocking(&self, id: SubscriptionId) -> Result<(), ChangeError> {
        wait(self.delete_subscription(id))
    }

    /// [`redeliver`](Self::redeliver); blocks.
    pub fn redeliver_blocking(
        &self,
        subscription: SubscriptionId,
        event: EventId,
    ) -> Result<(), ChangeError> {
        wait(self.redeliver(subscription, event))
    }

    /// [`skip`](Self::skip); blocks.
    pub fn skip_blocking(
        &self,
        subscription: SubscriptionId,
        event: EventId,
    ) -> Result<(), ChangeError> {
        wait(self.skip(subscription, event))
    }

    /// [`retry_now`](Self::retry_now); blocks.
    pub fn retry_now_blocking(
        &self,
        subscription: SubscriptionId,
        event: EventId,
    ) -> Result<(), ChangeError> {
        wait(self.retry_now(subscription, event))
    }

    /// [`record`](Self::record); blocks.
    pub fn record_blocking(&self, progress: Vec<Progress>) -> Result<(), Unrecorded> {
        wait(self.record(progress))
    }
}
