//! Keys against naive models: tuples in their own order, and filters over whole lists.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Owners that are neighbours of each other often enough: few leading bytes, few last ones.
fn owner() -> impl Strategy<Value = [u8; 20]> {
    let edge = || prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xfe, 0xff]);
    (edge(), edge(), edge()).prop_map(|(first, middle, last)| {
        let mut owner = [first; 20];
        owner[10] = middle;
        owner[19] = last;
        owner
    })
}

/// Positions close to where bytes carry over.
fn position() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..3000,
        (0_u32..64, 0_u64..3).prop_map(|(bit, back)| (1_u64 << bit).wrapping_sub(back)),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_.-]{1,6}".prop_filter("steps in a path", |name| name != "." && name != "..")
}

proptest! {
    #[test]
    fn the_order_of_keys_is_the_order_of_owners_and_positions(
        (a, m) in (owner(), position()),
        (b, n) in (owner(), position()),
        (c, d) in any::<(u16, u16)>(),
    ) {
        let (at_m, at_n) = (Offset::new(m), Offset::new(n));
        let by_owner = (a, m).cmp(&(b, n));
        prop_assert_eq!(owned(&a, m).cmp(&owned(&b, n)), by_owner);
        let (one, other) = (SubscriptionId::from_bytes(a), SubscriptionId::from_bytes(b));
        prop_assert_eq!(retry(one, at_m).cmp(&retry(other, at_n)), by_owner);
        prop_assert_eq!(cursor(one).cmp(&cursor(other)), one.cmp(&other));
        prop_assert_eq!(batch(m, c).cmp(&batch(n, d)), (m, c).cmp(&(n, d)));
        let blocks = (m / ATTEMPT_BLOCK, n).cmp(&(n / ATTEMPT_BLOCK, m));
        let by_block = owned(&block(at_m), n).cmp(&owned(&block(at_n), m));
        prop_assert_eq!(by_block, blocks);
    }

    #[test]
    fn what_is_in_a_key_is_read_back(owner in owner(), at in position(), chunk: u16) {
        prop_assert_eq!(batch_base(&batch(at, chunk)), Some(at));
        prop_assert_eq!(last_number(&owned(&owner, at)), Some(at));
        prop_assert_eq!(owner_of(&owned(&owner, at)).to_vec(), owner.to_vec());
        let offset = Offset::new(at);
        prop_assert_eq!(last_number(&owned(&block(offset), at)), Some(at));
        let id = SubscriptionId::from_bytes(owner);
        prop_assert_eq!(subscription_of(&retry(id, offset)), Some(id));
        prop_assert_eq!(subscription_of(&cursor(id)), Some(id));
        prop_assert_eq!(last_number(&retry(id, offset)), Some(at));
        let time = Timestamp::from_millis(i64::try_from(at >> 1).unwrap());
        prop_assert_eq!(delayed_parts(&delayed(time, offset)), Some((time, offset)));
        for key in [delayed(time, offset), delayed_at(offset), delayed_skip(offset, id)] {
            prop_assert_eq!(delayed_offset(&key), Some(offset));
        }
        // The block in the key and the place in it are the offset again.
        let key = owned(&block(offset), 0);
        prop_assert_eq!(owner_of(&key), block(offset));
        let block = batch_base(&key).unwrap();
        prop_assert_eq!(block * ATTEMPT_BLOCK + u64::from(in_block(offset)), at);
    }

    #[test]
    fn a_range_of_one_owner_holds_its_rows_and_no_neighbours(
        rows in prop::collection::vec((owner(), position()), 1..60),
        low in position(),
        high in position(),
    ) {
        let keys: BTreeSet<Vec<u8>> = rows.iter().map(|(owner, at)| owned(owner, *at)).collect();
        let (low, high) = (low.min(high), low.max(high));
        for (owner, _) in &rows {
            let found: Vec<Vec<u8>> =
                keys.range(owned(owner, low)..=owned(owner, high)).cloned().collect();
            let mut expected: Vec<u64> = rows
                .iter()
                .filter(|(of, at)| of == owner && (low..=high).contains(at))
                .map(|(_, at)| *at)
                .collect();
            expected.sort_unstable();
            expected.dedup();
            let expected: Vec<_> = expected.into_iter().map(|at| owned(owner, at)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    /// Kinds of the registry share a tree, and so do owners with texts of any length behind them.
    #[test]
    fn texts_and_kinds_never_lead_out_of_their_owner(
        owners in prop::collection::vec(owner(), 1..6),
        names in prop::collection::vec(name(), 1..8),
    ) {
        let mut registry = BTreeSet::new();
        let distinct: BTreeSet<_> = owners.iter().collect();
        let texts: BTreeSet<&String> = names.iter().collect();
        for owner in &distinct {
            registry.insert(organisation(OrganisationId::from_bytes(**owner)));
            registry.insert(application(ApplicationId::from_bytes(**owner)));
            registry.insert(subscription(SubscriptionId::from_bytes(**owner)));
            for name in &texts {
                let of = OrganisationId::from_bytes(**owner);
                registry.insert(event_type(of, &name.parse().unwrap()));
            }
        }
        // No two rows share a key.
        prop_assert_eq!(registry.len(), distinct.len() * (3 + texts.len()));
        // Every subscription lies between the lowest and the highest, and nothing else does.
        let low = subscription(SubscriptionId::from_bytes([0; 20]));
        let high = subscription(SubscriptionId::from_bytes([0xff; 20]));
        let mut kinds = registry.range(low..=high).map(|key| registry_kind(key));
        prop_assert!(kinds.all(|kind| matches!(kind, Some(Kind::Subscription))));
    }

    #[test]
    fn strange_keys_are_told_from_real_ones(key: Vec<u8>) {
        prop_assert_eq!(batch_base(&key).is_some(), key.len() >= 8);
        prop_assert_eq!(last_number(&key).is_some(), key.len() >= 8);
        prop_assert_eq!(subscription_of(&key).is_some(), key.len() >= 20);
        let parts = delayed_parts(&key).is_some();
        prop_assert!(!parts || key.len() == 17 && key[0] == 1);
        prop_assert!(delayed_offset(&key).is_none() || key.len() >= 9);
        let known = key.first().is_some_and(|kind| (1..=9).contains(kind));
        prop_assert_eq!(registry_kind(&key).is_some(), known);
    }
}
