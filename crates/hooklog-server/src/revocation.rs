//! Tokens that verify and are refused all the same: logged out, expired before their time, or those of
//! an application that is gone.
//!
//! **Invariant:** a token that was revoked is refused from the moment its revocation was answered,
//! over restarts; one of an application never outlives it, since what was revoked is forgotten with
//! it. What is compared is the signed part of the token: whoever changes a character of the signature's
//! text without changing its bytes has the same token. An answer that goes on for long asks again before
//! it shows something more.
//! **Next:** `portal.rs`, which revokes.

use hooklog_storage::{EventLog, SessionHash, Timestamp, TokenHash};
use ring::digest::{SHA256, digest};

use crate::request::Bearer;
use crate::token::{Grant, Subject, TokenError};

/// What stands for a token in the log.
pub(crate) fn hash(token: &str) -> TokenHash {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    sha256(signed)
}

/// What stands for a session in the log.
pub(crate) fn hash_of_session(session: &str) -> SessionHash {
    sha256(session)
}

fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    let digest = digest(&SHA256, text.as_bytes());
    // Both have 32 bytes.
    for (to, from) in hash.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    hash
}

/// A token that an answer goes on with: a poll that waits, a stream.
#[derive(Debug)]
pub(crate) struct Pass {
    grant: Grant,
    hash: TokenHash,
}

impl Pass {
    pub(crate) fn of(bearer: &Bearer) -> Self {
        Self {
            grant: bearer.grant.clone(),
            hash: hash(bearer.token()),
        }
    }

    /// Whether a request with it would still be let in.
    pub(crate) fn check(&self, log: &EventLog, now: Timestamp) -> Result<(), TokenError> {
        if self.grant.is_expired(now) {
            return Err(TokenError::Expired);
        }
        if is_revoked(log, &self.grant, || self.hash, now) {
            return Err(TokenError::Revoked);
        }
        Ok(())
    }
}

/// Whether a token that verified is refused at `now`. Its hash is asked for only where some are
/// revoked.
pub(crate) fn is_revoked(
    log: &EventLog,
    grant: &Grant,
    hash: impl FnOnce() -> TokenHash,
    now: Timestamp,
) -> bool {
    let registry = log.registry();
    if let Subject::Application {
        application,
        organisation,
    } = grant.subject
    {
        let found = registry.application(application);
        if found.is_none_or(|found| found.organisation != organisation) {
            return true;
        }
        // Tokens say whole seconds, so those of the second of the cut are meant too.
        let is_cut = |until: Timestamp| {
            grant
                .issued
                .is_none_or(|issued| issued.as_secs() <= until.as_secs())
        };
        let session = grant.session.as_deref();
        let session = session.filter(|_| registry.has_cut_sessions(organisation));
        let of_session = session.map_or(&[][..], |session| {
            registry.session_cuts(organisation, application, &hash_of_session(session))
        });
        let mut cuts = registry.token_cuts(application).iter().chain(of_session);
        if cuts.any(|cut| cut.from <= now && is_cut(cut.issued_until)) {
            return true;
        }
    }
    grant.subject.organisation().is_some_and(|organisation| {
        registry.has_revoked_tokens(organisation) && registry.is_revoked(organisation, &hash())
    })
}
