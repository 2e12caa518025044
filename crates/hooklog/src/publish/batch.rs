//! Messages on their way to the server, many in one request.
//!
//! **Invariant:** each message has one outcome, its own or that of its whole batch. A batch has an
//! idempotency key, so that asking a busy server again publishes nothing twice, whatever it had taken.
//! **Next:** `progress.rs`.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::input::Place;
use crate::client::{CallError, Client};

/// Most messages of a batch, and the bytes at which it is sent: a few group commits of the server, and
/// little enough that what fails together is little.
pub(super) const ITEMS_MAX: usize = 200;
const BYTES_FULL: usize = 256 << 10;

/// Messages that go together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    places: Vec<Place>,
    body: Vec<u8>,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Sent {
    /// For each message, why it failed if it did.
    pub(super) items: Vec<(Place, Option<String>)>,
    /// Why no other batch would fare better.
    pub(super) gave_up: Option<CallError>,
}

/// The server's answer.
#[derive(Deserialize)]
struct Answer {
    data: Vec<ItemResult>,
}

#[derive(Deserialize)]
struct ItemResult {
    error: Option<ItemError>,
}

#[derive(Deserialize)]
struct ItemError {
    status: u16,
    detail: String,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.places.len() >= ITEMS_MAX || self.body.len() >= BYTES_FULL
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn add(&mut self, place: Place, message: &[u8]) {
        self.body.push(if self.is_empty() { b'[' } else { b',' });
        self.body.extend_from_slice(message);
        self.places.push(place);
    }

    /// Sends it and waits for its results.
    pub(super) async fn send(mut self, client: &Client, app: &str, key: &str) -> Sent {
        self.body.push(b']');
        let path = ["app", app, "msg", "batch"];
        let body = Bytes::from(self.body);
        let answer = client
            .call_keyed(Method::POST, &path, None, body, Some(key))
            .await;
        match answer {
            Ok(body) => results(self.places, &body),
            Err(error) => {
                let reason = error.to_string();
                let told = |place| (place, Some(reason.clone()));
                Sent {
                    items: self.places.into_iter().map(told).collect(),
                    gave_up: error.is_final().then_some(error),
                }
            }
        }
    }
}

/// The results in the places that they are of.
fn results(places: Vec<Place>, body: &[u8]) -> Sent {
    let answer = serde_json::from_slice::<Answer>(body);
    let mut results = answer
        .map_or_else(|_| Vec::new(), |answer| answer.data)
        .into_iter();
    let told = |place| {
        let reason = match results.next() {
            Some(ItemResult { error: None }) => None,
            Some(ItemResult { error: Some(error) }) => {
                Some(match StatusCode::from_u16(error.status) {
                    Ok(status) => format!("{status}: {}", error.detail),
                    Err(_) => error.detail,
                })
            }
            None => Some("the server's answer has no result for it".to_owned()),
        };
        (place, reason)
    };
    Sent {
        items: places.into_iter().map(told).collect(),
        gave_up: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u64) -> Place {
        Place {
            file: "f".into(),
            line,
            bytes: 1,
        }
    }

    #[test]
    fn a_batch_is_an_array_and_each_message_has_its_result() {
        let mut batch = Batch::default();
        assert!(batch.is_empty());
        for line in 1..=3 {
            batch.add(place(line), b"{}");
        }
        assert_eq!(batch.body, b"[{},{},{}");
        assert!(!batch.is_full());
        let body = br#"{"data":[{"index":0,"id":"msg_1"},{"index":1,"error":{"status":422,"code":"c","detail":"why"}}],"published":1,"failed":1}"#;
        let told: Vec<_> = results(batch.places, body)
            .items
            .into_iter()
            .map(|(_, reason)| reason)
            .collect();
        let expected = [
            None,
            Some("422 Unprocessable Entity: why".to_owned()),
            Some("the server's answer has no result for it".to_owned()),
        ];
        assert_eq!(told, expected);
        let mut batch = Batch::default();
        batch.add(place(1), &vec![b' '; BYTES_FULL]);
        assert!(batch.is_full());
    }
}
