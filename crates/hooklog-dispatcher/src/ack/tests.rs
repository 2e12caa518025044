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

/// What a step does to the model and the window.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The first attempt of the lowest waiting offset starts.
    Start,
    /// The lowest waiting offset is passed without an attempt, as a parked one is.
    Skip,
    /// One of those under way ends.
    Settle(usize),
    /// The process ends; what is under way is forgotten, and the cursor is read back.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Start),
        1 => Just(Step::Skip),
        4 => any::<usize>().prop_map(Step::Settle),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    /// A delivery under way is made again after a restart, and nothing else is.
    #[test]
    fn restarts_and_skips_agree_with_a_naive_model(
        steps in prop::collection::vec(step(), 0..200),
        window in 1_usize..12,
    ) {
        const OFFSETS: usize = 80;
        let mut model = [Is::Waiting; OFFSETS];
        let mut ack = Ack::default();
        let lowest = |model: &[Is; OFFSETS], wanted: fn(Is) -> bool| {
            model.iter().position(|is| wanted(*is)).unwrap_or(OFFSETS)
        };
        let all = |model: &[Is; OFFSETS], wanted| -> Vec<usize> {
            (0..OFFSETS).filter(|at| model[*at] == wanted).collect()
        };
        for step in steps {
            let next = lowest(&model, |is| is == Is::Waiting);
            let started = all(&model, Is::Started);
            match step {
                Step::Start if next < OFFSETS => {
                    let floor = lowest(&model, |is| is != Is::Settled);
                    let above = (floor..OFFSETS).filter(|at| model[*at] == Is::Settled).count();
                    let may = started.is_empty() || started.len() + above < window;
                    prop_assert_eq!(ack.may_start(window), may);
                    if may {
                        model[next] = Is::Started;
                        ack.start(offset(next));
                    }
                }
                Step::Skip if next < OFFSETS => {
                    model[next] = Is::Settled;
                    ack.settle(offset(next));
                }
                Step::Settle(pick) if !started.is_empty() => {
                    let at = started[pick % started.len()];
                    model[at] = Is::Settled;
                    ack.settle(offset(at));
                }
                Step::Restart => {
                    let floor = ack.floor(offset(next));
                    ack = Ack::resume(ack.settled_above(floor));
                    for at in started {
                        model[at] = Is::Waiting;
                    }
                }
                Step::Start | Step::Skip | Step::Settle(_) => continue,
            }
            let next = lowest(&model, |is| is == Is::Waiting);
            ack.advance(offset(next));
            let floor = lowest(&model, |is| is != Is::Settled);
            prop_assert_eq!(ack.floor(offset(next)), offset(floor));
            let settled = all(&model, Is::Settled);
            let above: Vec<_> =
                settled.iter().filter(|at| **at >= floor).copied().map(offset).collect();
            prop_assert_eq!(ack.settled_above(offset(floor)), above.clone());
            for at in floor..OFFSETS {
                prop_assert_eq!(ack.is_settled(offset(at)), settled.contains(&at));
            }
            let clear = above.is_empty() && !model.contains(&Is::Started);
            prop_assert_eq!(ack.is_clear(), clear);
        }
    }
}
