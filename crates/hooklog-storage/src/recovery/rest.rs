//! Removing rows that speak of what does not exist.
//!
//! A commit that is too large for one transaction of sled is applied in several, and a crash may leave
//! some of its rows. The journal gives them back, but perhaps planned together with what came behind
//! them, so with other index rows; or, in a mode that acks before the sync, power loss took the frame,
//! and they lie at positions that other events will get.
//!
//! **Invariant:** after this no batch and no index row lies at or above the end. A crash in the middle
//! of it is healed by the next open.
//! **Next:** `../recovery.rs`.

use std::ops::Bound;

use super::OpenErrorKind;
use crate::answers::Answers;
use crate::codec;
use crate::engine::{Engine, EngineError, Op};
use crate::keys::{self, Family};
use crate::state::State;

/// Rows removed in one transaction: a few hundred kilobytes of keys.
const ROWS_AT_A_TIME: usize = 4096;

/// Removes the rows above the state's ends; looks at indexes only if there is a batch.
pub(super) fn remove(engine: &Engine, state: &State) -> Result<(), EngineError> {
    let chains = [
        (Family::Log, state.events.end.get(), &[Family::AppLog][..]),
        (
            Family::Attempt,
            state.attempts.end.get(),
            &[Family::AttemptByEvent, Family::AttemptBySubscription],
        ),
    ];
    for (family, end, indexes) in chains {
        let low = keys::batch(end, 0);
        let above = (Bound::Included(low.as_slice()), Bound::Unbounded);
        let mut rows = Vec::new();
        engine.scan_marks::<EngineError>(family, above, |key, _| {
            rows.push((family, key.to_vec()));
            Ok(())
        })?;
        if rows.is_empty() {
            continue;
        }
        tracing::warn!(
            count = rows.len(),
            end,
            "rows of a commit that was applied halfway are removed"
        );
        // Behind the index rows, which are looked for only while there is a batch; and from the highest
        // down, so that what looks from below for extents without rows never passes one of them.
        rows.reverse();
        let mut index_rows = Vec::new();
        for index in indexes {
            let all = (Bound::Unbounded, Bound::Unbounded);
            engine.scan::<EngineError>(*index, all, |key, _| {
                if keys::last_number(key).is_some_and(|last| last >= end) {
                    index_rows.push((*index, key.to_vec()));
                }
                Ok(())
            })?;
        }
        index_rows.extend(rows);
        for some in index_rows.chunks(ROWS_AT_A_TIME) {
            let ops = some.iter().cloned().map(|(family, key)| Op {
                family,
                key,
                value: None,
            });
            engine.commit(&ops.collect::<Vec<_>>())?;
            engine.barrier()?;
        }
    }
    Ok(())
}

/// The answers that were kept.
pub(super) fn load_answers(engine: &Engine) -> Result<Answers, OpenErrorKind> {
    let mut answers = Answers::default();
    let all = (Bound::Unbounded, Bound::Unbounded);
    engine.scan::<OpenErrorKind>(Family::Answer, all, |key, value| {
        let Ok(hash) = key.try_into() else {
            let reason = "the key of a kept answer cannot be read".to_owned();
            return Err(OpenErrorKind::Damaged { reason });
        };
        answers.put(hash, codec::decode(value)?);
        Ok(())
    })?;
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::engine::Sizes;
    use crate::offset::Offset;

    #[test]
    fn only_what_lies_above_the_end_goes() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let engine = Engine::open(path, &path.join("db"), Sizes::STANDARD).unwrap();
        let mut state = State::default();
        state.events.end = Offset::new(10);
        let put = |family, key: Vec<u8>| Op {
            family,
            key,
            value: Some(vec![7; 60]),
        };
        let rows = |base| {
            [
                put(Family::Log, keys::batch(base, 0)),
                put(Family::AppLog, keys::owned(&[3; 20], base + 1)),
            ]
        };
        engine
            .commit(&[rows(5), rows(10), rows(12)].concat())
            .unwrap();
        remove(&engine, &state).unwrap();
        for (base, expected) in [(5, true), (10, false), (12, false)] {
            for op in rows(base) {
                let found = engine.get(op.family, &op.key).unwrap().is_some();
                assert_eq!(found, expected, "{op:?}");
            }
        }
        // Index rows are looked at only beside a batch that is too high.
        remove(&engine, &state).unwrap();
    }
}
