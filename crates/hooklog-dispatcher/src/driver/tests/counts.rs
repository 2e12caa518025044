//! Counts of deliveries end to end: what counts once, what does not, and across restarts.

use hooklog_storage::{ApplicationId, Replay, Task, TaskState, Work};

use super::*;

impl World {
    async fn counted(&self, of: Option<Vec<ApplicationId>>) -> Arc<Task> {
        let all = Timestamp::default()..Timestamp::from_millis(i64::MAX);
        let range = self.log.attempts_between(all).unwrap();
        let of = of.map(|of| of.into_iter().collect());
        let owner = self.application.organisation;
        self.log.create_count(owner, of, range).await.unwrap()
    }

    async fn finished(&self, task: &Task) -> BTreeMap<ApplicationId, u64> {
        let id = task.id;
        let ended = |log: &EventLog| {
            let value = log.registry().task(id).cloned().unwrap();
            (!value.is_running()).then_some(value)
        };
        let value = self.until(ended).await;
        assert_eq!(value.state, TaskState::Finished);
        match &value.work {
            Work::Count(work) => work.counts.clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_counts_once_however_often_it_was_tried() {
    let world = World::new().await;
    let app = world.application.id;
    let sink = Sink::start(|_, _| Reply::Status(200, "")).await;
    let sick = Sink::start(|_, _| Reply::Status(400, "")).await;
    let well = world.subscribe(&sink).await;
    let failing = world.subscribe(&sick).await;
    let dispatcher = world.dispatch().await;
    let events = world.publish(0..5).await;
    world.attempts(well.id, 5).await;
    world.attempts(failing.id, 5 * 4).await;
    // Once more by hand, which is no other delivery.
    world.log.redeliver(well.id, events[0]).await.unwrap();
    world.attempts(well.id, 6).await;
    // To one that was not there, by a replay, which is.
    let late = world.subscribe(&sink).await;
    let all = Offset::ZERO..Offset::MAX;
    world
        .log
        .create_task(late.id, Replay::Missing, all)
        .await
        .unwrap();
    world.attempts(late.id, 5).await;
    // Another tenant's are another's.
    let new = NewApplication::new(OrganisationId::from_bytes([2; 20]), "other");
    let other = world.log.create_application(new).await.unwrap();
    let (mut strange, own) = (Vec::new(), Arc::clone(&world.application));
    strange.push(hooklog_storage::Event::new(
        other.id,
        "a.b".parse().unwrap(),
        "{}",
    ));
    let mut to = hooklog_storage::NewSubscription::new(
        other.id,
        Endpoint::new(sink.url(), SecretKey::new(vec![1; 24])),
    );
    to.is_enabled = true;
    let stranger = world.log.create_subscription(to).await.unwrap();
    world.log.append(strange).await.unwrap();
    world.attempts(stranger.id, 1).await;
    // Nor does what was sent become undone with its endpoint.
    world.log.delete_subscription(failing.id).await.unwrap();

    let task = world.counted(None).await;
    assert_eq!(world.finished(&task).await, BTreeMap::from([(app, 15)]));
    let empty = NewApplication::new(own.organisation, "empty");
    let empty = world.log.create_application(empty).await.unwrap().id;
    let task = world.counted(Some(vec![empty, app])).await;
    let expected = BTreeMap::from([(app, 15), (empty, 0)]);
    assert_eq!(world.finished(&task).await, expected);
    dispatcher.stop(STOP).await;

    // One that nobody runs waits for who does, over a restart.
    let task = world.counted(None).await;
    let world = world.reopen().await;
    let dispatcher = world.dispatch().await;
    assert_eq!(world.finished(&task).await, BTreeMap::from([(app, 15)]));
    dispatcher.stop(STOP).await;
}
