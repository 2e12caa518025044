//! Problem details (RFC 9457) in JSON; their XML is made of it.
//!
//! **Invariant:** `type` is `about:blank`, so `title` is the status's name (section 4.2.1); `code` and
//! `errors` are the API family's own `code` and list of issues, `data`, `published` and `failed` the results
//! of a batch that broke off.
//! **Next:** `wire/batch.rs`.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::batch::ResultOut;

/// What the API family's own body of an error says.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ErrorTold<'a> {
    detail: Option<Value>,
    code: Option<String>,
    /// What became of each message up to the error: as long as the batch was.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    published: Option<u64>,
    failed: Option<u64>,
}

/// The body of a problem.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemOut<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<super::Issue>>)]
    errors: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<ResultOut<'static>>>)]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    published: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failed: Option<u64>,
}

impl<'a> ProblemOut<'a> {
    /// Of an answer's status and body.
    pub(crate) fn new(status: StatusCode, body: &'a ErrorTold<'a>) -> Self {
        let (detail, errors) = match &body.detail {
            Some(Value::String(detail)) => (Some(detail.clone()), None),
            Some(Value::Array(issues)) => {
                let issues: Vec<String> = issues.iter().map(sentence).collect();
                (Some(issues.join("; ")), body.detail.as_ref())
            }
            _ => (None, None),
        };
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail,
            code: body.code.as_deref(),
            errors,
            data: body.data,
            published: body.published,
            failed: body.failed,
        }
    }
}

/// An issue in words.
fn sentence(issue: &Value) -> String {
    let place = issue.get("loc").and_then(Value::as_array);
    let place: Vec<&str> = place
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let message = issue.get("msg").and_then(Value::as_str).unwrap_or_default();
    format!("{}: {message}", place.join("."))
}
