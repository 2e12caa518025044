//! The HTTP client: takes a connection that idles or makes one, sends a request, hands out the answer.
//!
//! **Invariant:** a request is sent once. It goes to another connection only if the one it was given
//! to had ended before a byte of it was written.
//! **Next:** `connect.rs`, new connections.

use std::sync::Arc;

use hooklog_storage::ApplicationId;
use http::header::HOST;
use http::{Response, Version};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connect::{ConnectError, Connector};
use crate::exchange::{self, Body, Http1, Outgoing, Unanswered};
use crate::pool::{IDLE_TIMEOUT, Pool, Pooled};
use crate::target::Target;

/// Connections that have ended unnoticed and are passed over before a new one is made.
const STALE_MAX: usize = 8;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// The client of all endpoints.
pub(crate) struct Client {
    connector: Connector,
    pool: Arc<Pool>,
    _sweeper: JoinSet<()>,
}

impl Client {
    /// `idle_max` bounds the idle connections of one place. Runs inside a tokio runtime.
    pub(crate) fn new(connector: Connector, idle_max: usize) -> Self {
        let pool = Arc::new(Pool::new(idle_max));
        let swept = Arc::clone(&pool);
        let mut sweeper = JoinSet::new();
        sweeper.spawn(async move {
            loop {
                tokio::time::sleep(IDLE_TIMEOUT / 2).await;
                swept.sweep(Instant::now());
            }
        });
        Self {
            connector,
            pool,
            _sweeper: sweeper,
        }
    }

    /// Sends a request, for an application, and waits for the head of its answer. Given up by being
    /// dropped.
    pub(crate) async fn request(
        &self,
        application: ApplicationId,
        target: &Target,
        mut request: Outgoing,
    ) -> Result<Response<Body>, ClientError> {
        let place = &target.place;
        for _ in 0..STALE_MAX {
            let result = match self.pool.take(place) {
                None => break,
                Some(Pooled::Http1(mut connection)) => {
                    if !connection.is_ready().await {
                        continue;
                    }
                    connection.send(request, &self.pool, place).await
                }
                Some(Pooled::Http2(sender, stream)) => {
                    let request = as_http2(request, target);
                    Box::pin(exchange::send_http2(sender, stream, request)).await
                }
            };
            match result {
                Ok(response) => return Ok(response),
                Err(Unanswered {
                    unsent: Some(unsent),
                    ..
                }) => request = as_http1(unsent, target),
                Err(Unanswered { error, .. }) => return Err(error.into()),
            }
        }
        // In a box, as HTTP/2 above: an attempt has the size of the largest that it may come to.
        Box::pin(self.connect_and_send(application, target, request)).await
    }

    async fn connect_and_send(
        &self,
        application: ApplicationId,
        target: &Target,
        request: Outgoing,
    ) -> Result<Response<Body>, ClientError> {
        let place = &target.place;
        let connected = self.connector.connect(application, place).await?;
        let answer = if connected.is_http2 {
            let (sender, stream) = self.pool.share(place, connected.stream).await?;
            exchange::send_http2(sender, stream, as_http2(request, target)).await
        } else {
            let connection = Http1::new(connected.stream).await?;
            connection.send(request, &self.pool, place).await
        };
        answer.map_err(|unanswered| unanswered.error.into())
    }

    #[cfg(test)]
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// HTTP/2 has the whole URL in fields of its own, and no `host`.
fn as_http2(mut request: Outgoing, target: &Target) -> Outgoing {
    request.headers_mut().remove(HOST);
    *request.uri_mut() = target.uri.clone();
    *request.version_mut() = Version::HTTP_2;
    request
}

/// Undoes [`as_http2`].
fn as_http1(mut request: Outgoing, target: &Target) -> Outgoing {
    if let Some(host) = target.headers.get(HOST) {
        request.headers_mut().insert(HOST, host.clone());
    }
    *request.uri_mut() = target.path.clone();
    *request.version_mut() = Version::HTTP_11;
    request
}

#[cfg(test)]
mod tests;
