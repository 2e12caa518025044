//! What was made on a server that is not ours.
//!
//! **Invariant:** whatever ends a run, an error and Ctrl-C too, what it made there is removed or named: the
//! list is kept beside the run, and only what was removed leaves it.
//! **Next:** `server.rs`, which is asked for it.

use std::time::Duration;

use parking_lot::Mutex;

use super::api::Api;

/// Longest time for all of it at the end of a run: whoever pressed Ctrl-C waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that stays on a server until it is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// With its endpoints and messages; by its uid, which is known before the server is asked.
    Application(String),
    EventType(String),
}

impl Made {
    /// Under which path it is removed.
    fn path(&self) -> String {
        match self {
            Self::Application(id) => format!("/api/v1/app/{id}"),
            // Otherwise it would be archived.
            Self::EventType(name) => format!("/api/v1/event-type/{name}?expunge=true"),
        }
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Left(Mutex<Vec<(Api, Made)>>);

impl Left {
    /// Notes what is made: before it is, where its name is ours.
    pub(crate) fn made(&self, api: &Api, made: Made) {
        self.0.lock().push((api.clone(), made));
    }

    /// Removes it, one after the other; what cannot be removed keeps nothing else from it.
    ///
    /// # Cancel safety
    /// What was not removed is still on the list.
    pub(crate) async fn remove(&self) -> anyhow::Result<()> {
        let all = self.0.lock().clone();
        let mut failed = None;
        for (api, made) in all {
            match api.remove(&made.path()).await {
                Ok(()) => self.0.lock().retain(|(_, other)| *other != made),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Removes it at the end of a run; says what could not be removed.
    pub(crate) async fn clear(&self) -> Option<String> {
        let removed = tokio::time::timeout(PATIENCE, self.remove()).await;
        let why = match removed {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("no answer in {PATIENCE:?}"),
        };
        let left = self.0.lock();
        let paths = left
            .iter()
            .map(|(api, made)| format!("http://{}{}", api.host, made.path()));
        let paths = paths.collect::<Vec<_>>().join(", ");
        Some(format!("left behind, to be deleted: {paths} ({why})"))
    }
}
