//! The HTTP client: takes a connection that idles or makes one, sends a request, hands out the answer.
//!
//! **Invariant:** a request is sent once. It goes to another connection only if the one it was given
//! to had ended before a byte of it was written.
//! **Next:** `connect.rs`, new connections.

use std::sync::Arc;

use hooklog_storage::ApplicationId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connect::{ConnectError, Connector};
use crate::exchange::{self, Response, Unanswered};
use crate::http1::{Http1, Http1Error};
use crate::pool::{IDLE_TIMEOUT, Pool, Pooled};
use crate::request::{Outgoing, RequestError};

/// Connections that have ended unnoticed and are passed over before a new one is made.
const STALE_MAX: usize = 8;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Http1(#[from] Http1Error),
    #[error(transparent)]
    Http2(#[from] hyper::Error),
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
        request: &Outgoing,
    ) -> Result<Response, ClientError> {
        for _ in 0..STALE_MAX {
            match self.pool.take(&request.target.place) {
                None => break,
                Some(Pooled::Http1(connection)) => {
                    match exchange::send_http1(connection, &self.pool, request).await {
                        // It had ended while it idled.
                        Err(Http1Error::Unsent(_)) => {}
                        result => return Ok(result?),
                    }
                }
                Some(Pooled::Http2(sender, stream)) => {
                    let sending = exchange::send_http2(sender, stream, request.http2()?);
                    match Box::pin(sending).await {
                        Err(Unanswered {
                            is_unsent: true, ..
                        }) => {}
                        Err(Unanswered { error, .. }) => return Err(error.into()),
                        Ok(response) => return Ok(response),
                    }
                }
            }
        }
        // In a box, as HTTP/2 above: an attempt has the size of the largest that it may come to.
        Box::pin(self.connect_and_send(application, request)).await
    }

    async fn connect_and_send(
        &self,
        application: ApplicationId,
        request: &Outgoing,
    ) -> Result<Response, ClientError> {
        let place = &request.target.place;
        let connected = self.connector.connect(application, place).await?;
        if connected.is_http2 {
            let (sender, stream) = self.pool.share(place, connected.stream).await?;
            let sending = exchange::send_http2(sender, stream, request.http2()?);
            sending.await.map_err(|unanswered| unanswered.error.into())
        } else {
            let connection = Http1::new(connected.stream);
            Ok(exchange::send_http1(connection, &self.pool, request).await?)
        }
    }

    #[cfg(test)]
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

#[cfg(test)]
mod tests;
