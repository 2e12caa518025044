//! Bearer tokens that are no longer good: those of an application that were issued until a time, and
//! single ones.
//!
//! **Invariant:** a revocation holds from its commit on, over restarts, until the token would have
//! expired anyway. The tables are bounded per application and per organisation; where there is no room for
//! a customer's token, all tokens of its application end.
//! **Next:** `registry.rs`, which keeps them; `commands/access.rs`, which plans them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::change::Turn;
use crate::id::{ApplicationId, OrganisationId};
use crate::time::Timestamp;

/// Most cuts of one application: one at once and some that wait for their time.
pub const TOKEN_CUTS_MAX: usize = 8;
/// Most single tokens of one organisation that are revoked before they expire: an ocean of log-outs
/// (80 bytes each), and a bound.
pub const REVOKED_TOKENS_MAX: usize = 10_000;
/// How many of them are left to the organisation's own: customers must not keep it from logging out.
pub(crate) const REVOKED_TOKENS_RESERVED: usize = 1_000;
/// Most single tokens of one application: beyond it, a log-out ends all of the application's, so that a
/// customer who logs out again and again does so to nobody else.
pub const REVOKED_TOKENS_OF_APPLICATION_MAX: usize = 1_000;

/// Tokens issued up to a time are refused from a time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCut {
    /// Tokens issued then or before are meant; those that do not say when, too.
    pub issued_until: Timestamp,
    /// From then on they are refused.
    pub from: Timestamp,
}

impl TokenCut {
    /// The tokens so far, at once or `after` a while. `before` are those cuts which tokens that are to
    /// be refused may have been made behind.
    pub(crate) fn of<'a>(
        turn: &Turn,
        after: Duration,
        before: impl IntoIterator<Item = &'a Self>,
    ) -> Self {
        Self {
            issued_until: Self::until(turn, before),
            // At once is so by every clock.
            from: if after.is_zero() {
                Timestamp::default()
            } else {
                turn.wall.plus(after)
            },
        }
    }

    /// Which tokens are those so far, whatever the clock was when they were issued: to the end of the
    /// second by the log's time. While the clock is behind that (it was set back), new tokens say the
    /// second behind the latest cut instead of the clock's, so one more cut goes beyond that second.
    pub(crate) fn until<'a>(turn: &Turn, before: impl IntoIterator<Item = &'a Self>) -> Timestamp {
        let latest = before.into_iter().map(|cut| cut.issued_until).max();
        let handed_out = latest.filter(|latest| *latest > turn.wall);
        let handed_out = handed_out.map(Self::next_second).map(end_of_second);
        let now = if turn.wall < turn.now {
            end_of_second(turn.now)
        } else {
            turn.now
        };
        handed_out.map_or(now, |at| at.max(now))
    }

    /// The first time, in whole seconds as tokens say it, at which a token can be issued that a cut up to
    /// then does not mean.
    pub fn next_second(issued_until: Timestamp) -> Timestamp {
        Timestamp::from_millis(
            issued_until
                .as_secs()
                .saturating_add(1)
                .saturating_mul(1000),
        )
    }

    /// Whether whatever `other` refuses is refused by this one, no later.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.issued_until >= other.issued_until && self.from <= other.from
    }
}

/// The last moment of a second. A cut that ends with it is ahead of the clock for all of that second.
fn end_of_second(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_secs().saturating_mul(1000).saturating_add(999))
}

/// The cuts of one application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCuts {
    /// Whose tokens.
    pub application: ApplicationId,
    /// At most [`TOKEN_CUTS_MAX`], none of which covers another.
    pub cuts: Vec<TokenCut>,
}

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// One token that is refused until it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RevokedToken {
    /// The organisation that it is for.
    pub organisation: OrganisationId,
    /// When it would expire, or is refused for its age anyway.
    pub expires: Timestamp,
    /// Which one.
    pub hash: TokenHash,
    /// The application that it is for, if it is one's.
    pub application: Option<ApplicationId>,
}

/// What is revoked, in memory.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    cuts: HashMap<ApplicationId, Arc<TokenCuts>>,
    tokens: HashMap<OrganisationId, Tokens>,
}

/// The revoked tokens of one organisation.
#[derive(Debug, Default)]
struct Tokens {
    by_hash: HashMap<TokenHash, RevokedToken>,
    by_expiry: BTreeSet<RevokedToken>,
    /// How many each application has.
    counts: HashMap<ApplicationId, usize>,
}

impl Tokens {
    fn remove(&mut self, hash: &TokenHash) {
        let Some(old) = self.by_hash.remove(hash) else {
            return;
        };
        self.by_expiry.remove(&old);
        if let Some(application) = old.application
            && let Some(count) = self.counts.get_mut(&application)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&application);
            }
        }
    }
}

impl Revocations {
    pub(crate) fn put_cuts(&mut self, cuts: &Arc<TokenCuts>) {
        self.cuts.insert(cuts.application, Arc::clone(cuts));
    }

    pub(crate) fn forget_application(&mut self, application: ApplicationId) {
        self.cuts.remove(&application);
    }

    pub(crate) fn revoke(&mut self, token: RevokedToken) {
        let tokens = self.tokens.entry(token.organisation).or_default();
        tokens.remove(&token.hash);
        tokens.by_hash.insert(token.hash, token);
        tokens.by_expiry.insert(token);
        if let Some(application) = token.application {
            *tokens.counts.entry(application).or_default() += 1;
        }
    }

    pub(crate) fn forget_token(&mut self, token: &RevokedToken) {
        let Some(tokens) = self.tokens.get_mut(&token.organisation) else {
            return;
        };
        tokens.remove(&token.hash);
        if tokens.by_hash.is_empty() {
            self.tokens.remove(&token.organisation);
        }
    }

    pub(crate) fn cuts(&self, application: ApplicationId) -> &[TokenCut] {
        self.cuts
            .get(&application)
            .map_or(&[], |value| value.cuts.as_slice())
    }

    pub(crate) fn token_count(&self, organisation: OrganisationId) -> usize {
        self.tokens
            .get(&organisation)
            .map_or(0, |tokens| tokens.by_hash.len())
    }

    /// How many of them are an application's.
    pub(crate) fn token_count_of(
        &self,
        organisation: OrganisationId,
        application: ApplicationId,
    ) -> usize {
        let tokens = self.tokens.get(&organisation);
        let count = tokens.and_then(|tokens| tokens.counts.get(&application));
        count.copied().unwrap_or(0)
    }

    pub(crate) fn is_revoked(&self, organisation: OrganisationId, hash: &TokenHash) -> bool {
        self.tokens
            .get(&organisation)
            .is_some_and(|tokens| tokens.by_hash.contains_key(hash))
    }

    /// The tokens of an organisation that expire first.
    pub(crate) fn first_to_expire(
        &self,
        organisation: OrganisationId,
    ) -> impl Iterator<Item = &RevokedToken> {
        let tokens = self.tokens.get(&organisation);
        tokens
            .into_iter()
            .flat_map(|tokens| tokens.by_expiry.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPLICATION: ApplicationId = ApplicationId::from_bytes([3; 20]);

    #[test]
    fn a_token_is_revoked_until_it_is_forgotten() {
        let (mine, other) = (
            OrganisationId::from_bytes([1; 20]),
            OrganisationId::from_bytes([2; 20]),
        );
        let token = |byte: u8, expires| RevokedToken {
            organisation: mine,
            expires: Timestamp::from_millis(expires),
            hash: [byte; 32],
            application: (byte == 7).then_some(APPLICATION),
        };
        let mut table = Revocations::default();
        table.revoke(token(7, 50));
        table.revoke(token(8, 20));
        // Said again with another expiry, it is there once.
        table.revoke(token(7, 10));
        assert_eq!(table.token_count(mine), 2);
        let counts = [mine, other].map(|of| table.token_count_of(of, APPLICATION));
        assert_eq!(counts, [1, 0]);
        let order: Vec<_> = table.first_to_expire(mine).map(|t| t.hash[0]).collect();
        assert_eq!(order, [7, 8]);
        assert!(table.is_revoked(mine, &[7; 32]) && !table.is_revoked(other, &[7; 32]));
        table.forget_token(&token(7, 10));
        table.forget_token(&token(8, 20));
        assert!(!table.is_revoked(mine, &[7; 32]));
        assert_eq!(table.token_count(mine), 0);
        assert_eq!(table.token_count_of(mine, APPLICATION), 0);
    }

    /// The story: while the clock was behind the log, tokens were issued behind the first cut, and a
    /// second one was the same again.
    #[test]
    fn a_cut_means_what_was_handed_out_behind_the_cut_before() {
        let at = Timestamp::from_millis;
        let cut = |issued_until| TokenCut {
            issued_until: at(issued_until),
            from: Timestamp::default(),
        };
        // The log's time, the clock, the cuts before, and until when tokens are meant.
        for (now, wall, before, expected) in [
            (5_300, 5_300, vec![], 5_300),
            (5_300, 5_300, vec![4_000, 5_300], 5_300),
            (5_300, 4_900, vec![], 5_999),
            (5_300, 4_900, vec![4_800], 5_999),
            (5_300, 4_900, vec![5_999], 6_999),
            (5_300, 2_000, vec![6_999, 5_999], 7_999),
            // The clock has caught up with the log, and not yet with what was handed out.
            (5_998, 5_998, vec![5_999], 6_999),
            (6_500, 6_500, vec![5_999], 6_500),
        ] {
            let turn = Turn {
                now: at(now),
                wall: at(wall),
                end: crate::Offset::ZERO,
                entropy: [0; 15],
            };
            let cuts: Vec<_> = before.into_iter().map(cut).collect();
            let until = TokenCut::until(&turn, &cuts);
            assert_eq!(until, at(expected), "{now} {wall} {cuts:?}");
            // Whatever is issued next is behind it, whatever was issued before is not.
            let next = TokenCut::next_second(until).as_secs();
            let mut old = cuts
                .iter()
                .filter(|cut| cut.issued_until > turn.wall)
                .map(|cut| TokenCut::next_second(cut.issued_until).as_secs());
            assert!(next > until.as_secs() && old.all(|old| old <= until.as_secs()));
        }
    }
}
