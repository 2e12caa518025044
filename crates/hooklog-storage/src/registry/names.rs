//! Names that filters have in common: many subscriptions want few event types.
//!
//! **Invariant:** a name is here for exactly as long as a subscription wants it.
//! **Next:** `../registry.rs`.

use std::collections::BTreeMap;

use crate::filter::Filter;
use crate::name::{Channel, EventTypeName};

/// The names of all filters, each with how often it is wanted.
#[derive(Debug, Default)]
pub(super) struct Names {
    event_types: BTreeMap<EventTypeName, usize>,
    channels: BTreeMap<Channel, usize>,
}

impl Names {
    /// Lets a filter refer to the names that are here, in place of its own copies of them.
    pub(super) fn share(&self, filter: &mut Filter) {
        share(&self.event_types, filter.event_types.as_deref_mut());
        share(&self.channels, filter.channels.as_deref_mut());
    }

    /// A subscription has this filter.
    pub(super) fn add(&mut self, filter: &Filter) {
        add(&mut self.event_types, filter.event_types.as_deref());
        add(&mut self.channels, filter.channels.as_deref());
    }

    /// A subscription has it no more.
    pub(super) fn remove(&mut self, filter: &Filter) {
        remove(&mut self.event_types, filter.event_types.as_deref());
        remove(&mut self.channels, filter.channels.as_deref());
    }
}

fn share<N: Ord + Clone>(known: &BTreeMap<N, usize>, names: Option<&mut [N]>) {
    for name in names.into_iter().flatten() {
        if let Some((shared, _)) = known.get_key_value(name) {
            *name = shared.clone();
        }
    }
}

fn add<N: Ord + Clone>(known: &mut BTreeMap<N, usize>, names: Option<&[N]>) {
    for name in names.into_iter().flatten() {
        *known.entry(name.clone()).or_default() += 1;
    }
}

fn remove<N: Ord>(known: &mut BTreeMap<N, usize>, names: Option<&[N]>) {
    for name in names.into_iter().flatten() {
        if let Some(count) = known.get_mut(name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                known.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_share_names_while_somebody_wants_them() {
        let filter = |types: &[&str], channels: Option<&str>| Filter {
            event_types: Some(types.iter().map(|name| name.parse().unwrap()).collect()),
            channels: channels.map(|name| vec![name.parse().unwrap()]),
            condition: None,
        };
        let mut names = Names::default();
        let first = filter(&["a", "b", "b"], Some("x"));
        names.add(&first);
        let mut second = filter(&["b", "c"], Some("x"));
        names.share(&mut second);
        assert_eq!(second, filter(&["b", "c"], Some("x")));
        let text =
            |filter: &Filter, at: usize| filter.event_types.as_ref().unwrap()[at].as_str().as_ptr();
        assert_eq!(
            text(&second, 0),
            text(&first, 1),
            "it is the same text in memory"
        );
        names.add(&second);
        names.remove(&first);
        assert_eq!(names.event_types.len(), 2);
        names.remove(&second);
        assert!(names.event_types.is_empty() && names.channels.is_empty());
    }
}
