//! `POST /app/{app}/msg/batch`: many messages in one request, as a JSON array or as NDJSON.
//!
//! The body is read, taken apart and published piece by piece: one commit a chunk, and nothing more is
//! read while one is on its way, so the client is slowed down to what the log takes. Each message has
//! a result of its own, in order; what is wrong with one keeps none of the others out.
//!
//! With an idempotency key each message has that key and its index as its own: a batch that broke off
//! is sent again as it was, what is there already is answered as before, and the rest is published.
//!
//! **Invariant:** in memory are one chunk, one message on its way in and the results, all bounded; a
//! result that says an id is that of an event on disk.
//! **Next:** `batch/split.rs`, `batch/intake.rs`, `batch/results.rs`.

use http::header;

use self::intake::Intake;
use self::split::Splitter;
use crate::error::ApiError;
use crate::message;
use crate::reply::Answer;
use crate::request::Call;

pub(crate) use results::{Outcome, Results, Shape};

mod intake;
mod results;
mod split;

/// The media type of lines of JSON.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// A message may have the uid `batch`.
pub(crate) async fn get(mut call: Call) -> Answer {
    call.path.push(("msg", "batch".to_owned()));
    message::get(call).await
}

pub(crate) async fn create(mut call: Call) -> Answer {
    let Some(mut upload) = call.upload.take() else {
        return Err(ApiError::OutOfService("The body is gone".to_owned()));
    };
    let (mut intake, mut splitter) = match begin(&call) {
        Ok(begun) => begun,
        Err(error) => {
            upload.linger(&call.state.tasks);
            return Err(error);
        }
    };
    let stopped = intake.run(&mut upload, &mut splitter).await.err();
    if stopped.is_some() {
        upload.linger(&call.state.tasks);
    }
    intake.finish(stopped)
}

fn begin(call: &Call) -> Result<(Intake, Splitter), ApiError> {
    let application = call.application()?.id;
    let accepted = call.headers.get_all(header::ACCEPT).iter();
    let lines = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split([',', ';']).any(|part| part.trim() == NDJSON));
    let shape = if lines { Shape::Lines } else { Shape::List };
    let intake = Intake::new(call, application, shape)?;
    Ok((intake, Splitter::new(call.state.limits.body_bytes_max)))
}

#[cfg(test)]
mod tests;
