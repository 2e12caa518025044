//! Functions that every event needs, each called so often as it is told, for a tool that counts the
//! instructions of this process.
//!
//! **Invariant:** no thread, clock, disk or network: the same calls take the same instructions, and what
//! is made before the calls takes the same whatever their number.
//! **Next:** `scenario/instructions.rs`, which counts.

use std::hint::black_box;

use anyhow::Context as _;
use hooklog_signature::{Secret, sign};
use hooklog_storage::{ApplicationId, Event, Filter};
use serde::{Deserialize, Serialize};

use super::append::EVENT_TYPE;
use super::limit::client::KEY;
use super::payload::Payload;

/// Bytes of a payload: those of most targets.
const PAYLOAD_BYTES: usize = 512;
/// Subscriptions that a lookup goes past.
const SUBSCRIPTIONS: u32 = 10_000;
/// Every signature's; its digits count, not its value.
const TIMESTAMP: i64 = 1_700_000_000;
/// A condition as customers write them, on a field of a payload.
const CONDITION: &str = r#"{"n": {"$startsWith": "0"}, "$not": {"text": {"$in": ["a", "b"]}}}"#;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Function {
    /// A record batch is encoded.
    Encode,
    /// A delivery is signed.
    Sign,
    /// A condition is evaluated on a payload.
    Filter,
    /// The subscriptions of an event are looked up.
    Route,
}

impl Function {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Encode, Self::Sign, Self::Filter, Self::Route];

    /// How a report calls it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Encode => format!(
                "encode a batch of {} events",
                hooklog_storage::counting::BATCH_EVENTS
            ),
            Self::Sign => format!("sign {PAYLOAD_BYTES} B"),
            Self::Filter => format!("parse {PAYLOAD_BYTES} B of JSON, evaluate a condition"),
            Self::Route => format!("look up an event among {SUBSCRIPTIONS} subscriptions"),
        }
    }
}

/// Calls it so often.
pub(crate) fn run(function: Function, times: u64) -> anyhow::Result<()> {
    let payloads = Payload::Bytes(PAYLOAD_BYTES).json()?;
    let payload = payloads.first().context("a payload")?.clone();
    let event = Event::new(
        ApplicationId::from_bytes([1; 20]),
        EVENT_TYPE.parse()?,
        payload.clone(),
    );
    match function {
        Function::Encode => {
            let encoder = hooklog_storage::counting::Encoder::new(&event);
            for _ in 0..times {
                anyhow::ensure!(black_box(&encoder).encode() > PAYLOAD_BYTES, "no batch");
            }
        }
        Function::Sign => {
            let secret = Secret::from_bytes(&KEY)?;
            for _ in 0..times {
                black_box(sign([&secret], "msg_1", TIMESTAMP, black_box(&payload)));
            }
        }
        Function::Filter => {
            let condition = CONDITION.parse().context("a condition")?;
            let filter = Filter {
                condition: Some(condition),
                ..Filter::default()
            };
            for _ in 0..times {
                anyhow::ensure!(filter.takes(black_box(&event)), "the condition holds");
            }
        }
        Function::Route => {
            let lookup = hooklog_dispatcher::counting::Lookup::new(SUBSCRIPTIONS, event);
            for _ in 0..times {
                anyhow::ensure!(black_box(&lookup).matching() > 0, "no subscription");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_does_its_work() {
        for function in Function::ALL {
            run(function, 2).unwrap();
        }
    }
}
