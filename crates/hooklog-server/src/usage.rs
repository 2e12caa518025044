//! How many deliveries applications had: counted in the background.
//!
//! **Invariant:** as `task.rs`; which attempts are looked at is settled when the task is made.
//! **Next:** `message.rs`.

use std::collections::BTreeSet;

use hooklog_storage::Timestamp;
use http::StatusCode;

use crate::reply::{self, Answer};
use crate::request::Call;
use crate::wire::{Fields, Issue, UsageIn, UsageOut};

/// Starts to count.
pub(crate) async fn count(call: Call) -> Answer {
    let UsageIn { between, apps } = UsageIn::parse(&Fields::parse(call.bytes())?)?;
    let organisation = call.organisation()?;
    let (mut found, mut unresolved) = (BTreeSet::new(), Vec::new());
    let is_named = apps.is_some();
    {
        let registry = call.state.log.registry();
        for name in apps.into_iter().flatten() {
            match registry.find_application(organisation, &name) {
                Some(application) => {
                    found.insert(application.id);
                }
                None => unresolved.push(name),
            }
        }
    }
    if is_named && found.is_empty() {
        return Err(Issue::body("appIds", "none of them is an application").into());
    }
    let range = call.state.read(move |log| {
        let end = between.until.unwrap_or(Timestamp::from_millis(i64::MAX));
        log.attempts_between(between.since..end)
    });
    let range = range.await?;
    let of = is_named.then_some(found);
    let task = call.state.log.create_count(organisation, of, range).await?;
    reply::json(StatusCode::ACCEPTED, &UsageOut::new(&task, unresolved))
}
