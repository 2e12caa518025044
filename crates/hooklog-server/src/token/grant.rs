//! What a token that verified gives: who it speaks for, since when, how long, and what it may see.
//!
//! **Invariant:** as `token.rs`; whether it was revoked is for `revocation.rs` to say.
//! **Next:** `../revocation.rs`.

use hooklog_storage::Timestamp;

use super::{Capability, LEEWAY_SECS, Subject};

/// What a verified token gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who it speaks for.
    pub subject: Subject,
    /// When it was issued, if it says so.
    pub issued: Option<Timestamp>,
    /// When it expires.
    pub expires: Timestamp,
    /// The feature flags of whom it was made for.
    pub feature_flags: Vec<String>,
    /// What it may do; `None` for whatever one for its subject may.
    pub capabilities: Option<Vec<Capability>>,
    /// The session that it belongs to.
    pub session: Option<String>,
}

impl Grant {
    /// Whether its time is over at `now`, with some leeway for clocks that differ.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        is_over(self.expires, now)
    }

    /// Whether it is good for what asks for this.
    pub(crate) fn may(&self, needed: impl FnOnce() -> Capability) -> bool {
        self.capabilities.as_ref().is_none_or(|all| {
            let needed = needed();
            all.iter().any(|one| one.includes(needed))
        })
    }

    /// Whether something with these feature flags is visible: an organisation sees everything.
    pub(crate) fn sees(&self, flags: &[String]) -> bool {
        match self.subject {
            Subject::Organisation(_) => true,
            Subject::Application { .. } => {
                flags.is_empty() || flags.iter().any(|flag| self.feature_flags.contains(flag))
            }
            Subject::Operator => false,
        }
    }
}

/// Whether a token that expires then is expired `now`.
pub(super) fn is_over(expires: Timestamp, now: Timestamp) -> bool {
    expires.as_secs().saturating_add(LEEWAY_SECS) <= now.as_secs()
}
