//! Errors as problem details (RFC 9457), for clients that ask for them.
//!
//! **Invariant:** nothing is said that the API family's own body does not say, and nothing of it is left
//! out; what is more is the status and its name.
//! **Next:** `xml.rs`.

use http::{HeaderValue, StatusCode, header};

use crate::accept::ErrorForm;
use crate::reply::Response;
use crate::wire::{ErrorTold, ProblemOut};
use crate::xml::{self, Names};

const JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const XML: HeaderValue = HeaderValue::from_static("application/problem+xml");

/// An error answer, made of its JSON, in the form that is wanted; without that, as it is.
pub(crate) fn shape(response: Response, form: ErrorForm) -> Response {
    let content_type = match form {
        ErrorForm::Json => return response,
        ErrorForm::ProblemJson => JSON,
        ErrorForm::ProblemXml => XML,
    };
    let Ok(body) = serde_json::from_slice::<ErrorTold<'_>>(response.body()) else {
        return response;
    };
    let Some(body) = details(response.status(), &body, form) else {
        return response;
    };
    let mut response = response.map(|_| body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

fn details(status: StatusCode, body: &ErrorTold<'_>, form: ErrorForm) -> Option<Vec<u8>> {
    let problem = ProblemOut::new(status, body);
    if form == ErrorForm::ProblemJson {
        return serde_json::to_vec(&problem).ok();
    }
    let json = serde_json::to_string(&problem).ok()?;
    xml::of_json(&json, Names::PROBLEM).ok()
}
