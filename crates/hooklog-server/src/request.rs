//! A request as handlers see it, and what all of them ask of it.
//!
//! **Invariant:** a handler reaches an application only by [`Call::application`] and what is in
//! it only through that application, so no token reaches across tenants; what is another's is "not
//! found", as what does not exist.
//! **Next:** the handlers, `publish.rs` first.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;
use hooklog_storage::{Application, EventId, OrganisationId, Record, Subscription, Uid};
use http::{HeaderMap, HeaderValue, Uri};

use crate::asked::Asked;
use crate::body::{Body, Upload};
use crate::error::ApiError;
use crate::query::Query;
use crate::reply;
use crate::state::State;
use crate::token::{Grant, Subject, TokenError};
use crate::trace_context::TraceContext;
use crate::waiters::Holder;
use crate::wire::Content;

/// The token of a request. `Debug` does not show its text.
pub(crate) struct Bearer {
    pub(crate) grant: Grant,
    /// The value of the header that it came in.
    pub(crate) header: HeaderValue,
}

impl Bearer {
    /// The text of the token.
    pub(crate) fn token(&self) -> &str {
        Self::token_in(&self.header).unwrap_or_default()
    }

    /// The text of the token in the value of a header `Authorization`.
    pub(crate) fn token_in(header: &HeaderValue) -> Result<&str, TokenError> {
        let text = header.to_str().map_err(|_| TokenError::Missing)?;
        let (scheme, token) = text.split_once(' ').ok_or(TokenError::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(TokenError::Missing);
        }
        Ok(token.trim())
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.grant.fmt(f)
    }
}

/// One request. In a box, for it is handed from one future to the next, and each would carry its size
/// (half a KiB) twice.
#[derive(Debug)]
pub(crate) struct Call(Box<CallParts>);

/// What a [`Call`] is made of.
#[derive(Debug)]
pub(crate) struct CallParts {
    pub(crate) state: Arc<State>,
    /// `None` on public routes alone.
    pub(crate) subject: Option<Subject>,
    /// The token, on the same routes.
    pub(crate) bearer: Option<Bearer>,
    /// What was asked for.
    pub(crate) uri: Uri,
    /// The route's pattern, for messages.
    pub(crate) route: &'static str,
    pub(crate) path: Vec<(&'static str, String)>,
    pub(crate) query: Query,
    /// All headers but that of the token.
    pub(crate) headers: HeaderMap,
    /// Values of the header `Idempotency-Key`, as they came.
    pub(crate) idempotency: Vec<HeaderValue>,
    /// What its headers ask for, if it is a read.
    pub(crate) asked: Asked,
    /// The trace that the client is in, if it said so.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) body: Body,
    /// The body, on routes that read it piece by piece.
    pub(crate) upload: Option<Upload>,
}

impl From<CallParts> for Call {
    fn from(parts: CallParts) -> Self {
        Self(Box::new(parts))
    }
}

impl Deref for Call {
    type Target = CallParts;

    fn deref(&self) -> &CallParts {
        &self.0
    }
}

impl DerefMut for Call {
    fn deref_mut(&mut self) -> &mut CallParts {
        &mut self.0
    }
}

impl Call {
    /// A part of the path by its name in the route.
    pub(crate) fn part(&self, name: &str) -> Result<&str, ApiError> {
        let part = self.path.iter().find(|(key, _)| *key == name);
        part.map(|(_, value)| value.as_str())
            .ok_or(ApiError::NotFound)
    }

    /// Where the client found this server, as `https://hooks.example`.
    pub(crate) fn base(&self) -> Option<String> {
        reply::base(&self.headers, &self.uri)
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.body.bytes
    }

    pub(crate) fn subject(&self) -> Result<Subject, ApiError> {
        self.subject
            .ok_or(ApiError::Unauthenticated(TokenError::Missing))
    }

    pub(crate) fn bearer(&self) -> Result<&Bearer, ApiError> {
        self.bearer
            .as_ref()
            .ok_or(ApiError::Unauthenticated(TokenError::Missing))
    }

    /// The tenant.
    pub(crate) fn organisation(&self) -> Result<OrganisationId, ApiError> {
        self.subject()?.organisation().ok_or(ApiError::Forbidden)
    }

    /// Who counts for bounds on what is held for long.
    pub(crate) fn holder(&self) -> Result<Holder, ApiError> {
        let application = match self.subject()? {
            Subject::Application { application, .. } => Some(application),
            Subject::Organisation(_) | Subject::Operator => None,
        };
        Ok((self.organisation()?, application))
    }

    /// Whether it is about the tenant's operational webhooks: endpoints of an application that no
    /// other route shows.
    pub(crate) fn is_operational(&self) -> bool {
        self.route.starts_with("/operational-webhook/")
    }

    /// The application in the path, by id or uid; of operational webhooks, theirs.
    pub(crate) fn application(&self) -> Result<Arc<Application>, ApiError> {
        let (subject, organisation) = (self.subject()?, self.organisation()?);
        if self.is_operational() {
            let registry = self.state.log.registry();
            let id = registry
                .operational(organisation)
                .ok_or(ApiError::NotFound)?;
            return registry.application(id).cloned().ok_or(ApiError::NotFound);
        }
        let found = {
            let registry = self.state.log.registry();
            registry
                .find_application(organisation, self.part("app")?)
                .cloned()
        };
        let application = found.ok_or(ApiError::NotFound)?;
        match subject {
            Subject::Application {
                application: own, ..
            } if own != application.id => Err(ApiError::NotFound),
            Subject::Application { .. } | Subject::Organisation(_) => Ok(application),
            Subject::Operator => Err(ApiError::Forbidden),
        }
    }

    /// The subscription in the path, by id or uid.
    pub(crate) fn subscription(&self) -> Result<Arc<Subscription>, ApiError> {
        self.subscription_of(self.part("endpoint")?)
    }

    /// A subscription of the application in the path, by id or uid.
    pub(crate) fn subscription_of(&self, id_or_uid: &str) -> Result<Arc<Subscription>, ApiError> {
        let application = self.application()?;
        let registry = self.state.log.registry();
        let found = registry.find_subscription(application.id, id_or_uid);
        found.cloned().ok_or(ApiError::NotFound)
    }

    /// The event in the path, by id or uid.
    pub(crate) async fn event(&self) -> Result<Record, ApiError> {
        let application = self.application()?.id;
        let text = self.part("msg")?.to_owned();
        if text.parse::<EventId>().is_err() && text.parse::<Uid>().is_err() {
            return Err(ApiError::NotFound);
        }
        let found = self
            .state
            .read(move |log| log.find_event(application, &text))
            .await?;
        found.ok_or(ApiError::NotFound)
    }

    /// Whether payloads are wanted (`with_content`, on by default for older SDKs).
    pub(crate) fn content(&self) -> Result<Content, ApiError> {
        self.content_or(Content::Full)
    }

    pub(crate) fn content_or(&self, default: Content) -> Result<Content, ApiError> {
        Ok(match self.query.flag("with_content")? {
            Some(true) => Content::Full,
            Some(false) => Content::Omitted,
            None => default,
        })
    }
}
