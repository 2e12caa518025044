//! The dispatcher end to end: a real log, real HTTP, a receiver that answers by a script.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hooklog_storage::{
    Appended, Application, AttemptSeq, AttemptsOf, CursorState, Endpoint, Event, EventId, Filter,
    Limit, NewApplication, NewAttempt, NewSubscription, Order, OrganisationId, Outcome, Rare,
    Retry, SecretKey, Subscription, SubscriptionState, Trigger,
};
use tempfile::TempDir;

use super::*;
use crate::backoff::Schedule;
use crate::dispatcher::Dispatcher;
use crate::testing::sink::{Received, Reply, Sink};

struct World {
    directory: TempDir,
    log: EventLog,
    application: Arc<Application>,
}

/// Opens a log; tasks of a dispatcher that was dropped may hold the former one a moment longer.
async fn open(directory: &TempDir) -> EventLog {
    open_keeping(directory, hooklog_storage::Retention::default()).await
}

async fn open_keeping(directory: &TempDir, retention: hooklog_storage::Retention) -> EventLog {
    let mut config = hooklog_storage::Config::new(directory.path());
    // Small, so that a test writes little.
    config.journal_segment_bytes = 4 << 20;
    config.payload_bytes_max = 64 << 10;
    config.retention = retention;
    if retention != hooklog_storage::Retention::default() {
        // Retention looks this often.
        config.barrier_interval = Duration::from_millis(10);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match EventLog::open(config.clone()) {
            Ok(log) => return log,
            Err(error) => assert!(Instant::now() < deadline, "the log opens in time: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn config() -> Config {
    let delays = [0, 50, 50, 50].map(Duration::from_millis).to_vec();
    Config {
        schedule: Schedule::try_new(delays, 0.2).unwrap(),
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..Config::default()
    }
}

impl World {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let log = open(&directory).await;
        let new = NewApplication {
            organisation: OrganisationId::from_bytes([1; 20]),
            uid: None,
            name: "test".to_owned(),
            metadata: BTreeMap::new(),
            policy: hooklog_storage::Policy::default(),
        };
        let application = log.create_application(new).await.unwrap();
        Self {
            directory,
            log,
            application,
        }
    }

    /// Opens the log again, as after a restart.
    async fn reopen(self) -> Self {
        self.reopen_keeping(hooklog_storage::Retention::default())
            .await
    }

    async fn reopen_keeping(self, retention: hooklog_storage::Retention) -> Self {
        let Self {
            directory,
            log,
            application,
        } = self;
        log.close().unwrap();
        drop(log);
        let log = open_keeping(&directory, retention).await;
        Self {
            directory,
            log,
            application,
        }
    }

    async fn dispatch(&self) -> Dispatcher {
        Dispatcher::start(self.log.clone(), config()).await.unwrap()
    }

    async fn subscribe(&self, sink: &Sink) -> Arc<Subscription> {
        self.subscribe_url(&sink.url()).await
    }

    async fn subscribe_url(&self, url: &str) -> Arc<Subscription> {
        let new = NewSubscription {
            application: self.application.id,
            uid: None,
            description: String::new(),
            endpoint: Endpoint {
                url: url.into(),
                secret: SecretKey::new(vec![1; 24]),
                old_secrets: Rare::default(),
                headers: Rare::default(),
                format: hooklog_storage::Format::Payload,
            },
            filter: Filter::default(),
            is_enabled: true,
            metadata: BTreeMap::new(),
            ordering: hooklog_storage::Ordering::None,
            policy: hooklog_storage::Policy::default(),
            start: None,
        };
        self.log.create_subscription(new).await.unwrap()
    }

    async fn publish(&self, numbers: std::ops::Range<usize>) -> Vec<EventId> {
        let event = |number: usize| Event {
            application: self.application.id,
            event_type: "test.event".parse().unwrap(),
            channels: Vec::new(),
            uid: None,
            idempotency: None,
            content_type: "application/json".to_owned(),
            payload: Bytes::from(format!("{{\"n\":{number}}}")),
            tags: Vec::new(),
            ordering_key: None,
            headers: Vec::new(),
            only: None,
            deliver_at: None,
        };
        let appended = self.log.append(numbers.map(event).collect()).await.unwrap();
        let id = |appended| match appended {
            Appended::Committed { id, .. } => id,
            other => panic!("events have no keys: {other:?}"),
        };
        appended.into_iter().map(id).collect()
    }

    async fn set_state(&self, subscription: &Subscription, state: SubscriptionState) {
        let edit = move |value: &mut Subscription, _| {
            value.state = state;
            Ok(())
        };
        self.log
            .update_subscription(subscription.id, edit)
            .await
            .unwrap();
    }

    /// Waits until the log tells what is expected of it.
    async fn until<T>(&self, mut look: impl FnMut(&EventLog) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = look(&self.log) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "the log tells what was expected in time"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many attempts of a subscription are on record, and returns them.
    async fn attempts(&self, id: hooklog_storage::SubscriptionId, count: usize) -> Vec<NewAttempt> {
        self.until(|log| {
            let range = AttemptSeq::ZERO..AttemptSeq::MAX;
            let limit = Limit {
                items: 10_000,
                bytes: 1 << 24,
            };
            let of = AttemptsOf::Subscription(id);
            let page = log.attempts(of, range, Order::Ascending, limit).unwrap();
            let attempts: Vec<_> = page
                .attempts
                .into_iter()
                .map(|found| found.attempt)
                .collect();
            (attempts.len() >= count).then_some(attempts)
        })
        .await
    }
}

fn numbers(received: &[Received]) -> Vec<usize> {
    let number = |request: &Received| {
        let text = std::str::from_utf8(&request.body).unwrap();
        text.trim_start_matches("{\"n\":")
            .trim_end_matches('}')
            .parse()
            .unwrap()
    };
    received.iter().map(number).collect()
}

fn distinct(received: &[Received]) -> usize {
    numbers(received).into_iter().collect::<BTreeSet<_>>().len()
}

mod counts;
mod releases;
mod tasks;

const STOP: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_once_and_are_on_record() {
    let world = World::new().await;
    let mut sink = Sink::start(|_, _| Reply::Status(200, "thanks")).await;
    let subscription = world.subscribe(&sink).await;
    let dispatcher = world.dispatch().await;
    let mut ids = world.publish(0..3).await;
    ids.extend(world.publish(3..500).await);
    sink.wait(|received| distinct(received) == 500).await;
    let attempts = world.attempts(subscription.id, 500).await;
    dispatcher.stop(STOP).await;

    let received = sink.received();
    assert_eq!(received.len(), 500, "nothing is sent twice");
    let sent: BTreeSet<_> = received
        .iter()
        .map(|r| r.header("webhook-id").to_owned())
        .collect();
    assert_eq!(sent, ids.iter().map(ToString::to_string).collect());
    assert_eq!(attempts.len(), 500);
    for attempt in &attempts {
        assert_eq!(
            (attempt.status_code, attempt.outcome),
            (Some(200), Outcome::Delivered)
        );
        assert_eq!((attempt.number, attempt.trigger), (0, Trigger::Scheduled));
        assert_eq!(attempt.response, "thanks");
        assert_eq!(*attempt.url, *sink.url());
    }

    // A restart after a stop in good order repeats nothing, and goes on.
    let world = world.reopen().await;
    let state = world.log.delivery_state().unwrap();
    assert!(state.retries.is_empty());
    assert!(
        state
            .cursors
            .iter()
            .all(|(_, cursor)| cursor.state == CursorState::CaughtUp)
    );
    let dispatcher = world.dispatch().await;
    world.publish(500..501).await;
    let received = sink.wait(|received| distinct(received) == 501).await;
    assert_eq!(received.len(), 501);
    dispatcher.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_retention_overtook_goes_on_and_is_told() {
    let world = World::new().await;
    let mut sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    // One stands at the mark, the other was paused and has a cursor of its own.
    let live = world.subscribe(&sink).await;
    let mut paused_sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let paused = world.subscribe(&paused_sink).await;
    world
        .set_state(
            &paused,
            SubscriptionState::wanted(false, Timestamp::default()),
        )
        .await;
    let dispatcher = world.dispatch().await;
    world.publish(0..20).await;
    sink.wait(|received| distinct(received) == 20).await;
    dispatcher.stop(STOP).await;
    world.publish(20..300).await;
    let fifty = hooklog_storage::Keep {
        count: Some(50),
        ..Default::default()
    };
    let world = world
        .reopen_keeping(hooklog_storage::Retention {
            events: fifty,
            ..Default::default()
        })
        .await;
    world
        .until(|log| (log.low().events == Offset::new(250)).then_some(()))
        .await;
    let dispatcher = world.dispatch().await;
    sink.wait(|received| distinct(received) == 70).await;
    world.set_state(&paused, SubscriptionState::Enabled).await;
    let received = paused_sink.wait(|received| distinct(received) == 50).await;
    assert_eq!(numbers(&received).into_iter().min(), Some(250));
    for (subscription, from) in [(&live, 20), (&paused, 0)] {
        let expired = world
            .until(|log| log.expired(subscription.id).unwrap())
            .await;
        assert_eq!(expired.range, Offset::new(from)..Offset::new(250));
    }
    dispatcher.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_tried_again_until_the_schedule_ends() {
    let world = World::new().await;
    let sink = Sink::start(|_, _| Reply::Status(500, "no")).await;
    let subscription = world.subscribe(&sink).await;
    let dispatcher = world.dispatch().await;
    world.publish(0..2).await;
    let attempts = world.attempts(subscription.id, 8).await;
    world
        .until(|log| {
            log.delivery_state()
                .unwrap()
                .retries
                .is_empty()
                .then_some(())
        })
        .await;
    dispatcher.stop(STOP).await;
    assert_eq!(attempts.len(), 8);
    for number in 0..4_u16 {
        let same: Vec<_> = attempts.iter().filter(|a| a.number == number).collect();
        assert_eq!(same.len(), 2);
        for attempt in same {
            assert_eq!(
                (attempt.status_code, attempt.response.as_str()),
                (Some(500), "no")
            );
            match attempt.outcome {
                Outcome::Exhausted => assert_eq!(number, 3),
                Outcome::Retry(Retry { due, .. }) => {
                    let ended = attempt.started.plus(attempt.duration);
                    assert!(number < 3 && due.since(ended) <= Duration::from_millis(100));
                }
                Outcome::Delivered => panic!("the receiver never took it"),
            }
        }
    }
    assert_eq!(sink.received().len(), 8);
}

/// One outcome was lost whenever more came at a time than the driver takes in at once, and its lane stood
/// still from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_outcomes_at_a_time_than_one_turn_takes_are_all_taken_in() {
    let world = World::new().await;
    let mut sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let subscription = world.subscribe(&sink).await;
    world.publish(0..3000).await;
    let wide = Config {
        lane_concurrency: 256,
        lane_window: 1024,
        lane_retries_max: 1024,
        ..config()
    };
    let dispatcher = Dispatcher::start(world.log.clone(), wide).await.unwrap();
    let received = sink.wait(|received| received.len() >= 3000).await;
    assert_eq!(distinct(&received), 3000);
    assert_eq!(world.attempts(subscription.id, 3000).await.len(), 3000);
    dispatcher.stop(STOP).await;
}

/// The dispatcher is dropped in the midst of its work, as a process that dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_loses_nothing_and_repeats_at_most_a_window() {
    const EVENTS: usize = 2000;
    let mut world = World::new().await;
    let mut sink =
        Sink::start(|_, number| Reply::Status(if number % 7 == 0 { 503 } else { 200 }, "")).await;
    let subscription = world.subscribe(&sink).await;
    let mut deaths = 0;
    for chunk in 0..4 {
        let dispatcher = world.dispatch().await;
        world
            .publish(chunk * EVENTS / 4..(chunk + 1) * EVENTS / 4)
            .await;
        let enough = (chunk * 2 + 1) * EVENTS / 8;
        sink.wait(|received| received.len() >= enough).await;
        drop(dispatcher);
        deaths += 1;
        world = world.reopen().await;
    }
    let dispatcher = world.dispatch().await;
    sink.wait(|received| distinct(received) == EVENTS).await;
    world
        .until(|log| {
            let state = log.delivery_state().unwrap();
            let level = |c: &hooklog_storage::Cursor| c.state == CursorState::CaughtUp;
            let done = state.retries.is_empty() && state.cursors.iter().all(|(_, c)| level(c));
            done.then_some(())
        })
        .await;
    dispatcher.stop(STOP).await;
    let failed = sink.received().len().div_ceil(7);
    let repeated = sink.received().len() - EVENTS - failed;
    assert!(
        repeated <= deaths * config().lane_window,
        "{repeated} repeated"
    );
    assert!(
        world
            .log
            .delivery_state_of(subscription.id)
            .unwrap()
            .retries
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_endpoint_holds_up_nobody() {
    let world = World::new().await;
    let hanging = Sink::start(|_, _| Reply::Hang).await;
    let mut healthy = Sink::start(|_, _| Reply::Status(200, "")).await;
    world.subscribe(&hanging).await;
    let well = world.subscribe(&healthy).await;
    let dispatcher = world.dispatch().await;
    world.publish(0..990).await;
    // The mark may pass the first commit once the second is seen.
    world.publish(990..1000).await;
    healthy.wait(|received| distinct(received) == 1000).await;
    // What arrived is not on record yet, and a stop that waits for nothing would leave it open.
    world.attempts(well.id, 1000).await;
    assert!(hanging.received().len() <= config().lane_concurrency);
    // What hangs is not waited for longer than asked, and is sent again after the restart.
    dispatcher.stop(Duration::ZERO).await;
    let state = world.log.delivery_state().unwrap();
    let behind = state
        .cursors
        .iter()
        .filter(|(_, c)| c.state == CursorState::Behind);
    assert_eq!(behind.count(), 1);
}

/// Events come one after the other, so that whoever waited for those that are stuck would wait for
/// each of them anew, for minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_connections_tls_and_bodies_that_hang_hold_up_nobody() {
    let world = World::new().await;
    // Neither of them ever says anything.
    let names = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (full, _held) = full_listener().await;
    let endless = Sink::start(|_, _| Reply::HangInBody).await;
    let mut healthy = Sink::start(|_, _| Reply::Status(200, "")).await;
    let at = |listener: &tokio::net::TcpListener| listener.local_addr().unwrap();
    let stuck = [
        "http://unanswered.test/".to_owned(),
        format!("http://{}/", at(&full)),
        format!("https://{}/", at(&silent)),
        endless.url(),
    ];
    for url in &stuck {
        world.subscribe_url(url).await;
    }
    let well = world.subscribe(&healthy).await;
    let config = Config {
        name_servers: vec![names.local_addr().unwrap()],
        attempt_timeout: crate::config::ATTEMPT_TIMEOUT_MAX,
        ..config()
    };
    let dispatcher = Dispatcher::start(world.log.clone(), config).await.unwrap();
    world.publish(0..1).await;
    // Each is stuck where it is meant to be: asked for a name, greeted, read from.
    let mut query = [0; 512];
    let (bytes, _) = names.recv_from(&mut query).await.unwrap();
    assert!(query[..bytes].windows(10).any(|part| part == b"unanswered"));
    let (mut greeted, _) = silent.accept().await.unwrap();
    let mut hello = [0; 1];
    tokio::io::AsyncReadExt::read_exact(&mut greeted, &mut hello)
        .await
        .unwrap();
    assert_eq!(hello, [22], "a handshake of TLS");
    world
        .until(|_| (!endless.received().is_empty()).then_some(()))
        .await;
    let others = async {
        for number in 1..100 {
            world.publish(number..number + 1).await;
            healthy
                .wait(|received| distinct(received) == number + 1)
                .await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_mins(1), others).await;
    in_time.expect("nobody waits for those that are stuck");
    assert_eq!(numbers(&healthy.received()).len(), 100, "each arrives once");
    world.attempts(well.id, 100).await;
    dispatcher.stop(Duration::ZERO).await;
}

/// A listener whose queue is full: whoever connects is neither accepted nor refused.
async fn full_listener() -> (tokio::net::TcpListener, Vec<tokio::net::TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    // The kernel takes one or two more than asked.
    for _ in 0..16 {
        let connecting = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(200), connecting).await {
            Ok(stream) => held.push(stream.unwrap()),
            Err(_) => return (listener, held),
        }
    }
    panic!("the queue of a listener is full at some time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_subscription_resumes_without_loss() {
    let mut world = World::new().await;
    let mut sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let subscription = world.subscribe(&sink).await;
    let mut dispatcher = world.dispatch().await;
    world.publish(0..10).await;
    sink.wait(|received| distinct(received) == 10).await;
    world
        .set_state(
            &subscription,
            SubscriptionState::wanted(false, Timestamp::default()),
        )
        .await;
    world.publish(10..600).await;
    world
        .until(|log| {
            let state = log.delivery_state().unwrap();
            let behind = state
                .cursors
                .iter()
                .any(|(_, c)| c.state == CursorState::Behind);
            (behind && state.mark.get() > 0).then_some(())
        })
        .await;
    dispatcher.stop(STOP).await;
    world = world.reopen().await;
    dispatcher = world.dispatch().await;
    assert_eq!(sink.received().len(), 10);
    world
        .set_state(&subscription, SubscriptionState::Enabled)
        .await;
    world.publish(600..610).await;
    let received = sink.wait(|received| distinct(received) == 610).await;
    assert_eq!(received.len(), 610);
    dispatcher.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redelivery_survives_a_restart() {
    let mut world = World::new().await;
    let mut sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let subscription = world.subscribe(&sink).await;
    let mut dispatcher = world.dispatch().await;
    let ids = world.publish(0..3).await;
    sink.wait(|received| received.len() == 3).await;
    // One that is under way would be the one that is asked for.
    world.attempts(subscription.id, 3).await;
    world.log.redeliver(subscription.id, ids[1]).await.unwrap();
    sink.wait(|received| received.len() == 4).await;
    let attempts = world.attempts(subscription.id, 4).await;
    assert_eq!(
        (attempts[3].event, attempts[3].trigger),
        (ids[1], Trigger::Manual)
    );
    dispatcher.stop(STOP).await;

    world.log.redeliver(subscription.id, ids[2]).await.unwrap();
    world = world.reopen().await;
    dispatcher = world.dispatch().await;
    let received = sink.wait(|received| received.len() == 5).await;
    assert_eq!(numbers(&received)[3..], [1, 2]);
    world
        .until(|log| {
            log.delivery_state()
                .unwrap()
                .retries
                .is_empty()
                .then_some(())
        })
        .await;
    dispatcher.stop(STOP).await;
    assert_eq!(sink.received().len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_subscription_gets_nothing_more() {
    let world = World::new().await;
    let mut deleted = Sink::start(|_, _| Reply::Status(500, "")).await;
    let mut kept = Sink::start(|_, _| Reply::Status(200, "")).await;
    let subscription = world.subscribe(&deleted).await;
    world.subscribe(&kept).await;
    let dispatcher = world.dispatch().await;
    world.publish(0..5).await;
    deleted.wait(|received| received.len() >= 5).await;
    world
        .log
        .delete_subscription(subscription.id)
        .await
        .unwrap();
    world.publish(5..10).await;
    kept.wait(|received| received.len() == 10).await;
    dispatcher.stop(STOP).await;
    assert!(
        numbers(&deleted.received())
            .iter()
            .all(|number| *number < 5)
    );
    let state = world.log.delivery_state_of(subscription.id).unwrap();
    assert!(state.cursors.is_empty() && state.retries.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expunged_content_is_sent_to_nobody_and_its_delivery_given_up() {
    let world = World::new().await;
    let mut sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let subscription = world.subscribe(&sink).await;
    let ids = world.publish(0..2).await;
    let record = world.log.get(ids[0]).unwrap().unwrap();
    world.log.expunge(&record).await.unwrap();
    let dispatcher = world.dispatch().await;
    sink.wait(|received| received.len() == 1).await;
    let made = world.attempts(subscription.id, 2).await;
    dispatcher.stop(STOP).await;
    let given_up = made.iter().find(|made| made.event == ids[0]).unwrap();
    assert_eq!(given_up.outcome, Outcome::Exhausted);
    assert_eq!(given_up.response, "the event's content was expunged");
    assert_eq!(numbers(&sink.received()), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_for_one_goes_to_nobody_else() {
    let world = World::new().await;
    let mut one = Sink::start(|_, _| Reply::Status(200, "")).await;
    let mut other = Sink::start(|_, _| Reply::Status(200, "")).await;
    let wanted = world.subscribe(&one).await;
    world.subscribe(&other).await;
    let dispatcher = world.dispatch().await;
    let event = Event {
        only: Some(wanted.id),
        ..Event::new(world.application.id, "a".parse().unwrap(), "{\"n\":7}")
    };
    let appended = world.log.append(vec![event]).await.unwrap();
    let Some(Appended::Committed { id, .. }) = appended.first() else {
        panic!("it has no keys");
    };
    world.log.redeliver(wanted.id, *id).await.unwrap();
    world.publish(8..9).await;
    other.wait(|received| received.len() == 1).await;
    one.wait(|received| received.len() == 2).await;
    dispatcher.stop(STOP).await;
    assert_eq!(numbers(&other.received()), [8]);
    let mut got = numbers(&one.received());
    got.sort_unstable();
    assert_eq!(got, [7, 8]);
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let world = World::new().await;
    let config = Config {
        lane_window: 0,
        ..config()
    };
    let refused = Dispatcher::start(world.log.clone(), config)
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "lane_window is 0, but must be 1 to 65536"
    );
}

/// The outage of `board/tests/outage.rs` in real time; seconds of it in `HOOKLOG_TEST_ROUNDS`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_was_away_has_all_soon_after_its_return() {
    let rounds = std::env::var("HOOKLOG_TEST_ROUNDS").ok();
    let seconds = rounds.and_then(|text| text.parse().ok()).unwrap_or(3_u64);
    let events = usize::try_from(seconds).unwrap() * 100;
    let world = World::new().await;
    let gone = Sink::start(|_, _| Reply::Status(200, "")).await;
    let address = gone.address;
    let subscription = world.subscribe(&gone).await;
    drop(gone);
    let dispatcher = world.dispatch().await;
    let begun = Instant::now();
    for part in 0..seconds {
        let from = usize::try_from(part).unwrap() * 100;
        world.publish(from..from + 100).await;
        tokio::time::sleep_until(begun + Duration::from_secs(part + 1)).await;
    }
    let health = world.log.health(subscription.id).unwrap();
    assert!(health.down_since.is_some() && health.probe_at.is_some());
    let back = Instant::now();
    let mut sink = Sink::start_at(address, |_, _| Reply::Status(200, "")).await;
    let received = sink.wait(|received| distinct(received) == events).await;
    let took = back.elapsed();
    eprintln!("{events} events arrived {took:?} after the return");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(received.len(), events, "each once");
    world
        .until(|log| {
            let health = log.health(subscription.id).unwrap();
            (health == hooklog_storage::Health::default()).then_some(())
        })
        .await;
    dispatcher.stop(STOP).await;
}
