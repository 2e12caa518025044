//! Which yielded events are acknowledged, and so how far the cursor may go.
//!
//! **Invariant:** the cursor never passes an event that was yielded and not acknowledged. From the
//! cursor on at most `limit` events were yielded, so a crash repeats no more than that, however long
//! one event stays unsettled.
//! **Next:** `cell.rs`, which writes it.

use std::collections::VecDeque;

use crate::offset::{Offset, OffsetRange};

/// The window between the cursor and what was yielded last.
#[derive(Debug)]
pub(crate) struct Acks {
    /// Everything below was yielded, left out by the filter, or had expired.
    position: Offset,
    /// What was yielded, ascending, from the first that is not settled on.
    window: VecDeque<(Offset, Ack)>,
    limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ack {
    Awaited,
    Settled,
}

impl Acks {
    pub(crate) fn new(cursor: Offset, limit: usize) -> Self {
        Self {
            position: cursor,
            window: VecDeque::new(),
            limit,
        }
    }

    /// The next offset to settle.
    pub(crate) fn cursor(&self) -> Offset {
        self.window.front().map_or(self.position, |first| first.0)
    }

    /// The next offset that can be yielded.
    pub(crate) fn position(&self) -> Offset {
        self.position
    }

    /// Whether nothing more may be yielded.
    pub(crate) fn is_full(&self) -> bool {
        self.window.len() >= self.limit
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// An event was yielded.
    pub(crate) fn yielded(&mut self, offset: Offset) {
        self.window.push_back((offset, Ack::Awaited));
        self.position = offset.next();
    }

    /// Nothing below this is left to yield.
    pub(crate) fn skipped(&mut self, to: Offset) {
        self.position = self.position.max(to);
    }

    /// One event was acknowledged.
    pub(crate) fn ack(&mut self, offset: Offset) {
        if let Ok(at) = self
            .window
            .binary_search_by_key(&offset, |(offset, _)| *offset)
            && let Some((_, ack)) = self.window.get_mut(at)
        {
            *ack = Ack::Settled;
        }
        while self
            .window
            .front()
            .is_some_and(|(_, ack)| *ack == Ack::Settled)
        {
            self.window.pop_front();
        }
    }

    /// All yielded events below this were acknowledged.
    pub(crate) fn commit(&mut self, next: Offset) {
        while self
            .window
            .front()
            .is_some_and(|(offset, ack)| *offset < next || *ack == Ack::Settled)
        {
            self.window.pop_front();
        }
    }

    /// What lies below `low` is gone: forgets it, and returns what of it was never yielded.
    pub(crate) fn expire(&mut self, low: Offset) -> Option<OffsetRange> {
        self.commit(low);
        if self.position >= low {
            return None;
        }
        let gone = self.position..low;
        self.position = low;
        Some(gone)
    }

    /// Goes on from there, forwards or back.
    pub(crate) fn seek(&mut self, to: Offset) {
        self.window.clear();
        self.position = to;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, as a list of all offsets with what became of each.
    #[derive(Default)]
    struct Naive {
        settled: Vec<bool>,
    }

    impl Naive {
        fn cursor(&self) -> u64 {
            let first = self.settled.iter().position(|settled| !settled);
            first.unwrap_or(self.settled.len()) as u64
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Yield,
        Skip(u64),
        Ack(u64),
        Commit(u64),
        Expire(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Yield),
            1 => (1..5_u64).prop_map(Step::Skip),
            4 => (0..40_u64).prop_map(Step::Ack),
            1 => (0..40_u64).prop_map(Step::Commit),
            1 => (0..40_u64).prop_map(Step::Expire),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn the_cursor_is_that_of_a_naive_model(steps in steps()) {
            let (mut acks, mut naive) = (Acks::new(Offset::ZERO, 1000), Naive::default());
            for step in steps {
                let before = acks.cursor();
                match step {
                    Step::Yield => {
                        acks.yielded(acks.position());
                        naive.settled.push(false);
                    }
                    Step::Skip(count) => {
                        acks.skipped(acks.position().plus(count));
                        naive.settled.extend((0..count).map(|_| true));
                    }
                    Step::Ack(offset) => {
                        acks.ack(Offset::new(offset));
                        if let Some(settled) = naive.settled.get_mut(usize::try_from(offset).unwrap()) {
                            *settled = true;
                        }
                    }
                    Step::Commit(next) => {
                        acks.commit(Offset::new(next));
                        let next = usize::try_from(next).unwrap();
                        naive.settled.iter_mut().take(next).for_each(|settled| *settled = true);
                    }
                    Step::Expire(low) => {
                        let position = naive.settled.len() as u64;
                        let gone = acks.expire(Offset::new(low));
                        let expected = (position < low).then(|| Offset::new(position)..Offset::new(low));
                        prop_assert_eq!(gone, expected);
                        let low = usize::try_from(low).unwrap();
                        naive.settled.iter_mut().take(low).for_each(|settled| *settled = true);
                        naive.settled.resize(naive.settled.len().max(low), true);
                    }
                }
                prop_assert_eq!(acks.cursor().get(), naive.cursor());
                prop_assert_eq!(acks.position().get(), naive.settled.len() as u64);
                prop_assert!(acks.cursor() >= before, "it goes back by a seek only");
            }
        }
    }

    #[test]
    fn a_full_window_yields_nothing_until_an_ack() {
        let mut acks = Acks::new(Offset::new(5), 2);
        acks.yielded(Offset::new(5));
        acks.yielded(Offset::new(9));
        assert!(acks.is_full());
        acks.ack(Offset::new(9));
        // What is settled above the cursor counts: a crash would repeat it.
        assert_eq!((acks.is_full(), acks.cursor()), (true, Offset::new(5)));
        acks.ack(Offset::new(5));
        assert_eq!((acks.is_full(), acks.cursor()), (false, Offset::new(10)));
        acks.seek(Offset::new(2));
        assert_eq!(
            (acks.cursor(), acks.position()),
            (Offset::new(2), Offset::new(2))
        );
    }
}
