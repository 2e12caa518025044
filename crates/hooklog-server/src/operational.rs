//! Operational webhooks: endpoints that hear what happens to endpoints and deliveries of a tenant.
//!
//! **Invariant:** they are endpoints like all others, of an application that the tenant's first
//! operational webhook makes.
//! **Next:** `endpoint.rs`, which does the rest.

use http::StatusCode;

use crate::endpoint;
use crate::error::ApiError;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::List;

pub(crate) async fn create(call: Call) -> Answer {
    let organisation = call.organisation()?;
    call.state.log.operational_application(organisation).await?;
    endpoint::create(call).await
}

pub(crate) async fn list(call: Call) -> Answer {
    match call.application() {
        Ok(_) => endpoint::list(call).await,
        Err(ApiError::NotFound) => {
            let none = List::<()> {
                data: Vec::new(),
                iterator: None,
                prev_iterator: None,
                done: true,
            };
            reply::json(StatusCode::OK, &none)
        }
        Err(error) => Err(error),
    }
}
