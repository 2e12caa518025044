//! What every benchmark writes: payloads from a seed, or from the corpus of real webhooks.
//!
//! Random and JSON payloads compress differently, so they are different benchmarks and never one
//! number.
//!
//! **Invariant:** the same kind gives the same bytes in every run and to every side of a comparison.
//! **Next:** `events.rs` (the log's side).

use std::str::FromStr;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Of every random byte that is written.
const SEED: u64 = 3;
/// Different random payloads together have about this many bytes: more than a batch of the log holds,
/// so that no compressor finds them again, and little beside its memory.
const RANDOM_BYTES: usize = 4 << 20;
/// The corpus cut into events of this size has the event size of the random ones.
const PIECE_BYTES: usize = 512;
/// Real payloads of GitHub's webhooks, about 10 KB each; `data/README.md` says where they are from.
const CORPUS: &str = include_str!("../../data/events/github.ndjson");

/// What a payload is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many random bytes: nothing compresses them.
    Random(usize),
    /// The JSON corpus, an event for each of its events.
    Json,
    /// The JSON corpus cut into pieces of 512 B.
    Json512,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "json512" => Ok(Self::Json512),
            _ => match text.parse() {
                Ok(bytes) if (1..=1 << 20).contains(&bytes) => Ok(Self::Random(bytes)),
                _ => Err(format!(
                    "`{text}` is neither json, json512 nor a number of bytes up to 1 MiB"
                )),
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    event_type: &'a str,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// An event type and a payload.
pub(crate) type Payload = (String, Bytes);

/// Different payloads of a kind, to be written in turns.
pub(crate) fn payloads(kind: Kind) -> Vec<Payload> {
    match kind {
        Kind::Random(bytes) => {
            let mut rng = fastrand::Rng::with_seed(SEED);
            let count = (RANDOM_BYTES / bytes).max(16);
            let mut random = || {
                let mut payload = vec![0; bytes];
                rng.fill(&mut payload);
                ("bench.random".to_owned(), payload.into())
            };
            (0..count).map(|_| random()).collect()
        }
        Kind::Json => corpus().collect(),
        Kind::Json512 => corpus()
            .flat_map(|(event_type, payload)| {
                let pieces: Vec<Payload> = payload
                    .chunks_exact(PIECE_BYTES)
                    .map(|piece| (event_type.clone(), Bytes::copy_from_slice(piece)))
                    .collect();
                pieces
            })
            .collect(),
    }
}

fn corpus() -> impl Iterator<Item = Payload> {
    CORPUS.lines().map(|line| {
        let line: Line<'_> = serde_json::from_str(line).expect("the corpus is valid");
        let payload = Bytes::copy_from_slice(line.payload.get().as_bytes());
        (line.event_type.to_owned(), payload)
    })
}
