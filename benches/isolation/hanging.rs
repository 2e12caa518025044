//! Where an endpoint can hang: its name, its connection, TLS, its answer or the answer's body.
//!
//! **Invariant:** nothing here ever answers, and what came is counted, so that a run can prove that
//! attempts got as far as they should and no further.
//! **Next:** `endpoints.rs`, which gives each endpoint its address.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hooklog::storage::NewAttempt;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// Where an endpoint hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It takes the request and never answers.
    Request,
    /// Its name server never answers.
    Dns,
    /// Nobody accepts the connection or refuses it.
    Connect,
    /// It says nothing to the client's TLS hello.
    Tls,
    /// It answers 200, and the body never ends.
    Body,
}

impl Stage {
    pub(crate) const ALL: [Self; 5] = [
        Self::Request,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Body,
    ];

    /// Whether an attempt ended as one that was stuck here.
    pub(crate) fn explains(self, attempt: &NewAttempt) -> bool {
        let says = |text| attempt.response.contains(text);
        let has_no_status = attempt.status_code.is_none();
        match self {
            Self::Request | Self::Tls => has_no_status && says("no answer within"),
            Self::Dns => has_no_status && (says("cannot resolve") || says("resolving")),
            Self::Connect => has_no_status && says("connecting to") && says("took longer"),
            Self::Body => attempt.status_code == Some(200) && attempt.response == FIRST_OF_BODY,
        }
    }
}

/// What comes of a body that never ends.
pub(crate) const FIRST_OF_BODY: &str = "and so on";
/// A connection within one machine that takes longer does not come about.
const NOT_CONNECTED: Duration = Duration::from_millis(200);
/// Connections that the kernel may take before nobody accepts them: one or two with this backlog.
const BACKLOG: u32 = 1;
const FILL_MAX: usize = 16;

/// Servers that never answer.
pub(crate) struct Hanging {
    pub(crate) name_server: SocketAddr,
    /// The port that takes no connection.
    pub(crate) connect_port: u16,
    /// The port that takes connections and says nothing.
    pub(crate) tls_port: u16,
    asked: Arc<AtomicU64>,
    greeted: Arc<AtomicU64>,
    _full: (TcpListener, Vec<TcpStream>),
    _tasks: JoinSet<()>,
}

impl Hanging {
    pub(crate) async fn start() -> Self {
        let mut tasks = JoinSet::new();
        let (asked, greeted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let names = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let name_server = names.local_addr().unwrap();
        let count = Arc::clone(&asked);
        tasks.spawn(async move {
            let mut query = [0; 512];
            while names.recv_from(&mut query).await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let silent = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let tls_port = silent.local_addr().unwrap().port();
        let count = Arc::clone(&greeted);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = silent.accept().await {
                let count = Arc::clone(&count);
                connections.spawn(async move {
                    let mut hello = [0; 4096];
                    // A record of TLS with a handshake begins with 22.
                    while let Ok(bytes @ 1..) = stream.read(&mut hello).await {
                        let is_hello = hello.get(..bytes).unwrap().first() == Some(&22);
                        count.fetch_add(u64::from(is_hello), Ordering::Relaxed);
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        let (connect_port, full) = full().await;
        Self {
            name_server,
            connect_port,
            tls_port,
            asked,
            greeted,
            _full: full,
            _tasks: tasks,
        }
    }

    /// How many questions the name server has got, and how many greetings the silent TLS server.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (get(&self.asked), get(&self.greeted))
    }
}

/// A port whose queue of connections is full, so that the kernel ignores whoever comes.
async fn full() -> (u16, (TcpListener, Vec<TcpStream>)) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
    let listener = socket.listen(BACKLOG).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut streams = Vec::new();
    for _ in 0..FILL_MAX {
        let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        match tokio::time::timeout(NOT_CONNECTED, connecting).await {
            Ok(stream) => streams.push(stream.unwrap()),
            Err(_) => return (port, (listener, streams)),
        }
    }
    panic!("a listener with a backlog of {BACKLOG} takes {FILL_MAX} connections");
}
