//! Tests of the ack window against a naive model.

use proptest::prelude::*;

use super::*;

/// What each offset is, in a plain list; everything is computed by looking at all of it.
#[derive(Clone, Copy, PartialEq)]
enum Is {
    Waiting,
    Started,
    Settled,
}

fn offset(at: usize) -> Offset {
    Offset::new(u64::try_from(at).unwrap())
}

proptest! {
    #[test]
    fn the_window_agrees_with_a_naive_model(
        settled in prop::collection::vec(any::<bool>(), 0..8),
        steps in prop::collection::vec((any::<bool>(), 0_usize..1000), 0..200),
        window in 1_usize..12,
    ) {
        let mut model = [Is::Waiting; 80];
        for (at, settled) in settled.iter().enumerate() {
            if *settled && at > 0 {
                model[at] = Is::Settled;
            }
        }
        let restored = (0..80).filter(|at| model[*at] == Is::Settled).count();
        let mut ack =
            Ack::resume((0..80).filter(|at| model[*at] == Is::Settled).map(offset));
        for (start, pick) in steps {
            let next = model.iter().position(|is| *is == Is::Waiting).unwrap_or(80);
            // The lane passes what is settled without starting it, so `next` is the lowest waiting.
            if start && next < 80 && ack.may_start(window) {
                model[next] = Is::Started;
                ack.start(offset(next));
            } else {
                let started: Vec<_> = (0..80).filter(|at| model[*at] == Is::Started).collect();
                if started.is_empty() {
                    continue;
                }
                let at = started[pick % started.len()];
                model[at] = Is::Settled;
                ack.settle(offset(at));
            }
            let next = model.iter().position(|is| *is == Is::Waiting).unwrap_or(80);
            ack.advance(offset(next));
            let floor = model.iter().position(|is| *is != Is::Settled).unwrap_or(80);
            prop_assert_eq!(ack.floor(offset(next)), offset(floor));
            let above: Vec<_> =
                (floor..80).filter(|at| model[*at] == Is::Settled).map(offset).collect();
            prop_assert!(above.len() <= window.max(restored));
            prop_assert_eq!(ack.settled_above(offset(floor)), above);
        }
    }
}
