//! The ring against a plain list of all commits and a rule for what it may have given up.

use std::time::Instant;

use proptest::prelude::*;

use super::applier::UNAPPLIED_COMMITS_MAX;
use super::*;
use crate::attempt::Low;
use crate::event::{Event, Record};
use crate::id::{ApplicationId, EventId};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
enum Step {
    /// A commit with so many events, of so many bytes.
    Push(u64, usize),
    /// Sled holds this many more commits.
    Applied(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u64..4, 0_usize..100).prop_map(|(events, bytes)| Step::Push(events, bytes)),
        2 => (0_u64..4).prop_map(Step::Applied),
    ]
}

fn commit(sequence: Sequence, base: Offset, events: u64, bytes: usize) -> Arc<Committed> {
    let timestamp = Timestamp::from_millis(1_700_000_000_000);
    let record = |offset: Offset| Record {
        offset,
        id: EventId::at(timestamp, offset, [0; 7]),
        timestamp,
        event: Event {
            application: ApplicationId::from_bytes([1; 20]),
            event_type: "a".parse().unwrap(),
            channels: Vec::new(),
            uid: None,
            idempotency: None,
            content_type: String::new(),
            payload: bytes::Bytes::new(),
            tags: Vec::new(),
            ordering_key: None,
            headers: Vec::new(),
            only: None,
            deliver_at: None,
        },
    };
    Arc::new(Committed {
        sequence,
        base,
        records: (0..events).map(|index| record(base.plus(index))).collect(),
        entries: Vec::new(),
        bytes,
        crc: 0,
        epoch: 1,
    })
}

/// Everything that was ever pushed, and what of it memory must still hold.
struct Model {
    /// Sequence and end before the first commit.
    start: (Sequence, Offset),
    commits: Vec<Arc<Committed>>,
    applied: usize,
    /// Commits that were given up.
    gone: usize,
}

impl Model {
    fn end(&self) -> Offset {
        self.commits
            .last()
            .map_or(self.start.1, |commit| commit.end())
    }

    fn next(&self) -> Sequence {
        self.start.0.plus(self.commits.len() as u64)
    }

    fn memory(&self) -> &[Arc<Committed>] {
        &self.commits[self.gone..]
    }

    fn bytes(&self, from: usize) -> usize {
        self.commits[from..].iter().map(|commit| commit.bytes).sum()
    }
}

fn sequences<'a>(commits: impl IntoIterator<Item = &'a Arc<Committed>>) -> Vec<u64> {
    let commits = commits.into_iter();
    commits.map(|commit| commit.sequence.get()).collect()
}

/// Compares every answer of the ring with one found by looking at the whole list.
fn check(ring: &Ring, model: &Model) {
    assert_eq!(ring.end(), model.end());
    assert_eq!(sequences(&ring.all()), sequences(model.memory()));
    assert_eq!(*ring.subscribe().borrow(), model.next());
    let low = model.start.1.get().saturating_sub(2);
    for offset in (low..model.end().get() + 3).map(Offset::new) {
        let (first, hot) = ring.hot(offset);
        let memory_starts = model
            .memory()
            .first()
            .map_or(model.end(), |commit| commit.base);
        assert_eq!(first, memory_starts);
        let above = model.memory().iter().filter(|commit| commit.end() > offset);
        assert_eq!(sequences(&hot), sequences(above), "hot above {offset}");
        let holds = |commit: &&Arc<Committed>| (commit.base..commit.end()).contains(&offset);
        match (ring.at(offset), model.memory().iter().find(holds)) {
            (At::Memory(found), Some(expected)) => assert_eq!(found.sequence, expected.sequence),
            (At::Sled, None) => assert!(offset < memory_starts),
            (At::BeyondEnd, None) => assert!(offset >= model.end()),
            (found, expected) => panic!("{offset} is {found:?}, not {expected:?}"),
        }
    }
    for seen in 0..model.next().get() + 2 {
        let seen = seen.checked_sub(1).map(Sequence::new);
        let wanted = seen.map_or(Sequence::ZERO, Sequence::next);
        let held = |commit: &&Arc<Committed>| commit.sequence == wanted;
        match (ring.following(seen), model.memory().iter().find(held)) {
            (Following::Commit(found), Some(_)) => assert_eq!(found.sequence, wanted),
            (Following::Nothing, None) => assert!(wanted >= model.next()),
            (Following::Lost, None) => assert!(wanted < model.next()),
            _ => panic!("after {seen:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn the_ring_agrees_with_a_list(
        first_sequence in 0_u64..5,
        first_offset in 0_u64..5,
        bytes_max in 0_usize..300,
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let start = (Sequence::new(first_sequence), Offset::new(first_offset));
        let ring = Ring::new(start.0, start.1, Low::default(), bytes_max);
        let registry = RwLock::new(Registry::default());
        let mut model = Model { start, commits: Vec::new(), applied: 0, gone: 0 };
        let mut asked = 0;
        for step in steps {
            match step {
                Step::Push(events, bytes) => {
                    let commit = commit(model.next(), model.end(), events, bytes);
                    model.commits.push(Arc::clone(&commit));
                    ring.push(commit, &registry);
                }
                Step::Applied(more) => {
                    let more = usize::try_from(more).unwrap();
                    model.applied = (model.applied + more).min(model.commits.len());
                    let applied = start.0.plus(model.applied as u64).get().checked_sub(1);
                    ring.applied(applied.map(Sequence::new));
                    while model.gone < model.applied && model.bytes(model.gone) > bytes_max {
                        model.gone += 1;
                    }
                }
            }
            check(&ring, &model);
            let unapplied = model.bytes(model.applied);
            let work = ring.wait_work(usize::MAX, Some(Instant::now()), Duration::ZERO);
            prop_assert_eq!((work.bytes, work.is_last), (unapplied, false));
            // Who asked has what was there then, whatever came since.
            prop_assert_eq!(work.is_asked, model.applied < asked);
            let rest = &model.commits[model.applied..];
            for bytes in [0, bytes_max, usize::MAX] {
                let mut taken = 0;
                let within = |commit: &&Arc<Committed>| {
                    taken += commit.bytes;
                    taken == commit.bytes || taken <= bytes
                };
                let expected = rest.iter().take_while(within);
                prop_assert_eq!(sequences(&ring.unapplied(bytes)), sequences(expected));
            }
            let now = Duration::ZERO;
            let room = |bytes| ring.wait_room(bytes, now, || false);
            prop_assert_eq!(room(unapplied), Room::Some);
            if unapplied > 0 {
                prop_assert_eq!(room(unapplied - 1), Room::None);
                asked = model.commits.len();
            }
            let all = if model.applied == model.commits.len() { Room::Some } else { Room::None };
            prop_assert_eq!(ring.wait_applied(now, || false), all);
            if all == Room::None {
                asked = model.commits.len();
            }
        }
    }
}

/// Whoever waits looks for signs of life, and ends without one.
#[test]
fn a_wait_lasts_as_long_as_there_are_signs_of_life() {
    let patience = 2 * WAIT_STEP;
    for (signs, expected) in [(0, Room::None), (3, Room::None), (8, Room::Some)] {
        let low = Low::default();
        let ring = Ring::new(Sequence::ZERO, Offset::ZERO, low, 1 << 20);
        let registry = RwLock::new(Registry::default());
        ring.push(commit(Sequence::ZERO, Offset::ZERO, 1, 10), &registry);
        // It is asked at each look, and the eighth ends the wait.
        let looks = std::cell::Cell::new(0);
        let stop = || {
            looks.set(looks.get() + 1);
            if looks.get() <= signs {
                ring.sign_of_life();
            }
            looks.get() >= 8
        };
        assert_eq!(ring.wait_applied(patience, stop), expected, "{signs} signs");
    }
}

/// The story: each commit woke the applier, which cost as much as the commit's checksum.
#[test]
fn the_applier_is_woken_when_there_is_something_to_do() {
    let ring = &Ring::new(Sequence::ZERO, Offset::ZERO, Low::default(), 1 << 20);
    let registry = RwLock::new(Registry::default());
    let push = |sequence: u64, bytes| {
        let offset = Offset::new(sequence);
        ring.push(commit(Sequence::new(sequence), offset, 1, bytes), &registry);
    };
    let (soon, later) = (Duration::ZERO, Duration::from_mins(1));
    let look = |until| ring.wait_work(100, until, soon);
    // A seal alone is worth nothing.
    push(0, EMPTY_BODY_BYTES);
    assert!(!look(None).is_worth);
    // With something in hand it waits for more until its deadline, without anything for the first.
    push(1, 50);
    assert!(ring.wait_work(100, None, later).is_worth);
    let at_deadline = look(Some(Instant::now() + later));
    assert_eq!((at_deadline.bytes, at_deadline.is_asked), (54, false));
    for wakes in ["enough", "asked", "the end"] {
        std::thread::scope(|scope| {
            let deadline = Some(Instant::now() + later);
            let waiter = scope.spawn(move || ring.wait_work(100, deadline, later));
            match wakes {
                "enough" => push(2, 60),
                "asked" => {
                    assert_eq!(ring.wait_applied(soon, || false), Room::None);
                }
                _ => ring.end_commits(),
            }
            let work = waiter.join().unwrap();
            assert!(
                work.bytes >= 100 || work.is_asked || work.is_last,
                "{wakes}"
            );
        });
        if wakes == "enough" {
            ring.applied(Some(Sequence::new(2)));
            assert_eq!(look(Some(Instant::now())), Work::default());
            push(3, 1);
        }
        if wakes == "asked" {
            ring.applied(Some(Sequence::new(3)));
            assert!(!look(Some(Instant::now())).is_asked);
        }
    }
}

/// However small commits are, memory for them is bounded.
#[test]
fn commits_that_wait_for_the_applier_are_bounded_in_number() {
    let ring = Ring::new(Sequence::ZERO, Offset::ZERO, Low::default(), 0);
    let registry = RwLock::new(Registry::default());
    let room = || ring.wait_room(usize::MAX, Duration::ZERO, || false);
    for number in 0..UNAPPLIED_COMMITS_MAX {
        let sequence = Sequence::new(number);
        ring.push(commit(sequence, Offset::ZERO, 0, 0), &registry);
    }
    assert_eq!(room(), Room::Some);
    let last = Sequence::new(UNAPPLIED_COMMITS_MAX);
    ring.push(commit(last, Offset::ZERO, 0, 0), &registry);
    assert_eq!(room(), Room::None);
    // It asks for what is to be applied, and goes on when some of that is.
    let now = Some(Instant::now());
    assert!(ring.wait_work(usize::MAX, now, Duration::ZERO).is_asked);
    ring.applied(Some(Sequence::ZERO));
    assert_eq!(room(), Room::Some);
}
