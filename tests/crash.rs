//! `kill -9` of the real binary.
//!
//! **Invariant:** an event that got its 202 reaches the sink whatever happens; what a crash repeats
//! fits into the window of a lane; retries keep their schedule.
//! **Next:** `syscalls.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::api::{Api, Shown};
use crate::harness::server::{Server, Setup};
use crate::harness::sink::{Delivery, Reply, Sink};
use crate::harness::{alone, note, number, pause, wait_for};

/// Publishers at once: enough that commits are shared.
const PUBLISHERS: u64 = 4;
/// When a round is killed, counted from its first 202.
const LOAD_MS: std::ops::Range<u64> = 50..500;
/// When the start after it is killed, too.
const RECOVERY_MS: std::ops::Range<u64> = 1..120;
/// How long the sink is silent before the kill, so that something is in flight.
const SILENCE: Duration = Duration::from_millis(40);
/// What the project promises about a restart.
const REDELIVERY_MAX: Duration = Duration::from_secs(1);

/// Events with a 202 by id, with their payloads.
type Acked = BTreeMap<String, String>;

#[test]
fn no_acked_event_is_lost_and_duplicates_fit_the_window() {
    let _machine = alone();
    let rounds = number("HOOKLOG_TEST_ROUNDS", 1);
    let seed = number("HOOKLOG_TEST_SEED", 1);
    let window = u64::try_from(hooklog::dispatcher::Config::default().lane_window).unwrap();
    note(&format!(
        "HOOKLOG_TEST_SEED={seed} HOOKLOG_TEST_ROUNDS={rounds}"
    ));
    let mut random = fastrand::Rng::with_seed(seed);
    let scratch = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let mut acked = Acked::new();
    let mut restarts = Vec::new();

    let mut server = Server::start(scratch.path());
    server.api().create_application("crash");
    server.api().create_endpoint("crash", &sink.url());
    for round in 0..rounds {
        let load = Duration::from_millis(random.u64(LOAD_MS));
        acked.extend(load_and_kill(server, round, load, &sink));
        // Killed again while it recovers, or has just begun to deliver to the silent sink.
        restarts.push(Instant::now());
        let mut interrupted = Setup::new(scratch.path()).spawn();
        pause(Duration::from_millis(random.u64(RECOVERY_MS)));
        interrupted.kill();

        sink.reply(Reply::Status(204));
        let restarted = Instant::now();
        server = Server::start(scratch.path());
        let first = sink.wait("redelivery", |deliveries| {
            first_since(deliveries, restarted)
        });
        let took = first.saturating_duration_since(server.listening);
        note(&format!(
            "round {round}: killed after {load:?}; redelivery {took:?} after the restart"
        ));
        assert!(
            took <= REDELIVERY_MAX,
            "the first redelivery came {took:?} after the restart"
        );
        restarts.push(restarted);
    }

    sink.wait("delivery of all that was acked", |deliveries| {
        let arrived: BTreeSet<_> = deliveries.iter().map(|delivery| &delivery.id).collect();
        acked.keys().all(|id| arrived.contains(id)).then_some(())
    });
    let deliveries = sink.deliveries();
    for delivery in &deliveries {
        // One without a 202 may have been committed all the same.
        if let Some(payload) = acked.get(&delivery.id) {
            assert_eq!(&delivery.message.text(), payload);
        }
    }
    for (round, count) in duplicates(&deliveries, &restarts).into_iter().enumerate() {
        note(&format!(
            "restart {round}: {count} duplicates; the window is {window}"
        ));
        assert!(
            count <= window,
            "{count} duplicates, more than the window of {window}"
        );
    }
    let shown = server.api().events("crash").unwrap();
    for (id, payload) in &acked {
        assert_eq!(&shown[id].payload, payload, "{id}");
    }
    note(&format!(
        "{} acked, {} deliveries, {} stored",
        acked.len(),
        deliveries.len(),
        shown.len()
    ));
    server.stop();
}

/// One round: publishes for a while, then kills; returns what got a 202.
fn load_and_kill(mut server: Server, round: u64, load: Duration, sink: &Sink) -> Acked {
    let count = Arc::new(AtomicU64::new(0));
    let publishers: Vec<JoinHandle<Acked>> = (0..PUBLISHERS)
        .map(|publisher| {
            let mut api = server.api();
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                let mut acked = Acked::new();
                for number in 0_u64.. {
                    let payload = format!(
                        r#"{{"round": {round}, "publisher": {publisher}, "number": {number}}}"#
                    );
                    let body = format!(r#"{{"eventType":"crash.load","payload":{payload}}}"#);
                    match api.publish("crash", &body) {
                        Ok((202, id)) => {
                            assert!(acked.insert(id, payload).is_none(), "an id came twice");
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        // A full queue may say "later".
                        Ok((503, _)) => {}
                        Ok((status, answer)) => panic!("{status} {answer}"),
                        // The server was killed.
                        Err(_) => break,
                    }
                }
                acked
            })
        })
        .collect();
    wait_for("first 202", || {
        (count.load(Ordering::Relaxed) > 0).then_some(())
    });
    pause(load.saturating_sub(SILENCE));
    sink.reply(Reply::Silence);
    pause(SILENCE);
    server.process.kill();
    drop(server);
    let mut acked = Acked::new();
    for publisher in publishers {
        acked.extend(publisher.join().unwrap());
    }
    note(&format!("round {round}: {} acked", acked.len()));
    acked
}

fn first_since(deliveries: &[Delivery], since: Instant) -> Option<Instant> {
    deliveries
        .iter()
        .map(|delivery| delivery.at)
        .find(|at| *at >= since)
}

/// For each restart: the deliveries up to the next one that had arrived before it. Without a crash
/// nothing may arrive twice.
fn duplicates(deliveries: &[Delivery], restarts: &[Instant]) -> Vec<u64> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut counts = vec![0; restarts.len()];
    for delivery in deliveries {
        let period = restarts
            .iter()
            .take_while(|restart| **restart <= delivery.at)
            .count();
        if let Some(before) = seen.insert(&delivery.id, period) {
            assert!(
                before < period,
                "{} arrived twice without a crash between",
                delivery.id
            );
            counts[period - 1] += 1;
        }
    }
    counts
}

/// Publishes one event and waits until its first, failed attempt is on record.
fn fail_once(server: &Server, sink: &Sink) -> (String, Instant) {
    let mut api = server.api();
    api.create_application("retry");
    api.create_endpoint("retry", &sink.url());
    sink.reply(Reply::Status(503));
    let event = api.accept("retry", r#"{"eventType":"crash.retry","payload":{"n":1}}"#);
    let first = sink.wait("first attempt", |deliveries| Some(deliveries.first()?.at));
    let recorded = wait_for("attempt on record", || api.attempts("retry", &event).pop());
    assert_eq!(
        (&recorded["responseStatusCode"], &recorded["status"]),
        (&503.into(), &2.into())
    );
    (event, first)
}

fn restart(mut server: Server, directory: &Path, schedule: &str) -> Server {
    server.process.kill();
    drop(server);
    Setup::new(directory).retry_schedule(schedule).start()
}

#[test]
fn a_retry_keeps_its_time_over_a_crash() {
    let _machine = alone();
    let scratch = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let delay = Duration::from_secs(2);
    let schedule = "0s,2s,1s";
    let server = Setup::new(scratch.path()).retry_schedule(schedule).start();
    let (event, first) = fail_once(&server, &sink);
    let server = restart(server, scratch.path(), schedule);
    assert!(
        first.elapsed() < delay,
        "the machine was too slow for this test to mean anything"
    );

    // The second attempt fails, too; the third is due by its own step of the schedule.
    let second = sink.wait("second attempt", |deliveries| Some(deliveries.get(1)?.at));
    let waited = second - first;
    assert!(waited >= delay, "the retry came early, after {waited:?}");
    assert!(
        waited <= delay + REDELIVERY_MAX,
        "the retry came late, after {waited:?}"
    );
    sink.reply(Reply::Status(204));
    let third = sink.wait("third attempt", |deliveries| Some(deliveries.get(2)?.at));
    assert!(
        third - second >= Duration::from_secs(1),
        "after {:?}",
        third - second
    );

    let mut api = server.api();
    let attempts = wait_for("three attempts on record", || {
        Some(api.attempts("retry", &event)).filter(|attempts| attempts.len() == 3)
    });
    let statuses: Vec<&Value> = attempts.iter().map(|a| &a["responseStatusCode"]).collect();
    assert_eq!(statuses, [204, 503, 503], "newest first");
    assert_eq!(sink.counts()[&event], 3);
    server.stop();
}

#[test]
fn a_retry_that_fell_due_while_the_server_was_down_comes_at_once() {
    let _machine = alone();
    let scratch = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let schedule = "0s,1s";
    let mut server = Setup::new(scratch.path()).retry_schedule(schedule).start();
    let (event, first) = fail_once(&server, &sink);
    server.process.kill();
    assert_eq!(sink.len(), 1);
    sink.reply(Reply::Status(204));
    pause(Duration::from_secs(1).saturating_sub(first.elapsed()));

    let server = Setup::new(scratch.path()).retry_schedule(schedule).start();
    let second = sink.wait("second attempt", |deliveries| Some(deliveries.get(1)?.at));
    let took = second.saturating_duration_since(server.listening);
    assert!(
        took <= REDELIVERY_MAX,
        "the retry came {took:?} after the restart"
    );
    assert_eq!(sink.counts()[&event], 2);
}

/// Killed before its time, when it has come, and again while it is delivered: what was published for
/// later comes then, not before, and no more often than crashes explain.
#[test]
fn an_event_for_later_comes_at_its_time_over_crashes() {
    let _machine = alone();
    let scratch = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let server = Server::start(scratch.path());
    let mut api = server.api();
    api.create_application("later");
    api.create_endpoint("later", &sink.url());
    let delay = Duration::from_millis(1_500);
    let (published, wall) = (Instant::now(), jiff::Timestamp::now());
    let due = wall + delay;
    let at =
        |n| format!(r#"{{"eventType":"crash.later","payload":{{"n":{n}}},"deliverAt":"{due}"}}"#);
    let later: Vec<String> = (0..20).map(|n| api.accept("later", &at(n))).collect();
    let now = api.accept("later", r#"{"eventType":"crash.now","payload":{}}"#);
    sink.wait("what does not wait", |deliveries| {
        deliveries
            .iter()
            .any(|delivery| delivery.id == now)
            .then_some(())
    });
    assert!(!sink.counts().contains_key(&later[0]), "it waits");
    let mut kills = 0;
    let mut kill = |mut server: Server| {
        server.process.kill();
        kills += 1;
        drop(server);
        Server::start(scratch.path())
    };
    let mut server = kill(server);
    while published.elapsed() < delay {
        assert!(!sink.counts().contains_key(&later[0]), "it came early");
        pause(Duration::from_millis(20));
    }
    // Around its release and its delivery, wherever that is by now.
    for wait in [5, 15, 40] {
        pause(Duration::from_millis(wait));
        server = kill(server);
    }
    sink.wait("all that waited", |deliveries| {
        let arrived: BTreeSet<_> = deliveries.iter().map(|delivery| &delivery.id).collect();
        later.iter().all(|id| arrived.contains(id)).then_some(())
    });
    let first = sink.deliveries();
    let first = first.iter().find(|delivery| later.contains(&delivery.id));
    assert!(first.unwrap().at - published >= delay);
    server.stop();
    for (id, count) in sink.counts() {
        assert!(count <= 1 + kills, "{id} came {count} times");
    }
}

/// A count that is killed while it runs goes on, and counts nothing twice; what was answered to be gone
/// stays gone: payloads, and the tokens of a session.
#[test]
fn what_was_begun_ends_and_what_was_taken_away_stays_so_over_crashes() {
    let _machine = alone();
    let scratch = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let mut server = Server::start(scratch.path());
    let mut api = server.api();
    api.create_application("count");
    let endpoints = [(); 2].map(|()| api.create_endpoint("count", &sink.url()).0);
    let count = 300;
    for n in 0..count {
        let body = format!(r#"{{"eventType":"crash.count","payload":{{"n":{n}}}}}"#);
        api.accept("count", &body);
    }
    for endpoint in endpoints {
        let path = format!("/app/count/endpoint/{endpoint}/stats");
        wait_for("all on record", || {
            let stats = api.json("GET", &path, &Value::Null);
            (stats["success"] == count).then_some(())
        });
    }
    let token = |api: &mut Api, session: &str| {
        let body = json!({"sessionId": session});
        let access = api.json("POST", "/auth/app-portal-access/count", &body);
        access["token"].as_str().unwrap().to_owned()
    };
    let (ended, kept) = (token(&mut api, "ended"), token(&mut api, "kept"));
    let session = json!({"sessionIds": ["ended"]});
    api.json("POST", "/auth/app/count/expire-all", &session);
    api.json("POST", "/app/count/msg/expunge-all-contents", &Value::Null);
    let usage = json!({"since": "2020-01-01T00:00:00Z"});
    let tasks: Vec<String> = (0..20)
        .map(|_| {
            let task = api.json("POST", "/stats/usage/app", &usage);
            task["id"].as_str().unwrap().to_owned()
        })
        .collect();
    for _ in 0..3 {
        server.process.kill();
        drop(server);
        server = Server::start(scratch.path());
    }
    let mut api = server.api();
    for task in tasks {
        let path = format!("/background-task/{task}");
        let done = wait_for("end of a count", || {
            let task = api.json("GET", &path, &Value::Null);
            (task["status"] != "running").then_some(task)
        });
        let stats = &done["data"]["appStats"][0]["messageDestinations"];
        assert_eq!(stats, 2 * count, "{done}");
    }
    let status = |token: &str| {
        let mut customer = Api::new(server.address, token);
        customer.call("GET", "/app/count", b"").unwrap().status()
    };
    assert_eq!((status(&ended), status(&kept)), (401, 200));
    let shown = api.events("count").unwrap();
    assert_eq!(shown.len(), count);
    let gone = |event: &Shown| event.payload == r#"{"expired":true}"#;
    assert!(shown.values().all(gone));
    server.stop();
}

#[test]
fn a_clean_stop_repeats_nothing() {
    let _machine = alone();
    let scratch = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let server = Server::start(scratch.path());
    let mut api = server.api();
    api.create_application("stop");
    api.create_endpoint("stop", &sink.url());
    let body = r#"{"eventType":"crash.stop","payload":{}}"#;
    let mut acked: Vec<String> = (0..200).map(|_| api.accept("stop", body)).collect();
    server.stop();
    let server = Server::start(scratch.path());
    acked.push(server.api().accept("stop", body));
    sink.wait("all deliveries", |deliveries| {
        (deliveries.len() >= acked.len()).then_some(())
    });
    server.stop();
    let counts = sink.counts();
    for id in &acked {
        assert_eq!(counts.get(id), Some(&1), "{id}");
    }
}
