//! Background tasks in memory.
//!
//! **Invariant:** what runs is found without a look at what ended.
//! **Next:** `../commands/tasks.rs`, which changes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{ApplicationId, OrganisationId, TaskId};
use crate::task::Task;

/// All tasks that are remembered.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    by_id: BTreeMap<TaskId, Arc<Task>>,
    by_organisation: BTreeSet<(OrganisationId, TaskId)>,
    running: BTreeSet<TaskId>,
}

impl Tasks {
    pub(super) fn get(&self, id: TaskId) -> Option<&Arc<Task>> {
        self.by_id.get(&id)
    }

    pub(super) fn of(
        &self,
        organisation: OrganisationId,
    ) -> impl DoubleEndedIterator<Item = &Arc<Task>> {
        let (low, high) = (TaskId::from_bytes([0; 20]), TaskId::from_bytes([0xff; 20]));
        let ids = &self.by_organisation;
        ids.range((organisation, low)..=(organisation, high))
            .filter_map(|(_, id)| self.by_id.get(id))
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.running.iter().filter_map(|id| self.by_id.get(id))
    }

    pub(super) fn put(&mut self, value: &Arc<Task>) {
        let id = value.id;
        if value.is_running() {
            self.running.insert(id);
        } else {
            self.running.remove(&id);
        }
        self.by_organisation.insert((value.organisation, id));
        self.by_id.insert(id, Arc::clone(value));
    }

    pub(super) fn delete(&mut self, id: TaskId) {
        self.running.remove(&id);
        if let Some(old) = self.by_id.remove(&id) {
            self.by_organisation.remove(&(old.organisation, id));
        }
    }

    pub(super) fn delete_application(&mut self, owner: OrganisationId, id: ApplicationId) {
        let own = self.of(owner).filter(|task| task.application() == Some(id));
        let own: Vec<_> = own.map(|task| task.id).collect();
        for task in own {
            self.delete(task);
        }
    }
}
