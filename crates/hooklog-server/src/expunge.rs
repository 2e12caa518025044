//! Takes content out of messages and attempts before retention does.
//!
//! **Invariant:** once answered, no route shows the content again and no delivery carries it.
//! **Next:** `attempt.rs`.

use http::StatusCode;

use crate::attempt;
use crate::reply::{self, Answer};
use crate::request::Call;

/// The payload of a message.
pub(crate) async fn message(call: Call) -> Answer {
    let record = call.event().await?;
    call.state.log.expunge(&record).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// The response that an attempt got.
pub(crate) async fn attempt(call: Call) -> Answer {
    let attempt = attempt::find_one(&call).await?;
    call.state.log.expunge_attempt(&attempt).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
