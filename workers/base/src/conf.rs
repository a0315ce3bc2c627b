//! What a worker is told: the checked, typed part of the configuration that concerns client bytes.
//!
//! The master builds one [`Conf`] per generation and never changes it; a worker reads it. Nothing
//! here opens a file, looks at a clock or knows where a value came from (that is the master's
//! settings table). Durations of zero mean "no limit" only where the field says so.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ferricorn_http::{Limits, ProxyVersions};

use crate::networks::Networks;
use crate::trust::Trust;

/// Everything a worker of one generation needs to know. Immutable.
#[derive(Clone, Debug)]
pub struct Conf {
    /// Name of the worker class (`-k`), e.g. `sync`.
    pub worker_class: String,
    /// How many requests a worker may have in handlers at once, each on a thread of its own.
    pub threads: usize,
    /// How many workers the generation wants; the upper bound of fairness, not a promise.
    pub workers: usize,
    /// Bounds on the request message, in bytes and fields.
    pub limits: Limits,
    /// Whom to believe what a request says of itself.
    pub trust: Trust,
    /// Every wait of a connection.
    pub deadlines: Deadlines,
    /// After how long a request is slow, and told of; zero: never.
    pub slow_request: Duration,
    /// What responses say of what their requests are called, if anything.
    pub names: Option<Names>,
    /// What one peer address may take of the server.
    pub peer_limits: PeerLimits,
    /// When to refuse some requests because all wait too long.
    pub shed: Shed,
    /// Whether requests are refused that the master has put into quarantine.
    pub poison: bool,
    /// Connections one worker may hold at once; at the bound the longest idle one is closed.
    pub worker_connections: usize,
    /// A request body up to this many bytes stays in memory, beyond it an unlinked file holds it.
    pub body_buffer: usize,
    /// Directory of those files.
    pub tmp_dir: PathBuf,
    /// The path of requests that ask whether the server is ready; `None`: none does.
    pub readiness_path: Option<String>,
    /// Seconds in the Retry-After of a 503.
    pub retry_after: u32,
    /// Threads for streams, upgrades and blocking readers; beyond them a request gets 503.
    pub stream_threads: usize,
    /// Retire after this many requests; 0 never.
    pub max_requests: u64,
    /// Up to this many requests are added to `max_requests`, drawn per worker.
    pub max_requests_jitter: u64,
    /// Value of the `Server` field; `None` sends none.
    pub server: Option<String>,
    /// Whether files go out by sendfile(2).
    pub sendfile: bool,
    /// How an access-log line looks; `None` when there is no access log.
    pub access_format: Option<String>,
    /// The listeners, in the order of the inherited descriptors.
    pub listeners: Vec<ListenerConf>,
    /// What is served where. A single application is one mount with the prefix `/`.
    pub mounts: Vec<MountConf>,
    /// Where the aide sends metrics by StatsD, if it does.
    pub statsd: Option<StatsdConf>,
}

/// What a response says of its request, unless the handler does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Its id, in `X-Request-Id`.
    pub id: bool,
    /// The trace that it belongs to and its own span, in `traceresponse` (W3C Trace Context HTTP Response
    /// Headers Format, draft of 2021).
    pub trace: bool,
}

/// The waits of a connection, each with its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From the first byte of a head (or from accept) to its end; 408 when some of it has come.
    pub head: Duration,
    /// From the first byte of a request (or from accept) to the end of its body; 408. On a stream
    /// thread only the time in which it waits for the client counts. Zero: no limit.
    pub receive: Duration,
    /// The window of `body_min_rate`: each so long must bring its share of a body; 408.
    pub body: Duration,
    /// Bytes per second that a body must bring on average of each window; 0 asks for one byte.
    pub body_min_rate: u64,
    /// How long a connection may wait for its next request.
    pub keep_alive: Duration,
    /// The window of `write_min_rate`: in each so long a client must take its share of a response
    /// that waits for it; it is cut off.
    pub write: Duration,
    /// Bytes per second that a client must take on average of each window; 0 asks for one byte.
    pub write_min_rate: u64,
    /// How long a lingering close reads on.
    pub linger: Duration,
    /// How long a handler may take; the master ends the worker then. Zero: no limit.
    pub request: Duration,
    /// How long the loop may be silent outside a handler; the master ends the worker then.
    pub heartbeat: Duration,
    /// How long requests in flight have to finish when the worker retires.
    pub graceful: Duration,
}

/// What one peer address (of IPv6 its /64) may take of all workers together; beyond it 429. Zero: no
/// limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerLimits {
    /// Connections at once.
    pub connections: u64,
    /// New connections per second, at most 65 535.
    pub connection_rate: u64,
    /// Requests per second, at most 65 535.
    pub request_rate: u64,
}

/// When requests wait too long before their handlers see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// How long they may wait. Zero: as long as they do.
    pub target: Duration,
    /// For how long the wait may be longer until some are refused.
    pub interval: Duration,
}

/// Where metrics are sent by StatsD, and how they look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsdConf {
    /// Where they go.
    pub to: StatsdReceiver,
    /// What names begin with: empty, or with a dot at its end.
    pub prefix: String,
    /// Tags of DogStatsD, separated by commas; empty: none.
    pub tags: String,
    /// Whether the length of the accept queues is sent, too.
    pub backlog: bool,
}

/// Who takes StatsD metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatsdReceiver {
    /// By UDP.
    Udp(SocketAddr),
    /// A unix datagram socket.
    Unix(PathBuf),
}

/// One listener, in the order of its descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConf {
    /// The address as it was given: `127.0.0.1:8000`, `unix:/run/app.sock`, `fd://3`.
    pub bind: String,
    /// What it is bound to.
    pub local: LocalAddr,
    /// Who begins connections with a PROXY header; `None`: nobody.
    pub proxy: Option<ProxyListener>,
}

/// A listener on which the PROXY protocol is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyListener {
    /// In which version.
    pub versions: ProxyVersions,
    /// Whose connections begin with a header, all of them. Nobody else's do.
    pub from: Networks,
}

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalAddr {
    /// An IPv4 or IPv6 address and port.
    Tcp(SocketAddr),
    /// A unix socket with this path; abstract ones start with `@`.
    Unix(PathBuf),
}

/// What an option of a mounted application takes. It is given texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// `true` or `false`.
    Switch,
    /// One word of its own.
    Word,
    /// Any number of texts.
    Texts,
    /// Variables: any number of `NAME=VALUE`, in the file as a table, too.
    Pairs,
    /// A time, given in milliseconds.
    Time,
    /// A number of bytes.
    Size,
    /// A number.
    Number,
}

/// One application under a path prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountConf {
    /// `/` or a path without a trailing slash; matches at segment boundaries, the longest wins.
    pub prefix: String,
    /// The application's name or `SCHEME:REST`.
    pub app: String,
    /// How long its handlers may take instead of [`Deadlines::request`]; zero: no limit.
    pub timeout: Option<Duration>,
    /// What else was said of it, for the application that is mounted: names, each with its values.
    pub options: Vec<(String, Vec<String>)>,
}

impl Default for Shed {
    fn default() -> Self {
        Shed {
            target: Duration::ZERO,
            interval: Duration::from_millis(100),
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            head: Duration::from_secs(30),
            receive: Duration::from_secs(3600),
            body: Duration::from_secs(30),
            body_min_rate: 500,
            keep_alive: Duration::from_secs(65),
            write: Duration::from_secs(60),
            write_min_rate: 240,
            linger: Duration::from_secs(5),
            request: Duration::from_secs(30),
            heartbeat: Duration::from_secs(30),
            graceful: Duration::from_secs(30),
        }
    }
}

impl Conf {
    /// Changes what responses say of their requests.
    pub fn name(&mut self, change: impl FnOnce(&mut Names)) {
        let mut names = self.names.unwrap_or_default();
        change(&mut names);
        self.names = (names != Names::default()).then_some(names);
    }
}

impl Default for Conf {
    fn default() -> Self {
        Conf {
            worker_class: "sync".to_owned(),
            threads: 1,
            workers: 1,
            limits: Limits::default(),
            trust: Trust::default(),
            deadlines: Deadlines::default(),
            slow_request: Duration::ZERO,
            names: None,
            peer_limits: PeerLimits::default(),
            shed: Shed::default(),
            poison: false,
            worker_connections: 1000,
            body_buffer: 64 * 1024,
            tmp_dir: std::env::temp_dir(),
            readiness_path: None,
            retry_after: 5,
            stream_threads: 64,
            max_requests: 0,
            max_requests_jitter: 0,
            server: Some("ferricorn".to_owned()),
            sendfile: true,
            access_format: None,
            listeners: Vec::new(),
            mounts: Vec::new(),
            statsd: None,
        }
    }
}
