//! The way of a request through the door: route, token, query, body, handler.
//!
//! **Invariant:** a request that reaches a handler had a route, a method of it, a token with enough
//! access and a body within limits. Requests that write more than once run in tasks of their own, so a
//! client that hangs up does not stop them half way; there is room for the answer to a write before it
//! begins.
//! **Next:** `request.rs`, then the handlers.

use std::convert::Infallible;
use std::sync::Arc;

use hooklog_storage::Timestamp;
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
use crate::request::{Bearer, Call, CallParts};
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

/// Answers a request. No `async fn`, and what hyper asks for: each `async` around another has its
/// arguments and what it waits for twice, and all of it is moved.
pub(crate) fn handle(
    state: Arc<State>,
    answers: Answers,
    peer: Peer,
    request: Request<Incoming>,
) -> impl Future<Output = Result<http::Response<OutBody>, Infallible>> + Send {
    let (head, incoming) = request.into_parts();
    let wanted = Wanted::of(&head.headers);
    let mut visit = Visit::new(&state, peer, &head, state::now());
    let mut upload = Upload::new(incoming, &head.headers);
    // Before the future begins, so that it does not carry the request's head.
    let entered = if head.method == Method::OPTIONS {
        Entered::Preflight(Box::new(reply::preflight(&head.headers)))
    } else {
        enter(&state, head, &mut visit).unwrap_or_else(Entered::Refused)
    };
    async move {
        let answer = match entered {
            Entered::Routed(route, call) => {
                answer(route, call, wanted, &mut upload, &mut visit).await
            }
            Entered::Preflight(response) => Ok((*response, Room::default())),
            Entered::Refused(error) => Err(error),
        };
        upload.linger(&state.tasks);
        let (response, room) = answer.unwrap_or_else(|error| {
            let refusal = reply::shape(visit.refuse(error), wanted, || Names::PROBLEM);
            // It is small whatever was sent (`brief.rs`), and must come when there is no room, too.
            (refusal.unwrap_or_default(), Room::default())
        });
        let response = finish(response, visit, &state);
        Ok(answers.send(response, room))
    }
}

/// A request behind the door.
enum Entered {
    Routed(&'static Route, Call),
    Preflight(Box<Response>),
    Refused(ApiError),
}

/// The answer as it is told to the client and the access log.
fn finish(mut response: Response, visit: Visit, state: &State) -> Response {
    reply::allow_any_origin(&mut response);
    if visit.method == Method::HEAD {
        response.extensions_mut().remove::<Pieces>();
        response = reply::without_body(response);
    }
    let bytes = response.body().len();
    let comes_in_pieces = response.extensions().get::<Pieces>().is_some();
    visit.finish(state, &mut response, (!comes_in_pieces).then_some(bytes));
    response
}

/// Finds the way of a request, and who makes it.
fn enter(state: &Arc<State>, mut head: Parts, visit: &mut Visit) -> Result<Entered, ApiError> {
    let path = head.uri.path().trim_end_matches('/');
    let (pattern, route, parts) = routes::find(path, &head.method)?;
    visit.route = pattern;
    let bearer = match route.access {
        Access::Public => {
            head.headers.remove(header::AUTHORIZATION);
            None
        }
        Access::Any | Access::Org | Access::Operator => {
            Some(authenticate(state, &mut head.headers, visit.time)?)
        }
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
    let needed = || Capability::needed(pattern, &head.method);
    if bearer
        .as_ref()
        .is_some_and(|bearer| !bearer.grant.may(needed))
    {
        return Err(ApiError::Forbidden);
    }
    let idempotency = head.headers.get_all(idempotency::HEADER).iter().cloned();
    let idempotency = idempotency.collect();
    let mut call = Call::from(CallParts {
        state: Arc::clone(state),
        subject,
        bearer,
        route: pattern,
        path: parts,
        query: Query::parse(head.uri.query().unwrap_or_default())?,
        uri: head.uri,
        asked: Asked::default(),
        trace: TraceContext::of(&head.headers),
        headers: head.headers,
        idempotency,
        body: Body::default(),
        upload: None,
    });
    if matches!(head.method, Method::GET | Method::HEAD) {
        call.asked = Asked::of(&call.headers);
        if head.method == Method::HEAD {
            call.asked.wait = None;
        }
    }
    Ok(Entered::Routed(route, call))
}

async fn answer(
    route: &Route,
    call: Call,
    wanted: Wanted,
    upload: &mut Upload,
    visit: &mut Visit,
) -> Result<(Response, Room), ApiError> {
    if !matches!(visit.method, Method::GET | Method::HEAD) {
        return write(route, call, wanted, upload, visit).await;
    }
    let (state, pattern) = (Arc::clone(&call.state), call.route);
    let response = (route.handler)(call).await?;
    let response = if wanted == Wanted::default() {
        reply::shape(response, wanted, || Names::of_route(pattern))?
    } else {
        Box::pin(shaped(&state, response, wanted, pattern)).await?
    };
    let room = state.read_answers.take(response.body().len())?;
    Ok((response, room))
}

/// Answers a request that may change something.
async fn write(
    route: &Route,
    mut call: Call,
    wanted: Wanted,
    upload: &mut Upload,
    visit: &mut Visit,
) -> Result<(Response, Room), ApiError> {
    let (state, pattern, handler) = (&Arc::clone(&call.state), call.route, route.handler);
    let limit = routes::body_bytes_max(pattern, &state.limits);
    refuse_encoded(&call.headers)?;
    let reads_pieces = routes::reads_pieces(pattern, &visit.method);
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
    let response = match RequestKey::of(&call, &visit.method)? {
        Some(key) => {
            let once = repeat::once(Arc::clone(state), key, handler(call));
            state.tasks.spawn(once).await??
        }
        None if routes::is_one_write(pattern, &visit.method) => handler(call).await?,
        None => state.tasks.spawn(handler(call)).await??,
    };
    let response = if wanted == Wanted::default() {
        reply::shape(response, wanted, || Names::of_route(pattern))?
    } else {
        Box::pin(shaped_anyway(state, response, wanted, pattern)).await?
    };
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
    let shape = move || reply::shape(response, wanted, || Names::of_route(pattern));
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

/// Takes the token out of the headers, where nobody looks for it from now on.
fn authenticate(
    state: &State,
    headers: &mut HeaderMap,
    now: Timestamp,
) -> Result<Bearer, TokenError> {
    let header = headers
        .remove(header::AUTHORIZATION)
        .ok_or(TokenError::Missing)?;
    let token = Bearer::token_in(&header)?;
    let grant = state.verified.grant(&state.token_keys, token, now)?;
    if revocation::is_revoked(&state.log, &grant, || revocation::hash(token), now) {
        return Err(TokenError::Revoked);
    }
    Ok(Bearer { grant, header })
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
}
