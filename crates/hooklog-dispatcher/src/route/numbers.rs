//! Small numbers for large keys, so that an index of many is made of numbers.
//!
//! **Invariant:** equal keys have one number for as long as somebody uses it; a number that nobody
//! uses is given out again, so the table follows what is there.
//! **Next:** `../route.rs`, whose index they make.

use std::collections::BTreeMap;

/// Keys that are in use, each with its number.
#[derive(Debug)]
pub(super) struct Numbers<K> {
    used: BTreeMap<K, Used>,
    /// Numbers below `next` that nobody uses.
    free: Vec<u32>,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Used {
    number: u32,
    /// How often it was taken and not given back.
    times: u32,
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self {
            used: BTreeMap::new(),
            free: Vec::new(),
            next: 0,
        }
    }
}

impl<K: Ord + Clone> Numbers<K> {
    /// The number of a key, for one more use of it.
    pub(super) fn take(&mut self, key: &K) -> u32 {
        if let Some(used) = self.used.get_mut(key) {
            used.times += 1;
            return used.number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            let number = self.next;
            // Memory ends long before numbers do.
            self.next += 1;
            number
        });
        self.used.insert(key.clone(), Used { number, times: 1 });
        number
    }

    /// Ends one use of a key.
    pub(super) fn give_back(&mut self, key: &K) {
        let Some(used) = self.used.get_mut(key) else {
            return;
        };
        used.times -= 1;
        if used.times == 0 {
            self.free.push(used.number);
            self.used.remove(key);
        }
    }

    /// The number of a key that is in use.
    pub(super) fn get(&self, key: &K) -> Option<u32> {
        self.used.get(key).map(|used| used.number)
    }

    /// Gives back what the table keeps free.
    pub(super) fn pack(&mut self) {
        self.used = std::mem::take(&mut self.used).into_iter().collect();
    }

    /// Whether nothing is in use.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.used.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_kept_while_it_is_used_and_then_given_out_again() {
        let mut numbers = Numbers::default();
        let cases = [
            (true, "a", Some(0)),
            (true, "b", Some(1)),
            (true, "a", Some(0)),
            (false, "a", Some(0)),
            (false, "a", None),
            (true, "c", Some(0)),
            (true, "d", Some(2)),
        ];
        for (take, key, expected) in cases {
            if take {
                assert_eq!(Some(numbers.take(&key)), expected, "{key}");
            } else {
                numbers.give_back(&key);
            }
            assert_eq!(numbers.get(&key), expected, "{key}");
        }
        for key in ["b", "c", "d"] {
            numbers.give_back(&key);
        }
        assert!(numbers.is_empty());
    }
}
