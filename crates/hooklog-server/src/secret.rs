//! Signing secrets of endpoints: show and rotate.
//!
//! **Invariant:** during the grace period old and new sign both, so a receiver changes over without
//! losing a webhook; a secret never signs after its expiry, and never twice in one header.
//! **Next:** `message.rs`.

use std::time::Duration;

use hooklog_signature::Secret;
use hooklog_storage::{
    ChangeError, Endpoint, MAX_OLD_SECRETS, OldSecret, SecretKey, Subscription, Timestamp,
};
use http::StatusCode;

use crate::error::ApiError;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{Fields, Rotation, SecretOut};

pub(crate) async fn get(call: Call) -> Answer {
    let subscription = call.subscription()?;
    let secret = Secret::from_bytes(subscription.endpoint.secret.as_bytes())
        .map_err(ApiError::StoredSecret)?;
    reply::json(StatusCode::OK, &SecretOut::from(&secret))
}

/// Answers with the new secret: the newest SDKs parse it, older ones do not look.
pub(crate) async fn rotate(call: Call) -> Answer {
    let Rotation { secret, grace } = Rotation::parse(&Fields::parse_or_empty(call.bytes())?)?;
    let id = call.subscription()?.id;
    let secret = match secret {
        Some(secret) => secret,
        None => Secret::generate()?,
    };
    let key = SecretKey::new(secret.as_bytes().to_vec());
    let edit = move |value: &mut Subscription, now| turn(&mut value.endpoint, key, grace, now);
    call.state.log.update_subscription(id, edit).await?;
    reply::json(StatusCode::OK, &SecretOut::from(&secret))
}

/// Makes `key` the secret of `endpoint`; the present one goes on signing for `grace`.
fn turn(
    endpoint: &mut Endpoint,
    key: SecretKey,
    grace: Duration,
    now: Timestamp,
) -> Result<(), ChangeError> {
    let old = &mut endpoint.old_secrets;
    old.retain(|old| old.expires > now && old.key != key);
    if endpoint.secret == key {
        return Ok(());
    }
    if !grace.is_zero() && old.len() >= MAX_OLD_SECRETS {
        return Err(ChangeError::Limit {
            what: "the number of old secrets that still sign",
            limit: MAX_OLD_SECRETS,
        });
    }
    let replaced = std::mem::replace(&mut endpoint.secret, key);
    if !grace.is_zero() {
        let expires = now.plus(grace);
        old.insert(
            0,
            OldSecret {
                key: replaced,
                expires,
            },
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::new(vec![byte; 32])
    }

    fn signing(endpoint: &Endpoint, now: Timestamp) -> Vec<u8> {
        endpoint
            .signing_keys(now)
            .filter_map(|key| key.as_bytes().first().copied())
            .collect()
    }

    #[test]
    fn old_secrets_sign_until_they_expire() {
        let (day, hour) = (Duration::from_hours(24), Duration::from_hours(1));
        let start = Timestamp::from_millis(1_000_000);
        let mut endpoint = Endpoint {
            url: "http://a/".into(),
            secret: key(0),
            old_secrets: Vec::new().into(),
            headers: Vec::new().into(),
            format: hooklog_storage::Format::Payload,
        };
        turn(&mut endpoint, key(1), day, start).expect("room");
        turn(&mut endpoint, key(2), hour, start).expect("room");
        assert_eq!(signing(&endpoint, start), [2, 1, 0]);
        assert_eq!(signing(&endpoint, start.plus(hour)), [2, 0]);
        // The same again changes nothing; an old one comes back and is listed once.
        turn(&mut endpoint, key(2), day, start.plus(hour)).expect("room");
        assert_eq!(signing(&endpoint, start.plus(hour)), [2, 0]);
        turn(&mut endpoint, key(0), day, start.plus(hour)).expect("room");
        assert_eq!(signing(&endpoint, start.plus(hour)), [0, 2]);
        // Without grace the replaced one is gone at once.
        turn(&mut endpoint, key(3), Duration::ZERO, start.plus(hour)).expect("room");
        assert_eq!(signing(&endpoint, start.plus(hour)), [3, 2]);
    }

    #[test]
    fn the_eleventh_live_old_secret_is_refused() {
        let (day, start) = (Duration::from_hours(24), Timestamp::from_millis(1_000_000));
        let mut endpoint = Endpoint {
            url: "http://a/".into(),
            secret: key(0),
            old_secrets: Vec::new().into(),
            headers: Vec::new().into(),
            format: hooklog_storage::Format::Payload,
        };
        for byte in 1..=10 {
            turn(&mut endpoint, key(byte), day, start).expect("room");
        }
        let refused = turn(&mut endpoint, key(11), day, start);
        assert!(matches!(refused, Err(ChangeError::Limit { limit: 10, .. })));
        turn(&mut endpoint, key(11), day, start.plus(day)).expect("the old ones are expired");
        assert_eq!(endpoint.old_secrets.len(), 1);
    }
}
