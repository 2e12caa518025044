//! One operation of the document, put together word by word.
//!
//! **Invariant:** what every route answers (the door's refusals, by who may use it and whether it
//! changes something) is added here, so no file of a resource can forget it.
//! **Next:** `describe/parameters.rs`.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use utoipa::openapi::path::{
    Operation as Described, OperationBuilder, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    ContentBuilder, Ref, RefOr, Required, Response, ResponseBuilder, ResponsesBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::errors::{self, Refusal};
use super::parameters;
use crate::routes::Access;
use crate::wire::{List, schemas};

/// The name of the security scheme.
pub(super) const BEARER: &str = "bearer";
const JSON: &str = "application/json";
const XML: &str = "application/xml";

/// An operation, and the schemas that it speaks of.
pub(super) struct Operation {
    pub(super) method: Method,
    /// As in the table of routes.
    pub(super) path: &'static str,
    builder: OperationBuilder,
    body: Option<RequestBodyBuilder>,
    answers: BTreeMap<u16, RefOr<Response>>,
    refusals: Vec<Refusal>,
    /// Fields that tools may look at.
    marks: Vec<(&'static str, Value)>,
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
}

macro_rules! methods {
    ($($name:ident $method:ident)*) => {$(
        pub(super) fn $name(path: &'static str, id: &str, summary: &str) -> Operation {
            Operation::new(Method::$method, path, id, summary)
        }
    )*};
}

methods! { get GET post POST put PUT patch PATCH delete DELETE }

impl Operation {
    pub(super) fn new(method: Method, path: &'static str, id: &str, summary: &str) -> Self {
        let builder = OperationBuilder::new();
        let builder = builder.operation_id(Some(id)).summary(Some(summary));
        let new = Self {
            method,
            path,
            builder,
            body: None,
            answers: BTreeMap::new(),
            refusals: Vec::new(),
            marks: Vec::new(),
            schemas: Vec::new(),
        };
        parameters::of_path(path).fold(new, |this, (name, text, schema)| {
            this.parameter(ParameterIn::Path, Required::True, name, text, schema)
        })
    }

    /// What its summary does not say.
    pub(super) fn about(mut self, text: &str) -> Self {
        self.builder = self.builder.description(Some(text));
        self
    }

    /// A parameter of the query that may be left out.
    pub(super) fn query(self, name: &str, text: &str, schema: Value) -> Self {
        self.parameter(ParameterIn::Query, Required::False, name, text, schema)
    }

    /// A header that may be left out.
    pub(super) fn header(self, name: &str, text: &str, schema: Value) -> Self {
        self.parameter(ParameterIn::Header, Required::False, name, text, schema)
    }

    pub(super) fn parameter(
        mut self,
        place: ParameterIn,
        required: Required,
        name: &str,
        text: &str,
        schema: Value,
    ) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required)
            .description(Some(text))
            .schema(Some(schemas::raw(schema)));
        self.builder = self.builder.parameter(parameter);
        self
    }

    /// `limit` and `iterator`, which is that of a list of ids.
    pub(super) fn paged(self, iterator: Value) -> Self {
        parameters::page(self, iterator)
    }

    fn know<T: ToSchema>(&mut self) -> Ref {
        let name = T::name();
        T::schemas(&mut self.schemas);
        self.schemas.push((name.to_string(), T::schema()));
        Ref::from_schema_name(name)
    }

    /// Puts a schema into the document that another one refers to.
    pub(super) fn know_of<T: ToSchema>(mut self) -> Self {
        let _referred = self.know::<T>();
        self
    }

    /// A JSON body, which must be there.
    pub(super) fn body<T: ToSchema>(self, example: Value) -> Self {
        self.json_body::<T>(Required::True, example)
    }

    /// A JSON body, without which the defaults count.
    pub(super) fn optional_body<T: ToSchema>(self, example: Value) -> Self {
        self.json_body::<T>(Required::False, example)
    }

    fn json_body<T: ToSchema>(mut self, required: Required, example: Value) -> Self {
        let schema = self.know::<T>();
        let content = ContentBuilder::new().schema(Some(schema));
        let content = content.example(Some(example)).build();
        let body = RequestBodyBuilder::new().required(Some(required));
        self.body = Some(body.content(JSON, content));
        self
    }

    /// There need not be a body, whatever its form would be.
    pub(super) fn body_optional(mut self) -> Self {
        self.body = Some(RequestBodyBuilder::new().required(Some(Required::False)));
        self
    }

    /// One more form of the body.
    pub(super) fn body_as<T: ToSchema>(mut self, media_type: &str, example: Option<Value>) -> Self {
        let schema = self.know::<T>();
        self.body_form(media_type, schema.into(), example)
    }

    /// One more form of the body, which is text or bytes.
    pub(super) fn body_form(
        mut self,
        media_type: &str,
        schema: RefOr<Schema>,
        example: Option<Value>,
    ) -> Self {
        let content = ContentBuilder::new().schema(Some(schema)).example(example);
        let first = || RequestBodyBuilder::new().required(Some(Required::True));
        let body = self.body.take().unwrap_or_else(first);
        self.body = Some(body.content(media_type, content.build()));
        self
    }

    /// An answer in JSON, or XML made of it.
    pub(super) fn answers<T: ToSchema>(mut self, status: u16, text: &str) -> Self {
        let schema = self.know::<T>();
        let json = ContentBuilder::new().schema(Some(schema)).build();
        let response = ResponseBuilder::new().description(text).content(JSON, json);
        let xml = ContentBuilder::new().build();
        self.answer(status, response.content(XML, xml))
    }

    /// A page of a list.
    pub(super) fn lists<T: ToSchema>(mut self, text: &str) -> Self {
        self.know::<T>();
        let name = format!("List{}", T::name());
        self.schemas.push((name.clone(), List::<T>::schema()));
        self.one_of_answers(200, text, &[&name])
    }

    /// An answer in JSON, or XML made of it, that is one of several.
    pub(super) fn one_of_answers(self, status: u16, text: &str, names: &[&str]) -> Self {
        let refs = names
            .iter()
            .map(|name| json!({"$ref": format!("#/components/schemas/{name}")}));
        let mut refs: Vec<Value> = refs.collect();
        let schema = match (refs.pop(), refs.is_empty()) {
            (Some(only), true) => only,
            (last, _) => json!({"anyOf": refs.into_iter().chain(last).collect::<Vec<_>>()}),
        };
        let json = ContentBuilder::new()
            .schema(Some(schemas::raw(schema)))
            .build();
        let response = ResponseBuilder::new().description(text).content(JSON, json);
        self.answer(status, response.content(XML, ContentBuilder::new().build()))
    }

    /// An answer of another form.
    pub(super) fn answers_as(
        self,
        status: u16,
        text: &str,
        media_type: &str,
        schema: Value,
    ) -> Self {
        let content = ContentBuilder::new().schema(Some(schemas::raw(schema)));
        let response = ResponseBuilder::new().description(text);
        self.answer(status, response.content(media_type, content.build()))
    }

    /// An answer without a body.
    pub(super) fn done(self, status: u16, text: &str) -> Self {
        self.answer(status, ResponseBuilder::new().description(text))
    }

    pub(super) fn answer(mut self, status: u16, response: ResponseBuilder) -> Self {
        self.answers.insert(status, response.build().into());
        self
    }

    /// A refusal that not every route has.
    pub(super) fn refuses(mut self, refusal: Refusal) -> Self {
        self.refusals.push(refusal);
        self
    }

    /// A field that tools may look at.
    pub(super) fn marked(mut self, name: &'static str, value: Value) -> Self {
        self.marks.push((name, value));
        self
    }

    /// Has a tag, so that it need not be sent twice.
    pub(super) fn tagged(self) -> Self {
        parameters::tagged(self)
    }

    /// The operation as it stands in the document.
    pub(super) fn finish(mut self, access: Access, tag: &str) -> Described {
        if let Some((name, text, schema)) = parameters::idempotency_key(&self.method, self.path) {
            self = self.header(name, text, schema);
        }
        let changes = self.method != Method::GET;
        let refusals = errors::of_every_route(access, changes, self.path.contains('{'));
        let refusals = refusals.chain(self.refusals.iter().copied());
        for refusal in refusals.collect::<Vec<_>>() {
            let answer = || Ref::from_response_name(refusal.name()).into();
            self.answers.entry(refusal.status()).or_insert_with(answer);
        }
        let answers = self.answers.into_iter();
        let answers = answers.map(|(status, answer)| (status.to_string(), answer));
        let answers = ResponsesBuilder::new().responses_from_iter(answers).build();
        let security = match access {
            // No requirement at all: the token is not looked at.
            Access::Public => Vec::new(),
            Access::Any | Access::Org | Access::Operator => {
                vec![SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])]
            }
        };
        let who = ("x-access", Value::from(errors::who(access)));
        let marks = self.marks.into_iter().chain([who]);
        self.builder
            .tag(tag)
            .request_body(self.body.map(RequestBodyBuilder::build))
            .responses(answers)
            .securities(Some(security))
            .extensions(Some(marks.collect()))
            .build()
    }
}
