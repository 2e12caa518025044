use super::*;
use crate::key_index::tests::{entry, hash};

#[test]
fn slots_divide_the_hashes_in_order() {
    let mut hashes: Vec<_> = (0..10_000).map(hash).collect();
    hashes.sort();
    for slots in [1, 2, 145, 724_638, u32::MAX] {
        let slot = |hash: &KeyHash| hash.slot(slots);
        assert!(hashes.is_sorted_by_key(slot));
        assert!(hashes.iter().all(|hash| hash.slot(slots) < slots));
        assert_eq!(KeyHash::new([0; 16]).slot(slots), 0);
        assert_eq!(KeyHash::new([255; 16]).slot(slots), slots - 1);
    }
}

#[test]
fn a_filter_has_no_false_no_and_few_false_yes() {
    let entries = 20_000;
    let lines = Geometry::for_entries(entries).lines;
    let mut builders: Vec<_> = (0..lines).map(|_| LineBuilder::new()).collect();
    let line = |key| usize::try_from(hash(key).slot(lines)).unwrap();
    for key in 0..entries {
        builders[line(key)].insert(&hash(key));
    }
    let mut bytes = Vec::new();
    for (number, builder) in (0..).zip(&mut builders) {
        builder.finish(3, number, &mut bytes);
    }
    let may_hold = |key| {
        let number = hash(key).slot(lines);
        let bytes = &bytes[line(key) * LINE_BYTES..][..LINE_BYTES];
        Line::check(3, number, bytes).unwrap().may_hold(&hash(key))
    };
    assert!((0..entries).all(may_hold));
    let wrong = (entries..2 * entries).filter(|key| may_hold(*key)).count();
    // One in a hundred is what the size of a line was chosen for.
    assert!((100..400).contains(&wrong), "{wrong} of {entries}");
}

#[test]
fn a_block_is_bound_to_its_place() {
    let mut builder = BlockBuilder::default();
    let mut keys: Vec<_> = (0..92).map(|key| entry(key, key)).collect();
    keys.sort_by_key(|entry| entry.hash);
    for entry in &keys {
        assert!(!builder.is_full());
        builder.push(entry);
    }
    assert!(builder.is_full());
    let mut bytes = Vec::new();
    builder.finish(5, 9, &mut bytes);
    assert!(builder.is_empty());
    assert_eq!(bytes.len(), BLOCK_BYTES);
    let block = Block::check(5, 9, &bytes).unwrap();
    for entry in &keys {
        assert_eq!(block.get(&entry.hash), Some(*entry));
    }
    assert_eq!(block.get(&hash(92)), None);
    assert!(block.may_spill(&KeyHash::new([255; 16])));
    assert!(!block.may_spill(&keys[91].hash));
    for (run, number) in [(4, 9), (5, 8), (9, 5)] {
        assert!(Block::check(run, number, &bytes).is_none());
    }
    for place in 0..bytes.len() {
        bytes[place] ^= 0x10;
        assert!(Block::check(5, 9, &bytes).is_none(), "byte {place}");
        bytes[place] ^= 0x10;
    }
}
