//! What the composition root chooses about the server.
//!
//! **Invariant:** every number has its source beside it.
//! **Next:** `server.rs`.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::listen::Address;
use crate::rate::RateLimits;
use crate::tls::TlsFiles;
use crate::token::TokenKeys;
use crate::visit::AccessLog;

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<Address>,
    /// With files, the TCP addresses speak TLS alone.
    pub tls: Option<TlsFiles>,
    /// What signs and verifies bearer tokens.
    pub token_keys: TokenKeys,
    /// Bounds and deadlines.
    pub limits: Limits,
    /// Which endpoint URLs are refused on creation.
    pub url_policy: UrlPolicy,
    /// Whether each request is logged.
    pub access_log: AccessLog,
    /// How many requests a token's subject may make.
    pub rate_limits: RateLimits,
    /// Where the pages are that a customer of a tenant opens with a token of `app-portal-access`;
    /// `None` for this server itself. The token is added as a fragment, which no server gets to see.
    pub portal_url: Option<Url>,
}

impl Config {
    /// The defaults for the keys of tokens: 127.0.0.1:8071 without TLS, and every endpoint URL is taken.
    pub fn new(token_keys: impl Into<TokenKeys>) -> Self {
        Self {
            // The port that clients of Svix-compatible servers try first.
            listen: vec![(Ipv4Addr::LOCALHOST, 8071).into()],
            tls: None,
            token_keys: token_keys.into(),
            limits: Limits::default(),
            url_policy: UrlPolicy::allow_all(),
            access_log: AccessLog::Off,
            rate_limits: RateLimits::default(),
            portal_url: None,
        }
    }
}

/// Bounds and deadlines. `Default` is what `hooklog serve` uses.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of the body of a publish; above it the answer is 413.
    pub body_bytes_max: usize,
    /// The same for every other route (where `body_bytes_max` is not smaller still).
    pub small_body_bytes_max: usize,
    /// Most bytes of a batch, which is never held as a whole; above it the rest is refused with 413.
    pub batch_bytes_max: usize,
    /// Most messages of a batch, whose results are held until its end.
    pub batch_items_max: u64,
    /// Most bytes of all request bodies held at once; above it the answer is 503.
    pub body_bytes_in_flight_max: usize,
    /// Longest time for the first bytes of a body; after it the answer is 408.
    pub body_start_timeout: Duration,
    /// Longest time for a whole body; after it the answer is 408.
    pub body_read_timeout: Duration,
    /// Longest time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Most TLS handshakes at once; further ones wait, within their time.
    pub handshakes_max: usize,
    /// How often the files of TLS are looked at for changes.
    pub tls_files_interval: Duration,
    /// Longest time for the first bytes of a connection, and for the head of a request; on HTTP/1
    /// also how long a connection may idle between requests.
    pub header_read_timeout: Duration,
    /// Most bytes of a request head.
    pub header_bytes_max: usize,
    /// Longest time an HTTP/2 connection may be without a request.
    pub idle_timeout: Duration,
    /// Longest time a client may not take a single byte of an answer.
    pub write_stall_timeout: Duration,
    /// Most bytes of all answers to reads held at once, and as many of answers to writes; above it
    /// the answer is 503.
    pub answer_bytes_in_flight_max: usize,
    /// Longest time for a client to take an answer whole; after it the connection is closed.
    pub answer_timeout: Duration,
    /// Most connections at once; further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// Most requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// Most reads of the log at once (each holds a thread); further ones wait.
    pub reads_max: usize,
    /// Longest wait for one of those reads to end; after it the answer is 503.
    pub read_wait_timeout: Duration,
    /// Longest time a poll waits for events, however long the client would.
    pub poll_wait_max: Duration,
    /// Most polls that wait at once; above it the answer is 503.
    pub waiters_max: usize,
    /// Most of them of one organisation, or of one application's tokens; above it the answer is 429.
    pub waiters_per_holder_max: usize,
    /// Most event streams at once; above it the answer is 503.
    pub event_streams_max: usize,
    /// Most of them of one organisation, or of one application's tokens; above it the answer is 429.
    pub event_streams_per_holder_max: usize,
    /// How long an event stream is silent at most.
    pub heartbeat_interval: Duration,
    /// How long an event stream lasts; its client then comes again, with a token that is still good.
    pub event_stream_age_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Twice the 1 MiB of other webhook servers; 70 times the largest payload of our corpus.
            body_bytes_max: 2 << 20,
            // The largest of them are an event type's schemas (64 KiB) and an endpoint's 256 event
            // types of 256 bytes, with their descriptions and metadata.
            small_body_bytes_max: 256 << 10,
            // 128 of the largest messages, or half a million of 512 B: minutes of a poor line.
            batch_bytes_max: 256 << 20,
            // Their results take about 6 MiB.
            batch_items_max: 100_000,
            // 128 bodies of the largest size; bounds memory against many slow uploads.
            body_bytes_in_flight_max: 256 << 20,
            // A client that announces a body has it; far above any round trip.
            body_start_timeout: Duration::from_secs(10),
            // 2 MiB in 30 s is 70 kB/s: a poor mobile line.
            body_read_timeout: Duration::from_secs(30),
            // Three round trips and what a small machine computes; as for the head of a request.
            handshake_timeout: Duration::from_secs(10),
            // A quarter of the connections: those that are open go on while a crowd comes in.
            handshakes_max: 1024,
            // Certificates are renewed weeks before they end; nobody wants to wait for a test.
            tls_files_interval: Duration::from_secs(5),
            // Far above any round trip; SDKs' pools keep idle connections for 4 to 5 s.
            header_read_timeout: Duration::from_secs(10),
            // nginx allows 8 KiB for a line and 32 KiB for the head; tokens are below 1 KiB.
            header_bytes_max: 16 << 10,
            idle_timeout: Duration::from_mins(1),
            // As the body: no progress at all for so long is a dead client.
            write_stall_timeout: Duration::from_secs(30),
            // As for bodies: 32 of the largest pages.
            answer_bytes_in_flight_max: 256 << 20,
            // The largest page, 8 MiB and its envelopes, at 140 kB/s.
            answer_timeout: Duration::from_mins(1),
            // Four times the usual soft limit of 1,024 descriptors; EMFILE is survived anyway.
            connections_max: 4096,
            // RFC 9113 advises at least 100.
            streams_max: 128,
            // Reads of sled are CPU-bound on cached pages: some per core suffice.
            reads_max: 16,
            // Ten of the longest reads one after the other; SDKs give up after 15 s or more.
            read_wait_timeout: Duration::from_secs(10),
            // Proxies give up on a silent answer after 60 s (nginx, haproxy by common advice 50 s).
            poll_wait_max: Duration::from_secs(45),
            // As many as connections.
            waiters_max: 4096,
            // Half, so that no tenant takes all of it.
            waiters_per_holder_max: 2048,
            event_streams_max: 2048,
            event_streams_per_holder_max: 1024,
            // What the standard of server-sent events advises against proxies that give up.
            heartbeat_interval: Duration::from_secs(15),
            // What a token that was taken back is good for at most.
            event_stream_age_max: Duration::from_hours(1),
        }
    }
}

/// Refuses endpoint URLs, with a reason for the user. The address checks at each delivery are the
/// dispatcher's; this makes the refusal visible at once.
#[derive(Clone)]
pub struct UrlPolicy(Arc<Check>);

type Check = dyn Fn(&Url) -> Result<(), String> + Send + Sync;

impl UrlPolicy {
    /// The policy that `check` is. It must not block.
    pub fn new(check: impl Fn(&Url) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    /// Refuses nothing.
    pub fn allow_all() -> Self {
        Self::new(|_| Ok(()))
    }

    /// Whether `url` may become an endpoint; if not, why.
    pub fn check(&self, url: &Url) -> Result<(), String> {
        (self.0)(url)
    }
}

impl fmt::Debug for UrlPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UrlPolicy(…)")
    }
}
