//! The few calls of the API that proofs make, as methods.
//!
//! **Invariant:** what should succeed and does not fails the test with the server's answer.
//! **Next:** `sink.rs`.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::http::{Connection, Message};

/// A client with a token and one connection.
#[derive(Debug)]
pub(crate) struct Api {
    connection: Connection,
    token: String,
}

/// An event as the server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) event_type: String,
    pub(crate) payload: String,
}

impl Api {
    pub(crate) fn new(address: SocketAddr, token: &str) -> Self {
        Self {
            connection: Connection::new(address),
            token: token.to_owned(),
        }
    }

    /// Any call below the base path.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Message> {
        self.connection
            .call(method, &format!("/api/v1{path}"), &self.token, body)
    }

    /// A call that succeeds, with JSON on both sides.
    #[track_caller]
    pub(crate) fn json(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = self.call(method, path, body.as_bytes()).unwrap();
        assert!(
            (200..300).contains(&answer.status()),
            "{method} {path}: {} {}",
            answer.first,
            answer.text()
        );
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    #[track_caller]
    pub(crate) fn create_application(&mut self, uid: &str) {
        self.json("POST", "/app", &json!({"name": uid, "uid": uid}));
    }

    /// An endpoint for everything; returns its id and its secret.
    #[track_caller]
    pub(crate) fn create_endpoint(&mut self, app: &str, url: &str) -> (String, String) {
        let path = format!("/app/{app}/endpoint");
        let endpoint = self.json("POST", &path, &json!({"url": url}));
        let id = endpoint["id"].as_str().unwrap().to_owned();
        let secret = self.json("GET", &format!("{path}/{id}/secret"), &Value::Null);
        (id, secret["key"].as_str().unwrap().to_owned())
    }

    /// Publishes the body of a message: the status, and the event's id if that is 202.
    pub(crate) fn publish(&mut self, app: &str, body: &str) -> io::Result<(u16, String)> {
        let answer = self.call("POST", &format!("/app/{app}/msg"), body.as_bytes())?;
        if answer.status() != 202 {
            return Ok((answer.status(), answer.text()));
        }
        let event: Value = serde_json::from_slice(&answer.body)?;
        Ok((202, event["id"].as_str().unwrap().to_owned()))
    }

    /// Publishes what must be accepted; returns the id.
    #[track_caller]
    pub(crate) fn accept(&mut self, app: &str, body: &str) -> String {
        let (status, answer) = self.publish(app, body).unwrap();
        assert_eq!(status, 202, "{answer}");
        answer
    }

    /// All events of an application by id; an answer that is no 200 is the error.
    pub(crate) fn events(&mut self, app: &str) -> Result<BTreeMap<String, Shown>, String> {
        self.list(app, "limit=250")
    }

    /// The same page by page, as a query asks for it.
    pub(crate) fn list(
        &mut self,
        app: &str,
        query: &str,
    ) -> Result<BTreeMap<String, Shown>, String> {
        #[derive(serde::Deserialize)]
        struct Page<'a> {
            #[serde(borrow)]
            data: Vec<Item<'a>>,
            iterator: Option<String>,
            done: bool,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Item<'a> {
            id: String,
            event_type: String,
            #[serde(borrow)]
            payload: &'a RawValue,
        }
        let mut events = BTreeMap::new();
        let mut path = format!("/app/{app}/msg?{query}");
        loop {
            let answer = self
                .call("GET", &path, b"")
                .map_err(|error| error.to_string())?;
            if answer.status() != 200 {
                return Err(format!("{} {}", answer.first, answer.text()));
            }
            let page: Page<'_> = serde_json::from_slice(&answer.body).unwrap();
            for item in page.data {
                let payload = item.payload.get().to_owned();
                events.insert(
                    item.id,
                    Shown {
                        event_type: item.event_type,
                        payload,
                    },
                );
            }
            match page.iterator {
                Some(iterator) if !page.done => {
                    path = format!("/app/{app}/msg?{query}&iterator={iterator}");
                }
                _ => return Ok(events),
            }
        }
    }

    /// The attempts of an event.
    #[track_caller]
    pub(crate) fn attempts(&mut self, app: &str, event: &str) -> Vec<Value> {
        let page = self.json(
            "GET",
            &format!("/app/{app}/attempt/msg/{event}"),
            &Value::Null,
        );
        page["data"].as_array().unwrap().clone()
    }
}
