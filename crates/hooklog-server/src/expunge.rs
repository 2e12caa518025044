//! Takes content out of messages and attempts before retention does.
//!
//! **Invariant:** once answered, no route shows the content again and no delivery carries it.
//! **Next:** `attempt.rs`.

use hooklog_storage::{EventId, Expunged, ReadError, Uid};
use http::StatusCode;

use crate::attempt;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::task;
use crate::wire::{BulkExpungeIn, BulkExpungeOut, Fields};

/// The payload of a message.
pub(crate) async fn message(call: Call) -> Answer {
    let record = call.event().await?;
    call.state.log.expunge(&record).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// The payloads of several messages, in one commit; says of each whether there is such a message.
pub(crate) async fn messages(call: Call) -> Answer {
    let BulkExpungeIn { ids } = BulkExpungeIn::parse(&Fields::parse(call.bytes())?)?;
    let application = call.application()?.id;
    let find = move |log: &hooklog_storage::EventLog| {
        let found = ids.into_iter().map(|id| {
            let is_name = id.parse::<EventId>().is_ok() || id.parse::<Uid>().is_ok();
            let record = if is_name {
                log.find_event(application, &id)?
            } else {
                None
            };
            Ok::<_, ReadError>((id, record.map(|record| Expunged::Event(record.offset))))
        });
        found.collect::<Result<Vec<_>, _>>()
    };
    let found = call.state.read(find).await?;
    let known = found.iter().filter_map(|(_, what)| *what).collect();
    call.state.log.expunge_all(known).await?;
    let results = found.into_iter().map(|(id, what)| (id, what.is_some()));
    reply::json(StatusCode::OK, &BulkExpungeOut::new(results))
}

/// The payloads of all messages of an application so far, in one commit. Answered by a task, which is
/// what clients of the API family wait for; this one is finished.
pub(crate) async fn all(call: Call) -> Answer {
    let application = call.application()?.id;
    let task = call.state.log.expunge_application(application).await?;
    task::shown(&call.state, StatusCode::ACCEPTED, &task)
}

/// The response that an attempt got.
pub(crate) async fn attempt(call: Call) -> Answer {
    let attempt = attempt::find_one(&call).await?;
    call.state.log.expunge_attempt(&attempt).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
