//! Commands that take something away before its time: tokens, and content of events and attempts.
//!
//! **Invariant:** as `commands.rs`; each is durable when it returns, and doing it twice is doing it
//! once.
//! **Next:** `../revocation.rs`, `../expunged.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::{NO_APPLICATION, below};
use crate::attempt::Attempt;
use crate::change::{Change, ChangeError, Turn};
use crate::event::Record;
use crate::expunged::{EXPUNGED_MAX, Expunged};
use crate::id::{ApplicationId, OrganisationId};
use crate::log::EventLog;
use crate::name::EventTypeName;
use crate::registry::Registry;
use crate::revocation::{
    REVOKED_TOKENS_MAX, REVOKED_TOKENS_OF_APPLICATION_MAX, REVOKED_TOKENS_RESERVED, RevokedToken,
    TOKEN_CUTS_MAX, TokenCut, TokenCuts,
};
use crate::subscription::EventType;
use crate::time::Timestamp;

/// Revoked tokens that have expired are forgotten at most so many at a time, with each new one.
const FORGOTTEN_AT_A_TIME: usize = 16;
/// How far ahead of ours a minter's clock may be, as for the expiry of tokens.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_mins(1);

impl EventLog {
    /// Refuses every token of an application that was issued until now (to the second, as tokens
    /// say it), at once or `after` a while. Returns the cut.
    pub async fn expire_tokens(
        &self,
        application: ApplicationId,
        after: Duration,
    ) -> Result<TokenCut, ChangeError> {
        self.change(move |registry, turn| {
            let cut = TokenCut::of(turn, after, registry.cuts_within(application));
            Ok((vec![cut_tokens(registry, application, cut, turn)?], cut))
        })
        .await
    }

    /// Refuses one token until it expires. Where there is no room for one more of an application, all of
    /// the application's are refused that were issued until now, or until that one was.
    pub async fn revoke_token(
        &self,
        token: RevokedToken,
        issued: Option<Timestamp>,
    ) -> Result<(), ChangeError> {
        self.change(move |registry, turn| {
            let changes = revoke_token(registry, token, issued, turn)?;
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

    /// Whether the payload of an event was taken out.
    pub fn is_expunged(&self, event: &Record) -> bool {
        self.registry().expunged.has_event(event)
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

/// One more cut of an application, in the place of those that it makes idle.
fn cut_tokens(
    registry: &Registry,
    application: ApplicationId,
    cut: TokenCut,
    turn: &Turn,
) -> Result<Change, ChangeError> {
    registry.application(application).ok_or(NO_APPLICATION)?;
    let cuts = with_cut(registry.token_cuts(application), cut, turn)?;
    let value = Arc::new(TokenCuts { application, cuts });
    Ok(Change::PutTokenCuts(value))
}

/// These cuts and one more, which takes the place of those that it makes idle.
pub(super) fn with_cut(
    cuts: &[TokenCut],
    cut: TokenCut,
    turn: &Turn,
) -> Result<Vec<TokenCut>, ChangeError> {
    let mut cuts = cuts.to_vec();
    // Of those that have begun, the one that goes furthest says what the others say.
    let has_begun = |cut: &TokenCut| cut.from <= turn.wall;
    let begun = cuts.iter().filter(|cut| has_begun(cut));
    let furthest = begun.map(|cut| cut.issued_until).max();
    cuts.retain(|old| !has_begun(old) || Some(old.issued_until) == furthest);
    cuts.retain(|old| !cut.covers(old));
    below(
        "the number of pending expirations",
        cuts.len(),
        TOKEN_CUTS_MAX,
    )?;
    cuts.push(cut);
    Ok(cuts)
}

fn revoke_token(
    registry: &Registry,
    token: RevokedToken,
    issued: Option<Timestamp>,
    turn: &Turn,
) -> Result<Vec<Change>, ChangeError> {
    let (revoked, owner) = (&registry.revocations, token.organisation);
    let expired: Vec<_> = revoked
        .first_to_expire(owner)
        .take_while(|token| token.expires < turn.wall)
        .take(FORGOTTEN_AT_A_TIME)
        .copied()
        .collect();
    let left = revoked.token_count(owner) - expired.len();
    let is_room = |application| {
        let own = |token: &&RevokedToken| token.application == Some(application);
        let own = revoked.token_count_of(owner, application) - expired.iter().filter(own).count();
        left < REVOKED_TOKENS_MAX - REVOKED_TOKENS_RESERVED
            && own < REVOKED_TOKENS_OF_APPLICATION_MAX
    };
    let change = match token.application {
        Some(application) if !is_room(application) => {
            let until = TokenCut::until(turn, registry.cuts_within(application));
            let issued_until = issued.map_or(until, |issued| issued.max(until));
            // One from the future would end tokens that are still to be made.
            if issued_until > until.plus(CLOCKS_DIFFER_MAX) {
                return Err(ChangeError::Limit {
                    what: "the number of revoked tokens of one application",
                    limit: REVOKED_TOKENS_OF_APPLICATION_MAX,
                });
            }
            let cut = TokenCut {
                issued_until,
                from: Timestamp::default(),
            };
            cut_tokens(registry, application, cut, turn)?
        }
        Some(_) => Change::RevokeToken(token),
        None => {
            below("the number of revoked tokens", left, REVOKED_TOKENS_MAX)?;
            Change::RevokeToken(token)
        }
    };
    let forgotten = expired.into_iter().map(Change::ForgetToken);
    Ok(forgotten.chain([change]).collect())
}

#[cfg(test)]
mod tests;
