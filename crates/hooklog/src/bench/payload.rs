//! Payloads: of so many bytes from a seed, or the lines of a corpus.
//!
//! **Invariant:** the same choice gives the same bytes in every process and to every side of a
//! comparison. JSON payloads begin with a stamp of a fixed size, by which the sink knows when its event
//! was meant to be sent; a stamp of zeros means nothing.
//! **Next:** `load.rs` and `sink.rs`, which send them and take them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::latency::{epoch, nanoseconds};

/// Of every random byte.
const SEED: u64 = 3;
/// Different payloads together have about this many bytes: more than a batch of the log holds, so that no
/// compressor finds them again, and little beside its memory.
const POOL_BYTES: usize = 4 << 20;
/// However large they are, there are a few different ones.
const POOL_MIN: usize = 16;
/// More are not needed, and small ones would be very many.
const POOL_MAX: usize = 8192;
/// What comes before the stamp, and how many hexadecimal digits it has.
const BEFORE: &[u8] = b"{\"n\":\"";
const DIGITS: usize = 16;
/// The letters of random text: with six random bits a byte there is little to compress.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
/// The bytes of a payload that holds a stamp and an empty text.
const FRAME_BYTES: usize = 34;

/// What payloads are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// Random, of so many bytes.
    Bytes(usize),
    /// The `payload` of each line of a file of NDJSON (or of all files `*.ndjson` of a directory).
    Corpus(PathBuf),
}

impl Payload {
    /// How a report calls them.
    pub fn name(&self) -> String {
        match self {
            Self::Bytes(bytes) => format!("{bytes} B"),
            Self::Corpus(_) => "the corpus".to_owned(),
        }
    }

    /// As an embedding program has them: bytes that nothing compresses, or the corpus as it is.
    pub(crate) fn binary(&self) -> anyhow::Result<Vec<Bytes>> {
        match self {
            Self::Corpus(path) => Ok(read(path)?.into_iter().map(Bytes::from).collect()),
            Self::Bytes(bytes) => {
                let mut rng = fastrand::Rng::with_seed(SEED);
                let mut random = || {
                    let mut payload = vec![0; *bytes];
                    rng.fill(&mut payload);
                    payload.into()
                };
                Ok((0..pool(*bytes)).map(|_| random()).collect())
            }
        }
    }

    /// As JSON with a stamp of zeros.
    pub fn json(&self) -> anyhow::Result<Vec<Bytes>> {
        let stamped = |rest: &str| {
            let mut payload = BytesMut::with_capacity(rest.len() + FRAME_BYTES);
            payload.put_slice(BEFORE);
            payload.put_bytes(b'0', DIGITS);
            payload.put_slice(b"\"");
            if !rest.starts_with('}') {
                payload.put_slice(b",");
            }
            payload.put_slice(rest.as_bytes());
            payload.freeze()
        };
        match self {
            Self::Corpus(path) => {
                let objects = read(path)?.into_iter();
                let rest = |text: String| {
                    text.strip_prefix('{')
                        .map(|rest| rest.trim_start().to_owned())
                };
                let rests: Vec<String> = objects.filter_map(rest).collect();
                anyhow::ensure!(
                    !rests.is_empty(),
                    "no payload of the corpus is a JSON object"
                );
                Ok(rests.iter().map(|rest| stamped(rest)).collect())
            }
            Self::Bytes(bytes) => {
                let mut rng = fastrand::Rng::with_seed(SEED);
                let length = bytes.saturating_sub(FRAME_BYTES);
                let mut text = || {
                    let mut letter = || LETTERS.get(rng.usize(..LETTERS.len())).copied();
                    let letters = (0..length).filter_map(|_| letter().map(char::from));
                    format!("\"text\":\"{}\"}}", letters.collect::<String>())
                };
                Ok((0..pool(*bytes)).map(|_| stamped(&text())).collect())
            }
        }
    }
}

/// How many different payloads of this size there are.
fn pool(bytes: usize) -> usize {
    (POOL_BYTES / bytes.max(1)).clamp(POOL_MIN, POOL_MAX)
}

/// Appends a payload of [`Payload::json`] with the moment at which it is meant to be sent.
pub(crate) fn put_stamped(body: &mut BytesMut, payload: &[u8], intended: Instant) {
    let rest = payload.get(BEFORE.len() + DIGITS..).unwrap_or_default();
    body.put_slice(BEFORE);
    let stamp = nanoseconds(intended);
    for digit in (0..DIGITS).rev() {
        let nibble = u8::try_from((stamp >> (4 * digit)) & 15).unwrap_or(0);
        body.put_u8(if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + nibble - 10
        });
    }
    body.put_slice(rest);
}

/// When the payload's event was meant to be sent, if it says so.
pub(crate) fn intended(payload: &[u8]) -> Option<Instant> {
    let digits = payload.strip_prefix(BEFORE)?.get(..DIGITS)?;
    let stamp = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (stamp > 0).then(|| epoch() + Duration::from_nanos(stamp))
}

/// The payloads of a corpus.
fn read(path: &Path) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = path.read_dir()?.collect::<Result<Vec<_>, _>>()?;
        files = entries.into_iter().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "ndjson"));
        files.sort();
    }
    let mut payloads = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read the corpus {}", file.display()))?;
        for (number, line) in text.lines().enumerate() {
            let place = || format!("{}:{}: no event", file.display(), number + 1);
            let line: Line<'_> = serde_json::from_str(line).with_context(place)?;
            payloads.push(line.payload.get().to_owned());
        }
    }
    anyhow::ensure!(
        !payloads.is_empty(),
        "no *.ndjson with events at {}",
        path.display()
    );
    Ok(payloads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_json_of_their_size_and_carry_a_stamp() {
        let bytes = [64, 512, 100_000];
        for bytes in bytes {
            let payloads = Payload::Bytes(bytes).json().unwrap();
            assert_eq!(payloads, Payload::Bytes(bytes).json().unwrap());
            assert!(payloads.len() >= POOL_MIN && payloads[0] != payloads[1]);
            for payload in &payloads {
                assert_eq!(payload.len(), bytes);
                assert_eq!(intended(payload), None);
                serde_json::from_slice::<serde_json::Value>(payload).unwrap();
            }
            let at = epoch() + Duration::from_nanos(0x1234_5678_9abc);
            let mut body = BytesMut::new();
            put_stamped(&mut body, &payloads[0], at);
            assert_eq!(intended(&body), Some(at));
            assert_eq!(body.len(), bytes);
            serde_json::from_slice::<serde_json::Value>(&body).unwrap();
        }
    }

    #[test]
    fn a_corpus_is_stamped_too() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.ndjson");
        let lines =
            "{\"eventType\":\"a\",\"payload\":{ \"b\": 1}}\n{\"payload\":{}}\n{\"payload\":7}\n";
        std::fs::write(&file, lines).unwrap();
        for path in [file.as_path(), directory.path()] {
            let corpus = Payload::Corpus(path.to_owned());
            let found: Vec<_> = corpus.json().unwrap();
            assert_eq!(found[0], r#"{"n":"0000000000000000","b": 1}"#);
            assert_eq!(found[1], r#"{"n":"0000000000000000"}"#);
            assert_eq!(found.len(), 2);
            assert_eq!(corpus.binary().unwrap().len(), 3);
        }
        std::fs::write(&file, "{}").unwrap();
        let error = format!("{:#}", Payload::Corpus(file).json().unwrap_err());
        assert!(error.contains("a.ndjson:1: no event"), "{error}");
    }
}
