//! The chain: rows of random batches, one of them lost, swapped, or of another time.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::Compression;
use crate::engine::{Op, VALUE_BYTES_MAX};
use crate::event::{Event, Record};
use crate::frame::{Header, Kind};
use crate::id::EventId;
use crate::index::Index;
use crate::time::Timestamp;

/// One row of the database.
type Row = (Family, Vec<u8>, Vec<u8>);

fn record(offset: u64, application: u8, payload: usize) -> Record {
    let timestamp = Timestamp::from_millis(1_700_000_000_000);
    let mut rng = fastrand::Rng::with_seed(offset);
    Record {
        offset: Offset::new(offset),
        id: EventId::at(timestamp, Offset::new(offset), [9; 7]),
        timestamp,
        event: Event {
            application: ApplicationId::from_bytes([application; 20]),
            event_type: "invoice.paid".parse().unwrap(),
            channels: Vec::new(),
            uid: None,
            idempotency: None,
            content_type: "application/json".to_owned(),
            payload: std::iter::repeat_with(|| rng.u8(..))
                .take(payload)
                .collect(),
            tags: Vec::new(),
            ordering_key: None,
            headers: Vec::new(),
            only: None,
            deliver_at: None,
        },
    }
}

/// The rows of batches that hold these many events, and the state that speaks of them. Every batch
/// of seven events is large, so that it takes more than one row.
fn rows(batches: &[u8], salt: u8) -> (Vec<Row>, State) {
    let mut rows = Vec::new();
    let mut state = State::default();
    let mut index = Index::new(Family::AppLog);
    for (number, events) in batches.iter().enumerate() {
        let base = state.events.end.get();
        let payload = if *events == 7 { 30_000 } else { 20 };
        let mut body = Vec::new();
        for position in 0..u16::from(*events) {
            let application = (position % 2) as u8 + salt;
            let offset = base + u64::from(position);
            record::encode(&record(offset, application, payload), &mut body).unwrap();
            index.add([application; 20], base, offset, 0);
        }
        let header = Header {
            kind: Kind::Events,
            base,
            count: u32::from(*events),
            first: Timestamp::from_millis(1),
            last: Timestamp::from_millis(2),
            previous_crc: state.events.crc,
        };
        let (bytes, crc) = frame::encode(&header, &body, Compression::Lz4);
        for (chunk, value) in (0..).zip(bytes.chunks(VALUE_BYTES_MAX)) {
            rows.push((Family::Log, keys::batch(base, chunk), value.to_vec()));
        }
        // Two batches are applied together.
        let is_applied = number % 2 == 1 || number + 1 == batches.len();
        let ops = is_applied.then(|| std::mem::replace(&mut index, Index::new(Family::AppLog)));
        for op in ops.into_iter().flat_map(Index::finish) {
            rows.push((op.family, op.key, op.value.unwrap()));
        }
        state.events.crc = crc;
        state.events.end = state.events.end.plus(u64::from(*events));
    }
    (rows, state)
}

fn verified(rows: &[Row], state: &State) -> Result<Verified, VerifyError> {
    let directory = TempDir::new().unwrap();
    let engine = Engine::open(
        directory.path(),
        &directory.path().join("db"),
        crate::engine::Sizes::STANDARD,
    )
    .unwrap();
    for (family, key, value) in rows {
        let (key, value) = (key.clone(), Some(value.clone()));
        engine
            .commit(&[Op {
                family: *family,
                key,
                value,
            }])
            .unwrap();
    }
    let recent = verify(&engine, state, Depth::Recent);
    let whole = verify(&engine, state, Depth::Whole);
    assert_eq!(recent.is_ok(), whole.is_ok(), "all of it is recent");
    recent
}

/// What happens to the rows.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// A row is not there, as when sled skipped a damaged message.
    Lost,
    /// A row is as it was at another time: good in itself, but of another log.
    Foreign,
    /// Two values have changed places.
    Swapped,
    /// A bit is wrong.
    Flipped,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_row_that_is_not_what_was_written_is_told(
        batches in prop::collection::vec(1_u8..8, 2..8),
        harm in prop::sample::select(vec![Harm::Lost, Harm::Foreign, Harm::Swapped, Harm::Flipped]),
        at: prop::sample::Index,
        bit: prop::sample::Index,
    ) {
        let (mut rows, state) = rows(&batches, 1);
        let whole = verified(&rows, &state).unwrap();
        let end = Link { position: state.events.end, crc: state.events.crc };
        prop_assert_eq!(whole, (end, Link::default()));
        let at = at.index(rows.len());
        match harm {
            Harm::Lost => drop(rows.remove(at)),
            Harm::Foreign => {
                // The same batches, but for their applications.
                let (others, _) = super::tests::rows(&batches, 100);
                let logs = |rows: &[Row]| -> Vec<usize> {
                    (0..rows.len()).filter(|at| rows[*at].0 == Family::Log).collect()
                };
                let (mine, theirs) = (logs(&rows), logs(&others));
                let pick = at % mine.len().min(theirs.len());
                rows[mine[pick]].2 = others[theirs[pick]].2.clone();
            }
            Harm::Swapped => {
                let other = (0..rows.len()).find(|other| {
                    rows[*other].0 == rows[at].0 && rows[*other].2 != rows[at].2
                });
                // Rows of an index may all be the same.
                let Some(other) = other else { return Ok(()) };
                let value = rows[at].2.clone();
                rows[at].2 = std::mem::replace(&mut rows[other].2, value);
            }
            Harm::Flipped => {
                let bit = bit.index(rows[at].2.len() * 8);
                rows[at].2[bit / 8] ^= 1 << (bit % 8);
            }
        }
        let error = verified(&rows, &state);
        prop_assert!(error.is_err(), "{harm:?} of row {at} was not noticed");
    }
}
