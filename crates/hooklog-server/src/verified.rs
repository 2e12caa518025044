//! Tokens that were verified in this second, so that a busy client's token is verified once a second
//! and not with each request.
//!
//! **Invariant:** the outcome is the same as without it: whether a token is valid depends on the whole
//! second of the request alone, and what was verified in another second does not count. Bounded.
//! **Next:** `token.rs`.

use std::collections::HashMap;

use hooklog_storage::Timestamp;
use parking_lot::Mutex;

use crate::token::{self, Subject, TokenError, TokenKeys};

/// Most tokens that are remembered: more than a server has busy clients.
const TOKENS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Verified(Mutex<Second>);

/// The tokens of one second.
#[derive(Default)]
struct Second {
    second: i64,
    subjects: HashMap<Box<str>, Subject>,
}

impl std::fmt::Debug for Second {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Second({}, {} tokens)", self.second, self.subjects.len())
    }
}

impl Verified {
    /// Who `token` speaks for at `now`.
    pub(crate) fn verify(
        &self,
        keys: &TokenKeys,
        token: &str,
        now: Timestamp,
    ) -> Result<Subject, TokenError> {
        let second = now.as_secs();
        {
            let known = self.0.lock();
            if known.second == second
                && let Some(subject) = known.subjects.get(token)
            {
                return Ok(*subject);
            }
        }
        let subject = token::verify(keys, token, now)?;
        let mut known = self.0.lock();
        if known.second != second {
            known.second = second;
            known.subjects.clear();
        }
        if known.subjects.len() < TOKENS_MAX {
            known.subjects.insert(token.into(), subject);
        }
        Ok(subject)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
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
                let expected = token::verify(&keys, &token, now);
                assert_eq!(verified.verify(&keys, &token, now), expected, "{second}");
            }
        }
        assert!(verified.verify(&keys, "nonsense", start).is_err());
        for number in 0..=TOKENS_MAX as u64 {
            let life = life + Duration::from_secs(number);
            let token = token::mint(&key, subject, start, life).expect("signs");
            assert_eq!(verified.verify(&keys, &token, start), Ok(subject));
        }
        assert_eq!(verified.0.lock().subjects.len(), TOKENS_MAX);
    }
}
