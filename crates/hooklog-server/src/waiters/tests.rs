use hooklog_storage::{Config, Event};
use tempfile::TempDir;

use super::*;

const A: ApplicationId = ApplicationId::from_bytes([1; 20]);
const B: ApplicationId = ApplicationId::from_bytes([2; 20]);
const HOLDER: Holder = (OrganisationId::from_bytes([9; 20]), None);

fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

fn open(limits: Limits) -> (TempDir, EventLog, Arc<Waiters>) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = Config::new(directory.path().join("data"));
    settings.journal_segment_bytes = 8 << 20;
    let log = EventLog::open(settings).expect("opens");
    let waiters = Arc::new(Waiters::new(log.clone(), &limits));
    (directory, log, waiters)
}

/// One commit with an event of each.
fn publish(log: &EventLog, applications: &[ApplicationId]) {
    let events = applications
        .iter()
        .map(|id| Event::new(*id, "t".parse().expect("a name"), "{}"));
    log.append_blocking(events.collect()).expect("is taken");
}

#[test]
fn what_is_asked_about_is_known_from_then_on() {
    let (_directory, log, waiters) = open(Limits::default());
    publish(&log, &[A, A]);
    // Nothing is known of what was before.
    assert_eq!(waiters.look(A, at(0)), Look::From(at(0)));
    assert_eq!(waiters.look(A, at(2)), Look::Quiet(at(2)));
    publish(&log, &[B, B, B]);
    assert_eq!(waiters.look(A, at(2)), Look::Quiet(at(5)));
    publish(&log, &[B, A, B, A, B]);
    publish(&log, &[A]);
    for (from, expected) in [
        (1, Look::From(at(1))),
        (2, Look::From(at(6))),
        (6, Look::From(at(6))),
        (7, Look::From(at(7))),
        (8, Look::From(at(8))),
        (9, Look::From(at(10))),
        (11, Look::Quiet(at(11))),
    ] {
        assert_eq!(waiters.look(A, at(from)), expected, "{from}");
    }
    // More commits than are remembered: who is behind reads from where it is.
    for _ in 0..COMMITS_MAX {
        publish(&log, &[A]);
    }
    assert_eq!(waiters.look(A, at(2)), Look::From(at(2)));
    assert_eq!(waiters.look(A, at(27)), Look::Quiet(at(27)));
}

#[test]
fn idle_applications_are_forgotten_when_there_are_many_and_waiting_ones_are_not() {
    let (_directory, log, waiters) = open(Limits::default());
    let seat = waiters.seat(A, HOLDER, Purpose::Poll).expect("a seat");
    publish(&log, &[A]);
    let mut id = [7; 20];
    for number in 0..IDLE_APPLICATIONS_MAX + 10 {
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        waiters.look(ApplicationId::from_bytes(id), at(1));
    }
    let known = waiters.table.lock().followed.len();
    assert!(known <= IDLE_APPLICATIONS_MAX + 1, "{known}");
    assert_eq!(waiters.look(A, at(0)), Look::From(at(0)));
    assert_eq!(waiters.look(A, at(1)), Look::Quiet(at(1)));
    drop(seat);
}

#[test]
fn seats_are_bounded_for_each_and_in_all() {
    let limits = Limits {
        waiters_max: 3,
        waiters_per_holder_max: 2,
        event_streams_max: 1,
        ..Limits::default()
    };
    let (_directory, _log, waiters) = open(limits);
    let other = (HOLDER.0, Some(A));
    let take = |holder, purpose| waiters.seat(A, holder, purpose);
    let first = take(HOLDER, Purpose::Poll).expect("a seat");
    let second = take(HOLDER, Purpose::Poll).expect("a seat");
    assert!(matches!(
        take(HOLDER, Purpose::Poll),
        Err(ApiError::TooMany(_))
    ));
    let third = take(other, Purpose::Poll).expect("a seat");
    assert!(matches!(take(other, Purpose::Poll), Err(ApiError::Busy(_))));
    let stream = take(HOLDER, Purpose::Stream).expect("a seat of its own kind");
    assert!(matches!(
        take(other, Purpose::Stream),
        Err(ApiError::Busy(_))
    ));
    assert_eq!(waiters.waiting(), 4);
    drop(first);
    let again = take(HOLDER, Purpose::Poll).expect("a seat that was given back");
    drop((second, third, stream, again));
    let table = waiters.table.lock();
    assert!(
        table
            .seats
            .iter()
            .all(|s| s.count == 0 && s.by_holder.is_empty())
    );
    assert!(
        table
            .followed
            .values()
            .all(|followed| followed.waiting == 0)
    );
}

#[tokio::test]
async fn a_seat_is_woken_by_its_application_alone() {
    let (_directory, log, waiters) = open(Limits::default());
    let mut seat = waiters.seat(A, HOLDER, Purpose::Poll).expect("a seat");
    let stopping = CancellationToken::new();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(Arc::clone(&waiters).run(stopping.clone()));
    seat.mark();
    let of = |id| vec![Event::new(id, "t".parse().expect("a name"), "{}")];
    log.append(of(B)).await.expect("is taken");
    waiters.look(A, at(0));
    assert!(
        !seat.news.has_changed().expect("is kept"),
        "that was another's"
    );
    log.append(of(A)).await.expect("is taken");
    let news = tokio::time::timeout(std::time::Duration::from_secs(20), seat.news());
    news.await.expect("in time");
    stopping.cancel();
    running.join_all().await;
}
