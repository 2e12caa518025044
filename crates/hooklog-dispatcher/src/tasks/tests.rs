//! Background tasks on a real log, a step at a time.

use hooklog_storage::{
    Config, DisableReason, Endpoint, NewApplication, NewSubscription, OrganisationId, Replay,
    SecretKey,
};

use tempfile::TempDir;

use super::*;
use crate::driver::clock;

/// A log with an endpoint and so many events.
async fn world(events: usize) -> (TempDir, EventLog, Arc<Subscription>) {
    let directory = TempDir::new().unwrap();
    let mut config = Config::new(directory.path());
    config.journal_segment_bytes = 4 << 20;
    config.payload_bytes_max = 64 << 10;
    let log = EventLog::open(config).unwrap();
    let new = NewApplication::new(OrganisationId::from_bytes([1; 20]), "test");
    let application = log.create_application(new).await.unwrap().id;
    let event = |_| hooklog_storage::Event::new(application, "a.b".parse().unwrap(), "{}");
    log.append((0..events).map(event).collect()).await.unwrap();
    let endpoint = Endpoint::new("http://127.0.0.1/", SecretKey::new(vec![7; 24]));
    let new = NewSubscription::new(application, endpoint);
    let to = log.create_subscription(new).await.unwrap();
    (directory, log, to)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_panics_is_failed_and_the_others_go_on() {
    let (_directory, log, to) = world(1).await;
    let mut ids = Vec::new();
    for replay in [Replay::Failed, Replay::Missing] {
        let task = log
            .create_task(to.id, replay, Offset::ZERO..Offset::MAX)
            .await;
        ids.push(task.unwrap().id);
    }
    let mut tail = log.tail(log.end());
    let changed = watch::Sender::new(0);
    let mut running = JoinSet::new();
    let look: StepFn = |log, task, now| {
        let is_failed = matches!(&task.work, Work::Replay(work) if work.replay == Replay::Failed);
        assert!(!is_failed, "it is not to be");
        step(log, task, now)
    };
    running.spawn(run_with(log.clone(), changed.subscribe(), clock, look));
    let ended = || {
        let registry = log.registry();
        let tasks = ids.iter().map(|id| Arc::clone(registry.task(*id).unwrap()));
        let tasks: Vec<_> = tasks.collect();
        tasks.iter().all(|task| !task.is_running()).then_some(tasks)
    };
    let waiting = async {
        loop {
            if let Some(tasks) = ended() {
                return tasks;
            }
            tail.next().await.unwrap();
        }
    };
    let limit = Duration::from_secs(20);
    let tasks = tokio::time::timeout(limit, waiting).await.unwrap();
    let reason = "the task broke off inside the server: it is not to be".to_owned();
    assert_eq!(tasks[0].state, TaskState::Failed { reason });
    assert_eq!(tasks[1].state, TaskState::Finished);
    running.shutdown().await;
}

/// A disabled endpoint sends nothing, so a task for it would keep its place for good.
#[tokio::test]
async fn a_task_of_a_disabled_endpoint_waits_for_a_while_and_then_fails() {
    let (_directory, log, to) = world(1).await;
    let all = Offset::ZERO..Offset::MAX;
    let task = log.create_task(to.id, Replay::Missing, all).await.unwrap();
    assert!(matches!(step(&log, &task, task.created), Step::Take(_)));
    let minute = Duration::from_mins(1);
    let reason = DisableReason::Failing;
    let set = |state| {
        log.update_subscription(to.id, move |value, _| {
            value.state = state;
            Ok(())
        })
    };
    let since = task.created.plus(minute);
    // Since when it is disabled, when that is looked at, and whether the task may wait.
    let cases = [
        (since, since, true),
        (since, since.plus(minute), true),
        (since, since.plus(DISABLED_MAX), false),
        (task.created, task.created, true),
        (Timestamp::default(), task.created, false),
    ];
    for (since, now, may_wait) in cases {
        let disabled = SubscriptionState::Disabled { since, reason };
        set(disabled).await.unwrap();
        match step(&log, &task, now) {
            Step::Wait => assert!(may_wait, "{since:?} {now:?}"),
            Step::Fail(reason) => {
                let expected = "the endpoint is disabled; enable it and start the task again";
                assert!(
                    !may_wait && reason == expected,
                    "{since:?} {now:?}: {reason}"
                );
            }
            Step::Take(_) | Step::Count(_) => panic!("nothing is sent"),
        }
    }
    set(SubscriptionState::Enabled).await.unwrap();
    let late = task.created.plus(DISABLED_MAX * 2);
    assert!(matches!(step(&log, &task, late), Step::Take(_)));
}

#[tokio::test]
async fn a_task_waits_while_many_deliveries_wait() {
    let (_directory, log, to) = world(PARKED_ENOUGH).await;
    let all = Offset::ZERO..Offset::MAX;
    let task = log.create_task(to.id, Replay::Missing, all).await.unwrap();
    let again: Vec<_> = (0..255).map(Offset::new).collect();
    let (from, next) = (Offset::ZERO, Offset::new(255));
    let again = TaskStep { from, next, again };
    let task = log.advance_task(task.id, again).await.unwrap();
    let Step::Take(last) = step(&log, &task, task.created) else {
        panic!("there is room for one more");
    };
    let first = log.get_at(Offset::new(255)).unwrap().unwrap();
    log.redeliver(to.id, first.id).await.unwrap();
    assert!(matches!(step(&log, &task, task.created), Step::Wait));
    assert_eq!(last.again, [Offset::new(255)]);
}
