//! Tokens that verify and are refused all the same: logged out, expired before their time, or those of
//! an application that is gone.
//!
//! **Invariant:** a token that was revoked is refused from the moment its revocation was answered,
//! over restarts; one of an application never outlives it, since what was revoked is forgotten with it. What is compared is the signed part of the token: whoever changes a character of
//! the signature's text without changing its bytes has the same token.
//! **Next:** `portal.rs`, which revokes.

use hooklog_storage::{EventLog, Timestamp, TokenHash};
use ring::digest::{SHA256, digest};

use crate::token::{Grant, Subject};

/// What stands for a token in the log.
pub(crate) fn hash(token: &str) -> TokenHash {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    let mut hash = TokenHash::default();
    let digest = digest(&SHA256, signed.as_bytes());
    // Both have 32 bytes.
    for (to, from) in hash.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    hash
}

/// Whether a token that verified is refused at `now`.
pub(crate) fn is_revoked(log: &EventLog, grant: &Grant, token: &str, now: Timestamp) -> bool {
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
        let mut cuts = registry.token_cuts(application).iter();
        if cuts.any(|cut| cut.from <= now && is_cut(cut.issued_until)) {
            return true;
        }
    }
    grant.subject.organisation().is_some_and(|organisation| {
        registry.has_revoked_tokens(organisation) && registry.is_revoked(organisation, &hash(token))
    })
}
