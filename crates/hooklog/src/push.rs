//! Signed pushes to endpoints without the HTTP server: the log and the dispatcher alone.
//!
//! **Invariant:** one dispatcher per log; a second start is refused.
//! **Next:** `hooklog-dispatcher`'s `dispatcher.rs`.

use std::sync::Arc;

use hooklog_dispatcher::{Config, Dispatcher, StartError};
use hooklog_signature::{GenerateError, Secret};
use hooklog_storage::{
    ApplicationId, ChangeError, Endpoint, Filter, NewSubscription, SecretKey, Subscription,
};

use crate::hooklog::Hooklog;

/// Why a dispatcher was not started.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// There is one already.
    #[error("the dispatcher runs already")]
    Running,
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Why an endpoint was not created.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The URL is not an absolute one of http or https.
    #[error("the endpoint's url must be absolute and http or https: {reason}")]
    Url {
        /// What is wrong.
        reason: String,
    },
    /// There is no secret for it.
    #[error(transparent)]
    Secret(#[from] GenerateError),
    /// It could not be created.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl Hooklog {
    /// Starts to push events to the endpoints of the log, going on where the last dispatcher stopped
    /// or died. Runs in the present tokio runtime until [`close`](Self::close).
    pub async fn start_dispatcher(&self, config: Config) -> Result<(), DispatchError> {
        let mut running = self.inner.dispatcher.lock().await;
        if running.is_some() {
            return Err(DispatchError::Running);
        }
        *running = Some(Dispatcher::start(self.inner.log.clone(), config).await?);
        Ok(())
    }

    /// Creates an endpoint with a new secret: from now on, events of the application that the filter
    /// takes are pushed to the URL. [`Secret::from_bytes`] of `endpoint.secret` is what verifies them.
    ///
    /// Networks that are not public are refused at each delivery unless the dispatcher's
    /// configuration allows them.
    pub async fn create_endpoint(
        &self,
        application: ApplicationId,
        url: &str,
        filter: Filter,
    ) -> Result<Arc<Subscription>, EndpointError> {
        let parsed = url::Url::parse(url).map_err(|error| EndpointError::Url {
            reason: error.to_string(),
        })?;
        if !matches!(parsed.scheme(), "http" | "https") {
            let reason = format!("its scheme is {:?}", parsed.scheme());
            return Err(EndpointError::Url { reason });
        }
        let secret = Secret::generate()?;
        let secret = SecretKey::new(secret.as_bytes().to_vec());
        let new = NewSubscription {
            filter,
            ..NewSubscription::new(application, Endpoint::new(parsed.as_str(), secret))
        };
        Ok(self.inner.log.create_subscription(new).await?)
    }
}
