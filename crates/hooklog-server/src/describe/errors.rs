//! How requests are refused: one response for each status, which operations refer to.
//!
//! **Invariant:** the bodies are those of `wire.rs`, in the three forms that `accept.rs` knows.
//! **Next:** `describe/application.rs`, then a file per resource.

use utoipa::openapi::schema::{ComponentsBuilder, Schema};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use crate::routes::Access;
use crate::wire::schemas::{self, integer};
use crate::wire::{ErrorOut, IssuesOut, ProblemOut};

/// A status of 400 or above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    BadRequest,
    Unauthenticated,
    Forbidden,
    NotFound,
    Timeout,
    Conflict,
    TooLarge,
    MediaType,
    Invalid,
    TooMany,
    HeadTooLarge,
    Failed,
    NotOffered,
    Unavailable,
}

const ALL: [Refusal; 14] = [
    Refusal::BadRequest,
    Refusal::Unauthenticated,
    Refusal::Forbidden,
    Refusal::NotFound,
    Refusal::Timeout,
    Refusal::Conflict,
    Refusal::TooLarge,
    Refusal::MediaType,
    Refusal::Invalid,
    Refusal::TooMany,
    Refusal::HeadTooLarge,
    Refusal::Failed,
    Refusal::NotOffered,
    Refusal::Unavailable,
];

impl Refusal {
    pub(super) const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Timeout => 408,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::MediaType => 415,
            Self::Invalid => 422,
            Self::TooMany => 429,
            Self::HeadTooLarge => 431,
            Self::Failed => 500,
            Self::NotOffered => 501,
            Self::Unavailable => 503,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthenticated => "Unauthenticated",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::Timeout => "Timeout",
            Self::Conflict => "Conflict",
            Self::TooLarge => "TooLarge",
            Self::MediaType => "MediaType",
            Self::Invalid => "Invalid",
            Self::TooMany => "TooMany",
            Self::HeadTooLarge => "HeadTooLarge",
            Self::Failed => "Failed",
            Self::NotOffered => "NotOffered",
            Self::Unavailable => "Unavailable",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::BadRequest => "A header or the query cannot be read, or a limit is reached.",
            Self::Unauthenticated => "No token, or none that is good.",
            Self::Forbidden => "The token is not for this route.",
            Self::NotFound => "There is no such thing, or it is another's.",
            Self::Timeout => "The body did not come in time.",
            Self::Conflict => {
                "The uid is another's, the endpoint is disabled, or a request with this \
                 idempotency key is still at work."
            }
            Self::TooLarge => "The body is over its limit.",
            Self::MediaType => "The body is of a kind or an encoding that is not read.",
            Self::Invalid => "A value is not one that is taken; `loc` says which.",
            Self::TooMany => "Over the rate limit, or too many at once.",
            Self::HeadTooLarge => "Path, query and headers are over 16 KiB; without a body.",
            Self::Failed => "The server failed; its log says why.",
            Self::NotOffered => "The API family has it, and this server does not offer it.",
            Self::Unavailable => "Busy, or the log had to stop. Nothing was changed.",
        }
    }

    fn schema(self) -> Ref {
        match self {
            Self::Invalid => Ref::from_schema_name(IssuesOut::name()),
            _ => Ref::from_schema_name(ErrorOut::name()),
        }
    }

    fn response(self) -> ResponseBuilder {
        let of = |schema: Ref| ContentBuilder::new().schema(Some(schema)).build();
        let mut response = ResponseBuilder::new().description(self.text());
        // Said before there is a request, and a form that it wants.
        if matches!(self, Self::HeadTooLarge) {
            return response;
        }
        response = response
            .content("application/json", of(self.schema()))
            .content(
                "application/problem+json",
                of(Ref::from_schema_name(ProblemOut::name())),
            )
            .content("application/problem+xml", ContentBuilder::new().build());
        if matches!(self, Self::TooMany) {
            let seconds = HeaderBuilder::new()
                .description(Some("Seconds after which the next may come."))
                .schema(Some(schemas::raw(integer(0, u64::from(u32::MAX)))));
            response = response.header("retry-after", seconds.build());
        }
        response
    }
}

/// What a route refuses by what it is.
pub(super) fn of_every_route(
    access: Access,
    changes: bool,
    names_something: bool,
) -> impl Iterator<Item = Refusal> {
    use Refusal as R;
    let by_token = [R::Unauthenticated, R::Forbidden, R::TooMany];
    let of_bodies = [R::Timeout, R::TooLarge, R::MediaType];
    let always = [
        R::BadRequest,
        R::Invalid,
        R::HeadTooLarge,
        R::Failed,
        R::Unavailable,
    ];
    let by_token = by_token
        .into_iter()
        .filter(move |_| access != Access::Public);
    let of_bodies = of_bodies.into_iter().filter(move |_| changes);
    let not_found = std::iter::once(R::NotFound).filter(move |_| names_something);
    always
        .into_iter()
        .chain(by_token)
        .chain(of_bodies)
        .chain(not_found)
}

/// Adds the responses and their schemas.
pub(super) fn add(mut components: ComponentsBuilder) -> ComponentsBuilder {
    for refusal in ALL {
        components = components.response(refusal.name(), refusal.response().build());
    }
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    IssuesOut::schemas(&mut schemas);
    ProblemOut::schemas(&mut schemas);
    schemas.push((ErrorOut::name().into_owned(), ErrorOut::schema()));
    schemas.push((IssuesOut::name().into_owned(), IssuesOut::schema()));
    schemas.push((ProblemOut::name().into_owned(), ProblemOut::schema()));
    components.schemas_from_iter(schemas)
}

/// Whose token opens a route.
pub(super) const fn who(access: Access) -> &'static str {
    match access {
        Access::Public => "anyone",
        Access::Any => "a token of the organisation or of the application",
        Access::Org => "a token of the organisation",
        Access::Operator => "a token of the operator",
    }
}
