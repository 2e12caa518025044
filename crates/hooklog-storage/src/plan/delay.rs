//! Events that wait for their time, as rows.
//!
//! **Invariant:** an event has its rows from the commit that holds it until the one that releases its
//! last delivery, and that one parks these deliveries: whatever a crash leaves, each is in one place.
//! A log that nobody dispatches drops them with its expired events, a day after their time.
//! **Next:** `plan/expire.rs`.

use std::ops::{Bound, ControlFlow};
use std::time::Duration;

use super::{Plan, PlanError};
use crate::attempt::Retry;
use crate::codec;
use crate::delayed::{DelayedRow, Release};
use crate::event::Record;
use crate::id::SubscriptionId;
use crate::keys::{self, Family};
use crate::offset::Offset;
use crate::time::Timestamp;

/// Rows of expired events that one plan looks at: some ten kilobytes of keys.
const LOOKED_AT_MAX: usize = 512;
/// For so long after its time a dispatcher may find the row of an event that has expired, and tell
/// whoever was to get it. One that runs does so within a second; this is for one that was stopped.
const KEPT_FOR: Duration = Duration::from_hours(24);

impl Plan<'_> {
    /// Puts down what is not to be pushed yet.
    pub(super) fn delay<'c>(
        &mut self,
        records: impl Iterator<Item = &'c Record>,
    ) -> Result<(), PlanError> {
        for record in records {
            let Some(due) = record.event.deliver_at else {
                continue;
            };
            let row = DelayedRow {
                application: record.event.application,
                after: None,
            };
            self.put_delayed(due, record.offset, &row)?;
            let at = keys::delayed_at(record.offset);
            self.set(Family::Delayed, at, Some(codec::encode(&due)?));
        }
        Ok(())
    }

    /// Parks deliveries whose time has come. One that is parked already (somebody asked for it before
    /// its time) stays as it is.
    pub(super) fn release(&mut self, release: &Release) -> Result<(), PlanError> {
        let (due, offset) = (release.due, release.offset);
        let Some(row) = self.row(Family::Delayed, &keys::delayed(due, offset))? else {
            return Ok(());
        };
        for id in &release.to {
            let parked = Retry::released(release.at, release.key);
            self.command(*id, offset, |old| Some(old.unwrap_or(parked)))?;
        }
        if release.rest.is_some() {
            let row = DelayedRow {
                after: release.rest,
                ..codec::decode(&row)?
            };
            return self.put_delayed(due, offset, &row);
        }
        self.forget_waiting(due, offset)
    }

    /// Removes what says that an event waits.
    fn forget_waiting(&mut self, due: Timestamp, offset: Offset) -> Result<(), PlanError> {
        self.set(Family::Delayed, keys::delayed(due, offset), None);
        self.set(Family::Delayed, keys::delayed_at(offset), None);
        let id = |byte| keys::delayed_skip(offset, SubscriptionId::from_bytes([byte; 20]));
        for key in self.rows(Family::Delayed, &id(0), &id(0xff))?.into_keys() {
            self.set(Family::Delayed, key, None);
        }
        Ok(())
    }

    /// Removes rows of events that have expired and that nobody released when their time came: some, the
    /// next low end takes more. Without this they would outlive the events in a log without dispatcher.
    pub(super) fn forget_delayed(&mut self, low: Offset) -> Result<(), PlanError> {
        let (first, end) = (keys::delayed_at(Offset::ZERO), keys::delayed_at(low));
        let bounds = (
            Bound::Included(first.as_slice()),
            Bound::Excluded(end.as_slice()),
        );
        let now = self.state.last_timestamp;
        let (mut found, mut looked_at) = (Vec::new(), 0);
        let visit = |key: &[u8], value: &[u8]| {
            if looked_at >= LOOKED_AT_MAX {
                return Ok(ControlFlow::Break(()));
            }
            looked_at += 1;
            let due: Timestamp = codec::decode(value)?;
            if due.plus(KEPT_FOR) <= now {
                found.extend(keys::delayed_offset(key).map(|offset| (due, offset)));
            }
            Ok(ControlFlow::Continue(()))
        };
        self.engine
            .scan_until::<PlanError>(Family::Delayed, bounds, visit)?;
        for (due, offset) in found {
            self.forget_waiting(due, offset)?;
        }
        Ok(())
    }

    /// Notes that a subscription is not to get an event that waits for its time. True if that is all:
    /// nothing is parked that is to be skipped.
    pub(super) fn skip_delayed(
        &mut self,
        id: SubscriptionId,
        offset: Offset,
    ) -> Result<bool, PlanError> {
        let Some(due) = self.row(Family::Delayed, &keys::delayed_at(offset))? else {
            return Ok(false);
        };
        let due: Timestamp = codec::decode(&due)?;
        let row = self.row(Family::Delayed, &keys::delayed(due, offset))?;
        let row: Option<DelayedRow> = row.map(|row| codec::decode(&row)).transpose()?;
        let waits = row.is_some_and(|row| row.after.is_none_or(|after| id > after));
        if !waits || !self.exists(id)? {
            return Ok(false);
        }
        let key = keys::delayed_skip(offset, id);
        self.set(Family::Delayed, key, Some(Vec::new()));
        Ok(self.retry(&keys::retry(id, offset))?.is_none())
    }

    fn put_delayed(
        &mut self,
        due: Timestamp,
        offset: Offset,
        row: &DelayedRow,
    ) -> Result<(), PlanError> {
        let value = Some(codec::encode(row)?);
        self.set(Family::Delayed, keys::delayed(due, offset), value);
        Ok(())
    }
}
