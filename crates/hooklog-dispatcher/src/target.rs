//! What all requests to one endpoint have in common, made once.
//!
//! **Invariant:** a target is made only of a URL that the guard has passed; it is used as long as the
//! subscription is the very value that it was made of, so no change is missed. The table is bounded.
//! **Next:** `cloud_event.rs` and `request.rs`, which add what is of one event.

use std::collections::BTreeMap;
use std::sync::Arc;

use hooklog_signature::{Secret, SecretError, Signer};
use hooklog_storage::{Endpoint, Format, Header, Subscription, SubscriptionId, Timestamp};
use http::header::{HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Uri};
use parking_lot::Mutex;
use url::Url;

use crate::cloud_event;
use crate::ssrf::{Blocked, Guard};

/// Most targets that are kept: as many as attempts in flight by default. At the bound all are made
/// anew, which costs microseconds each.
const KEPT_MAX: usize = 1024;

/// Where a connection goes: connections are shared by what has the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Whether TLS is spoken.
    pub(crate) is_https: bool,
    /// A name in ASCII, or an address without brackets.
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
}

/// An endpoint, ready to be sent to.
pub(crate) struct Target {
    pub(crate) place: Place,
    /// How a request begins over HTTP/1: what it asks for, and the lines of `headers`.
    pub(crate) head: Vec<u8>,
    /// All of it, without the fragment: what HTTP/2 asks for.
    pub(crate) uri: Uri,
    /// Headers of each request, those of the endpoint's owner among them.
    pub(crate) headers: HeaderMap,
    pub(crate) format: Format,
    /// Keys with the time from which on they do not sign.
    signers: Vec<(Signer, Option<Timestamp>)>,
}

/// Why an endpoint cannot be sent to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("the endpoint's URL cannot be read")]
    Url(#[source] url::ParseError),
    #[error("the endpoint's URL cannot be sent")]
    Uri(#[source] http::uri::InvalidUri),
    #[error("refused to send")]
    Blocked(#[source] Blocked),
    #[error("the endpoint's secret cannot sign")]
    Secret(#[source] SecretError),
    #[error("a header cannot be sent")]
    Header(#[source] http::header::InvalidHeaderValue),
}

impl Target {
    /// Makes ready, if the guard lets the URL pass.
    pub(crate) fn new(
        endpoint: &Endpoint,
        guard: &Guard,
        user_agent: &HeaderValue,
    ) -> Result<Self, TargetError> {
        let mut url = Url::parse(&endpoint.url).map_err(TargetError::Url)?;
        guard.check_url(&url).map_err(TargetError::Blocked)?;
        url.set_fragment(None);
        let uri: Uri = url.as_str().parse().map_err(TargetError::Uri)?;
        let path: Uri = uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .parse()
            .map_err(TargetError::Uri)?;
        let place = place(&url).ok_or(TargetError::Blocked(Blocked::Host))?;
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).map_err(TargetError::Header);
        headers.insert(HOST, value(authority)?);
        headers.insert(USER_AGENT, user_agent.clone());
        let own = endpoint.headers.iter();
        let own = own.filter(|header| may_send(header, endpoint.format));
        for header in own.clone() {
            let Ok(name) = HeaderName::from_bytes(header.name().as_bytes()) else {
                continue;
            };
            let mut value = value(header.value())?;
            // Often a credential: kept out of what HTTP/2 remembers for compression, and of logs.
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let old = endpoint.old_secrets.iter();
        let old = old.map(|old| (&old.key, Some(old.expires)));
        let secrets = std::iter::once((&endpoint.secret, None)).chain(old);
        let signers = secrets.map(|(key, expires)| {
            let secret = Secret::from_bytes(key.as_bytes())?;
            Ok((Signer::new(&secret), expires))
        });
        Ok(Self {
            head: head(&path, &headers, &own),
            place,
            uri,
            headers,
            format: endpoint.format,
            signers: signers
                .collect::<Result<_, _>>()
                .map_err(TargetError::Secret)?,
        })
    }

    /// The keys that sign at `now`, current first.
    pub(crate) fn signers(&self, now: Timestamp) -> impl Iterator<Item = &Signer> {
        let valid = move |expires: Option<Timestamp>| expires.is_none_or(|expires| expires > now);
        let valid = self
            .signers
            .iter()
            .filter(move |(_, expires)| valid(*expires));
        valid.map(|(signer, _)| signer)
    }
}

/// The beginning of a head of HTTP/1. HTTP does not tell `X-Api-Key` from `x-api-key`, but some
/// receivers do: names of the owner go out as they were written, all others in lower case.
fn head<'a>(
    path: &Uri,
    headers: &HeaderMap,
    own: &(impl Iterator<Item = &'a Header> + Clone),
) -> Vec<u8> {
    let mut head = format!("POST {path} HTTP/1.1\r\n").into_bytes();
    for name in headers.keys() {
        let mut written = own
            .clone()
            .filter(|header| header.name().eq_ignore_ascii_case(name.as_str()));
        for value in headers.get_all(name) {
            let name = written.next().map_or(name.as_str(), Header::name);
            line(&mut head, name, value.as_bytes());
        }
    }
    head
}

/// Adds a line of a head.
pub(crate) fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether an endpoint's header goes out. Names that are ours do not, and neither do attributes of
/// CloudEvents where these are the event's.
fn may_send(header: &Header, format: Format) -> bool {
    let attribute = format != Format::Payload && cloud_event::attribute(header).is_some();
    !header.is_reserved() && !attribute
}

fn place(url: &Url) -> Option<Place> {
    let host = match url.host()? {
        url::Host::Domain(name) => name.to_owned(),
        url::Host::Ipv4(address) => address.to_string(),
        url::Host::Ipv6(address) => address.to_string(),
    };
    Some(Place {
        is_https: url.scheme() == "https",
        host: host.into(),
        port: url.port_or_known_default()?,
    })
}

/// A target and the value that it was made of.
type Kept = (Arc<Subscription>, Arc<Target>);

/// Targets that were made.
#[derive(Default)]
pub(crate) struct Targets {
    kept: Mutex<BTreeMap<SubscriptionId, Kept>>,
}

impl Targets {
    /// The target of a subscription.
    pub(crate) fn get(
        &self,
        subscription: &Arc<Subscription>,
        guard: &Guard,
        user_agent: &HeaderValue,
    ) -> Result<Arc<Target>, TargetError> {
        if let Some((of, target)) = self.kept.lock().get(&subscription.id)
            && Arc::ptr_eq(of, subscription)
        {
            return Ok(Arc::clone(target));
        }
        let target = Arc::new(Target::new(&subscription.endpoint, guard, user_agent)?);
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT_MAX && !kept.contains_key(&subscription.id) {
            kept.clear();
        }
        let entry = (Arc::clone(subscription), Arc::clone(&target));
        kept.insert(subscription.id, entry);
        Ok(target)
    }
}

#[cfg(test)]
mod tests;
