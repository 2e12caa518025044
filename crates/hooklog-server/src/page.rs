//! Lists by pages: where a page starts, how far one request may look, and what the next one needs.
//!
//! **Invariant:** following `iterator` from page to page shows each item once; a request looks at a
//! bounded number of items, and when a filter matched few of them the page is short, not the last.
//! **Next:** `message.rs`, the longest of the lists.

use std::ops::{Bound, Range};
use std::str::FromStr;

use hooklog_storage::{Attempt, AttemptId, EventId, Order, Record};

use crate::error::ApiError;
use crate::query::Query;
use crate::wire::{Issue, List};

/// Items of a page unless asked otherwise, and at most (what clients of this API family know).
pub(crate) const LIMIT_DEFAULT: usize = 50;
pub(crate) const LIMIT_MAX: u16 = 250;
/// Items one request looks at: about 1 s of decompressing when none is cached.
const SCAN_ITEMS_MAX: usize = 5_000;
/// Fewest items to read at a time when a filter drops some: finding a block of them costs as much as
/// unpacking it, so one by one would cost a hundred times as much.
const ROUND_ITEMS: usize = 128;
/// Most bytes of payloads in one answer (a single larger item comes alone): four of the largest
/// events. The page ends before it.
pub(crate) const PAGE_BYTES_MAX: usize = 8 << 20;

/// How many items are asked for.
pub(crate) fn limit(query: &Query) -> Result<usize, ApiError> {
    match query.number("limit")? {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(usize::from(limit)),
        Some(_) => Err(Issue::query("limit", "must be 1 to 250").into()),
    }
}

/// Where a page starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start<K> {
    /// At the list's first item.
    First,
    /// Behind the item (`iterator=id`).
    After(K),
    /// In front of the item (`iterator=-id`): the page that ends before it.
    Before(K),
    /// At the lower end of the range: the page of the oldest items.
    Oldest,
}

/// Which page of a list is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageRequest<K> {
    pub(crate) limit: usize,
    start: Start<K>,
    order: Order,
}

impl<K: FromStr + Clone> PageRequest<K> {
    /// From `limit` and `iterator`.
    pub(crate) fn parse(query: &Query, default: Order) -> Result<Self, ApiError> {
        let limit = limit(query)?;
        let id = |text: &str| {
            text.parse()
                .map_err(|_| Issue::query("iterator", "must be an iterator of this list"))
        };
        let start = match query.text("iterator").filter(|text| !text.is_empty()) {
            None => Start::First,
            Some(text) => match text.strip_prefix('-') {
                Some(text) => Start::Before(id(text)?),
                None => Start::After(id(text)?),
            },
        };
        Ok(Self {
            limit,
            start,
            order: default,
        })
    }

    /// As [`parse`](Self::parse), for lists that can be turned round by `order`.
    pub(crate) fn parse_ordered(query: &Query, default: Order) -> Result<Self, ApiError> {
        let order = match query.text("order") {
            None => default,
            Some("ascending") => Order::Ascending,
            Some("descending") => Order::Descending,
            Some(_) => {
                let message = "must be `ascending` or `descending`";
                return Err(Issue::query("order", message).into());
            }
        };
        Self::parse(query, order)
    }

    /// The first page of a list, newest first, that has a lower end and no upper one: it has the
    /// oldest items, and `prevIterator` leads to the newer ones. So one that asks for what came since
    /// a time, again and again, misses nothing however much came.
    pub(crate) fn at_oldest(self) -> Self {
        match self.start {
            Start::First => Self {
                start: Start::Oldest,
                ..self
            },
            Start::After(_) | Start::Before(_) | Start::Oldest => self,
        }
    }

    /// In which order to look for items: against the list's order when going back.
    pub(crate) fn order(&self) -> Order {
        match (self.order, &self.start) {
            (_, Start::Oldest) | (Order::Descending, Start::Before(_)) => Order::Ascending,
            (order, Start::First | Start::After(_)) => order,
            (Order::Ascending, Start::Before(_)) => Order::Descending,
        }
    }

    /// Whether the items are found in the order opposite to the list's.
    fn is_back(&self) -> bool {
        self.order() != self.order
    }

    /// Between which keys the items are.
    pub(crate) fn range(&self) -> (Bound<K>, Bound<K>) {
        let id = match &self.start {
            Start::First | Start::Oldest => return (Bound::Unbounded, Bound::Unbounded),
            Start::After(id) | Start::Before(id) => id.clone(),
        };
        match self.order() {
            Order::Ascending => (Bound::Excluded(id), Bound::Unbounded),
            Order::Descending => (Bound::Unbounded, Bound::Excluded(id)),
        }
    }

    /// The items of a list that is all in memory, given ascending between [`range`](Self::range);
    /// `weigh` says how many bytes one has in the answer.
    pub(crate) fn take<T>(
        &self,
        items: impl DoubleEndedIterator<Item = T>,
        weigh: impl Fn(&T) -> usize,
    ) -> Scan<T, K> {
        let count = self.limit + 1;
        let mut found: Vec<T> = match self.order() {
            Order::Ascending => items.take(count).collect(),
            Order::Descending => items.rev().take(count).collect(),
        };
        let mut bytes = 0;
        let fits = found.iter().take_while(|item| {
            bytes += weigh(item);
            bytes <= PAGE_BYTES_MAX
        });
        let fits = fits.count().clamp(1, self.limit);
        let more = found.len() > fits;
        found.truncate(fits);
        Scan {
            found,
            reached: None,
            more,
        }
    }

    /// As [`take`](Self::take) of small items, those that `keep` likes; looks at a bounded number.
    pub(crate) fn pick<T>(
        &self,
        mut items: impl DoubleEndedIterator<Item = T>,
        key: impl Fn(&T) -> K,
        keep: impl Fn(&T) -> bool,
    ) -> Scan<T, K> {
        let order = self.order();
        let mut next = || match order {
            Order::Ascending => items.next(),
            Order::Descending => items.next_back(),
        };
        let (mut found, mut reached, mut looked) = (Vec::new(), None, 0);
        while let Some(item) = next() {
            if found.len() == self.limit || looked == SCAN_ITEMS_MAX {
                return Scan {
                    found,
                    reached,
                    more: true,
                };
            }
            looked += 1;
            reached = Some(key(&item));
            if keep(&item) {
                found.push(item);
            }
        }
        Scan {
            found,
            reached: None,
            more: false,
        }
    }

    /// The answer: `found` in the order of [`order`](Self::order) becomes the list's order.
    pub(crate) fn list<T>(&self, scan: Scan<T, K>, key: impl Fn(&T) -> String) -> List<T>
    where
        K: ToString,
    {
        let Scan {
            found: mut items,
            reached,
            more,
        } = scan;
        // Where a scan that was cut short goes on.
        let reached = reached.filter(|_| more).map(|key| key.to_string());
        let back = self.is_back();
        if back {
            items.reverse();
        }
        let (first, last) = (items.first().map(&key), items.last().map(&key));
        let (first, last) = if back {
            (reached.or(first), last)
        } else {
            (first, reached.or(last))
        };
        List {
            data: items,
            iterator: last,
            prev_iterator: first.map(|id| format!("-{id}")),
            done: !more,
        }
    }
}

/// What a scan brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scan<T, K> {
    /// In the order of the scan.
    pub(crate) found: Vec<T>,
    /// The last item looked at, if that is not the last one found.
    pub(crate) reached: Option<K>,
    /// Whether there may be more behind it.
    pub(crate) more: bool,
}

/// What is listed from disk.
pub(crate) trait Item {
    type Key: FromStr + Clone + ToString;

    fn key(&self) -> Self::Key;

    /// What it weighs in an answer.
    fn bytes(&self) -> usize;
}

impl Item for Record {
    type Key = EventId;

    fn key(&self) -> EventId {
        self.id
    }

    fn bytes(&self) -> usize {
        self.event.payload.len()
    }
}

impl Item for Attempt {
    type Key = AttemptId;

    fn key(&self) -> AttemptId {
        self.id
    }

    fn bytes(&self) -> usize {
        self.attempt.response.len()
    }
}

/// Whether a list wants all items or some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    All,
    Some,
}

/// What becomes of an item that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is on the page.
    Keep,
    /// It is not.
    Drop,
    /// It was not looked at after all, for this request did enough: the page ends before it.
    Stop,
}

impl From<bool> for Verdict {
    fn from(is_wanted: bool) -> Self {
        if is_wanted { Self::Keep } else { Self::Drop }
    }
}

/// Looks through `range` for `limit` items that `keep` keeps. `read` returns some items of a range,
/// at most as many as it is told, and what is left of the range.
pub(crate) fn scan<T: Item, P: PartialOrd + Clone, E, V: Into<Verdict>>(
    limit: usize,
    wanted: Wanted,
    mut range: Range<P>,
    mut read: impl FnMut(Range<P>, usize) -> Result<(Vec<T>, Range<P>), E>,
    mut keep: impl FnMut(&T) -> Result<V, E>,
) -> Result<Scan<T, T::Key>, E> {
    let mut found: Vec<T> = Vec::new();
    let (mut looked, mut bytes, mut reached) = (0, 0, None);
    while !range.is_empty() && looked < SCAN_ITEMS_MAX {
        // One more than fits tells whether this page is the last.
        let room = limit + 1 - found.len();
        let round = match wanted {
            Wanted::All => room,
            Wanted::Some => room.max(ROUND_ITEMS).min(SCAN_ITEMS_MAX - looked),
        };
        let (items, rest) = read(range, round)?;
        range = rest;
        if items.is_empty() {
            return Ok(Scan {
                found,
                reached: None,
                more: false,
            });
        }
        for item in items {
            looked += 1;
            let key = item.key();
            let verdict = keep(&item)?.into();
            if verdict == Verdict::Stop {
                return Ok(Scan {
                    found,
                    reached,
                    more: true,
                });
            }
            if verdict == Verdict::Keep {
                let is_over = !found.is_empty() && bytes + item.bytes() > PAGE_BYTES_MAX;
                if found.len() == limit || is_over {
                    return Ok(Scan {
                        found,
                        reached,
                        more: true,
                    });
                }
                bytes += item.bytes();
                found.push(item);
            }
            reached = Some(key);
        }
    }
    let more = !range.is_empty();
    Ok(Scan {
        found,
        reached,
        more,
    })
}

#[cfg(test)]
mod tests;
