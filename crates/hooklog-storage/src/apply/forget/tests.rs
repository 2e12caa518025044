use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::attempt::Retry;
use crate::codec;
use crate::config::Compression;
use crate::engine::{Engine, Sizes};
use crate::offset::Sequence;
use crate::recovery::{open_patiently, read_state};
use crate::state::{RowSum, State};
use crate::time::Timestamp;

const GONE: SubscriptionId = SubscriptionId::from_bytes([3; 20]);
const OTHER: SubscriptionId = SubscriptionId::from_bytes([4; 20]);
/// Several transactions.
const MANY: u64 = 10_000;

/// A database with two subscriptions and what is parked for them.
fn filled(directory: &TempDir) -> Applier {
    let engine = open_patiently(directory.path(), Sizes::STANDARD).unwrap();
    let mut state = State::default();
    let retry = Retry::asked(Timestamp::from_millis(5));
    let row = codec::encode(&retry).unwrap();
    for (id, count) in [(GONE, MANY), (OTHER, 400)] {
        let parked = (0..count).map(|at| (Family::Retry, keys::retry(id, Offset::new(at))));
        let own = [
            (Family::Registry, keys::subscription(id)),
            (Family::Cursor, keys::cursor(id)),
        ];
        let all: Vec<_> = own.into_iter().chain(parked).collect();
        for some in all.chunks(4000) {
            let ops = some.iter().map(|(family, key)| {
                state.sum.add(*family, key, &row);
                let (family, key, value) = (*family, key.clone(), Some(row.clone()));
                Op { family, key, value }
            });
            engine.commit(&ops.collect::<Vec<_>>()).unwrap();
        }
    }
    engine.commit(&[state.op().unwrap()]).unwrap();
    Applier::new(Arc::new(engine), state, Compression::None)
}

fn deletion() -> Committed {
    Committed {
        sequence: Sequence::new(7),
        base: Offset::ZERO,
        records: Arc::default(),
        entries: vec![Entry::Change(Change::DeleteSubscription(GONE))],
        bytes: 40,
        crc: 0,
        epoch: 1,
    }
}

/// What is there: rows of each summed family, held against the sum of the state that is stored.
fn rows(engine: &Engine) -> Vec<usize> {
    let mut sum = RowSum::default();
    let counts = Family::SUMMED.map(|family| {
        let (mut count, all) = (0, (Bound::Unbounded, Bound::Unbounded));
        let counted = engine.scan::<EngineError>(family, all, |key, value| {
            sum.add(family, key, value);
            count += 1;
            Ok(())
        });
        counted.unwrap();
        count
    });
    assert_eq!(sum, read_state(engine).unwrap().unwrap().sum);
    counts.to_vec()
}

#[test]
fn most_of_what_is_parked_goes_before_and_in_pieces() {
    let directory = TempDir::new().unwrap();
    let mut applier = filled(&directory);
    let before = applier.state.clone();
    applier.forget_parked(&deletion()).unwrap();
    // As a kill -9 leaves it: nothing is applied yet, and the subscription is gone as a whole.
    assert_eq!(applier.state.applied, before.applied);
    assert_eq!(rows(&applier.engine), [1, 1, 400, 0, 0, 0, 0, 0]);
    let stored = read_state(&applier.engine).unwrap().unwrap();
    let mut again = Applier::new(Arc::clone(&applier.engine), stored, Compression::None);
    again.apply(&[Arc::new(deletion())]).unwrap();
    assert_eq!(again.state.applied, Some(Sequence::new(7)));
    assert_eq!(rows(&applier.engine), [1, 1, 400, 0, 0, 0, 0, 0]);
}

/// Each transaction leaves a database whose rows are what its state says, without the subscription.
#[test]
fn each_piece_is_whole_in_itself() {
    let directory = TempDir::new().unwrap();
    let mut applier = filled(&directory);
    let parked = |applier: &Applier, id| applier.parked(id, usize::MAX).unwrap().len();
    assert_eq!(parked(&applier, GONE), 10_000);
    let mut pieces = Vec::new();
    applier
        .forget_pieces(GONE, |applier| {
            let found = rows(&applier.engine);
            assert_eq!(found[..2], [1, 1], "it goes first");
            pieces.push(parked(applier, GONE));
        })
        .unwrap();
    assert_eq!(pieces, [10_000 - 4096, 10_000 - 2 * 4096, 0]);
    assert_eq!(parked(&applier, OTHER), 400);
}

/// Few are left to the plan, whose one transaction has them all.
#[test]
fn a_usual_deletion_is_one_transaction() {
    let directory = TempDir::new().unwrap();
    let mut applier = filled(&directory);
    for at in 200..MANY {
        let key = keys::retry(GONE, Offset::new(at));
        let row = applier.engine.get(Family::Retry, &key).unwrap().unwrap();
        applier.state.sum.remove(Family::Retry, &key, &row);
        let (family, value) = (Family::Retry, None);
        applier.engine.commit(&[Op { family, key, value }]).unwrap();
    }
    let before = applier.state.clone();
    applier.forget_parked(&deletion()).unwrap();
    assert_eq!(applier.state, before, "nothing was written");
    applier.apply(&[Arc::new(deletion())]).unwrap();
    assert_eq!(rows(&applier.engine), [1, 1, 400, 0, 0, 0, 0, 0]);
}
