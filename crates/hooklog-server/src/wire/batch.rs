//! Results of a batch in JSON.
//!
//! **Invariant:** a result has an `id` or an `error`, never both.
//! **Next:** `publish.rs`.

use hooklog_storage::EventId;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{schemas, text};

/// What became of one message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ResultOut<'a> {
    There {
        index: u64,
        #[serde(serialize_with = "text")]
        #[schema(value_type = schemas::MessageId)]
        id: EventId,
    },
    Refused {
        index: u64,
        error: ItemErrorOut<'a>,
    },
}

/// Why one message was refused: what it would have been told alone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ItemErrorOut<'a> {
    status: u16,
    code: &'a str,
    detail: &'a str,
}

impl<'a> ResultOut<'a> {
    pub(crate) fn there(index: u64, id: EventId) -> Self {
        Self::There { index, id }
    }

    pub(crate) fn refused(index: u64, status: StatusCode, code: &'a str, detail: &'a str) -> Self {
        let status = status.as_u16();
        Self::Refused {
            index,
            error: ItemErrorOut {
                status,
                code,
                detail,
            },
        }
    }
}

/// What stands behind all results.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchEndOut<'a> {
    published: u64,
    failed: u64,
    /// Why the rest of the batch was not read, in the words of any error.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<&'a str>,
}

impl<'a> BatchEndOut<'a> {
    pub(crate) fn new(published: u64, failed: u64, stopped: Option<(&'a str, &'a str)>) -> Self {
        Self {
            published,
            failed,
            code: stopped.map(|(code, _)| code),
            detail: stopped.map(|(_, detail)| detail),
        }
    }
}
