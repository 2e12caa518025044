//! A request from outside: its id, and its line in the access log.
//!
//! **Invariant:** every request leaves exactly one line, also one that its client gives up; the line
//! has the route's pattern and the token's subject, never a path, a query, a token or a header but
//! the request's id.
//! **Next:** `request.rs`.

use std::borrow::Cow;

use hooklog_storage::Timestamp;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use crate::error::ApiError;
use crate::listen::Peer;
use crate::rate::{Charge, Free};
use crate::reply::Response;
use crate::request_id;
use crate::state::State;
use crate::token::Subject;

/// The target of the access log's events.
pub const ACCESS_LOG_TARGET: &str = concat!("hooklog", "::access");
/// What nginx logs for a client that went away before the answer.
const GONE: u16 = 499;

/// Whether each request is logged, as an event of `tracing` with the target [`ACCESS_LOG_TARGET`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// None is.
    #[default]
    Off,
    /// Each is, at the level of information.
    On,
}

/// One request, from its head to its answer.
pub(crate) struct Visit {
    id: HeaderValue,
    peer: Peer,
    pub(crate) method: Method,
    /// When it came, by the wall clock.
    pub(crate) time: Timestamp,
    /// The same by the one that its duration is measured with, if that is logged.
    started: Option<Instant>,
    /// What is learned on the way; `-` until then.
    pub(crate) route: &'static str,
    pub(crate) subject: Option<Subject>,
    pub(crate) bytes_in: usize,
    /// What it cost, if there is a limit.
    pub(crate) charge: Option<Charge>,
    answer: Option<(StatusCode, Option<usize>)>,
}

impl Visit {
    pub(crate) fn new(state: &State, peer: Peer, head: &Parts, time: Timestamp) -> Self {
        Self {
            id: state.request_ids.of(&head.headers, time),
            peer,
            method: head.method.clone(),
            time,
            started: (state.access_log == AccessLog::On).then(Instant::now),
            route: "-",
            subject: None,
            bytes_in: 0,
            charge: None,
            answer: None,
        }
    }

    fn id(&self) -> &str {
        self.id.to_str().unwrap_or("-")
    }

    /// The answer to what went wrong; what is logged about it bears the request's id.
    pub(crate) fn refuse(&self, error: ApiError) -> Response {
        let span = tracing::error_span!("request", id = self.id());
        span.in_scope(|| error.into_response())
    }

    /// The answer with the request's id and what is left of its limit; one that is [`Free`] costs
    /// nothing. `bytes` is the length of its body, unless it comes piece by piece.
    pub(crate) fn finish(mut self, state: &State, response: &mut Response, bytes: Option<usize>) {
        if let Some(charge) = &mut self.charge {
            if response.extensions_mut().remove::<Free>().is_some() {
                state.rates.refund(charge);
            }
            charge.tell(response.headers_mut());
        }
        response
            .headers_mut()
            .insert(request_id::NAME, self.id.clone());
        self.answer = Some((response.status(), bytes));
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some(started) = self.started else {
            return;
        };
        let (status, bytes_out) = match self.answer {
            Some((status, bytes)) => (status.as_u16(), bytes),
            None => (GONE, Some(0)),
        };
        let subject: Cow<'_, str> = match self.subject {
            None => "-".into(),
            Some(Subject::Operator) => "operator".into(),
            Some(Subject::Organisation(id)) => id.to_string().into(),
            Some(Subject::Application { application, .. }) => application.to_string().into(),
        };
        let micros = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
        tracing::info!(
            target: ACCESS_LOG_TARGET,
            id = self.id(),
            remote = %self.peer,
            subject = &*subject,
            method = %self.method,
            route = self.route,
            status,
            bytes_in = self.bytes_in,
            bytes_out,
            duration_ms = f64::from(micros) / 1_000.0,
            "request"
        );
    }
}

#[cfg(test)]
mod tests {
    use hooklog_storage::{DEFAULT_ORGANISATION, EventLog};

    use super::*;
    use crate::rate::Class;
    use crate::state;
    use crate::{Config, TokenKey};

    #[tokio::test]
    async fn an_answer_that_there_is_nothing_new_costs_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut settings = hooklog_storage::Config::new(directory.path().join("data"));
        settings.journal_segment_bytes = 8 << 20;
        let key = TokenKey::new("the secret of the tests").expect("long enough");
        let mut config = Config::new(key);
        config.rate_limits.organisation = Some("1/h,1".parse().expect("is one"));
        let state = State::new(EventLog::open(settings).expect("opens"), config);
        let subject = Subject::Organisation(DEFAULT_ORGANISATION.parse().expect("an id"));
        let (head, ()) = http::Request::get("/")
            .body(())
            .expect("is one")
            .into_parts();
        let (free, costs) = (Some(Free), None);
        let answers = [
            (304, free, "r=1;t=0"),
            (304, free, "r=1;t=0"),
            (304, costs, "r=0;t=3600"),
        ];
        for (status, free, left) in answers {
            let mut visit = Visit::new(&state, Peer::Unix, &head, state::now());
            let charge = state.rates.charge(subject, Class::Read).expect("room");
            assert!(charge.as_ref().is_some_and(|charge| charge.wait.is_none()));
            visit.charge = charge;
            let mut response = Response::default();
            *response.status_mut() = StatusCode::from_u16(status).expect("is one");
            free.map(|free| response.extensions_mut().insert(free));
            visit.finish(&state, &mut response, Some(0));
            assert_eq!(response.headers()["ratelimit"], format!("\"read\";{left}"));
        }
        let refused = state.rates.charge(subject, Class::Read).expect("room");
        assert!(refused.is_some_and(|charge| charge.wait.is_some()));
    }
}
