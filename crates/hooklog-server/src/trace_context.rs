//! The trace that a request belongs to (W3C Trace Context, level 1), for who publishes and who
//! receives to find it again.
//!
//! **Invariant:** only what the recommendation takes for valid goes on, in the form of version 00; an
//! invalid `traceparent` takes its `tracestate` with it, and neither ever fails a request.
//! **Next:** `publish.rs`, which stores it with the event.

use std::collections::BTreeSet;

use hooklog_storage::Header;
use http::{HeaderMap, HeaderName};

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");
/// `00-<trace, 32>-<parent, 16>-<flags, 2>`.
const PARENT_BYTES: usize = 55;
/// Most members and bytes of a state: §3.3.1.1, and the least that §3.3.1.5 asks to pass on.
const MEMBERS_MAX: usize = 32;
const STATE_BYTES_MAX: usize = 512;

/// A valid trace context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    parent: String,
    state: Option<String>,
}

impl TraceContext {
    /// That of a request, if it has a valid one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(PARENT).iter();
        let parent = parents.next()?.to_str().ok()?;
        // With two of them nobody can say which it is.
        if parents.next().is_some() {
            return None;
        }
        let states: Result<Vec<_>, _> = headers
            .get_all(STATE)
            .iter()
            .map(http::HeaderValue::to_str)
            .collect();
        Some(Self {
            parent: parse_parent(parent)?,
            state: states.ok().and_then(|states| parse_state(&states)),
        })
    }

    /// The headers that say it.
    pub(crate) fn headers(&self) -> impl Iterator<Item = Header> {
        let parent = Some((PARENT, self.parent.as_str()));
        let state = self.state.as_deref().map(|state| (STATE, state));
        let both = [parent, state].into_iter().flatten();
        both.filter_map(|(name, value)| Header::new(name.as_str(), value).ok())
    }
}

/// §3.2.2; of a version that is not known yet, what it shares with version 00 (§4).
fn parse_parent(text: &str) -> Option<String> {
    let text = text.trim_matches([' ', '\t']);
    let (known, more) = text.split_at_checked(PARENT_BYTES)?;
    let mut fields = known.split('-');
    let (version, trace) = (fields.next()?, fields.next()?);
    let (parent, flags) = (fields.next()?, fields.next()?);
    let is_hex = |field: &str, length| {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        field.len() == length && field.bytes().all(digit)
    };
    let is_zero = |field: &str| field.bytes().all(|byte| byte == b'0');
    let is_valid = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && !is_zero(trace)
        && is_hex(parent, 16)
        && !is_zero(parent)
        && is_hex(flags, 2)
        && fields.next().is_none()
        && (more.is_empty() || (version != "00" && more.starts_with('-')));
    is_valid.then(|| format!("00-{trace}-{parent}-{flags}"))
}

/// §3.3.1; the members that fit, the first ones first.
fn parse_state(headers: &[&str]) -> Option<String> {
    let mut state = String::new();
    let mut keys = BTreeSet::new();
    let members = headers.iter().flat_map(|header| header.split(','));
    let members = members.map(|member| member.trim_matches([' ', '\t']));
    for member in members.filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) || !keys.insert(key) || keys.len() > MEMBERS_MAX {
            return None;
        }
        if state.len() + 1 + member.len() <= STATE_BYTES_MAX {
            if !state.is_empty() {
                state.push(',');
            }
            state.push_str(member);
        }
    }
    (!state.is_empty()).then_some(state)
}

fn is_key(key: &str) -> bool {
    let is_part = |part: &str, length, may_begin: fn(u8) -> bool| {
        let other =
            |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
        part.len() <= length
            && part.bytes().next().is_some_and(may_begin)
            && part.bytes().all(other)
    };
    let letter = |byte: u8| byte.is_ascii_lowercase();
    match key.split_once('@') {
        None => is_part(key, 256, letter),
        Some((tenant, system)) => {
            is_part(tenant, 241, |byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit()
            }) && is_part(system, 14, letter)
        }
    }
}

fn is_value(value: &str) -> bool {
    let visible = |byte: u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    (1..=256).contains(&value.len()) && value.bytes().all(visible) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests;
