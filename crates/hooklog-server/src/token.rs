//! Bearer tokens: who a request speaks for.
//!
//! **Invariant:** a token must name the algorithm of the key that verifies it, and there is no other
//! choice of the client's; a token without an expiry that can be said, with critical extensions or with
//! claims that do not parse is refused. No clock is read here.
//! **Next:** `token/key.rs`; then `request.rs`, which asks.

use std::time::Duration;

pub use hooklog_storage::DEFAULT_ORGANISATION;
use hooklog_storage::{ApplicationId, OrganisationId, SESSION_AGE_MAX, Timestamp};
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};

mod backend;
mod capability;
mod der;
mod grant;
mod key;

pub use self::capability::Capability;
pub use self::grant::Grant;
pub use self::key::{
    Symmetry, TokenAlgorithm, TokenAlgorithmError, TokenKey, TokenKeyError, TokenKeys,
};

/// Longest token that is looked at; ours are below 1 KiB with the largest RSA signature.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// How far the clocks of minter and server may differ (the usual leeway of JWT libraries).
const LEEWAY_SECS: i64 = 60;
/// Latest expiry: the last moment of the year 9998 in seconds, for nothing later can be written in RFC
/// 3339 wherever one is. Milliseconds of our time are beyond it.
const EXP_MAX: i64 = 253_370_764_799;

/// Who a token speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
pub enum MintError {
    /// Only the public key is known.
    #[error("no private key: tokens signed with {algorithm} are verified here, not made")]
    Public {
        /// What the key is for.
        algorithm: TokenAlgorithm,
    },
    /// It would expire at a time that cannot be said.
    #[error("the token would expire after the year 9998, and servers refuse it")]
    TooLong,
    /// The key does not sign.
    #[error("the token could not be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// Why a token was refused. Clients learn only of [`TokenError::IsTheKey`] and
/// [`TokenError::NotSeconds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No `Authorization: Bearer` header.
    #[error("no bearer token")]
    Missing,
    /// The token is the secret itself: a frequent mistake, and a leak.
    #[error("the token is the JWT secret itself, not a token signed with it")]
    IsTheKey,
    /// Not a token signed with one of the keys and its algorithm.
    #[error("the signature does not verify")]
    Signature,
    /// Its time is over.
    #[error("the token is expired")]
    Expired,
    /// It would never expire: a frequent mistake of who counts milliseconds.
    #[error("the token's `exp` is beyond all times: it is in seconds, not in milliseconds")]
    NotSeconds,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// The subject is neither an organisation nor an application with its organisation.
    #[error("the token's claims name no subject")]
    Subject,
    /// It was logged out, all of its application were expired, or the application is gone.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capabilities: Option<Vec<Capability>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
}

/// What narrows or widens a customer's token, and tells it from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Its own id: without one, two of the same second may be the same token, and end together.
    pub id: Option<String>,
    /// The feature flags of whom it is made for.
    pub feature_flags: Vec<String>,
    /// What it may do; `None` for whatever one for its subject may.
    pub capabilities: Option<Vec<Capability>>,
    /// The session that it belongs to, by which it can be ended.
    pub session: Option<String>,
}

/// Makes a token for `subject` that is valid from `now` for `expires`.
pub fn mint(
    key: &TokenKey,
    subject: Subject,
    now: Timestamp,
    expires: Duration,
) -> Result<String, MintError> {
    mint_with(key, subject, Scope::default(), (now, now), expires)
}

/// As [`mint`], for a scope. It says that it was issued at the first of the times, and is good from the
/// second on: after the clock was set back, a token that no expiry of older ones means is issued ahead of
/// the clock.
pub fn mint_with(
    key: &TokenKey,
    subject: Subject,
    scope: Scope,
    (issued, now): (Timestamp, Timestamp),
    expires: Duration,
) -> Result<String, MintError> {
    backend::install();
    let algorithm = key.algorithm();
    let signing = key.signing().ok_or(MintError::Public { algorithm })?;
    let (sub, org) = match subject {
        Subject::Organisation(organisation) => (organisation.to_string(), None),
        Subject::Application {
            application,
            organisation,
        } => (application.to_string(), Some(organisation.to_string())),
        Subject::Operator => (OPERATOR.to_owned(), None),
    };
    let exp = now.plus(expires).as_secs();
    if exp > EXP_MAX {
        return Err(MintError::TooLong);
    }
    let claims = Claims {
        iat: Some(issued.as_secs()),
        exp,
        nbf: Some(now.as_secs()),
        iss: Some("hooklog".to_owned()),
        sub,
        org,
        feature_flags: scope.feature_flags,
        capabilities: scope.capabilities,
        jti: scope.id,
        sid: scope.session,
    };
    let header = Header::new(algorithm.jwt());
    Ok(jsonwebtoken::encode(&header, &claims, signing)?)
}

/// Who `token` speaks for at `now`, by whichever of the keys signed it.
pub fn verify(keys: &TokenKeys, token: &str, now: Timestamp) -> Result<Subject, TokenError> {
    grant(keys, token, now).map(|grant| grant.subject)
}

/// What `token` gives at `now`.
pub fn grant(keys: &TokenKeys, token: &str, now: Timestamp) -> Result<Grant, TokenError> {
    if keys.all().any(|key| key.is_secret(token)) {
        return Err(TokenError::IsTheKey);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Signature);
    }
    let claims = keys.all().find_map(|key| signed(key, token));
    let claims = claims.ok_or(TokenError::Signature)?;
    if claims.exp > EXP_MAX {
        return Err(TokenError::NotSeconds);
    }
    // Else it could outlive the memory of the end of its session.
    let expires = match (&claims.sid, claims.iat) {
        (Some(_), issued) => issued.map_or(i64::MIN, |issued| {
            let age = i64::try_from(SESSION_AGE_MAX.as_secs()).unwrap_or(i64::MAX);
            claims.exp.min(issued.saturating_add(age))
        }),
        (None, _) => claims.exp,
    };
    let seconds = |secs: i64| Timestamp::from_millis(secs.saturating_mul(1000));
    let expires = seconds(expires);
    if grant::is_over(expires, now) {
        return Err(TokenError::Expired);
    }
    if claims
        .nbf
        .is_some_and(|nbf| nbf.saturating_sub(LEEWAY_SECS) > now.as_secs())
    {
        return Err(TokenError::NotYet);
    }
    Ok(Grant {
        subject: subject(&claims).ok_or(TokenError::Subject)?,
        issued: claims.iat.map(seconds),
        expires,
        feature_flags: claims.feature_flags,
        capabilities: claims.capabilities,
        session: claims.sid,
    })
}

/// The claims, if `key` signed them.
fn signed(key: &TokenKey, token: &str) -> Option<Claims> {
    backend::install();
    // The key's own algorithm and no other: the library refuses a header that names another one.
    let mut validation = Validation::new(key.algorithm().jwt());
    // Times are checked by `verify`, against the `now` that was passed in.
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let decoded = jsonwebtoken::decode::<Claims>(token, key.verifying(), &validation).ok()?;
    // Its extensions must be understood (RFC 7515 §4.1.11), and we know of none.
    decoded.header.crit.is_none().then_some(decoded.claims)
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
