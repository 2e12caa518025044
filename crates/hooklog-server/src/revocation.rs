//! Tokens that verify and are refused all the same: logged out, or expired before their time.
//!
//! **Invariant:** a token that was revoked is refused from the moment its revocation was answered,
//! over restarts. What is compared is the signed part of the token: whoever changes a character of
//! the signature's text without changing its bytes has the same token.
//! **Next:** `portal.rs`, which revokes.

use hooklog_storage::{EventLog, SessionHash, Timestamp, TokenHash};
use ring::digest::{SHA256, digest};

use crate::token::{Grant, Subject};

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

/// Whether a token that verified is refused at `now`.
pub(crate) fn is_revoked(log: &EventLog, grant: &Grant, token: &str, now: Timestamp) -> bool {
    let registry = log.registry();
    if let Subject::Application {
        application,
        organisation,
    } = grant.subject
    {
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
        registry.has_revoked_tokens(organisation) && registry.is_revoked(organisation, &hash(token))
    })
}
