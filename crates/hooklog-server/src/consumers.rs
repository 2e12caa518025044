//! Cursors that the server keeps for clients: how they are named, made and moved.
//!
//! **Invariant:** the cursor of a consumer passes an event only after the client said that it has it:
//! by a commit, by asking for what comes behind it, or by a stream that goes on behind it. It goes
//! back by a seek alone. So what a crash of either side loses is asked for again, never skipped.
//! **Next:** `poll.rs`.

use hooklog_storage::{
    ApplicationId, ConsumerError, ConsumerKey, ConsumerName, ConsumerScope, Offset, Start,
};
use http::StatusCode;

use crate::error::ApiError;
use crate::place::Place;
use crate::query::Query;
use crate::reply::{self, Answer};
use crate::request::Call;
use crate::state::State;
use crate::wire::{CommitIn, Issue, SeekIn, SeekOut};

/// How the consumers of a polling endpoint are called in the log, apart from those of programs.
const PREFIX: &str = "poll";

/// The consumer of a polling endpoint. The length in front keeps `a.b` of `c` and `a` of `b.c` apart.
pub(crate) fn key(
    application: ApplicationId,
    sink: &str,
    consumer: &str,
) -> Result<ConsumerKey, ApiError> {
    for (part, text) in [("sink", sink), ("consumer", consumer)] {
        text.parse::<ConsumerName>()
            .map_err(|error| Issue::path(part, error.to_string()))?;
    }
    let name = format!("{PREFIX}.{}.{sink}.{consumer}", sink.len());
    let name = name.parse().map_err(|_| {
        let limit = ConsumerName::LIMIT + sink.len() + consumer.len() - name.len();
        let message = format!("the names of sink and consumer have more than {limit} characters");
        Issue::path("consumer", message)
    })?;
    let scope = ConsumerScope::Application(application);
    Ok(ConsumerKey { scope, name })
}

/// The consumer in the path.
pub(crate) fn of_path(call: &Call, application: ApplicationId) -> Result<ConsumerKey, ApiError> {
    key(application, call.part("sink")?, call.part("consumer")?)
}

/// Where a reader begins that is new: `starting_position`.
pub(crate) fn starting_position(query: &Query) -> Result<Option<Start>, ApiError> {
    match query.text("starting_position") {
        None => Ok(None),
        Some("earliest") => Ok(Some(Start::Beginning)),
        Some("latest") => Ok(Some(Start::End)),
        Some(_) => {
            let message = "must be `earliest` or `latest`";
            Err(Issue::query("starting_position", message).into())
        }
    }
}

/// Where the consumer stands; it is made, to begin at `start`, if it is new.
pub(crate) async fn cursor(
    state: &State,
    key: &ConsumerKey,
    start: Start,
) -> Result<Offset, ApiError> {
    if let Some(found) = state.log.find_consumer(key) {
        return Ok(found.cursor);
    }
    let created = state.log.create_consumer(key.clone(), start).await?;
    Ok(created.cursor)
}

/// The client has everything below `to`.
pub(crate) async fn settle(state: &State, key: &ConsumerKey, to: Offset) -> Result<(), ApiError> {
    if cursor(state, key, Start::At(to)).await? < to {
        state.log.advance_consumer(key, to).await?;
    }
    Ok(())
}

/// `POST …/commit`: the client has everything up to this offset.
pub(crate) async fn commit(call: Call) -> Answer {
    let key = of_path(&call, call.application()?.id)?;
    let offset = Offset::new(CommitIn::parse(call.bytes())?.offset);
    if offset >= call.state.log.end() {
        let message = "is behind the end of the log: no message has it";
        return Err(Issue::body("offset", message).into());
    }
    call.state.log.advance_consumer(&key, offset.next()).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `POST …/seek`: go on with the first message that is not older than this.
pub(crate) async fn seek(call: Call) -> Answer {
    let key = of_path(&call, call.application()?.id)?;
    let after = SeekIn::parse(call.bytes())?.after;
    let to = call.state.read(move |log| log.offset_at(after)).await?;
    call.state.log.seek_consumer(&key, to).await?;
    let iterator = Place(to).to_string();
    reply::json(StatusCode::OK, &SeekOut { iterator })
}

/// `DELETE …/consumer/{consumer}`: its cursor is forgotten.
pub(crate) async fn delete(call: Call) -> Answer {
    let key = of_path(&call, call.application()?.id)?;
    let log = &call.state.log;
    log.delete_consumer(key.scope, key.name.as_str()).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

impl From<ConsumerError> for ApiError {
    fn from(error: ConsumerError) -> Self {
        match error {
            ConsumerError::InUse { .. } => Self::Conflict(error.to_string()),
            ConsumerError::NotFound { .. } => Self::NotFound,
            ConsumerError::Limit { .. } | ConsumerError::Unacked { .. } => Self::Refused {
                code: "limit_reached",
                detail: error.to_string(),
            },
            ConsumerError::Name(error) => Issue::path("consumer", error.to_string()).into(),
            ConsumerError::Read(error) => error.into(),
            ConsumerError::Commit(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_of_two_sinks_are_never_the_same() {
        let id = ApplicationId::from_bytes([1; 20]);
        let name = |sink, consumer| key(id, sink, consumer).map(|key| key.name.to_string());
        assert_eq!(name("books", "w.1").expect("a name"), "poll.5.books.w.1");
        assert_ne!(
            name("a.b", "c").expect("a name"),
            name("a", "b.c").expect("a name")
        );
        let (sink, long) = ("s".repeat(19), "c".repeat(100));
        assert!(name(&sink, &long).is_ok());
        let longer = "c".repeat(101);
        let refused = name(&sink, &longer).expect_err("is too long");
        assert!(refused.to_string().contains("more than 119"), "{refused}");
        for (sink, consumer) in [("", "c"), ("s", ""), ("s", "c d"), ("s/t", "c")] {
            assert!(matches!(name(sink, consumer), Err(ApiError::Invalid(_))));
        }
    }
}
