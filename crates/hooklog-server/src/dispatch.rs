//! The way of a request through the door: route, token, query, body, handler.
//!
//! **Invariant:** a request that reaches a handler had a route, a method of it, a token with enough
//! access and a body within limits. Requests that write more than once run in tasks of their own, so a
//! client that hangs up does not stop them half way; there is room for the answer to a write before it
//! begins.
//! **Next:** `request.rs`, then the handlers.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Method, Request, header};
use hyper::body::Incoming;

use crate::accept::{ErrorForm, Form, Wanted};
use crate::answers::{Answers, Room};
use crate::asked::Asked;
use crate::body::{Body, Upload};
use crate::error::ApiError;
use crate::idempotency;
use crate::listen::Peer;
use crate::query::Query;
use crate::rate::Class;
use crate::repeat::{self, RequestKey};
use crate::reply::{self, Response};
use crate::request::{Bearer, Call};
use crate::revocation;
use crate::routes::{self, Access, Route};
use crate::state::{self, State};
use crate::streamed::{OutBody, Pieces};
use crate::token::Capability;
use crate::token::TokenError;
use crate::trace_context::TraceContext;
use crate::visit::Visit;
use crate::xml::Names;

/// What an answer to a write has around what came in: ids, times, names of fields.
const ENVELOPE_BYTES: usize = 1 << 10;

/// Answers a request.
pub(crate) async fn handle(
    state: Arc<State>,
    answers: Answers,
    peer: Peer,
    request: Request<Incoming>,
) -> http::Response<OutBody> {
    let (mut head, incoming) = request.into_parts();
    let wanted = Wanted::of(&head.headers);
    let mut visit = Visit::new(&state, peer, &head);
    let mut upload = Upload::new(incoming, &head.headers);
    let answer = if head.method == Method::OPTIONS {
        Ok((reply::preflight(&head.headers), Room::default()))
    } else {
        answer(&state, &mut head, wanted, &mut upload, &mut visit).await
    };
    upload.linger(&state.tasks);
    let (mut response, room) = answer.unwrap_or_else(|error| {
        let refusal = reply::shape(visit.refuse(error), wanted, Names::PROBLEM);
        // It is small whatever was sent (`brief.rs`), and must come when there is no room, too.
        (refusal.unwrap_or_default(), Room::default())
    });
    reply::allow_any_origin(&mut response);
    if head.method == Method::HEAD {
        response.extensions_mut().remove::<Pieces>();
        response = reply::without_body(response);
    }
    let bytes = response.body().len();
    let comes_in_pieces = response.extensions().get::<Pieces>().is_some();
    visit.finish(&state, &mut response, (!comes_in_pieces).then_some(bytes));
    answers.send(response, room)
}

async fn answer(
    state: &Arc<State>,
    head: &mut Parts,
    wanted: Wanted,
    upload: &mut Upload,
    visit: &mut Visit,
) -> Result<(Response, Room), ApiError> {
    let path = head.uri.path().trim_end_matches('/');
    let (pattern, route, parts) = routes::find(path, &head.method)?;
    visit.route = pattern;
    let bearer = match route.access {
        Access::Public => None,
        Access::Any | Access::Org | Access::Operator => Some(authenticate(state, &head.headers)?),
    };
    let subject = bearer.as_ref().map(|bearer| bearer.grant.subject);
    visit.subject = subject;
    if let Some(subject) = subject {
        let class = Class::of(pattern, &head.method);
        visit.charge = state.rates.charge(subject, class)?;
    }
    if let Some(wait) = visit.charge.as_ref().and_then(|charge| charge.wait) {
        return Err(ApiError::RateLimited { wait });
    }
    if subject.is_some_and(|subject| !route.access.admits(subject)) {
        return Err(ApiError::Forbidden);
    }
    let needed = Capability::needed(pattern, &head.method);
    if bearer
        .as_ref()
        .is_some_and(|bearer| !bearer.grant.may(needed))
    {
        return Err(ApiError::Forbidden);
    }
    let path = parts
        .into_iter()
        .map(|(name, part)| (name, decode(part)))
        .collect();
    let idempotency = head.headers.get_all(idempotency::NAME).iter().cloned();
    let idempotency = idempotency.collect();
    head.headers.remove(header::AUTHORIZATION);
    let mut call = Call {
        state: Arc::clone(state),
        subject,
        bearer,
        base: reply::base(&head.headers, &head.uri),
        route: pattern,
        path,
        query: Query::parse(head.uri.query().unwrap_or_default())?,
        asked: Asked::default(),
        trace: TraceContext::of(&head.headers),
        headers: std::mem::take(&mut head.headers),
        idempotency,
        body: Body::default(),
        upload: None,
    };
    if matches!(head.method, Method::GET | Method::HEAD) {
        call.asked = Asked::of(&call.headers);
        if head.method == Method::HEAD {
            call.asked.wait = None;
        }
        let response = shaped(state, (route.handler)(call).await?, wanted, pattern).await?;
        let room = state.read_answers.take(response.body().len())?;
        return Ok((response, room));
    }
    write(route, call, head, wanted, upload, visit).await
}

/// Answers a request that may change something.
async fn write(
    route: &Route,
    mut call: Call,
    head: &Parts,
    wanted: Wanted,
    upload: &mut Upload,
    visit: &mut Visit,
) -> Result<(Response, Room), ApiError> {
    let (state, pattern, handler) = (&Arc::clone(&call.state), call.route, route.handler);
    let limit = routes::body_bytes_max(pattern, &state.limits);
    refuse_encoded(&call.headers)?;
    let reads_pieces = routes::reads_pieces(pattern, &head.method);
    if !reads_pieces {
        call.body = upload.read(state, limit).await?;
        visit.bytes_in = call.bytes().len();
    }
    // Room for an answer like the body, before the write: once it is done, a 503 would be a lie.
    let mut room = state
        .write_answers
        .take(call.bytes().len() + ENVELOPE_BYTES)?;
    if reads_pieces {
        call.upload = Some(upload.take());
    }
    let response = match RequestKey::of(&call, &head.method, &head.uri)? {
        Some(key) => {
            let once = repeat::once(Arc::clone(state), key, handler(call));
            state.tasks.spawn(once).await??
        }
        None if routes::is_one_write(pattern, &head.method) => handler(call).await?,
        None => state.tasks.spawn(handler(call)).await??,
    };
    let response = shaped_anyway(state, response, wanted, pattern).await?;
    state.write_answers.widen(&mut room, response.body().len());
    Ok((response, room))
}

/// What is sent compressed would be stored and delivered as if it were not.
fn refuse_encoded(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    match encodings.find(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        None => Ok(()),
        Some(value) => {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            Err(ApiError::Encoding(text))
        }
    }
}

/// An answer in the form that is wanted; a large one is made where it holds nobody up.
async fn shaped(
    state: &State,
    response: Response,
    wanted: Wanted,
    pattern: &'static str,
) -> Result<Response, ApiError> {
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    // An error of a batch that broke off has the results up to there.
    let is_xml = if is_error {
        wanted.error == ErrorForm::ProblemXml
    } else {
        wanted.answer == Form::Xml
    };
    let shape = move || reply::shape(response, wanted, Names::of_route(pattern));
    if is_xml {
        // In a box, for most requests have no need of it, and carry its size.
        return Box::pin(beside(state, shape)).await;
    }
    shape()
}

/// Makes an answer in XML, beside what others wait for.
async fn beside(
    state: &State,
    shape: impl FnOnce() -> Result<Response, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let slot = Arc::clone(&state.shapes).acquire_owned();
    let slot = tokio::time::timeout(state.limits.read_wait_timeout, slot).await;
    let slot = slot.map_err(|_| ApiError::Busy("too many answers in XML at once".to_owned()))?;
    let work = state.tasks.spawn_blocking(move || {
        let _slot = slot;
        shape()
    });
    work.await?
}

/// The same for what was written: a client that gets no XML of it gets its JSON, for an error would
/// say that nothing was done.
async fn shaped_anyway(
    state: &State,
    response: Response,
    wanted: Wanted,
    pattern: &'static str,
) -> Result<Response, ApiError> {
    if wanted == Wanted::default() {
        return shaped(state, response, wanted, pattern).await;
    }
    let json = response.clone();
    match shaped(state, response, wanted, pattern).await {
        Ok(response) => Ok(response),
        Err(error) => {
            tracing::debug!(%error, "what was written is answered in JSON");
            shaped(state, json, Wanted::default(), pattern).await
        }
    }
}

fn authenticate(state: &State, headers: &HeaderMap) -> Result<Bearer, TokenError> {
    let header = headers
        .get(header::AUTHORIZATION)
        .ok_or(TokenError::Missing)?;
    let text = header.to_str().map_err(|_| TokenError::Missing)?;
    let (scheme, token) = text.split_once(' ').ok_or(TokenError::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Missing);
    }
    let (token, now) = (token.trim(), state::now());
    let grant = state.verified.grant(&state.token_keys, token, now)?;
    if revocation::is_revoked(&state.log, &grant, || revocation::hash(token), now) {
        return Err(TokenError::Revoked);
    }
    let token = token.to_owned();
    Ok(Bearer { grant, token })
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
    use std::time::Duration;

    use bytes::Bytes;
    use hooklog_storage::EventLog;
    use http::{HeaderValue, StatusCode};

    use super::*;
    use crate::{Config, TokenKey};

    /// The event was on disk, and its publisher was told that the server was busy.
    #[tokio::test]
    async fn what_was_written_is_answered_without_xml_if_need_be() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut settings = hooklog_storage::Config::new(directory.path().join("data"));
        settings.journal_segment_bytes = 8 << 20;
        let key = TokenKey::new("the secret of the tests").expect("long enough");
        let mut config = Config::new(key);
        config.limits.read_wait_timeout = Duration::from_millis(1);
        let state = State::new(EventLog::open(settings).expect("opens"), config);
        let mut headers = HeaderMap::new();
        let xml = HeaderValue::from_static("application/xml");
        headers.insert(header::ACCEPT, xml.clone());
        let wanted = Wanted::of(&headers);
        let pattern = "/app/{app}/msg";
        let free = state.shapes.available_permits();
        for (taken, status, read, written) in [
            (
                0,
                StatusCode::OK,
                Some("application/xml"),
                "application/xml",
            ),
            (
                0,
                StatusCode::CONFLICT,
                Some("application/problem+xml"),
                "application/problem+xml",
            ),
            (free, StatusCode::OK, None, "application/json"),
            (free, StatusCode::CONFLICT, None, "application/json"),
        ] {
            let taken = u32::try_from(taken).expect("few");
            let slots = state.shapes.acquire_many(taken).await.expect("open");
            let answer = || reply::json_bytes(status, Bytes::from_static(b"{\"id\":\"x\"}"));
            let kind = |answer: &Response| {
                let kind = &answer.headers()[header::CONTENT_TYPE];
                kind.to_str().expect("is text").to_owned()
            };
            let told = shaped(&state, answer(), wanted, pattern).await;
            let told = told.as_ref().ok().map(kind);
            assert_eq!(told.as_deref(), read, "{status}");
            let told = shaped_anyway(&state, answer(), wanted, pattern).await;
            let told = told.expect("an answer");
            assert_eq!((kind(&told).as_str(), told.status()), (written, status));
            assert_eq!(told.headers()[header::VARY], "accept");
            drop(slots);
        }
    }

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
