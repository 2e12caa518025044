//! The tables against a naive model: a list that is looked through.

use proptest::prelude::*;

use super::*;
use crate::delivery::{Ordering as Order, Policy};
use crate::filter::Filter;
use crate::name::Uid;
use crate::offset::Offset;
use crate::subscription::{Endpoint, SecretKey, SubscriptionState};
use crate::time::Timestamp;

fn id(number: u8) -> SubscriptionId {
    SubscriptionId::from_bytes([number; 20])
}

fn application(number: u8) -> ApplicationId {
    ApplicationId::from_bytes([number; 20])
}

#[derive(Clone, Debug)]
struct Step {
    id: u8,
    application: u8,
    uid: Option<u8>,
    remove: bool,
    load: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    // The first and the last id and application that there can be are among them.
    let number = || prop::sample::select(vec![0_u8, 1, 2, 3, 254, 255]);
    (number(), number(), prop::option::of(0_u8..3), flags).prop_map(
        |(id, application, uid, (remove, load))| Step {
            id,
            application,
            uid,
            remove,
            load,
        },
    )
}

fn value(step: &Step, uid: Option<Uid>) -> Subscription {
    let at = Timestamp::from_millis(1);
    Subscription {
        id: id(step.id),
        application: application(step.application),
        uid,
        description: String::new().into(),
        endpoint: Endpoint::new("https://example.com", SecretKey::new(vec![1; 24])),
        filter: Filter::default(),
        state: SubscriptionState::Enabled,
        ordering: Order::None,
        policy: Arc::new(Policy::default()),
        metadata: std::collections::BTreeMap::new().into(),
        start: Offset::ZERO,
        created: at,
        updated: at,
    }
}

fn ends() -> impl Strategy<Value = (Bound<SubscriptionId>, Bound<SubscriptionId>)> {
    let bound = |of: u8, number: u8| match of {
        0 => Bound::Unbounded,
        1 => Bound::Included(id(number)),
        _ => Bound::Excluded(id(number)),
    };
    // The lower end is below the upper one, as ranges of trees must have it.
    (0_u8..3, 0_u8..3, 0_u8..3, 0_u8..3)
        .prop_map(move |(a, b, low, more)| (bound(a, low), bound(b, low + 1 + more)))
}

proptest! {
    #[test]
    fn the_tables_agree_with_a_list(
        steps in prop::collection::vec(step(), 0..60),
        range in ends(),
    ) {
        let mut tables = Subscriptions::default();
        let mut list: Vec<Arc<Subscription>> = Vec::new();
        for step in steps {
            let at = list.iter().position(|value| value.id == id(step.id));
            if step.remove {
                prop_assert_eq!(tables.remove(id(step.id)), at.map(|at| list.remove(at)));
                continue;
            }
            let uid = step.uid.map(|uid| format!("u{uid}").parse().unwrap());
            let taken = |value: &&Arc<Subscription>| {
                value.id != id(step.id) && value.application == application(step.application)
                    && value.uid == uid
            };
            // Nobody else has the uid: `commands.rs` refuses that.
            let uid = if list.iter().any(|value| taken(&value)) { None } else { uid };
            let value = Arc::new(value(&step, uid));
            let old = at.map(|at| list.remove(at));
            list.push(Arc::clone(&value));
            prop_assert_eq!(tables.put(&value), old);
            if step.load {
                tables = Subscriptions::load(&list);
            }
        }
        list.sort_by_key(|value| value.id);
        prop_assert!(tables.all().eq(&list));
        for number in 0..=255 {
            let found = list.iter().find(|value| value.id == id(number));
            prop_assert_eq!(tables.get(id(number)), found);
            let of = application(number);
            let own = || list.iter().filter(|value| value.application == of);
            prop_assert_eq!(tables.count(of), own().count());
            let all = (Bound::Unbounded, Bound::Unbounded);
            prop_assert!(tables.of(of, all).eq(own()));
            let within = |value: &&Arc<Subscription>| {
                std::ops::RangeBounds::contains(&range, &value.id)
            };
            prop_assert!(tables.of(of, range).eq(own().filter(within)));
            prop_assert!(tables.of(of, range).rev().eq(own().rev().filter(within)));
            for uid in ["u0", "u1", "u2", ""] {
                let named = |value: &&Arc<Subscription>| {
                    value.uid.as_ref().is_some_and(|own| own.as_str() == uid)
                };
                prop_assert_eq!(tables.by_uid(of, uid), own().find(named));
            }
        }
        for value in list {
            tables.remove(value.id);
        }
        // Memory follows the subscriptions that there are.
        prop_assert!(tables.by_id.is_empty() && tables.members.is_empty());
        prop_assert!(tables.by_uid.is_empty() && tables.counts.is_empty());
    }
}

/// With the two counters of its pointer it takes 256 bytes, one class of the allocator; the next has 320.
#[test]
fn a_subscription_is_small() {
    assert!(size_of::<Subscription>() <= 240);
}
