//! Commands that end the tokens of sessions.
//!
//! **Invariant:** as `commands.rs`; all sessions of a command end in one commit, or none does.
//! **Next:** `../sessions.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::access::with_cut;
use super::{NO_APPLICATION, below};
use crate::change::{Change, ChangeError};
use crate::id::ApplicationId;
use crate::log::EventLog;
use crate::revocation::TokenCut;
use crate::sessions::{CUT_SESSIONS_MAX, SessionCuts, SessionHash};

/// Sessions that are over are forgotten at most so many at a time, with each command: a hundred keys
/// of 53 bytes.
const FORGOTTEN_AT_A_TIME: usize = 100;

impl EventLog {
    /// Refuses every token of these sessions of an application that was issued until now (to the
    /// second, as tokens say it), at once or `after` a while.
    pub async fn expire_sessions(
        &self,
        application: ApplicationId,
        sessions: BTreeSet<SessionHash>,
        after: Duration,
    ) -> Result<(), ChangeError> {
        self.change(move |registry, turn| {
            let owner = registry.application(application).ok_or(NO_APPLICATION)?;
            let organisation = owner.organisation;
            let table = &registry.sessions;
            let over = table.of(organisation).filter(|old| {
                let is_meant = old.application == application && sessions.contains(&old.session);
                !is_meant && old.is_over(turn.wall)
            });
            let over = over
                .take(FORGOTTEN_AT_A_TIME)
                .map(|old| Change::ForgetSession {
                    organisation,
                    owner: old.application,
                    session: old.session,
                });
            let mut changes: Vec<_> = over.collect();
            let mut count = table.count(organisation) - changes.len();
            for session in sessions {
                let cuts = table.cuts(organisation, application, &session);
                if cuts.is_empty() {
                    below("the number of expired sessions", count, CUT_SESSIONS_MAX)?;
                    count += 1;
                }
                let before = cuts.iter().chain(registry.token_cuts(application));
                let cut = TokenCut::of(turn, after, before);
                let cuts = with_cut(cuts, cut, turn)?;
                changes.push(Change::PutSessionCuts(Arc::new(SessionCuts {
                    organisation,
                    application,
                    session,
                    cuts,
                })));
            }
            Ok((changes, ()))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
