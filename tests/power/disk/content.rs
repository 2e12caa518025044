//! The bytes of one file: what is durable, and what a power cut may take.
//!
//! **Invariant:** until [`Content::sync`] a page that was written is one of its versions, none of
//! which is sure to survive; after it there is one version, which is.
//! **Next:** `names.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Fate;

/// What the page cache of Linux writes back at once, and loses at once.
pub(super) const PAGE: usize = 4096;
/// What a disk writes whole at best.
pub(super) const SECTOR: usize = 512;
/// Versions of a page that are kept until it is synced: the disk may have written any of them.
const VERSIONS: usize = 16;

type Page = Arc<[u8]>;

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    length: u64,
    /// Lengths that would survive, the durable one first.
    lengths: Vec<u64>,
    durable: BTreeMap<u64, Page>,
    /// By page, oldest first, never an empty list.
    unsynced: BTreeMap<u64, Vec<Page>>,
}

/// The page that a byte is in, and where in it.
fn place(at: u64) -> (u64, usize) {
    let page = PAGE as u64;
    (at / page, usize::try_from(at % page).unwrap())
}

impl Content {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    fn page(&self, number: u64) -> Option<&Page> {
        let newest = self.unsynced.get(&number).and_then(|all| all.last());
        newest.or_else(|| self.durable.get(&number))
    }

    fn put(&mut self, number: u64, page: Page) {
        let versions = self.unsynced.entry(number).or_default();
        if versions.len() == VERSIONS {
            versions.remove(0);
        }
        versions.push(page);
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut [u8])) {
        let mut bytes = self
            .page(number)
            .map_or(vec![0; PAGE], |page| page.to_vec());
        change(&mut bytes);
        self.put(number, bytes.into());
    }

    pub(super) fn read(&self, from: u64, bytes: usize) -> Vec<u8> {
        let end = from.saturating_add(bytes as u64).min(self.length);
        let (mut at, mut out) = (from, Vec::new());
        while at < end {
            let (number, start) = place(at);
            let take = (PAGE - start).min(usize::try_from(end - at).unwrap());
            match self.page(number) {
                Some(page) => out.extend_from_slice(&page[start..start + take]),
                None => out.resize(out.len() + take, 0),
            }
            at += take as u64;
        }
        out
    }

    /// Everything that is not known to be zeros, page by page.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        let numbers: std::collections::BTreeSet<u64> = self
            .durable
            .keys()
            .chain(self.unsynced.keys())
            .copied()
            .collect();
        let starts = numbers.into_iter().map(|number| number * PAGE as u64);
        let pieces = starts.map(|at| (at, self.read(at, PAGE)));
        pieces.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0))
    }

    pub(super) fn write(&mut self, mut at: u64, mut data: &[u8]) {
        let end = at + data.len() as u64;
        while !data.is_empty() {
            let (number, start) = place(at);
            let (piece, rest) = data.split_at((PAGE - start).min(data.len()));
            self.change(number, |page| {
                page[start..start + piece.len()].copy_from_slice(piece);
            });
            (at, data) = (at + piece.len() as u64, rest);
        }
        if end > self.length {
            self.set_length(end);
        }
    }

    pub(super) fn set_length(&mut self, length: u64) {
        if self.lengths.is_empty() {
            self.lengths.push(0);
        }
        if length < self.length {
            // What is cut off reads as zeros should the file grow again.
            let (first, start) = place(length);
            let (last, _) = place(self.length);
            for number in first..=last {
                if self.page(number).is_some() {
                    let start = if number == first { start } else { 0 };
                    self.change(number, |page| page[start..].fill(0));
                }
            }
        }
        self.length = length;
        self.lengths.push(length);
    }

    /// What `fsync` and `fdatasync` promise.
    pub(super) fn sync(&mut self) {
        for (number, mut versions) in std::mem::take(&mut self.unsynced) {
            self.durable.insert(number, versions.pop().unwrap());
        }
        self.lengths = vec![self.length];
    }

    /// What is left after a power cut.
    pub(super) fn cut(&self, fate: Fate, random: &mut fastrand::Rng) -> Self {
        let mut after = self.clone();
        after.unsynced.clear();
        after.length = match fate {
            Fate::Kept => self.length,
            Fate::Lost => self.lengths.first().copied().unwrap_or(0),
            Fate::Mixed { .. } => random.choice(&self.lengths).copied().unwrap_or(0),
        };
        for (number, versions) in &self.unsynced {
            if let Some(page) = survivor(self.durable.get(number), versions, fate, random) {
                after.durable.insert(*number, page);
            }
        }
        after.lengths = vec![after.length];
        // Nothing lies behind the end of a file.
        let (last, end) = place(after.length);
        after.durable.retain(|number, _| *number <= last);
        if let Some(page) = after.durable.get_mut(&last) {
            let mut bytes = page.to_vec();
            bytes[end..].fill(0);
            *page = bytes.into();
        }
        after
    }
}

/// Which version of an unsynced page is on the disk after a cut; `None` for the durable one.
fn survivor(
    durable: Option<&Page>,
    versions: &[Page],
    fate: Fate,
    random: &mut fastrand::Rng,
) -> Option<Page> {
    let (keep, tear) = match fate {
        Fate::Kept => return versions.last().cloned(),
        Fate::Lost => return None,
        Fate::Mixed { keep, tear } => (keep, tear),
    };
    if !chance(keep, random) {
        return None;
    }
    let zeros = || Page::from(vec![0; PAGE]);
    let newest = || versions.last().cloned().unwrap();
    let new = if random.bool() {
        newest()
    } else {
        random.choice(versions).cloned().unwrap()
    };
    if !chance(tear, random) {
        return Some(new);
    }
    // The other version is any that the disk had before, the durable one among them.
    let other = random.usize(..=versions.len());
    let old = match other.checked_sub(1) {
        Some(index) => Arc::clone(&versions[index]),
        None => durable.cloned().unwrap_or_else(zeros),
    };
    let mut torn = new.to_vec();
    if random.bool() {
        let border = random.usize(..PAGE);
        torn[border..].copy_from_slice(&old[border..]);
    } else {
        for start in (0..PAGE).step_by(SECTOR).filter(|_| random.bool()) {
            torn[start..start + SECTOR].copy_from_slice(&old[start..start + SECTOR]);
        }
    }
    Some(torn.into())
}

/// True with a probability in percent.
pub(super) fn chance(percent: u8, random: &mut fastrand::Rng) -> bool {
    random.u8(..100) < percent
}
