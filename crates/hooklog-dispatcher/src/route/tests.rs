//! Tests of the routing index against a naive model: look at every subscription.

use proptest::prelude::*;

use super::*;
use crate::testing::{application, record_of, subscription};

#[derive(Clone, Debug)]
struct Wish {
    number: u8,
    application: u8,
    types: Option<Vec<u8>>,
    channels: Option<Vec<u8>>,
    at_least: Option<u8>,
    enabled: bool,
    from: u64,
    delete: bool,
}

fn names(of: u8) -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(0..of, 1..4))
}

fn wish() -> impl Strategy<Value = Wish> {
    (
        0_u8..12,
        0_u8..2,
        names(3),
        names(3),
        prop::option::of(0_u8..4),
        prop::bool::weighted(0.8),
        0_u64..4,
        any::<u8>(),
    )
        .prop_map(
            |(number, application, types, channels, at_least, enabled, from, delete)| Wish {
                number,
                application,
                types,
                channels,
                at_least,
                enabled,
                from,
                delete: delete < 40,
            },
        )
}

fn value(wish: &Wish) -> Arc<Subscription> {
    let mut value = subscription(wish.number);
    value.application = application(wish.application);
    let types = |names: &Vec<u8>| {
        names
            .iter()
            .map(|n| format!("t{n}").parse().unwrap())
            .collect()
    };
    let channels = |names: &Vec<u8>| {
        names
            .iter()
            .map(|n| format!("c{n}").parse().unwrap())
            .collect()
    };
    value.filter.event_types = wish.types.as_ref().map(types);
    value.filter.channels = wish.channels.as_ref().map(channels);
    let condition = |least: u8| format!(r#"{{"n": {{"$gte": {least}}}}}"#).parse().unwrap();
    value.filter.condition = wish.at_least.map(condition);
    if !wish.enabled {
        value.state = hooklog_storage::SubscriptionState::wanted(false, value.created);
    }
    Arc::new(value)
}

proptest! {
    #[test]
    fn the_index_agrees_with_looking_at_every_subscription(
        wishes in prop::collection::vec(wish(), 0..40),
        staged in 0_usize..40,
        events in prop::collection::vec(
            (0_u8..2, 0_u8..4, prop::collection::vec(0_u8..4, 0..3), 0_u64..4, 0_u8..5), 1..20,
        ),
    ) {
        let mut routes = Routes::default();
        let mut model: BTreeMap<SubscriptionId, Entry> = BTreeMap::new();
        routes.stage();
        for (number, wish) in wishes.iter().enumerate() {
            if number == staged {
                routes.pack();
            }
            let subscription = value(wish);
            let id = subscription.id;
            if wish.delete {
                prop_assert_eq!(routes.remove(id).is_some(), model.remove(&id).is_some());
            } else {
                let from = Offset::new(wish.from);
                routes.insert(Arc::clone(&subscription), from);
                model.insert(id, Entry { subscription, from });
            }
        }
        routes.pack();
        for (owner, event_type, channels, offset, n) in events {
            let mut record = record_of(offset, 10);
            record.event.application = application(owner);
            record.event.event_type = format!("t{event_type}").parse().unwrap();
            record.event.channels =
                channels.iter().map(|n| format!("c{n}").parse().unwrap()).collect();
            // One of five is no JSON.
            record.event.payload = match n {
                4 => "<n>4</n>".into(),
                n => format!(r#"{{"n": {n}}}"#).into(),
            };
            let expected: Vec<_> = model
                .values()
                .filter(|entry| {
                    entry.is_enabled()
                        && entry.from <= record.offset
                        && wants(&entry.subscription, &record)
                })
                .map(|entry| entry.subscription.id)
                .collect();
            let mut found = Matches::default();
            routes.matching(&record, &mut Budget::default(), &mut found);
            prop_assert_eq!(&found.certain, &expected);
            prop_assert!(found.unsure.is_empty());
            // Without a budget, whoever has a condition is to look for itself.
            routes.matching(&record, &mut Budget { bytes: 0 }, &mut found);
            let has_condition = |id: &SubscriptionId| {
                model.get(id).unwrap().subscription.filter.condition.is_some()
            };
            let mut all = found.certain.clone();
            prop_assert!(!all.iter().any(has_condition) && found.unsure.iter().all(has_condition));
            all.extend(found.unsure.iter().filter(|id| expected.contains(id)));
            all.sort_unstable();
            prop_assert_eq!(all, expected);
        }
        for owner in 0..2 {
            let expected: Vec<_> = model
                .values()
                .filter(|entry| entry.subscription.application == application(owner))
                .map(|entry| entry.subscription.id)
                .collect();
            prop_assert_eq!(routes.members(application(owner)), expected);
        }
        let ids: Vec<_> = routes.ids().collect();
        for id in ids {
            routes.remove(id);
        }
        // Nothing is left behind: memory follows the subscriptions that there are.
        prop_assert!(routes.index.is_empty() && routes.places.is_empty());
        prop_assert!(routes.types.is_empty() && routes.channels.is_empty());
        prop_assert!(routes.applications.is_empty());
        prop_assert_eq!(routes.free.len(), routes.entries.len());
    }
}
