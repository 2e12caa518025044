//! Where subscriptions stand, for those who show it.
//!
//! **Invariant:** as `attempts.rs`: everything recorded so far is looked at.
//! **Next:** `standing.rs`.

use crate::attempt::{Cursor, CursorState};
use crate::codec;
use crate::commit::{APPLIER_PATIENCE, stuck};
use crate::id::SubscriptionId;
use crate::keys::{self, Family};
use crate::log::EventLog;
use crate::offset::Offset;
use crate::read::{ReadError, corrupt};
use crate::ring::Room;
use crate::state::State;

impl EventLog {
    /// The offsets below which these subscriptions have settled or parked all that they take, in
    /// their order. Blocks until what was recorded is applied.
    pub fn floors(&self, subscriptions: &[SubscriptionId]) -> Result<Vec<Offset>, ReadError> {
        let shared = &self.handle.shared;
        let poisoned = || shared.poison.reason().is_some();
        if shared.ring.wait_applied(APPLIER_PATIENCE, poisoned) == Room::None {
            shared.poison.set(&stuck(APPLIER_PATIENCE));
        }
        let damaged = |error: codec::CodecError| corrupt(Family::Cursor, 0)(&error);
        let state = shared.engine.get(Family::State, keys::STATE)?;
        let mark = match state {
            Some(row) => codec::decode::<State>(&row).map_err(damaged)?.mark,
            None => Offset::ZERO,
        };
        let floor = |id: &SubscriptionId| {
            let row = shared.engine.get(Family::Cursor, &keys::cursor(*id))?;
            let cursor = row.map(|row| codec::decode::<Cursor>(&row)).transpose();
            Ok(match cursor.map_err(damaged)? {
                Some(cursor) if cursor.state == CursorState::Behind => cursor.floor,
                Some(cursor) => cursor.floor.max(mark),
                None => mark,
            })
        };
        subscriptions.iter().map(floor).collect()
    }
}
