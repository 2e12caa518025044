//! The whole surface of the API.
//!
//! **Invariant:** every path that SDKs of the API family know is here, be it as 501.
//! **Next:** `dispatch.rs`, which takes a request to its handler.

use std::pin::Pin;
use std::sync::LazyLock;

use http::Method;
use matchit::Router;

use crate::config::Limits;
use crate::error::ApiError;
use crate::reply::Answer;
use crate::request::Call;
use crate::token::Subject;
use crate::{
    application, attempt, batch, consumers, describe, endpoint, event_in, event_type, example,
    explain, expunge, filter, headers, health, import, message, operational, operator, poll,
    portal, precheck, publish, secret, standing, stats, stream, task, usage,
};

/// Below it, everything but the inbound sources.
const BASE: &str = "/api/v1";

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anyone.
    Public,
    /// Any valid token; an application's reaches its own application.
    Any,
    /// An organisation's token.
    Org,
    /// The operator's token, which is good for nothing else.
    Operator,
}

impl Access {
    /// Whether a token for `subject` opens the route.
    pub(crate) fn admits(self, subject: Subject) -> bool {
        match subject {
            Subject::Operator => matches!(self, Self::Public | Self::Operator),
            Subject::Organisation(_) => matches!(self, Self::Public | Self::Any | Self::Org),
            Subject::Application { .. } => matches!(self, Self::Public | Self::Any),
        }
    }
}

pub(crate) type Handler = fn(Call) -> Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What answers a method of a path.
#[derive(Debug)]
pub(crate) struct Route {
    method: Method,
    pub(crate) access: Access,
    pub(crate) handler: Handler,
}

macro_rules! routes {
    ($($path:literal { $($method:ident $access:ident $handler:path),* $(,)? })*) => {
        &[$(($path, &[$(Route {
            method: Method::$method,
            access: Access::$access,
            handler: |call| Box::pin($handler(call)),
        }),*])),*]
    };
}

static ROUTES: &[(&str, &[Route])] = routes! {
    "/app" { GET Org application::list, POST Org application::create }
    "/app/{app}" {
        GET Any application::get, PUT Org application::put, PATCH Org application::patch,
        DELETE Org application::delete,
    }
    "/event-type" { GET Any event_type::list, POST Org event_type::create }
    "/event-type/import/openapi" { POST Org import::openapi }
    "/event-type/{name}" {
        GET Any event_type::get, PUT Org event_type::put, PATCH Org event_type::patch,
        DELETE Org event_type::delete,
    }
    "/app/{app}/endpoint" { GET Any endpoint::list, POST Any endpoint::create }
    "/app/{app}/endpoint/{endpoint}" {
        GET Any endpoint::get, PUT Any endpoint::put, PATCH Any endpoint::patch,
        DELETE Any endpoint::delete,
    }
    "/app/{app}/endpoint/{endpoint}/headers" {
        GET Any headers::get, PUT Any headers::put, PATCH Any headers::patch,
    }
    "/app/{app}/endpoint/{endpoint}/secret" { GET Any secret::get }
    "/app/{app}/endpoint/{endpoint}/secret/rotate" { POST Any secret::rotate }
    "/app/{app}/endpoint/{endpoint}/stats" { GET Any stats::get }
    "/app/{app}/endpoint/{endpoint}/attempt-stats" { GET Any stats::of_attempts }
    "/app/{app}/endpoint/{endpoint}/send-example" { POST Org example::send }
    "/app/{app}/endpoint/{endpoint}/msg" { GET Any standing::messages }
    "/app/{app}/filter/test" { POST Any filter::test }
    "/app/{app}/endpoint/{endpoint}/recover" { POST Any task::recover }
    "/app/{app}/endpoint/{endpoint}/replay-missing" { POST Any task::replay_missing }
    "/app/{app}/endpoint/{endpoint}/bulk-replay" { POST Any task::bulk_replay }
    "/stats/usage/app" { POST Org usage::count }
    "/background-task" { GET Org task::list }
    "/background-task/{task}" { GET Org task::get }
    "/background-task/{task}/cancel" { POST Org task::cancel }
    "/app/{app}/endpoint/{endpoint}/lag" { GET Any explain::lag }
    "/app/{app}/endpoint/{endpoint}/dead-letter" { GET Any explain::dead_letters }
    "/app/{app}/msg/{msg}/trace" { GET Any explain::trace }
    "/app/{app}/msg" { GET Any message::list, POST Org publish::create }
    "/app/{app}/msg/batch" { GET Any batch::get, POST Org batch::create }
    "/app/{app}/event" { POST Org event_in::create }
    "/app/{app}/msg/{msg}" { GET Any message::get }
    "/app/{app}/msg/precheck/active" { POST Org precheck::active }
    "/app/{app}/msg/bulk-expunge" { POST Org expunge::messages }
    "/app/{app}/msg/expunge-all-contents" { POST Org expunge::all }
    "/app/{app}/msg/{msg}/content" { DELETE Org expunge::message }
    "/app/{app}/msg/{msg}/endpoint" { GET Any standing::endpoints }
    "/app/{app}/msg/{msg}/endpoint/{endpoint}/resend" { POST Any message::resend }
    "/app/{app}/msg/{msg}/endpoint/{endpoint}/skip" { POST Any message::skip }
    "/app/{app}/msg/{msg}/endpoint/{endpoint}/retry-now" { POST Any message::retry_now }
    "/app/{app}/attempt/msg/{msg}" { GET Any attempt::list_by_event }
    "/app/{app}/attempt/endpoint/{endpoint}" { GET Any attempt::list_by_subscription }
    "/app/{app}/msg/{msg}/attempt/{attempt}" { GET Any attempt::get }
    "/app/{app}/poller/{sink}" { GET Any poll::stateless }
    "/app/{app}/poller/{sink}/consumer/{consumer}" {
        GET Any poll::by_consumer, DELETE Any consumers::delete,
    }
    "/app/{app}/poller/{sink}/consumer/{consumer}/seek" { POST Any consumers::seek }
    "/app/{app}/polling-endpoint/{sink}/consumer/{consumer}" {
        GET Any poll::by_commits, DELETE Any consumers::delete,
    }
    "/app/{app}/polling-endpoint/{sink}/consumer/{consumer}/commit" {
        POST Any consumers::commit,
    }
    "/app/{app}/stream" { GET Any stream::follow }
    "/app/{app}/msg/{msg}/attempt/{attempt}/content" { DELETE Org expunge::attempt }
    // Of older SDKs.
    "/app/{app}/msg/{msg}/attempt" { GET Any attempt::list_by_event }
    "/app/{app}/msg/{msg}/endpoint/{endpoint}/attempt" { GET Any attempt::list_by_event }
    "/auth/app-portal-access/{app}" { POST Org portal::app_portal_access }
    "/auth/dashboard-access/{app}" { POST Org portal::dashboard_access }
    "/auth/app/{app}/expire-all" { POST Org portal::expire_all }
    "/auth/logout" { POST Any portal::logout }
    "/auth/whoami" { GET Any portal::whoami }
    "/operator/backup" { GET Operator operator::backup }
    "/health" { GET Public health::get }
    "/health/ping" { GET Public health::ping }

    // Known to SDKs of this API family, not here yet: 501 instead of 404.
    "/app/{app}/endpoint/{endpoint}/transformation" { GET Any later, PATCH Any later }
    "/admin/redrive-dlq" { POST Org later }
    "/environment/export" { POST Org later }
    "/environment/import" { POST Org later }
    "/operational-webhook/endpoint" { GET Org operational::list, POST Org operational::create }
    "/operational-webhook/endpoint/{endpoint}" {
        GET Org endpoint::get, PUT Org endpoint::put, PATCH Org endpoint::patch,
        DELETE Org endpoint::delete,
    }
    "/operational-webhook/endpoint/{endpoint}/secret" { GET Org secret::get }
    "/operational-webhook/endpoint/{endpoint}/secret/rotate" { POST Org secret::rotate }
    "/operational-webhook/endpoint/{endpoint}/headers" {
        GET Org headers::get, PUT Org headers::put, PATCH Org headers::patch,
    }
    "/openapi.json" { GET Public describe::openapi }
};

/// Outside [`BASE`].
static INBOUND: &[(&str, &[Route])] = routes! {
    "/docs" { GET Public describe::docs }
    "/ingest/{*rest}" {
        GET Org later, POST Org later, PUT Org later, PATCH Org later, DELETE Org later,
    }
};

async fn later(call: Call) -> Answer {
    Err(ApiError::NotImplemented(format!("`{}`", call.route)))
}

/// Paths of that family that other servers of it have and this one does not, whatever the method.
const ABSENT: &[&str] = &[
    "/app/{app}/autoconfig",
    "/app/{app}/autoconfig/{*rest}",
    "/app/{app}/destination",
    "/app/{app}/destination/{*rest}",
    "/app/{app}/endpoint/{endpoint}/auto-config",
    "/app/{app}/integration",
    "/app/{app}/integration/{*rest}",
    "/auth/stream-logout",
    "/auth/stream-portal-access/{*rest}",
    "/auth/stream/{*rest}",
    "/connector",
    "/connector/{*rest}",
    "/stats/usage/event-types",
    "/stream",
    "/stream/{*rest}",
];

/// What answers at each of [`ABSENT`].
static ANY_LATER: &[(&str, &[Route])] = routes! {
    "" { GET Any later, POST Any later, PUT Any later, PATCH Any later, DELETE Any later }
};

type Table = Router<(&'static str, &'static [Route])>;

/// Routes by path. A pattern that contradicts another is left out, and fails the test.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Router::new();
    for (pattern, insert) in patterns().chain(absent()) {
        let _contradiction = table.insert(pattern, insert);
    }
    table
});

fn patterns() -> impl Iterator<Item = (String, (&'static str, &'static [Route]))> {
    let below = ROUTES
        .iter()
        .map(|&(path, routes)| (format!("{BASE}{path}"), (path, routes)));
    below.chain(
        INBOUND
            .iter()
            .map(|&(path, routes)| (path.to_owned(), (path, routes))),
    )
}

/// As [`patterns`], of what is absent.
fn absent() -> impl Iterator<Item = (String, (&'static str, &'static [Route]))> {
    ANY_LATER.iter().flat_map(|&(_, routes)| {
        let paths = ABSENT.iter();
        paths.map(move |&path| (format!("{BASE}{path}"), (path, routes)))
    })
}

/// The whole path of a pattern, and who may use it by this method.
pub(crate) fn place(method: &Method, pattern: &str) -> Option<(String, Access)> {
    let (path, (_, routes)) = patterns().find(|(_, (own, _))| *own == pattern)?;
    let route = routes.iter().find(|route| route.method == *method)?;
    Some((path, route.access))
}

/// Every route: its whole path, method, and who may use it.
#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = (String, Method, Access)> {
    patterns().flat_map(|(path, (_, routes))| {
        let routes = routes.iter();
        routes.map(move |route| (path.clone(), route.method.clone(), route.access))
    })
}

/// Most bytes of a body on the route of `pattern`: only messages and `OpenAPI` documents are large.
pub(crate) fn body_bytes_max(pattern: &str, limits: &Limits) -> usize {
    match pattern {
        "/app/{app}/msg" | "/app/{app}/event" | "/event-type/import/openapi" => {
            limits.body_bytes_max
        }
        _ => limits.small_body_bytes_max.min(limits.body_bytes_max),
    }
}

/// Whether the route of `pattern` reads its body piece by piece.
pub(crate) fn reads_pieces(pattern: &str, method: &Method) -> bool {
    pattern == "/app/{app}/msg/batch" && *method == Method::POST
}

/// Whether the route of `pattern` makes a single write, as its last step, which goes through once it is
/// begun: then a client that hangs up stops nothing half way, and the request needs no task of its own.
pub(crate) fn is_one_write(pattern: &str, method: &Method) -> bool {
    matches!(pattern, "/app/{app}/msg" | "/app/{app}/event") && *method == Method::POST
}

/// What a path and a method lead to: the pattern, the route, the named parts of the path.
pub(crate) type Found = (&'static str, &'static Route, Vec<(&'static str, String)>);

/// The route of a path and a method.
pub(crate) fn find(path: &str, method: &Method) -> Result<Found, ApiError> {
    let found = TABLE.at(path).map_err(|_| ApiError::NoRoute)?;
    let &(pattern, routes) = found.value;
    let parts = found.params.iter();
    let parts = parts
        .filter_map(|(name, part)| Some((part_name(name)?, decode(part))))
        .collect();
    Ok((pattern, choose(routes, method)?, parts))
}

fn choose(routes: &'static [Route], method: &Method) -> Result<&'static Route, ApiError> {
    let wanted = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    routes
        .iter()
        .find(|route| route.method == *wanted)
        .ok_or_else(|| {
            let mut allow: Vec<&str> = routes.iter().map(|route| route.method.as_str()).collect();
            if allow.contains(&"GET") {
                allow.push("HEAD");
            }
            allow.push("OPTIONS");
            ApiError::Method {
                allow: allow.join(", "),
            }
        })
}

/// The names that patterns use, so that a call need not own them.
fn part_name(name: &str) -> Option<&'static str> {
    [
        "app", "endpoint", "msg", "attempt", "name", "task", "sink", "consumer",
    ]
    .into_iter()
    .find(|known| *known == name)
}

/// Undoes percent-encoding; what is not UTF-8 then matches nothing.
fn decode(part: &str) -> String {
    if !part.contains('%') {
        return part.to_owned();
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after
            .first_chunk::<2>()
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let hex = hex.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let encoded = hex.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match encoded {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests;
