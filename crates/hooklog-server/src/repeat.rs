//! `Idempotency-Key` on requests that create or change something other than messages: the answer is
//! kept in the log, and the same request gets it again.
//!
//! Keys that SDKs make up for their own retries (`auto_…`) are kept for minutes and without a sync of
//! their own; a client that chose its key gets its answer after a power cut too.
//!
//! **Invariant:** of requests with one key one is at work at a time; the others wait for its answer, and
//! not for ever. Answers to `/auth` are never kept: they hold tokens, and a backup must not.
//! **Next:** `answers.rs` of storage.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hooklog_storage::{AnswerSync, Answered, ChangeError, IdempotencyKey, KeptAnswer};
use http::{HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

use crate::error::ApiError;
use crate::idempotency;
use crate::reply::{Answer, Response};
use crate::request::Call;
use crate::state::{self, State};
use crate::token::Subject;

/// How long a repetition waits for the first request, as servers of this API family do.
const WAIT: Duration = Duration::from_secs(5);
/// How long the answer to an SDK's automatic key is kept: their retries end within a minute or two.
const AUTO_AGE: Duration = Duration::from_mins(10);
/// What an SDK's automatic keys begin with.
const AUTO_PREFIX: &str = "auto_";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The key of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestKey {
    key: IdempotencyKey,
    is_automatic: bool,
}

impl RequestKey {
    /// The key that a request goes under, if it has one and its route keeps answers.
    pub(crate) fn of(call: &Call, method: &Method) -> Result<Option<Self>, ApiError> {
        if *method != Method::POST || !keeps_answers(call.route) {
            return Ok(None);
        }
        let Some(text) = idempotency::parse(&call.idempotency)? else {
            return Ok(None);
        };
        let (organisation, application) = match call.subject()? {
            Subject::Organisation(id) => (*id.as_bytes(), [0; 20]),
            Subject::Application {
                organisation,
                application,
            } => (*organisation.as_bytes(), *application.as_bytes()),
            Subject::Operator => return Ok(None),
        };
        let query = call.uri.query().unwrap_or_default();
        let scope: [&[u8]; 5] = [
            b"answer",
            &organisation,
            &application,
            call.uri.path().trim_end_matches('/').as_bytes(),
            query.as_bytes(),
        ];
        Ok(Some(Self {
            key: IdempotencyKey::new(&scope, &text, call.bytes()),
            is_automatic: text.starts_with(AUTO_PREFIX),
        }))
    }
}

/// Messages carry their keys themselves; tokens are not to be written down.
pub(crate) fn keeps_answers(pattern: &str) -> bool {
    !matches!(
        pattern,
        "/app/{app}/msg" | "/app/{app}/msg/batch" | "/app/{app}/event"
    ) && !pattern.starts_with("/auth/")
}

/// The first answer to a request, or the one that `work` makes now.
pub(crate) async fn once(
    state: Arc<State>,
    key: RequestKey,
    work: Pin<Box<dyn Future<Output = Answer> + Send>>,
) -> Answer {
    let _turn = Turn::take(&state.at_work, key.key.hash_bytes()).await?;
    match state.log.answered(&key.key, state::now()) {
        Some(Answered::Before(answer)) => return replay(answer),
        Some(Answered::KeyMismatch) => return Err(idempotency::mismatch("")),
        None => {}
    }
    let response = work.await?;
    if response.status().is_success() {
        keep(&state, key, &response).await;
    }
    Ok(response)
}

async fn keep(state: &State, key: RequestKey, response: &Response) {
    let answer = KeptAnswer {
        status: response.status().as_u16(),
        body: response.body().clone(),
    };
    let (age, sync) = if key.is_automatic {
        (AUTO_AGE, AnswerSync::Later)
    } else {
        (Duration::MAX, AnswerSync::Now)
    };
    match state.log.keep_answer(key.key, answer, age, sync).await {
        Ok(()) => {}
        Err(error @ ChangeError::Limit { .. }) => {
            tracing::debug!(%error, "an answer is not kept for repetitions of its request");
        }
        // The work is done, and the client must hear so.
        Err(error) => {
            tracing::warn!(%error, "an answer is not kept for repetitions of its request");
        }
    }
}

fn replay(answer: KeptAnswer) -> Answer {
    let KeptAnswer { status, body } = answer;
    let bad = || ApiError::OutOfService("A kept answer has no status".to_owned());
    let has_body = !body.is_empty();
    let mut response = http::Response::<Bytes>::new(body);
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| bad())?;
    if has_body {
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    }
    Ok(response)
}

type Hash = [u8; 16];

/// The requests at work, by their keys: as many as there are requests with keys, at most.
pub(crate) type AtWork = Arc<Mutex<HashMap<Hash, Arc<Turns<()>>>>>;

/// The right to do the work of a key.
struct Turn {
    _guard: OwnedMutexGuard<()>,
    _place: Place,
}

impl Turn {
    async fn take(at_work: &AtWork, hash: Hash) -> Result<Self, ApiError> {
        let turns = Arc::clone(at_work.lock().entry(hash).or_default());
        let place = Place {
            at_work: Arc::clone(at_work),
            hash,
            turns: Arc::clone(&turns),
        };
        let guard = tokio::time::timeout(WAIT, turns.lock_owned()).await;
        let guard = guard.map_err(|_| {
            let detail = "a request with this idempotency key is still at work";
            ApiError::Conflict(detail.to_owned())
        })?;
        Ok(Self {
            _guard: guard,
            _place: place,
        })
    }
}

/// One that works or waits under a key; the last one to go takes the key off the table.
struct Place {
    at_work: AtWork,
    hash: Hash,
    turns: Arc<Turns<()>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut at_work = self.at_work.lock();
        // Ours and the table's.
        if Arc::strong_count(&self.turns) == 2 {
            at_work.remove(&self.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_works_at_a_time_and_nobody_waits_for_ever() {
        let at_work = AtWork::default();
        let first = Turn::take(&at_work, [1; 16]).await.expect("free");
        let other = Turn::take(&at_work, [2; 16]).await.expect("another key");
        let late = Turn::take(&at_work, [1; 16]).await.err();
        assert!(matches!(late, Some(ApiError::Conflict(_))), "{late:?}");
        let ends = async move {
            tokio::time::sleep(WAIT / 2).await;
            drop(first);
        };
        let (waited, ()) = tokio::join!(Turn::take(&at_work, [1; 16]), ends);
        assert!(waited.is_ok());
        drop(waited);
        drop(other);
        assert!(at_work.lock().is_empty(), "nothing is left behind");
    }

    #[test]
    fn tokens_and_messages_are_not_kept() {
        assert!(keeps_answers("/app") && keeps_answers("/app/{app}/endpoint"));
        assert!(
            !keeps_answers("/app/{app}/msg") && !keeps_answers("/auth/app-portal-access/{app}")
        );
    }
}
