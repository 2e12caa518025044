//! ⑤ Deliver: one signed attempt → its answer.
//!
//! **Invariant:** the payload goes out verbatim, signed by every key that is valid now; an attempt
//! ends within its timeout and keeps at most a bounded part of the answer, whatever the receiver
//! does. 2xx alone is success; redirects are not followed.
//! **Next:** `ack.rs`, where the outcome moves the cursor.

use std::error::Error;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hooklog_storage::{Record, Subscription, Timestamp};
use http::StatusCode;
use http::header::HeaderValue;
use tokio::time::Sleep;
use tokio_rustls::rustls::RootCertStore;

use crate::client::{Client, ClientError};
use crate::config::Config;
use crate::connect::{self, Connector, Dial, Tcp};
use crate::exchange::Response;
use crate::request::{self, RequestError};
use crate::resolve::Resolve;
use crate::retry_after::RetryAfter;
use crate::ssrf::Guard;
use crate::target::{TargetError, Targets};

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The answer's status, if one came.
    pub(crate) status: Option<u16>,
    /// The answer's body, cut off, or why there is none.
    pub(crate) response: String,
    /// What it means for the delivery.
    pub(crate) verdict: Verdict,
    /// Whose fault a failure is; `None` if the server itself failed.
    pub(crate) fault: Option<Fault>,
    /// When the receiver wants to hear from us again.
    pub(crate) retry_after: Option<RetryAfter>,
}

/// Whose fault a failed attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The endpoint's, and no event can have caused it: there was no connection.
    Unreachable,
    /// The endpoint's: no answer, or one that says so.
    Endpoint,
    /// The event's: the endpoint works and refuses it.
    Event,
}

impl Fault {
    /// What a status other than success tells. A redirect is the endpoint's: it moved.
    fn of(status: StatusCode) -> Self {
        let is_own = status.is_client_error()
            && status != StatusCode::TOO_MANY_REQUESTS
            && status != StatusCode::REQUEST_TIMEOUT;
        if is_own { Self::Event } else { Self::Endpoint }
    }
}

/// What an answer means for the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 2xx.
    Delivered,
    /// To be tried again by the schedule.
    Failed,
    /// There is nothing to deliver any more.
    Gone,
}

impl Answer {
    /// An attempt that got no answer.
    pub(crate) fn none(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self {
            status: None,
            response: reason.into(),
            verdict,
            fault: None,
            retry_after: None,
        }
    }
}

/// Why a request was not made or got no answer.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("no answer within {limit:?}")]
    Timeout { limit: Duration },
    #[error("no answer")]
    Client(#[from] ClientError),
}

impl AttemptError {
    fn fault(&self) -> Fault {
        match self {
            // What is wrong with the endpoint as it is set up fails before a connection, too.
            Self::Target(_) | Self::Client(ClientError::Connect(_)) => Fault::Unreachable,
            Self::Request(_) | Self::Client(ClientError::Request(_)) => Fault::Event,
            Self::Timeout { .. } | Self::Client(ClientError::Http1(_) | ClientError::Http2(_)) => {
                Fault::Endpoint
            }
        }
    }
}

/// Idle connections of one place: for several endpoints of one host, or one with many attempts at a
/// time. What is too much of it is closed by time.
const IDLE_MAX: usize = 128;

/// Makes attempts.
pub(crate) struct Deliver {
    client: Client,
    guard: Arc<Guard>,
    targets: Targets,
    timeout: Duration,
    response_bytes_max: usize,
    user_agent: HeaderValue,
}

impl Deliver {
    pub(crate) fn new(config: &Config, resolver: Arc<dyn Resolve>) -> Self {
        Self::over(config, resolver, Arc::new(Tcp), connect::public_roots())
    }

    /// Over another network, where servers are known by other authorities.
    pub(crate) fn over(
        config: &Config,
        resolver: Arc<dyn Resolve>,
        dial: Arc<dyn Dial>,
        roots: RootCertStore,
    ) -> Self {
        let guard = Arc::new(Guard::new(config.allow_networks.clone()));
        let connector = Connector::new(Arc::clone(&guard), resolver, dial, roots);
        Self {
            client: Client::new(connector, IDLE_MAX),
            guard,
            targets: Targets::default(),
            timeout: config.attempt_timeout,
            response_bytes_max: config.response_bytes_max,
            // Checked with the configuration.
            user_agent: HeaderValue::from_str(&config.user_agent)
                .unwrap_or_else(|_| HeaderValue::from_static("Hooklog")),
        }
    }

    /// How long an attempt may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// One attempt that starts at `now`.
    #[cfg(test)]
    pub(crate) async fn attempt(
        &self,
        subscription: &Arc<Subscription>,
        record: &Record,
        now: Timestamp,
    ) -> Answer {
        let deadline = std::pin::pin!(tokio::time::sleep(self.timeout));
        self.attempt_until(subscription, record, now, deadline)
            .await
    }

    /// One attempt that starts at `now` and ends by a deadline, [`timeout`](Self::timeout) later. It is one
    /// timer for everything: names, connection, TLS, request, head and body.
    pub(crate) async fn attempt_until(
        &self,
        subscription: &Arc<Subscription>,
        record: &Record,
        now: Timestamp,
        mut deadline: Pin<&mut Sleep>,
    ) -> Answer {
        match self
            .send(subscription, record, now, deadline.as_mut())
            .await
        {
            Ok(response) => self.answer(response, deadline).await,
            Err(error) => {
                let mut reason = reason(&error);
                truncate(&mut reason, self.response_bytes_max);
                let fault = Some(error.fault());
                Answer {
                    fault,
                    ..Answer::none(Verdict::Failed, reason)
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    async fn send(
        &self,
        subscription: &Arc<Subscription>,
        record: &Record,
        now: Timestamp,
        deadline: Pin<&mut Sleep>,
    ) -> Result<Response, AttemptError> {
        let target = self
            .targets
            .get(subscription, &self.guard, &self.user_agent)?;
        let request = request::request(target, record, now)?;
        let requesting = self.client.request(record.event.application, &request);
        tokio::select! {
            // What is there goes before the deadline; both are bounded, so the deadline has its turn.
            biased;
            response = requesting => Ok(response?),
            () = deadline => Err(AttemptError::Timeout { limit: self.timeout }),
        }
    }

    /// Reads what is kept of an answer. A 2xx counts once its head has arrived: the receiver has
    /// the event, and a slow or broken body must not make us send it again.
    async fn answer(&self, response: Response, deadline: Pin<&mut Sleep>) -> Answer {
        let Response {
            status,
            location,
            retry_after,
            mut body,
        } = response;
        let mut kept = Vec::new();
        tokio::select! {
            biased;
            () = body.read(&mut kept, self.response_bytes_max) => {}
            () = deadline => {}
        }
        let mut response = match location {
            Some(location) => format!("redirects are not followed; location: {location}"),
            None => String::from_utf8(kept)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        };
        truncate(&mut response, self.response_bytes_max);
        let verdict = if status.is_success() {
            Verdict::Delivered
        } else {
            Verdict::Failed
        };
        Answer {
            status: Some(status.as_u16()),
            response,
            verdict,
            fault: (verdict == Verdict::Failed).then(|| Fault::of(status)),
            retry_after,
        }
    }
}

/// Cuts a text to a number of bytes at a character's border.
fn truncate(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}

/// An error and its causes in one line, each told once.
fn reason(error: &AttemptError) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(error) = next {
        next = error.source();
        let message = error.to_string();
        if text.is_empty() {
            text = message;
        } else if !text.contains(&message) {
            // Writing into a string cannot fail.
            let _ = write!(text, ": {message}");
        }
    }
    text
}

#[cfg(test)]
mod tests;
