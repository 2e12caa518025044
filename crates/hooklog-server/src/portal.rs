//! Tokens that an organisation hands to its customers, and the end of tokens.
//!
//! **Invariant:** a token made here reaches one application and sees only what its feature flags
//! show. After a log-out or an expiry was answered, the tokens meant are refused, over restarts.
//! **Next:** `event_type.rs`, where feature flags matter.

use std::time::Duration;

use hooklog_storage::{ChangeError, RevokedToken, Timestamp};
use http::{HeaderMap, StatusCode};

use crate::application;
use crate::error::ApiError;
use crate::reply::{self, Answer};
use crate::request::{Bearer, Call};
use crate::revocation;
use crate::state;
use crate::token::{self, MintError, Scope, Subject};
use crate::wire::{AccessIn, AccessOut, EmptyOut, ExpireIn, Fields, WhoamiOut};

/// How far the clocks of minter and server may differ: so long a token is taken after its expiry.
const LEEWAY: Duration = Duration::from_mins(2);

/// A token for the application, which is created if it is not there and the body says how.
pub(crate) async fn app_portal_access(call: Call) -> Answer {
    let asked = AccessIn::parse(&Fields::parse_or_empty(call.bytes())?)?;
    grant(&call, asked).await
}

/// The same by its older name, which takes no body.
pub(crate) async fn dashboard_access(call: Call) -> Answer {
    grant(&call, AccessIn::default()).await
}

async fn grant(call: &Call, asked: AccessIn) -> Answer {
    let application = match (call.application(), asked.application) {
        (Err(ApiError::NotFound), Some(mut inline)) => {
            application::adopt_uid(&mut inline, call.part("app")?)?;
            let organisation = call.organisation()?;
            application::get_or_create(&call.state, organisation, inline)
                .await?
                .1
        }
        (found, _) => found?,
    };
    let now = state::now();
    let asked_for = asked.scope.session.as_deref();
    let session = asked_for.map(revocation::hash_of_session);
    let cuts = {
        let registry = call.state.log.registry();
        let of_session = session.map_or(&[][..], |session| {
            registry.session_cuts(application.organisation, application.id, &session)
        });
        [registry.token_cuts(application.id), of_session].concat()
    };
    // Tokens say whole seconds: one of the second of an expiry would be refused with those before.
    let after = cuts
        .iter()
        .map(|cut| cut.issued_until.plus(Duration::from_secs(1)));
    let issued = after.fold(now, Timestamp::max);
    // It is handed out in that second, or an expiry before it would miss it; wherever the clock was set
    // to, it is waited for no longer.
    tokio::time::sleep(issued.since(now).min(Duration::from_secs(1))).await;
    let subject = Subject::Application {
        application: application.id,
        organisation: application.organisation,
    };
    let key = call.state.token_keys.current();
    let id = call.state.request_ids.of(&HeaderMap::new(), now);
    let scope = Scope {
        id: id.to_str().ok().map(str::to_owned),
        ..asked.scope
    };
    let token = match token::mint_with(key, subject, scope, issued, asked.expiry) {
        Ok(token) => token,
        Err(MintError::Public { .. }) => {
            let what = "making tokens, with a public key alone,".to_owned();
            return Err(ApiError::NotImplemented(what));
        }
        Err(error) => return Err(error.into()),
    };
    let url = match (&call.state.portal_url, &call.base) {
        (Some(url), _) => format!("{url}#key={token}"),
        (None, Some(base)) => format!("{base}/#key={token}"),
        (None, None) => return Err(ApiError::Header("the request does not name its host")),
    };
    reply::json(StatusCode::OK, &AccessOut { url, token })
}

/// The token of the request is refused from now on.
pub(crate) async fn logout(call: Call) -> Answer {
    let organisation = call.organisation()?;
    let Bearer { grant, token } = call.bearer()?;
    let application = match grant.subject {
        Subject::Application { application, .. } => Some(application),
        Subject::Organisation(_) | Subject::Operator => None,
    };
    let revoked = RevokedToken {
        organisation,
        expires: grant.expires.plus(LEEWAY),
        hash: revocation::hash(token),
        application,
    };
    let revoked = call.state.log.revoke_token(revoked, grant.issued).await;
    revoked.map_err(full)?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// What a log-out is told that there is no room for: it may have some once other tokens have expired.
fn full(error: ChangeError) -> ApiError {
    match error {
        ChangeError::Limit { .. } => ApiError::TooMany(error.to_string()),
        error => error.into(),
    }
}

/// Every token of the application, or of some sessions of it, that was issued until now is refused, at
/// once or after a while.
pub(crate) async fn expire_all(call: Call) -> Answer {
    let ExpireIn { after, sessions } = ExpireIn::parse(&Fields::parse_or_empty(call.bytes())?)?;
    let application = call.application()?.id;
    let log = &call.state.log;
    match sessions {
        Some(sessions) => {
            let hashes = sessions.iter().map(|id| revocation::hash_of_session(id));
            log.expire_sessions(application, hashes.collect(), after)
                .await?;
        }
        None => {
            log.expire_tokens(application, after).await?;
        }
    }
    reply::json(StatusCode::OK, &EmptyOut {})
}

/// Who the token speaks for.
pub(crate) async fn whoami(call: Call) -> Answer {
    let grant = &call.bearer()?.grant;
    reply::json(StatusCode::OK, &WhoamiOut::from(grant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_out_without_room_is_to_come_again() {
        let (what, limit) = ("the number of revoked tokens", 3);
        let answer = full(ChangeError::Limit { what, limit }).into_response();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(answer.headers().contains_key(http::header::RETRY_AFTER));
        let answer = full(ChangeError::NotFound { what }).into_response();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
}
