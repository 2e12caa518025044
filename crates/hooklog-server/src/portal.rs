//! Tokens that an organisation hands to its customers, and the end of tokens.
//!
//! **Invariant:** a token made here reaches one application and sees only what its feature flags
//! show. After a log-out or an expiry was answered, the tokens meant are refused, over restarts.
//! **Next:** `event_type.rs`, where feature flags matter.

use std::time::Duration;

use hooklog_storage::{ChangeError, RevokedToken, Timestamp, TokenCut};
use http::{HeaderMap, StatusCode};

use crate::application;
use crate::error::ApiError;
use crate::reply::{self, Answer};
use crate::request::Call;
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
    let issued = issued(now, &cuts);
    // It is handed out in that second, or an expiry before it would miss it. Where the clock was set back
    // it is waited for no longer: the next expiry knows of the second.
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
    let token = match token::mint_with(key, subject, scope, (issued, now), asked.expiry) {
        Ok(token) => token,
        Err(MintError::Public { .. }) => {
            let what = "making tokens, with a public key alone,".to_owned();
            return Err(ApiError::NotImplemented(what));
        }
        Err(error) => return Err(error.into()),
    };
    let url = match (&call.state.portal_url, call.base()) {
        (Some(url), _) => format!("{url}#key={token}"),
        (None, Some(base)) => format!("{base}/#key={token}"),
        (None, None) => return Err(ApiError::Header("the request does not name its host")),
    };
    reply::json(StatusCode::OK, &AccessOut { url, token })
}

/// When a token says that it was issued: tokens say whole seconds, so that one of the second of an expiry
/// would be refused with those before.
fn issued(now: Timestamp, cuts: &[TokenCut]) -> Timestamp {
    let after = cuts
        .iter()
        .map(|cut| TokenCut::next_second(cut.issued_until));
    after.fold(now, Timestamp::max)
}

/// The token of the request is refused from now on.
pub(crate) async fn logout(call: Call) -> Answer {
    let organisation = call.organisation()?;
    let bearer = call.bearer()?;
    let grant = &bearer.grant;
    let application = match grant.subject {
        Subject::Application { application, .. } => Some(application),
        Subject::Organisation(_) | Subject::Operator => None,
    };
    let revoked = RevokedToken {
        organisation,
        expires: grant.expires.plus(LEEWAY),
        hash: revocation::hash(bearer.token()),
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
    use crate::TokenKey;

    /// The story: the clock was set back by a day, all tokens were ended, and those that were made
    /// afterwards were not good before the clock had caught up.
    #[test]
    fn a_token_behind_a_cut_is_good_whatever_the_clock() {
        let key = TokenKey::new("a secret of more than 16 bytes").expect("long enough");
        let keys = key.clone().into();
        let now = Timestamp::from_millis(1_790_000_000_500);
        let (day, hour) = (Duration::from_hours(24), Duration::from_hours(1));
        let subject = Subject::Organisation(
            token::DEFAULT_ORGANISATION
                .parse()
                .expect("the default organisation is an id"),
        );
        for until in [Timestamp::default(), now, now.plus(hour), now.plus(day)] {
            let cut = TokenCut {
                issued_until: until,
                from: Timestamp::default(),
            };
            let issued = issued(now, &[cut]);
            let scope = Scope {
                session: Some("s".to_owned()),
                ..Scope::default()
            };
            let minted = token::mint_with(&key, subject, scope, (issued, now), hour);
            let minted = minted.expect("signs");
            let grant = token::grant(&keys, &minted, now).expect("is good at once");
            let said = grant.issued.expect("says when");
            assert!(said.as_secs() > until.as_secs(), "{until:?}");
            assert_eq!(grant.expires.as_secs(), now.plus(hour).as_secs());
            let over = now.plus(hour + Duration::from_mins(2));
            assert!(token::grant(&keys, &minted, over).is_err());
        }
    }

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
