//! The committer without its thread: what it does while it waits for others.
//!
//! **Invariant:** the applier that it waits for does not exist, so only its own clock ends a wait.
//! **Next:** `assign.rs`.

use tempfile::TempDir;
use tokio::sync::oneshot;

use super::seat::Seat;
use super::*;
use crate::config::Config;
use crate::event::Appended;
use crate::handle::share;
use crate::log::AppendError;
use crate::log::tests::{config, event};
use crate::recovery::recover;

/// Shorter than the wait, and far longer than it.
const SOON: Durability = Durability::ProcessSafe(Duration::from_millis(10));
const LATE: Durability = Durability::ProcessSafe(Duration::from_hours(1));

/// A committer whose commits nobody takes, and what has to live as long.
struct Alone {
    committer: Committer,
    _queue: Sender<Queued>,
    _directory: TempDir,
}

fn alone(durability: Durability, unapplied_bytes_max: usize) -> Alone {
    let directory = TempDir::new().unwrap();
    let mut config = Config {
        unapplied_bytes_max,
        durability,
        ..config(&directory)
    };
    let recovered = recover(&mut config).unwrap();
    let next = Next::after(&recovered.applier.state);
    let journal = recovered.journal;
    let shared = share(
        config,
        recovered.directory,
        &recovered.applier,
        (recovered.registry, recovered.consumers, recovered.answers),
    )
    .unwrap();
    let (queue, input) = crossbeam_channel::bounded(1);
    let committer = Committer {
        shared,
        journal,
        input,
        next,
        wall: Timestamp::default(),
        rng: fastrand::Rng::with_seed(1),
        keys: crossbeam_channel::bounded(1).0,
        sync_due: None,
        patience: Duration::from_millis(200),
        disk_room: u64::MAX,
        sealable: None,
        thread: Thread::Looks,
    };
    Alone {
        committer,
        _queue: queue,
        _directory: directory,
    }
}

impl Alone {
    /// Publishes one event; the log stops when the wait for the applier is over.
    fn publish(&mut self) -> Result<(), String> {
        let (mut records, now) = (Vec::new(), Timestamp::from_millis(1));
        let events = vec![event(1, "x".repeat(100))];
        self.committer
            .append(events, Vec::new(), now, &mut records)
            .unwrap();
        self.committer.write(records, Vec::new(), Sync::Now)
    }

    fn synced(&self) -> Option<u64> {
        self.committer.journal.synced().map(Sequence::get)
    }
}

#[test]
fn a_wait_for_the_applier_does_not_put_off_a_sync() {
    for (durability, expected) in [(SOON, Some(0)), (LATE, None)] {
        // The second event waits for room, the first one's sync does not.
        let mut alone = alone(durability, 10);
        assert_eq!(alone.publish(), Ok(()), "{durability:?}");
        assert_eq!(alone.synced(), None, "{durability:?}: it was acked first");
        let waited = alone.publish().unwrap_err();
        assert!(waited.contains("took no data"), "{waited}");
        assert_eq!(alone.synced(), expected, "{durability:?}");
    }
}

#[test]
fn many_keys_to_look_up_do_not_put_off_a_sync() {
    let mut alone = alone(SOON, 1 << 20);
    assert_eq!(alone.publish(), Ok(()));
    let mut keyed = event(1, "keyed");
    keyed.uid = Some("one".parse().unwrap());
    for (due, expected) in [
        (Instant::now() + Duration::from_hours(1), None),
        (Instant::now(), Some(0)),
    ] {
        alone.committer.sync_due = Some(due);
        let events = std::slice::from_ref(&keyed);
        alone
            .committer
            .judge(events, Timestamp::from_millis(1), &[])
            .unwrap();
        assert_eq!(alone.synced(), expected);
    }
}

/// The story: a backup that copied very many rows held the applier up for longer than the committer's
/// patience, and the log was stopped although nothing was wrong.
#[test]
fn an_applier_that_is_held_up_by_somebody_who_gets_on_is_waited_for() {
    for is_alive in [false, true] {
        // The second event waits for room.
        let mut alone = alone(LATE, 10);
        // Far longer than a thread waits for its turn.
        let patience = Duration::from_millis(500);
        alone.committer.patience = patience;
        let ring = Arc::clone(&alone.committer.shared.ring);
        let held_up = std::thread::spawn(move || {
            let end = Instant::now() + 2 * patience + patience / 2;
            while is_alive && Instant::now() < end {
                ring.sign_of_life();
                std::thread::park_timeout(Duration::from_millis(5));
            }
            if is_alive {
                ring.applied(ring.position().0);
            }
        });
        let published = [alone.publish(), alone.publish()];
        let is_stopped = published.contains(&Err(stuck(patience)));
        assert_eq!(is_stopped, !is_alive, "{published:?}");
        held_up.join().unwrap();
    }
}

type Answer = oneshot::Receiver<Result<Vec<Appended>, AppendError>>;

fn append(payload: &'static str) -> (Queued, Answer) {
    let (ack, answer) = oneshot::channel();
    let events = vec![event(1, payload)];
    let request = Request::Append { events, ack };
    (Queued { request, bytes: 0 }, answer)
}

#[test]
fn a_caller_commits_only_if_nobody_else_does_and_nobody_waits() {
    let Alone {
        mut committer,
        _queue: queue,
        _directory,
    } = alone(Durability::PowerSafe, 1 << 20);
    let input = committer.input.clone();
    // As if the thread had nothing to wait for but requests.
    committer.thread = Thread::Sleeps;
    let seat = Seat::new(committer);
    for (payload, expected) in [("a", Thread::Sleeps), ("b", Thread::Looks)] {
        let (request, mut answer) = append(payload);
        let told = seat.commit(request).ok();
        assert_eq!(told, Some(expected), "{payload}: who sleeps is woken once");
        assert!(answer.try_recv().unwrap().is_ok(), "{payload}");
    }
    // Whoever asked before goes first.
    let (waiting, mut first) = append("c");
    assert!(queue.send(waiting).is_ok());
    let (request, mut second) = append("d");
    let given_back = seat.commit(request).err();
    assert!(given_back.is_some() && first.try_recv().is_err() && second.try_recv().is_err());
    assert!(input.try_recv().is_ok());
    // Nor does one commit beside another.
    let mut held = Some(given_back.unwrap());
    seat.while_taken(|| held = held.take().and_then(|request| seat.commit(request).err()));
    assert!(held.is_some() && second.try_recv().is_err());
    assert!(seat.commit(held.unwrap()).is_ok());
    assert!(second.try_recv().unwrap().is_ok());
}
