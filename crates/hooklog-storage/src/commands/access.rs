//! Commands that take something away before its time: tokens, and content of events and attempts.
//!
//! **Invariant:** as `commands.rs`; each is durable when it returns, and doing it twice is doing it
//! once.
//! **Next:** `../revocation.rs`, `../expunged.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::{NO_APPLICATION, below};
use crate::attempt::Attempt;
use crate::change::{Change, ChangeError};
use crate::event::Record;
use crate::expunged::{EXPUNGED_MAX, Expunged};
use crate::id::{ApplicationId, OrganisationId};
use crate::log::EventLog;
use crate::name::EventTypeName;
use crate::revocation::{
    REVOKED_TOKENS_MAX, RevokedToken, TOKEN_CUTS_MAX, TokenCut, TokenCuts, TokenHash,
};
use crate::subscription::EventType;
use crate::time::Timestamp;

/// Revoked tokens that have expired are forgotten at most so many at a time, with each new one.
const FORGOTTEN_AT_A_TIME: usize = 16;

impl EventLog {
    /// Refuses every token of an application that was issued until now (to the second, as tokens
    /// say it), at once or `after` a while. Returns the cut.
    pub async fn expire_tokens(
        &self,
        application: ApplicationId,
        after: Duration,
    ) -> Result<TokenCut, ChangeError> {
        self.change(move |registry, turn| {
            registry.application(application).ok_or(NO_APPLICATION)?;
            let cut = TokenCut {
                // Whatever the clock was when they were issued.
                issued_until: turn.now,
                // At once is so by every clock.
                from: if after.is_zero() {
                    Timestamp::default()
                } else {
                    turn.wall.plus(after)
                },
            };
            let mut cuts = registry.token_cuts(application).to_vec();
            cuts.retain(|old| !cut.covers(old));
            below(
                "the number of pending expirations",
                cuts.len(),
                TOKEN_CUTS_MAX,
            )?;
            cuts.push(cut);
            let value = Arc::new(TokenCuts { application, cuts });
            Ok((vec![Change::PutTokenCuts(value)], cut))
        })
        .await
    }

    /// Refuses one token of an organisation until it expires.
    pub async fn revoke_token(
        &self,
        organisation: OrganisationId,
        hash: TokenHash,
        expires: Timestamp,
    ) -> Result<(), ChangeError> {
        self.change(move |registry, turn| {
            let expired: Vec<_> = registry
                .revocations
                .first_to_expire(organisation)
                .take_while(|token| token.expires < turn.wall)
                .take(FORGOTTEN_AT_A_TIME)
                .copied()
                .collect();
            let left = registry.revocations.token_count(organisation) - expired.len();
            below("the number of revoked tokens", left, REVOKED_TOKENS_MAX)?;
            let mut changes: Vec<_> = expired.into_iter().map(Change::ForgetToken).collect();
            changes.push(Change::RevokeToken(RevokedToken {
                organisation,
                expires,
                hash,
            }));
            Ok((changes, ()))
        })
        .await
    }

    /// Takes the payload out of an event, for good.
    pub async fn expunge(&self, event: &Record) -> Result<(), ChangeError> {
        self.expunge_all(vec![Expunged::Event(event.offset)]).await
    }

    /// Takes the response out of an attempt, for good.
    pub async fn expunge_attempt(&self, attempt: &Attempt) -> Result<(), ChangeError> {
        let what = Expunged::Attempt(attempt.id.seq());
        self.expunge_all(vec![what]).await
    }

    /// Takes out the contents of several, for good and in one commit: of all or of none.
    pub async fn expunge_all(&self, mut all: Vec<Expunged>) -> Result<(), ChangeError> {
        all.sort_unstable();
        all.dedup();
        self.change(move |registry, _| {
            all.retain(|what| !registry.expunged.has(*what));
            let Some(more) = all.len().checked_sub(1) else {
                return Ok((Vec::new(), ()));
            };
            let count = registry.expunged.count() + more;
            below("the number of expunged contents", count, EXPUNGED_MAX)?;
            Ok((all.into_iter().map(Change::Expunge).collect(), ()))
        })
        .await
    }

    /// Whether the content of an event or an attempt was taken out.
    pub fn is_expunged(&self, what: Expunged) -> bool {
        self.registry().expunged.has(what)
    }

    /// Creates an event type, or puts this one in the place of the one of its name; says whether it
    /// was created.
    pub async fn put_event_type(
        &self,
        new: EventType,
    ) -> Result<(bool, Arc<EventType>), ChangeError> {
        let limit = self.config().event_types_max;
        self.change(move |registry, turn| {
            let old = registry.event_type(new.organisation, &new.name);
            let is_new = old.is_none();
            if is_new {
                let count = registry.event_type_count(new.organisation);
                below("the number of event types", count, limit)?;
            }
            let created = old.map_or(turn.now, |old| old.created);
            let mut changes = super::organisation_if_new(registry, new.organisation, turn);
            let value = Arc::new(EventType {
                created,
                updated: turn.now,
                ..new
            });
            changes.push(Change::PutEventType(Arc::clone(&value)));
            Ok((changes, (is_new, value)))
        })
        .await
    }

    /// Removes an event type. Endpoints that name it keep the name; events of it are still accepted.
    pub async fn delete_event_type(
        &self,
        organisation: OrganisationId,
        name: EventTypeName,
    ) -> Result<(), ChangeError> {
        self.change(move |registry, _| {
            registry
                .event_type(organisation, &name)
                .ok_or(ChangeError::NotFound { what: "event type" })?;
            Ok((vec![Change::DeleteEventType(organisation, name)], ()))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
