//! The few calls that set a server up: applications, endpoints, event types.
//!
//! **Invariant:** nothing here is measured; only what every Svix-compatible server knows is asked.
//! **Next:** `left.rs`, what must not stay there; `server.rs`, which is asked.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Longest time for one call.
const PATIENCE: Duration = Duration::from_mins(1);
/// How much of an answer that is a failure is shown.
const SHOWN_BYTES: usize = 300;

/// A server's API.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    pub(crate) token: String,
}

impl Api {
    /// Creates an application with this uid, and says its id.
    pub(crate) async fn application(&self, uid: &str) -> anyhow::Result<String> {
        let new = json!({ "name": "bench", "uid": uid });
        let answer = self.post("/api/v1/app", &new).await?;
        let id = answer.get("id").and_then(Value::as_str);
        Ok(id.context("an application without an id")?.to_owned())
    }

    /// Creates an endpoint for events of one type, or of all.
    pub(crate) async fn endpoint(
        &self,
        application: &str,
        url: &str,
        event_type: Option<&str>,
    ) -> anyhow::Result<()> {
        let mut endpoint = json!({ "url": url });
        if let (Some(name), Some(fields)) = (event_type, endpoint.as_object_mut()) {
            fields.insert("filterTypes".to_owned(), json!([name]));
        }
        let path = format!("/api/v1/app/{application}/endpoint");
        self.post(&path, &endpoint).await.map(drop)
    }

    /// Makes sure that there is an event type; says whether it had to be made.
    pub(crate) async fn event_type(&self, name: &str) -> anyhow::Result<bool> {
        let body = json!({ "name": name, "description": "made by hooklog bench" });
        let (status, answer) = self.call(Method::POST, "/api/v1/event-type", &body).await?;
        let is_there = status.is_success() || status == StatusCode::CONFLICT;
        anyhow::ensure!(is_there, "event type {name}: {status}: {}", shown(&answer));
        Ok(status.is_success())
    }

    /// Removes what lies under a path, with all that belongs to it. What is gone already is as it shall be.
    pub(crate) async fn remove(&self, path: &str) -> anyhow::Result<()> {
        let (status, answer) = self.call(Method::DELETE, path, &Value::Null).await?;
        let is_gone = status.is_success() || status == StatusCode::NOT_FOUND;
        anyhow::ensure!(is_gone, "{path}: {status}: {}", shown(&answer));
        Ok(())
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, answer) = self.call(Method::POST, path, body).await?;
        anyhow::ensure!(status.is_success(), "{path}: {status}: {}", shown(&answer));
        Ok(serde_json::from_slice(&answer)?)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await;
        let what = || format!("{path} at {}", self.host);
        answer.with_context(what)?.with_context(what)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let body = match body {
            Value::Null => Bytes::new(),
            body => body.to_string().into(),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

fn shown(answer: &[u8]) -> String {
    let start = answer
        .get(..answer.len().min(SHOWN_BYTES))
        .unwrap_or_default();
    String::from_utf8_lossy(start).into_owned()
}
