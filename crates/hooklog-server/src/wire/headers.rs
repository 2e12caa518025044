//! Headers in JSON: those of an endpoint, and those that a message brings.
//!
//! **Invariant:** a header that the delivery itself sets is refused, since two of it would leave the
//! receiver a choice. Values that are credentials never leave again.
//! **Next:** `wire/message.rs`.

use std::collections::BTreeMap;

use hooklog_storage::Header;
use serde::Serialize;
use utoipa::ToSchema;

use super::Issue;
use super::fields::Fields;

/// Attributes of CloudEvents begin with it: they are the event's own.
const ATTRIBUTE_PREFIX: &str = "ce-";
/// Headers whose values are credentials, and what the names of more of them begin with.
const SENSITIVE: &[&str] = &[
    "authorization",
    "cookie",
    "www-authenticate",
    "x-api-key",
    "x-auth-token",
];
const SENSITIVE_PREFIX: &str = "proxy-";

/// Headers by name, as they came: an array would have an order that nobody asks for.
pub(super) fn parse(fields: &Fields<'_>, name: &'static str) -> Result<Option<Vec<Header>>, Issue> {
    let Some(map) = fields.value::<BTreeMap<String, String>>(name)? else {
        return Ok(None);
    };
    let mut headers = Vec::with_capacity(map.len());
    for (key, value) in &map {
        headers.push(header(name, key, value)?);
    }
    within_limits(name, &headers)?;
    Ok(Some(headers))
}

fn header(field: &'static str, name: &str, value: &str) -> Result<Header, Issue> {
    let header = Header::new(name, value).map_err(|error| Issue::body(field, error.to_string()))?;
    let is_attribute = name.to_ascii_lowercase().starts_with(ATTRIBUTE_PREFIX);
    if header.is_reserved() || is_attribute {
        let message = format!("{name:?} is set by the delivery itself");
        return Err(Issue::body(field, message));
    }
    Ok(header)
}

fn within_limits(field: &'static str, headers: &[Header]) -> Result<(), Issue> {
    let (count, bytes) = (Header::COUNT_MAX, Header::TOTAL_BYTES_MAX);
    let total: usize = headers.iter().map(Header::bytes).sum();
    if headers.len() > count || total > bytes {
        let message = format!("must have at most {count} headers of {bytes} bytes altogether");
        return Err(Issue::body(field, message));
    }
    let mut names: Vec<_> = headers
        .iter()
        .map(|header| header.name().to_ascii_lowercase())
        .collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(pair) => {
            let name = pair.first().map_or("", String::as_str);
            Err(Issue::body(field, format!("has {name:?} twice")))
        }
        None => Ok(()),
    }
}

/// The headers of an endpoint to put in the place of the old ones.
#[derive(Debug)]
pub(crate) struct HeadersIn(pub(crate) Vec<Header>);

impl HeadersIn {
    pub(crate) fn parse(body: &Fields<'_>) -> Result<Self, Issue> {
        let headers = parse(body, "headers")?;
        Ok(Self(
            headers.ok_or_else(super::fields::required("headers"))?,
        ))
    }
}

/// Headers to set and to remove.
#[derive(Debug)]
pub(crate) struct HeadersPatch {
    set: Vec<Header>,
    removed: Vec<String>,
}

impl HeadersPatch {
    pub(crate) fn parse(body: &Fields<'_>) -> Result<Self, Issue> {
        let named = body.value::<BTreeMap<String, Option<String>>>("headers")?;
        let listed = body.value::<Vec<String>>("deleteHeaders")?;
        let (mut set, mut removed) = (Vec::new(), listed.unwrap_or_default());
        for (name, value) in named.unwrap_or_default() {
            match value {
                Some(value) => set.push(header("headers", &name, &value)?),
                None => removed.push(name),
            }
        }
        within_limits("headers", &set)?;
        Ok(Self { set, removed })
    }

    /// The old headers with the changes; removing comes first.
    pub(crate) fn apply(&self, headers: &mut Vec<Header>) -> Result<(), Issue> {
        headers.retain(|header| {
            let is_replaced = self.set.iter().any(|new| new.is(header.name()));
            !is_replaced && !self.removed.iter().any(|name| header.is(name))
        });
        headers.extend(self.set.iter().cloned());
        within_limits("headers", headers)
    }
}

/// The headers of an endpoint as clients see them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HeadersOut<'a> {
    #[schema(value_type = BTreeMap<String, String>)]
    headers: BTreeMap<&'a str, &'a str>,
    /// Names of those that are there and not shown.
    sensitive: Vec<&'a str>,
}

impl<'a> From<&'a [Header]> for HeadersOut<'a> {
    fn from(headers: &'a [Header]) -> Self {
        let is_sensitive = |header: &&Header| {
            let name = header.name().to_ascii_lowercase();
            SENSITIVE.contains(&name.as_str()) || name.starts_with(SENSITIVE_PREFIX)
        };
        let (hidden, shown): (Vec<_>, Vec<_>) = headers.iter().partition(is_sensitive);
        Self {
            headers: shown
                .into_iter()
                .map(|header| (header.name(), header.value()))
                .collect(),
            sensitive: hidden.into_iter().map(Header::name).collect(),
        }
    }
}
