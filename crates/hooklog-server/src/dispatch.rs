//! The way of a request through the door: route, token, query, body, handler.
//!
//! **Invariant:** a request that reaches a handler had a route, a method of it, a token with enough
//! access and a body within limits. Requests that write run in tasks of their own, so a client that
//! hangs up does not stop them half way.
//! **Next:** `request.rs`, then the handlers.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, header};
use hyper::body::Incoming;

use crate::body::{self, Body};
use crate::error::ApiError;
use crate::query::Query;
use crate::reply::{self, Answer, Response};
use crate::request::Call;
use crate::routes::{self, Access};
use crate::state::{self, State};
use crate::token::{self, Subject, TokenError};

/// Answers a request.
pub(crate) async fn handle(state: Arc<State>, request: Request<Incoming>) -> Response {
    let is_head = request.method() == Method::HEAD;
    let mut response = if request.method() == Method::OPTIONS {
        reply::preflight(request.headers())
    } else {
        answer(state, request)
            .await
            .unwrap_or_else(ApiError::into_response)
    };
    reply::allow_any_origin(&mut response);
    if is_head {
        reply::without_body(response)
    } else {
        response
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Answer {
    let (head, mut incoming) = request.into_parts();
    let path = head.uri.path().trim_end_matches('/');
    let (pattern, route, parts) = routes::find(path, &head.method)?;
    let subject = match route.access {
        Access::Public => None,
        Access::Any | Access::Org => Some(authenticate(&state, &head.headers)?),
    };
    if let (Access::Org, Some(Subject::Application { .. })) = (route.access, subject) {
        return Err(ApiError::Forbidden);
    }
    let path = parts
        .into_iter()
        .map(|(name, part)| (name, decode(part)))
        .collect();
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    let writes = !matches!(head.method, Method::GET | Method::HEAD);
    let body = if writes {
        body::read(&state, &mut incoming).await
    } else {
        Ok(Body::default())
    };
    if let Err(ApiError::BodyTooLarge { .. }) = body {
        state.tasks.spawn(body::linger(incoming));
    }
    let handler = route.handler;
    let call = Call {
        state: Arc::clone(&state),
        subject,
        route: pattern,
        path,
        query,
        body: body?,
    };
    if writes {
        state.tasks.spawn(handler(call)).await?
    } else {
        handler(call).await
    }
}

fn authenticate(state: &State, headers: &HeaderMap) -> Result<Subject, TokenError> {
    let header = headers
        .get(header::AUTHORIZATION)
        .ok_or(TokenError::Missing)?;
    let text = header.to_str().map_err(|_| TokenError::Missing)?;
    let (scheme, token) = text.split_once(' ').ok_or(TokenError::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Missing);
    }
    token::verify(&state.token_key, token.trim(), state::now())
}

/// Undoes percent-encoding; what is not UTF-8 then matches nothing.
fn decode(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after
            .first_chunk::<2>()
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let hex = hex.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let encoded = hex.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match encoded {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn parts_are_decoded() {
        let cases = [
            ("user.created", "user.created"),
            ("a%2Eb%2db", "a.b-b"),
            ("a+b", "a+b"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%+1", "%+1"),
            ("%ff", ""),
            ("é%C3%A9", "éé"),
        ];
        for (encoded, expected) in cases {
            assert_eq!(decode(encoded), expected, "{encoded}");
        }
    }
}
