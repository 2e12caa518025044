//! A receiver inside the test: keeps every delivery, byte for byte, and answers as it is told.
//!
//! `GET` on it returns what came so far, so that foreign programs can look at it too.
//!
//! **Invariant:** a delivery is kept before it is answered.
//! **Next:** the proofs, in the order of `main.rs`.

use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

use super::PATIENCE;
use super::http::Message;

/// What the sink does with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(u16),
    /// Keeps it and says nothing, until the reply is set anew.
    Silence,
}

/// What arrived.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) at: Instant,
    pub(crate) id: String,
    pub(crate) message: Message,
}

#[derive(Debug)]
struct State {
    deliveries: Vec<Delivery>,
    reply: Reply,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
}

/// A running sink.
#[derive(Debug)]
pub(crate) struct Sink {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            deliveries: Vec::new(),
            reply: Reply::Status(204),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopped.load(Ordering::Acquire) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // A sender that goes away in the middle (it was killed) is no failure here.
                std::thread::spawn(move || drop(stream.and_then(|s| serve(&shared, s))));
            }
        });
        Self { shared, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn reply(&self, reply: Reply) {
        self.shared.state.lock().reply = reply;
        self.shared.changed.notify_all();
    }

    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.shared.state.lock().deliveries.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.shared.state.lock().deliveries.len()
    }

    /// How often each event arrived.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for delivery in &self.shared.state.lock().deliveries {
            *counts.entry(delivery.id.clone()).or_default() += 1;
        }
        counts
    }

    /// Waits until what arrived gives an answer.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, mut done: impl FnMut(&[Delivery]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.state.lock();
        loop {
            if let Some(value) = done(&state.deliveries) {
                return value;
            }
            let late = self
                .shared
                .changed
                .wait_until(&mut state, deadline)
                .timed_out();
            assert!(
                !late,
                "no {what} after {} deliveries",
                state.deliveries.len()
            );
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.reply(Reply::Status(503));
        // Wakes the accept.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(message) = Message::read(&mut stream)? {
        let at = Instant::now();
        if message.first.starts_with("GET ") {
            let body = recorded(shared).to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.get_mut().write_all((head + &body).as_bytes())?;
            continue;
        }
        let id = message.header("webhook-id").unwrap_or_default().to_owned();
        let told = told(&message.first);
        let mut state = shared.state.lock();
        state.deliveries.push(Delivery { at, id, message });
        shared.changed.notify_all();
        let status = loop {
            match state.reply {
                Reply::Status(status) => break told.unwrap_or(status),
                Reply::Silence => shared.changed.wait(&mut state),
            }
        };
        drop(state);
        let answer = format!("HTTP/1.1 {status} Told\r\ncontent-length: 0\r\n\r\n");
        stream.get_mut().write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// What a delivery to `…/status/NNN` is answered, for programs that cannot set the reply.
fn told(first: &str) -> Option<u16> {
    let (_, rest) = first.split_once("/status/")?;
    rest.split(' ').next()?.parse().ok()
}

/// All deliveries as JSON: header map and the body in base64.
fn recorded(shared: &Shared) -> Value {
    let state = shared.state.lock();
    state.deliveries.iter().map(Delivery::to_json).collect()
}

impl Delivery {
    pub(crate) fn to_json(&self) -> Value {
        let headers: BTreeMap<_, _> = self.message.headers.iter().cloned().collect();
        json!({"headers": headers, "body": STANDARD.encode(&self.message.body)})
    }
}
