//! Tokens that were verified in this second, so that a busy client's token is verified once a second
//! and not with each request.
//!
//! **Invariant:** the outcome is the same as without it (whether it was revoked is looked up apart):
//! whether a token is valid depends on the whole
//! second of the request alone, and what was verified in another second does not count. Bounded.
//! **Next:** `token.rs`.

use std::collections::HashMap;

use hooklog_storage::Timestamp;
use parking_lot::Mutex;

use crate::token::{self, Grant, TokenError, TokenKeys};

/// Most tokens that are remembered: more than a server has busy clients.
const TOKENS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Verified(Mutex<Second>);

/// The tokens of one second.
#[derive(Default)]
struct Second {
    second: i64,
    /// By the ends of their texts, which are of the signature: of the whole of a token the hash costs as
    /// much as all else that is done with it.
    grants: HashMap<End, (Box<str>, Grant)>,
}

/// The last bytes of a token.
type End = [u8; 16];

impl std::fmt::Debug for Second {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Second({}, {} tokens)", self.second, self.grants.len())
    }
}

impl Verified {
    /// What `token` gives at `now`, if it was not revoked.
    pub(crate) fn grant(
        &self,
        keys: &TokenKeys,
        token: &str,
        now: Timestamp,
    ) -> Result<Grant, TokenError> {
        let second = now.as_secs();
        {
            let known = self.0.lock();
            if known.second == second
                && let Some(end) = token.as_bytes().last_chunk::<16>()
                && let Some((text, grant)) = known.grants.get(end)
                && **text == *token
            {
                return Ok(grant.clone());
            }
        }
        let grant = token::grant(keys, token, now)?;
        let mut known = self.0.lock();
        if known.second != second {
            known.second = second;
            known.grants.clear();
        }
        if known.grants.len() < TOKENS_MAX
            && let Some(end) = token.as_bytes().last_chunk::<16>()
        {
            known.grants.insert(*end, (token.into(), grant.clone()));
        }
        Ok(grant)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::token::Subject;
    use crate::{DEFAULT_ORGANISATION, TokenKey};

    #[test]
    fn a_token_is_as_valid_as_without_it() {
        let key = TokenKey::new("the secret of the tests").expect("long enough");
        let keys = TokenKeys::from(key.clone());
        let start = Timestamp::from_millis(1_700_000_000_500);
        let subject = Subject::Organisation(DEFAULT_ORGANISATION.parse().expect("an id"));
        let life = Duration::from_secs(3);
        let token = token::mint(&key, subject, start, life).expect("signs");
        let verified = Verified::default();
        for second in 0..70 {
            for half in 0..2 {
                let now = start.plus(Duration::from_millis(second * 1000 + half * 499));
                let expected = token::grant(&keys, &token, now);
                assert_eq!(verified.grant(&keys, &token, now), expected, "{second}");
            }
        }
        assert!(verified.grant(&keys, "nonsense", start).is_err());
        for number in 0..=TOKENS_MAX as u64 {
            let life = life + Duration::from_secs(number);
            let token = token::mint(&key, subject, start, life).expect("signs");
            let granted = verified.grant(&keys, &token, start).expect("is valid");
            assert_eq!(granted.subject, subject);
        }
        assert_eq!(verified.0.lock().grants.len(), TOKENS_MAX);
    }
}
