//! The results of a batch, as a list or as lines.
//!
//! **Invariant:** one result for each message, in order; the status says whether all are published
//! (202), all were read but some are refused (207), or why the rest was not read.
//! **Next:** `../wire/batch.rs`.

use hooklog_storage::{Appended, EventId};
use http::{HeaderValue, StatusCode, header};

use super::NDJSON;
use crate::error::ApiError;
use crate::idempotency;
use crate::reply::Answer;
use crate::wire::{BatchEndOut, Issue, ResultOut};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const LINES: HeaderValue = HeaderValue::from_static(NDJSON);

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As a JSON object with a list.
    List,
    /// As one JSON object a line.
    Lines,
}

/// What became of one message.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is on disk under this id, now or since the same request was here before.
    There(EventId),
    /// It was refused.
    Refused(ApiError),
}

impl Outcome {
    /// As the log tells it.
    pub(crate) fn of(appended: &Appended) -> Self {
        match *appended {
            Appended::Committed { id, .. } | Appended::Replayed { id, .. } => Self::There(id),
            Appended::UidTaken { existing } => {
                let message = format!("its id is that of {existing}");
                Self::Refused(ApiError::Conflict(message))
            }
            Appended::KeyMismatch { existing } => {
                Self::Refused(idempotency::mismatch(&existing.to_string()))
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Results {
    shape: Shape,
    text: Vec<u8>,
    published: u64,
    failed: u64,
}

impl Results {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            shape,
            text: match shape {
                Shape::List => b"{\"data\":[".to_vec(),
                Shape::Lines => Vec::new(),
            },
            published: 0,
            failed: 0,
        }
    }

    /// Bytes of all results.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.published + self.failed
    }

    /// Adds the next result.
    pub(crate) fn add(&mut self, index: u64, outcome: Outcome) -> Result<(), ApiError> {
        if self.shape == Shape::List && self.count() > 0 {
            self.text.push(b',');
        }
        match outcome {
            Outcome::There(id) => {
                self.published += 1;
                serde_json::to_writer(&mut self.text, &ResultOut::there(index, id))?;
            }
            Outcome::Refused(error) => {
                self.failed += 1;
                let (status, code, detail) = error.told();
                let out = ResultOut::refused(index, status, code, &detail);
                serde_json::to_writer(&mut self.text, &out)?;
            }
        }
        if self.shape == Shape::Lines {
            self.text.push(b'\n');
        }
        Ok(())
    }

    /// The answer; `stopped` says why the batch was not read to its end.
    pub(crate) fn finish(mut self, stopped: Option<ApiError>) -> Answer {
        let told = stopped.as_ref().map(ApiError::told);
        let told = told
            .as_ref()
            .map(|(_, code, detail)| (*code, detail.as_str()));
        let end = BatchEndOut::new(self.published, self.failed, told);
        let end = serde_json::to_vec(&end)?;
        match self.shape {
            // An object goes on behind its list.
            Shape::List => {
                self.text.extend_from_slice(b"],");
                self.text.extend(end.iter().skip(1));
            }
            Shape::Lines => {
                self.text.extend_from_slice(&end);
                self.text.push(b'\n');
            }
        }
        let mut response = match stopped {
            Some(error) => error.into_response(),
            None => http::Response::default(),
        };
        if !response.status().is_client_error() && !response.status().is_server_error() {
            *response.status_mut() = if self.failed == 0 {
                StatusCode::ACCEPTED
            } else {
                StatusCode::MULTI_STATUS
            };
        }
        let content_type = match self.shape {
            Shape::List => JSON,
            Shape::Lines => LINES,
        };
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        Ok(response.map(|_| self.text.into()))
    }
}

/// The refusal of one more message than a batch may have.
pub(super) fn too_many(limit: u64) -> ApiError {
    Issue::body(
        "batch",
        format!("has more than the limit of {limit} messages"),
    )
    .into()
}
