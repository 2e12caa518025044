//! Events for later, end to end: nothing arrives before its time, everything after it, across restarts.

use std::time::SystemTime;

use hooklog_storage::{Delivered, Offset};

use super::*;

/// More than what is done before that time takes, even beside other tests.
const LATER: Duration = Duration::from_secs(2);

fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the publisher's clock")]
    SystemTime::now().into()
}

impl World {
    /// Publishes one event, for later.
    async fn publish_for(&self, number: usize, due: Timestamp) -> EventId {
        let payload = format!("{{\"n\":{number}}}");
        let event = Event::new(self.application.id, "test.event".parse().unwrap(), payload);
        let appended = self.log.append(vec![event.deliver_at(due)]).await;
        match appended.unwrap().pop() {
            Some(Appended::Committed { id, .. }) => id,
            other => panic!("events have no keys: {other:?}"),
        }
    }

    fn delivered(&self, id: EventId, to: &Subscription) -> Delivered {
        let record = self.log.get(id).unwrap().unwrap();
        let position = self.log.positions([to]).unwrap()[0];
        self.log.status(&record, to, position).unwrap().delivered
    }

    /// Waits until no event waits for its time.
    async fn all_released(&self) {
        let far = Timestamp::from_millis(i64::MAX);
        let is_done = |log: &EventLog| log.delayed(None, far, 1).unwrap().due.is_empty();
        self.until(|log| is_done(log).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_for_later_is_overtaken_and_arrives_at_its_time_and_once() {
    let world = World::new().await;
    let mut sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let subscription = world.subscribe(&sink).await;
    let dispatcher = world.dispatch().await;
    let due = now().plus(LATER);
    let later = world.publish_for(0, due).await;
    let restarted = world
        .publish_for(1, due.plus(Duration::from_millis(300)))
        .await;
    world.publish(2..10).await;
    let received = sink.wait(|received| received.len() == 8).await;
    assert!(!numbers(&received).contains(&0), "it waits");
    assert_eq!(world.delivered(later, &subscription), Delivered::Pending);
    // The cursor has passed them: they hold nothing up.
    world
        .until(|log| (log.positions([&*subscription]).unwrap()[0] == log.end()).then_some(()))
        .await;
    let received = sink.wait(|received| received.len() == 9).await;
    assert!(now() >= due);
    assert_eq!(numbers(&received)[8], 0);
    let attempts = world.attempts(subscription.id, 9).await;
    assert_eq!(attempts[8].trigger, Trigger::Delayed);
    assert_eq!(world.delivered(later, &subscription), Delivered::Yes);
    dispatcher.stop(STOP).await;
    assert!(world.log.delivery_state().unwrap().retries.is_empty());

    // What came due while nobody was there, or is to come, is not lost.
    let world = world.reopen().await;
    let dispatcher = world.dispatch().await;
    let received = sink.wait(|received| received.len() == 10).await;
    assert_eq!(numbers(&received)[9], 1);
    world.all_released().await;
    world.attempts(subscription.id, 10).await;
    assert_eq!(world.delivered(restarted, &subscription), Delivered::Yes);
    dispatcher.stop(STOP).await;
    assert_eq!(sink.received().len(), 10, "each came once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_an_event_for_later() {
    let world = World::new().await;
    let answer = || Sink::start(|_, _| Reply::Status(200, ""));
    let (mut early, mut paused, mut from_the_start, mut skipping, after_it) = (
        answer().await,
        answer().await,
        answer().await,
        answer().await,
        answer().await,
    );
    world.subscribe(&early).await;
    let off = world.subscribe(&paused).await;
    let skips = world.subscribe(&skipping).await;
    let disabled = SubscriptionState::wanted(false, Timestamp::default());
    world.set_state(&off, disabled).await;
    let due = now().plus(LATER);
    let event = world.publish_for(0, due).await;
    // Who comes after it was published takes it only if that begins before it.
    world.subscribe(&after_it).await;
    let mut new = NewSubscription::new(world.application.id, off.endpoint.clone());
    new.endpoint.url = from_the_start.url().into();
    new.start = Some(Offset::ZERO);
    world.log.create_subscription(new.clone()).await.unwrap();
    world.log.skip(skips.id, event).await.unwrap();
    let dispatcher = world.dispatch().await;
    early.wait(|received| received.len() == 1).await;
    from_the_start.wait(|received| received.len() == 1).await;
    world.all_released().await;
    assert!(paused.received().is_empty());
    world.set_state(&off, SubscriptionState::Enabled).await;
    paused.wait(|received| received.len() == 1).await;
    // Whoever is made after its time finds it in the log.
    let mut late = answer().await;
    new.endpoint.url = late.url().into();
    world.log.create_subscription(new).await.unwrap();
    late.wait(|received| received.len() == 1).await;
    world.publish(1..2).await;
    let received = skipping.wait(|received| !received.is_empty()).await;
    assert_eq!(numbers(&received), [1]);
    dispatcher.stop(STOP).await;
    assert!(numbers(&after_it.received()).iter().all(|n| *n == 1));
    for sink in [&early, &paused, &from_the_start, &late] {
        let zeros = numbers(&sink.received()).into_iter().filter(|n| *n == 0);
        assert_eq!(zeros.count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_was_sent_by_hand_before_its_time_is_not_sent_again() {
    let world = World::new().await;
    let mut sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let subscription = world.subscribe(&sink).await;
    let dispatcher = world.dispatch().await;
    let due = now().plus(LATER);
    let event = world.publish_for(0, due).await;
    world.log.redeliver(subscription.id, event).await.unwrap();
    sink.wait(|received| received.len() == 1).await;
    let attempts = world.attempts(subscription.id, 1).await;
    assert_eq!(attempts[0].trigger, Trigger::Manual);
    world.all_released().await;
    dispatcher.stop(STOP).await;
    assert_eq!(sink.received().len(), 1);
}

/// More subscriptions than one step looks at, and more events than one round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_subscriptions_and_events_are_released_by_steps() {
    let world = World::new().await;
    let sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let first = world.subscribe(&sink).await;
    let new = NewSubscription::new(world.application.id, first.endpoint.clone());
    let disabled = NewSubscription {
        is_enabled: false,
        ..new
    };
    for _ in 0..300 {
        let made = world.log.create_subscription(disabled.clone()).await;
        made.unwrap();
    }
    let due = now().plus(LATER);
    let event = |number| {
        let payload = format!("{{\"n\":{number}}}");
        let kind = "test.event".parse().unwrap();
        Event::new(world.application.id, kind, payload).deliver_at(due)
    };
    world
        .log
        .append((0..70).map(event).collect())
        .await
        .unwrap();
    let dispatcher = world.dispatch().await;
    world.all_released().await;
    world.attempts(first.id, 70).await;
    dispatcher.stop(STOP).await;
    assert_eq!(
        (distinct(&sink.received()), sink.received().len()),
        (70, 70)
    );
    assert_eq!(world.log.delivery_state().unwrap().retries.len(), 300 * 70);
}

/// More than a lane holds, and more than a page of what is parked: in order and without, also for an
/// endpoint that was disabled when their time came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_events_for_one_time_arrive_once_each() {
    let world = World::new().await;
    let count = 1_100;
    let sinks = [
        Sink::start(|_, _| Reply::Status(200, "")).await,
        Sink::start(|_, _| Reply::Status(200, "")).await,
    ];
    let first = world.subscribe(&sinks[0]).await;
    let mut new = NewSubscription::new(world.application.id, first.endpoint.clone());
    new.endpoint.url = sinks[1].url().into();
    new.ordering = hooklog_storage::Ordering::Fifo;
    new.is_enabled = false;
    let second = world.log.create_subscription(new).await.unwrap();
    let due = now().plus(Duration::from_millis(500));
    let event = |number| {
        let payload = format!("{{\"n\":{number}}}");
        let kind = "test.event".parse().unwrap();
        Event::new(world.application.id, kind, payload).deliver_at(due)
    };
    let events = (0..count).map(event).collect();
    world.log.append(events).await.unwrap();
    let dispatcher = world.dispatch().await;
    world.all_released().await;
    let state = SubscriptionState::Enabled;
    world.set_state(&second, state).await;
    let [mut any, mut fifo] = sinks;
    any.wait(|received| distinct(received) == count).await;
    fifo.wait(|received| distinct(received) == count).await;
    dispatcher.stop(STOP).await;
    assert_eq!(
        (any.received().len(), fifo.received().len()),
        (count, count)
    );
    assert!(numbers(&fifo.received()).is_sorted(), "in log order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_before_its_time_is_told() {
    let world = World::new().await;
    let sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let subscription = world.subscribe(&sink).await;
    let due = now().plus(LATER);
    world.publish_for(0, due).await;
    world.publish(1..20).await;
    let five = hooklog_storage::Keep {
        count: Some(5),
        ..Default::default()
    };
    let retention = hooklog_storage::Retention {
        events: five,
        ..Default::default()
    };
    let world = world.reopen_keeping(retention).await;
    world
        .until(|log| (log.low().events == Offset::new(15)).then_some(()))
        .await;
    let dispatcher = world.dispatch().await;
    world.all_released().await;
    let expired = world
        .until(|log| log.expired(subscription.id).unwrap())
        .await;
    assert_eq!(expired.range.start, Offset::ZERO);
    dispatcher.stop(STOP).await;
    assert!(!numbers(&sink.received()).contains(&0));
}
