//! Sessions whose tokens are no longer good: those of one session of an application's customer that
//! were issued until a time.
//!
//! **Invariant:** a cut holds from its commit on, over restarts, until every token that it means has
//! expired: one that belongs to a session is good for [`SESSION_AGE_MAX`] at most. The table is
//! bounded per organisation.
//! **Next:** `registry.rs`, which keeps it; `commands/sessions.rs`, which plans it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{ApplicationId, OrganisationId};
use crate::registry::Registry;
use crate::revocation::TokenCut;
use crate::time::Timestamp;

/// Most sessions of one organisation with cuts: as many as single tokens that are revoked (200 bytes
/// each).
pub const CUT_SESSIONS_MAX: usize = 10_000;
/// For how long after its issue a token of a session is taken at most, whatever it says itself: the
/// longest expiry that the API family gives to customers' tokens.
pub const SESSION_AGE_MAX: Duration = Duration::from_hours(28 * 24);
/// How far the clocks of minter and server may differ.
const LEEWAY: Duration = Duration::from_mins(2);

/// SHA-256 of a session's id.
pub type SessionHash = [u8; 32];

/// The cuts of one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCuts {
    /// The tenant.
    pub organisation: OrganisationId,
    /// Whose tokens.
    pub application: ApplicationId,
    /// Of which session.
    pub session: SessionHash,
    /// A few, none of which covers another.
    pub cuts: Vec<TokenCut>,
}

impl SessionCuts {
    /// Whether every token that is meant has expired.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        let end = |cut: &TokenCut| cut.issued_until.plus(SESSION_AGE_MAX).plus(LEEWAY);
        self.cuts.iter().all(|cut| end(cut) < now)
    }
}

type Key = (OrganisationId, ApplicationId, SessionHash);

/// Sessions with cuts, in memory.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_key: BTreeMap<Key, Arc<SessionCuts>>,
    counts: HashMap<OrganisationId, usize>,
}

impl Sessions {
    pub(crate) fn put(&mut self, value: &Arc<SessionCuts>) {
        let key = (value.organisation, value.application, value.session);
        if self.by_key.insert(key, Arc::clone(value)).is_none() {
            *self.counts.entry(value.organisation).or_default() += 1;
        }
    }

    pub(crate) fn forget(
        &mut self,
        organisation: OrganisationId,
        application: ApplicationId,
        session: &SessionHash,
    ) {
        let key = (organisation, application, *session);
        if self.by_key.remove(&key).is_none() {
            return;
        }
        if let Some(count) = self.counts.get_mut(&organisation) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&organisation);
            }
        }
    }

    pub(crate) fn forget_application(&mut self, owner: OrganisationId, id: ApplicationId) {
        let own = self.of_application(owner, id).map(|cut| cut.session);
        for session in own.collect::<Vec<_>>() {
            self.forget(owner, id, &session);
        }
    }

    pub(crate) fn count(&self, organisation: OrganisationId) -> usize {
        self.counts.get(&organisation).copied().unwrap_or(0)
    }

    pub(crate) fn cuts(
        &self,
        organisation: OrganisationId,
        application: ApplicationId,
        session: &SessionHash,
    ) -> &[TokenCut] {
        let found = self.by_key.get(&(organisation, application, *session));
        found.map_or(&[], |value| value.cuts.as_slice())
    }

    /// Those of an application.
    pub(crate) fn of_application(
        &self,
        owner: OrganisationId,
        id: ApplicationId,
    ) -> impl Iterator<Item = &Arc<SessionCuts>> {
        let own = (owner, id, [0; 32])..=(owner, id, [0xff; 32]);
        self.by_key.range(own).map(|(_, value)| value)
    }

    /// Those of an organisation.
    pub(crate) fn of(
        &self,
        organisation: OrganisationId,
    ) -> impl Iterator<Item = &Arc<SessionCuts>> {
        let end = |byte| {
            (
                organisation,
                ApplicationId::from_bytes([byte; 20]),
                [byte; 32],
            )
        };
        self.by_key
            .range(end(0)..=end(0xff))
            .map(|(_, value)| value)
    }
}

impl Registry {
    /// Which tokens of a session are refused for their age.
    pub fn session_cuts(
        &self,
        organisation: OrganisationId,
        application: ApplicationId,
        session: &SessionHash,
    ) -> &[TokenCut] {
        self.sessions.cuts(organisation, application, session)
    }

    /// The cuts of an application and of all its sessions.
    pub(crate) fn cuts_within(&self, id: ApplicationId) -> impl Iterator<Item = &TokenCut> {
        let owner = self.application(id).map(|found| found.organisation);
        let of_sessions = owner.map(|owner| self.sessions.of_application(owner, id));
        let of_sessions = of_sessions.into_iter().flatten();
        self.token_cuts(id)
            .iter()
            .chain(of_sessions.flat_map(|session| &session.cuts))
    }

    /// Whether any session of an organisation has cuts.
    pub fn has_cut_sessions(&self, organisation: OrganisationId) -> bool {
        self.sessions.count(organisation) > 0
    }
}
