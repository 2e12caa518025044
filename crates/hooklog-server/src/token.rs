//! Bearer tokens: who a request speaks for.
//!
//! **Invariant:** only HS256 is accepted, whatever a token's header says; a token without an expiry,
//! with critical extensions or with claims that do not parse is refused. No clock is read here.
//! **Next:** `token/hs256.rs`, the signature; `request.rs`, which asks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use hooklog_storage::DEFAULT_ORGANISATION;
use hooklog_storage::{ApplicationId, OrganisationId, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

mod grant;
mod hs256;

pub use grant::Grant;

/// Fewest bytes of a key: half of what RFC 7518 §3.2 asks for, so that existing secrets of other
/// servers go on working, yet none that can be guessed by trying.
const KEY_BYTES_MIN: usize = 16;
/// Longest token that is looked at; ours are below 400 bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// How far the clocks of minter and server may differ (the usual leeway of JWT libraries).
const LEEWAY_SECS: i64 = 60;

/// The HS256 key: the bytes of the JWT secret string. `Debug` does not show them.
#[derive(Clone)]
pub struct TokenKey(Arc<[u8]>);

/// Why a text is not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the JWT secret has {found} bytes, fewer than the minimum of {KEY_BYTES_MIN}")]
pub struct TokenKeyError {
    /// Bytes found.
    pub found: usize,
}

impl TokenKey {
    /// The key that the secret string is, byte for byte (no base64).
    pub fn new(secret: &str) -> Result<Self, TokenKeyError> {
        if secret.len() < KEY_BYTES_MIN {
            return Err(TokenKeyError {
                found: secret.len(),
            });
        }
        Ok(Self(secret.as_bytes().into()))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

/// Who a token speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A tenant: everything of its own.
    Organisation(OrganisationId),
    /// One application of a tenant; what a tenant hands to its customer.
    Application {
        /// The only application in reach.
        application: ApplicationId,
        /// The tenant it belongs to.
        organisation: OrganisationId,
    },
    /// Who runs the server: backups of everything, and nothing else.
    Operator,
}

/// What the operator's tokens have for a subject.
const OPERATOR: &str = "operator";

impl Subject {
    /// The tenant, if it is one's.
    pub fn organisation(&self) -> Option<OrganisationId> {
        match self {
            Self::Organisation(organisation) | Self::Application { organisation, .. } => {
                Some(*organisation)
            }
            Self::Operator => None,
        }
    }
}

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the token could not be signed")]
pub struct MintError(#[from] jsonwebtoken::errors::Error);

/// Why a token was refused. Clients learn only of [`TokenError::IsTheKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No `Authorization: Bearer` header.
    #[error("no bearer token")]
    Missing,
    /// The token is the secret itself: a frequent mistake, and a leak.
    #[error("the token is the JWT secret itself, not a token signed with it")]
    IsTheKey,
    /// Not a token signed with HS256 and this key.
    #[error("the signature does not verify")]
    Signature,
    /// Its time is over.
    #[error("the token is expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// The subject is neither an organisation nor an application with its organisation.
    #[error("the token's claims name no subject")]
    Subject,
    /// It was logged out, or all of its application were expired.
    #[error("the token was revoked")]
    Revoked,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    org: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    feature_flags: Vec<String>,
}

/// Makes a token for `subject` that is valid from `now` for `expires`.
pub fn mint(
    key: &TokenKey,
    subject: Subject,
    now: Timestamp,
    expires: Duration,
) -> Result<String, MintError> {
    mint_with(key, subject, Vec::new(), now, expires)
}

/// As [`mint`], for someone who has feature flags.
pub fn mint_with(
    key: &TokenKey,
    subject: Subject,
    feature_flags: Vec<String>,
    now: Timestamp,
    expires: Duration,
) -> Result<String, MintError> {
    hs256::install();
    let (sub, org) = match subject {
        Subject::Organisation(organisation) => (organisation.to_string(), None),
        Subject::Application {
            application,
            organisation,
        } => (application.to_string(), Some(organisation.to_string())),
        Subject::Operator => (OPERATOR.to_owned(), None),
    };
    let claims = Claims {
        iat: Some(now.as_secs()),
        exp: now.plus(expires).as_secs(),
        nbf: Some(now.as_secs()),
        iss: Some("hooklog".to_owned()),
        sub,
        org,
        feature_flags,
    };
    let key = EncodingKey::from_secret(&key.0);
    Ok(jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &key,
    )?)
}

/// Who `token` speaks for at `now`.
pub fn verify(key: &TokenKey, token: &str, now: Timestamp) -> Result<Subject, TokenError> {
    grant(key, token, now).map(|grant| grant.subject)
}

/// What `token` gives at `now`.
pub fn grant(key: &TokenKey, token: &str, now: Timestamp) -> Result<Grant, TokenError> {
    hs256::install();
    if bool::from(token.as_bytes().ct_eq(&key.0)) {
        return Err(TokenError::IsTheKey);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Signature);
    }
    // Times are checked below, against the `now` that was passed in.
    let mut validation = Validation::new(Algorithm::HS256);
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let key = DecodingKey::from_secret(&key.0);
    let decoded = jsonwebtoken::decode::<Claims>(token, &key, &validation)
        .map_err(|_| TokenError::Signature)?;
    // Its extensions must be understood (RFC 7515 §4.1.11), and we know of none.
    if decoded.header.crit.is_some() {
        return Err(TokenError::Signature);
    }
    let claims = decoded.claims;
    if claims.exp.saturating_add(LEEWAY_SECS) <= now.as_secs() {
        return Err(TokenError::Expired);
    }
    if claims
        .nbf
        .is_some_and(|nbf| nbf.saturating_sub(LEEWAY_SECS) > now.as_secs())
    {
        return Err(TokenError::NotYet);
    }
    let seconds = |secs: i64| Timestamp::from_millis(secs.saturating_mul(1000));
    Ok(Grant {
        subject: subject(&claims).ok_or(TokenError::Subject)?,
        issued: claims.iat.map(seconds),
        expires: seconds(claims.exp),
        feature_flags: claims.feature_flags,
    })
}

fn subject(claims: &Claims) -> Option<Subject> {
    if claims.sub == OPERATOR {
        return Some(Subject::Operator);
    }
    if let Ok(organisation) = claims.sub.parse() {
        return Some(Subject::Organisation(organisation));
    }
    let application = claims.sub.parse().ok()?;
    let organisation = claims.org.as_deref()?.parse().ok()?;
    Some(Subject::Application {
        application,
        organisation,
    })
}

#[cfg(test)]
mod tests;
