//! Background tasks end to end: what is sent again, what is not, and across restarts.

use hooklog_storage::{Delivered, Offset, Replay, ReplayFilter, Task, TaskState, Work};

use super::*;

impl World {
    async fn replay(&self, to: &Subscription, replay: Replay) -> Arc<Task> {
        let all = Offset::ZERO..Offset::MAX;
        self.log.create_task(to.id, replay, all).await.unwrap()
    }

    async fn ended(&self, task: &Task) -> Arc<Task> {
        let id = task.id;
        self.until(move |log| {
            let value = log.registry().task(id).cloned().unwrap();
            (!value.is_running()).then_some(value)
        })
        .await
    }
}

fn replayed(task: &Task) -> u64 {
    match &task.work {
        Work::Replay(work) => work.replayed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_is_sent_again_and_nothing_else() {
    let world = World::new().await;
    // Of the first ten events every other one fails for good, until the endpoint is mended.
    let mended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let mut sink = Sink::start(move |request, _| {
        let number = numbers(std::slice::from_ref(request))[0];
        let works = number.is_multiple_of(2) || is_mended.load(std::sync::atomic::Ordering::SeqCst);
        Reply::Status(if works { 200 } else { 400 }, "")
    })
    .await;
    let subscription = world.subscribe(&sink).await;
    let dispatcher = world.dispatch().await;
    world.publish(0..10).await;
    world.attempts(subscription.id, 5 + 5 * 4).await;
    mended.store(true, std::sync::atomic::Ordering::SeqCst);
    let before = sink.received().len();

    // Nothing was missed, so nothing is sent.
    let missing = world.replay(&subscription, Replay::Missing).await;
    let missing = world.ended(&missing).await;
    assert_eq!(
        (&missing.state, replayed(&missing)),
        (&TaskState::Finished, 0)
    );

    let failed = world.replay(&subscription, Replay::Failed).await;
    let failed = world.ended(&failed).await;
    assert_eq!(
        (&failed.state, replayed(&failed)),
        (&TaskState::Finished, 5)
    );
    let received = sink.wait(|received| received.len() == before + 5).await;
    let mut again = numbers(&received[before..]);
    again.sort_unstable();
    assert_eq!(again, [1, 3, 5, 7, 9]);
    // Delivered now, they are not sent once more.
    world.attempts(subscription.id, before + 5).await;
    let once_more = world.replay(&subscription, Replay::Failed).await;
    let once_more = world.ended(&once_more).await;
    assert_eq!(replayed(&once_more), 0);
    dispatcher.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_newer_endpoint_missed_is_sent_across_a_crash() {
    let world = World::new().await;
    let count = 1500;
    world.publish(0..count).await;
    let mut sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let subscription = world.subscribe(&sink).await;
    let dispatcher = world.dispatch().await;
    let task = world.replay(&subscription, Replay::Missing).await;
    let Work::Replay(work) = &task.work else {
        panic!("{task:?}");
    };
    assert_eq!(work.range, Offset::ZERO..Offset::new(count as u64));
    sink.wait(|received| received.len() > 300).await;
    drop(dispatcher);
    let world = world.reopen().await;
    let dispatcher = world.dispatch().await;
    let task = world.ended(&task).await;
    // A step is one commit: none is taken twice.
    assert_eq!(
        (&task.state, replayed(&task)),
        (&TaskState::Finished, count as u64)
    );
    sink.wait(|received| distinct(received) == count).await;
    dispatcher.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_replay_takes_what_its_filter_takes_and_can_be_cancelled() {
    let world = World::new().await;
    let mut sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let subscription = world.subscribe(&sink).await;
    let dispatcher = world.dispatch().await;
    world.publish(0..5).await;
    world.attempts(subscription.id, 5).await;
    let filter = |event_type: &str, status| {
        Replay::All(ReplayFilter {
            event_types: Some(vec![event_type.parse().unwrap()]),
            status,
            ..ReplayFilter::default()
        })
    };
    let cases = [
        (filter("test.event", Some(Delivered::Yes)), 5),
        (filter("test.event", Some(Delivered::Failed)), 0),
        (filter("other.event", None), 0),
    ];
    let mut sent = 5;
    for (replay, expected) in cases {
        let task = world.replay(&subscription, replay.clone()).await;
        let ended = world.ended(&task).await;
        assert_eq!(replayed(&ended), expected, "{replay:?}");
        sent += usize::try_from(expected).unwrap();
        world.attempts(subscription.id, sent).await;
    }
    assert_eq!(
        sink.wait(|received| received.len() >= sent).await.len(),
        sent
    );
    dispatcher.stop(STOP).await;

    // Nobody runs it, so it can be stopped before it does anything.
    let task = world
        .replay(&subscription, filter("test.event", None))
        .await;
    let cancelled = world
        .log
        .end_task(task.id, TaskState::Cancelled)
        .await
        .unwrap();
    assert_eq!(cancelled.state, TaskState::Cancelled);
    let world = world.reopen().await;
    let found = world.log.registry().task(task.id).cloned().unwrap();
    assert_eq!(found.state, TaskState::Cancelled);
    let deleted = world.replay(&subscription, Replay::Missing).await;
    world
        .log
        .delete_subscription(subscription.id)
        .await
        .unwrap();
    let dispatcher = world.dispatch().await;
    let failed = world.ended(&deleted).await;
    let reason = "the endpoint was deleted".to_owned();
    assert_eq!(failed.state, TaskState::Failed { reason });
    assert_eq!(sink.received().len(), sent);
    dispatcher.stop(STOP).await;
}
