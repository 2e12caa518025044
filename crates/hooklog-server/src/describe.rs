//! The description of the API: a document of `OpenAPI` 3.1, and a page made of it.
//!
//! **Invariant:** every route of `routes.rs` has an operation here and the other way round, and who
//! may use it is read off that table. Schemas of answers are derived from the types that are
//! serialized; those of bodies are made with the constants that the parsers check.
//! **Next:** `describe/operation.rs`.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use utoipa::openapi::path::{HttpMethod, PathItem, PathsBuilder};
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::{Tag, TagBuilder};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, ServerBuilder};

use self::operation::{BEARER, Operation};
use crate::etag::{self, Keep};
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::routes;

mod application;
mod ask;
mod endpoint;
mod errors;
mod message;
mod operation;
mod page;
mod parameters;
mod server;

/// The document as it is sent.
static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| only_used(serde_json::to_value(document()).unwrap_or_default()));
static JSON: LazyLock<Bytes> = LazyLock::new(|| DOCUMENT.to_string().into());
static PAGE: LazyLock<Bytes> = LazyLock::new(|| page::of(&DOCUMENT).into());

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

const ABOUT: &str = "\
A webhook server: publish an event, it is durable on disk before you get the 202, and every matching \
endpoint receives it at least once as a signed webhook.\n\n\
Tokens come from `hooklog token`. Where a path takes an id it takes your own uid, too. Fields that \
nobody knows are ignored; a field or filter of the API family that would have no effect is refused by \
its name. A null in a body is as good as leaving the field out, but in a PATCH, where it sets the \
default. Limits of texts are in bytes. Any `GET` may be a `HEAD`. Every answer has an `x-request-id`. \
Answers are XML and errors problem details (RFC 9457) where `Accept` asks for them.";

/// The operations by their tags, in the order of the page.
fn groups() -> Vec<(&'static str, &'static str, Vec<Operation>)> {
    vec![
        (
            "Applications",
            "What messages and endpoints belong to: mostly one for each customer.",
            application::applications(),
        ),
        (
            "Event types",
            "What messages are about. Endpoints name those that they want.",
            application::event_types(),
        ),
        (
            "Endpoints",
            "Where messages are delivered.",
            endpoint::endpoints(),
        ),
        ("Messages", "What is published.", message::messages()),
        (
            "Attempts",
            "What became of deliveries.",
            message::attempts(),
        ),
        (
            "Tasks",
            "Sending many messages again: durable, with progress.",
            message::tasks(),
        ),
        (
            "Asking",
            "Messages for those who ask instead of being told, oldest first.",
            ask::polls(),
        ),
        (
            "Operational webhooks",
            "Endpoints that hear what happens to your endpoints and deliveries.",
            endpoint::operational(),
        ),
        (
            "Tokens",
            "For your customers, and their end.",
            server::tokens(),
        ),
        ("Server", "The server itself.", server::server()),
        (
            "Not offered",
            "Routes of the API family that this server does not offer: 501.",
            server::not_offered(),
        ),
    ]
}

/// The whole description.
fn document() -> OpenApi {
    let mut components = errors::add(ComponentsBuilder::new());
    let mut paths = PathsBuilder::new();
    let mut tags: Vec<Tag> = Vec::new();
    for (name, text, operations) in groups() {
        tags.push(TagBuilder::new().name(name).description(Some(text)).build());
        for mut operation in operations {
            // One without a route is left out, and fails the test.
            let Some((path, access)) = routes::place(&operation.method, operation.path) else {
                continue;
            };
            let Some(method) = http_method(&operation.method) else {
                continue;
            };
            components = components.schemas_from_iter(std::mem::take(&mut operation.schemas));
            let item = PathItem::new(method, operation.finish(access, name));
            paths = paths.path(path.replace("{*", "{"), item);
        }
    }
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("`hooklog token` makes one."));
    let bearer = SecurityScheme::Http(bearer.build());
    let license = LicenseBuilder::new().name("MIT").identifier(Some("MIT"));
    let info = InfoBuilder::new()
        .title("Hooklog")
        .version(env!("CARGO_PKG_VERSION"))
        .license(Some(license.build()))
        .description(Some(ABOUT));
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .tags(Some(tags))
        .paths(paths)
        .components(Some(components.security_scheme(BEARER, bearer).build()))
        .build()
}

/// Without the schemas that nothing refers to: those whose fields stand among another's.
fn only_used(mut document: Value) -> Value {
    let text = document.to_string();
    let schemas = document.pointer_mut("/components/schemas");
    if let Some(Value::Object(schemas)) = schemas {
        schemas.retain(|name, _| text.contains(&format!("\"#/components/schemas/{name}\"")));
    }
    document
}

fn http_method(method: &Method) -> Option<HttpMethod> {
    Some(match method.as_str() {
        "GET" => HttpMethod::Get,
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => return None,
    })
}

/// `GET /api/v1/openapi.json`.
pub(crate) async fn openapi(call: Call) -> Answer {
    let response = reply::json_bytes(StatusCode::OK, JSON.clone());
    Ok(etag::tagged(&call.asked, Keep::Revalidate, response))
}

/// `GET /docs`.
pub(crate) async fn docs(call: Call) -> Answer {
    let mut response = http::Response::new(PAGE.clone());
    response.headers_mut().insert(header::CONTENT_TYPE, HTML);
    let mut response = etag::tagged(&call.asked, Keep::Revalidate, response);
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(page::policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    Ok(response)
}

#[cfg(test)]
mod tests;
