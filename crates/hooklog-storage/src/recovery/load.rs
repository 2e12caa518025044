//! What lives in memory, from its rows.
//!
//! **Invariant:** the rows were held against their sum before.
//! **Next:** `rest.rs`.

use std::ops::Bound;

use super::OpenErrorKind;
use crate::attempt::Low;
use crate::codec;
use crate::consumer::Consumers;
use crate::engine::Engine;
use crate::keys::{self, Family};
use crate::registry::Registry;

/// All organisations, applications, event types, subscriptions and tasks.
pub(super) fn registry(engine: &Engine, low: Low) -> Result<Registry, OpenErrorKind> {
    let mut registry = Registry::default();
    let mut subscriptions = Vec::new();
    let all = (Bound::Unbounded, Bound::Unbounded);
    engine.scan::<OpenErrorKind>(Family::Registry, all, |key, value| {
        use crate::change::Change;
        let change = match keys::registry_kind(key) {
            Some(keys::Kind::Organisation) => Change::PutOrganisation(codec::decode(value)?),
            Some(keys::Kind::Application) => Change::PutApplication(codec::decode(value)?),
            Some(keys::Kind::EventType) => Change::PutEventType(codec::decode(value)?),
            Some(keys::Kind::Subscription) => {
                subscriptions.push(registry.adopt(codec::decode(value)?));
                return Ok(());
            }
            Some(keys::Kind::Task) => Change::PutTask(codec::decode(value)?),
            Some(keys::Kind::TokenCuts) => Change::PutTokenCuts(codec::decode(value)?),
            Some(keys::Kind::RevokedToken) => Change::RevokeToken(codec::decode(value)?),
            Some(keys::Kind::SessionCuts) => Change::PutSessionCuts(codec::decode(value)?),
            Some(keys::Kind::Expunged) => Change::Expunge(codec::decode(value)?),
            None => {
                let reason = "a registry row has an unknown kind".to_owned();
                return Err(OpenErrorKind::Damaged { reason });
            }
        };
        registry.apply(&change);
        Ok(())
    })?;
    registry.load(&subscriptions);
    registry.pack();
    // Rows of marks go a few at a time.
    registry.expunged.expire(low);
    Ok(registry)
}

/// All consumers.
pub(super) fn consumers(engine: &Engine) -> Result<Consumers, OpenErrorKind> {
    let mut consumers = Consumers::default();
    let all = (Bound::Unbounded, Bound::Unbounded);
    engine.scan::<OpenErrorKind>(Family::Consumer, all, |key, value| {
        let Some(key) = keys::consumer_key(key) else {
            let reason = "the key of a consumer's row cannot be read".to_owned();
            return Err(OpenErrorKind::Damaged { reason });
        };
        consumers.put(key, codec::decode(value)?);
        Ok(())
    })?;
    Ok(consumers)
}
