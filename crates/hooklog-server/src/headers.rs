//! Headers of an endpoint: show, put, change.
//!
//! **Invariant:** what is shown never holds a credential, only its header's name.
//! **Next:** `stats.rs`.

use hooklog_storage::{ChangeError, Header, Subscription};
use http::StatusCode;

use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{Fields, HeadersIn, HeadersOut, HeadersPatch};

pub(crate) async fn get(call: Call) -> Answer {
    let subscription = call.subscription()?;
    let out = HeadersOut::from(subscription.endpoint.headers.as_slice());
    reply::json(StatusCode::OK, &out)
}

pub(crate) async fn put(call: Call) -> Answer {
    let HeadersIn(headers) = HeadersIn::parse(&Fields::parse(call.bytes())?)?;
    let id = call.subscription()?.id;
    let edit = move |value: &mut Subscription, _| {
        value.endpoint.headers = headers.into();
        Ok(())
    };
    call.state.log.update_subscription(id, edit).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn patch(call: Call) -> Answer {
    let patch = HeadersPatch::parse(&Fields::parse(call.bytes())?)?;
    let subscription = call.subscription()?;
    // Says what is wrong by its field; the commit below sees the same unless someone was quicker.
    patch.apply(&mut subscription.endpoint.headers.clone())?;
    let edit = move |value: &mut Subscription, _| {
        let patched = patch.apply(&mut value.endpoint.headers);
        patched.map_err(|_| ChangeError::Limit {
            what: "the number of headers of one endpoint",
            limit: Header::COUNT_MAX,
        })
    };
    let log = &call.state.log;
    log.update_subscription(subscription.id, edit).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
