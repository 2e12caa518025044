//! Whether the server can do its work.
//!
//! **Invariant:** sick means that publishing fails: the log is stopped after an error.
//! **Next:** `server.rs`.

use http::StatusCode;

use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::HealthOut;

pub(crate) async fn get(call: Call) -> Answer {
    match call.state.log.poisoned() {
        None => reply::json(StatusCode::OK, &HealthOut::from_log("ok")),
        // Why is in the server's log: this route is public.
        Some(_) => reply::json(
            StatusCode::INTERNAL_SERVER_ERROR,
            &HealthOut::from_log("error"),
        ),
    }
}

pub(crate) async fn ping(_call: Call) -> Answer {
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
