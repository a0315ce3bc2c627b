//! How the server stands, as the control socket tells it: plain data, written and read with serde
//! alone.
//!
//! Text that comes from clients and applications is printable ASCII here; what it was otherwise
//! stands in it as `\x1b`. Sizes are in bytes, times in seconds. A field that another version does
//! not tell has its default.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::human::time;
use crate::board::{COUNTERS, Counter};

/// Requests under way that are told of one worker at most, the oldest first, and fewer where there are many
/// workers; `in_flight` counts all.
pub const LISTED: usize = 8;

/// How the server stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Of the server.
    pub server: String,
    /// Of the master.
    pub pid: u32,
    /// The name of the processes, if they have one.
    pub name: Option<String>,
    /// Since the first start, in seconds.
    pub uptime: f64,
    /// `starting`, `serving`, `reloading` or `stopping`.
    pub phase: String,
    /// The generation that serves, or served before the roll.
    pub generation: u64,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Workers that there should be.
    pub wanted: usize,
    /// Workers that serve.
    pub ready: usize,
    /// The workers, in the order of their places.
    pub workers: Vec<Worker>,
    /// The process that answers beside the workers, if there is one.
    pub aide: Option<i32>,
    /// The reload under way.
    pub reload: Option<Reload>,
    /// How many have begun.
    pub reloads: u64,
    /// Why the start or the last reload has failed.
    pub failure: Option<String>,
    /// Since when nobody serves who should, in seconds.
    pub outage: Option<f64>,
    /// Why, as far as it is known.
    pub trouble: Option<String>,
    /// What all workers have counted since the first start, those that have gone included.
    pub totals: Counters,
    /// Handler times of all of them, as of one worker.
    pub handler_times: Vec<u64>,
    /// How long what was served had waited before, in the same way.
    pub queue_times: Vec<u64>,
    /// How often workers have ended, by cause.
    pub restarts: BTreeMap<String, u64>,
    /// How many reloads came to what: `ok`, `failed` or `rolled-back`.
    pub verdicts: BTreeMap<String, u64>,
    /// What waits to be accepted, where the system tells.
    pub queues: Vec<Queue>,
    /// Requests in quarantine.
    #[serde(default)]
    pub quarantine: Vec<Quarantined>,
    /// What may be decided of the number of workers, if anything may.
    pub scaling: Option<Scaling>,
    /// Places that stay vacant for a while, as their workers fail again and again.
    pub suspended: Vec<Suspended>,
    /// Limits that are ignored until a reload, as workers are past them when they have just booted.
    pub ignored_limits: Vec<String>,
    /// Memory that another worker could take.
    pub free_memory: Option<u64>,
    /// Memory of the master.
    pub memory: Option<Memory>,
    /// Memory of the aide.
    pub aide_memory: Option<Memory>,
    /// Memory of the mold.
    pub mold_memory: Option<Memory>,
}

/// The number of workers is the server's to decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scaling {
    /// Not fewer than this.
    pub least: usize,
    /// Not more than this.
    pub most: usize,
    /// But the operator has said how many there are.
    pub pinned: bool,
}

/// "from 2 to 8 workers"
impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pinned {
            true => f.write_str("off, as the operator has said how many"),
            false => write!(f, "from {} to {} workers", self.least, self.most),
        }
    }
}

/// A place that is suspended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Suspended {
    /// Which one.
    pub slot: usize,
    /// For so many seconds more.
    pub seconds: f64,
}

/// "worker 2 for 43 s more, as it fails again and again"
impl fmt::Display for Suspended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = time(self.seconds);
        let slot = self.slot;
        write!(
            f,
            "worker {slot} for {more} more, as it fails again and again"
        )
    }
}

/// The memory of a process when it was last looked at, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// What is in RAM, shared or not.
    pub rss: u64,
    /// The same with its share only of what it shares, if that can be read.
    pub pss: Option<u64>,
}

/// A reload under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// Which one, from 1.
    pub number: u64,
    /// `trying` or `rolling`.
    pub step: String,
    /// The generation that is rolled to.
    pub target: Option<u64>,
    /// Its workers that serve.
    pub ready: Option<usize>,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// The stable number of its place.
    pub slot: usize,
    /// Its process.
    pub pid: i32,
    /// The generation that it is of.
    pub generation: u64,
    /// `booting`, `serving`, `retiring`, `draining`, `leaving`, `hung` or `killed`.
    pub stage: String,
    /// Since it was started, in seconds.
    pub age: f64,
    /// Requests that it has answered, as it says.
    pub requests: u64,
    /// Connections that it holds, as it says.
    pub connections: u64,
    /// Requests that are under way, as it says.
    pub in_flight: usize,
    /// Requests that wait for a handler, as all are busy; as it says.
    pub waiting: u64,
    /// The oldest of them; see [`LISTED`].
    pub current: Vec<Current>,
    /// For how long those that are in handlers have been there, added up, in seconds.
    pub handling: f64,
    /// How many requests can be in handlers at once.
    pub threads: usize,
    /// What it has counted since its start.
    pub counters: Counters,
    /// Its handler times: entry `n` counts those below 2^n µs and not below 2^(n-1). What is not
    /// there is 0.
    pub handler_times: Vec<u64>,
    /// Memory that is in RAM, shared or not (RSS), when it was last looked at.
    pub rss: Option<u64>,
    /// The same with its share only of what it shares (PSS).
    pub pss: Option<u64>,
    /// How many workers of its place have ended.
    pub restarts: u64,
    /// The end of the last of them.
    pub last_end: Option<End>,
}

/// A request under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Current {
    /// What the logs call it.
    pub id: String,
    /// As received.
    pub method: String,
    /// As received, without the query unless `show-queries`. `...` ends one that was longer.
    pub target: String,
    /// Who asked.
    pub peer: String,
    /// Since its handler was called, in seconds.
    pub age: f64,
    /// Whether it is on a stream thread.
    pub streaming: bool,
}

/// How a worker has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct End {
    /// In words, as in the log.
    pub how: String,
    /// Whether it is as it should be.
    pub well: bool,
    /// How long ago, in seconds.
    pub ago: f64,
}

/// What waits at a listener to be accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Which one, as in `listeners`.
    pub listener: String,
    /// Connections that wait.
    pub waiting: u32,
    /// So many may.
    pub room: u32,
}

/// A request in quarantine: all workers answer it with 503, because they have died of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    /// How it is known: 16 hexadecimal digits.
    pub fingerprint: String,
    /// Its method and path, escaped and cut.
    pub request: String,
    /// In how many deaths of workers it was in flight.
    pub deaths: usize,
    /// Since when, in seconds.
    pub age: f64,
    /// For how many seconds more; none: until it is cleared.
    pub left: Option<f64>,
}

/// "GET /export for 9 min more, as 3 workers died of it"
impl fmt::Display for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (request, deaths) = (&self.request, self.deaths);
        match self.left {
            Some(left) => write!(f, "{request} for {} more", time(left))?,
            None => write!(f, "{request} until it is cleared")?,
        }
        write!(f, ", as {deaths} workers died of it")
    }
}

/// Makes the numbers of a worker, each the counter of the board.
macro_rules! counters {
    ($($field:ident = $counter:ident, $doc:literal;)*) => {
        /// What workers have counted. It only grows.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Counters {
            $(#[doc = $doc] pub $field: u64,)*
        }

        impl Counters {
            /// By name, from the scoreboard.
            #[must_use]
            pub fn of(counted: &[u64; COUNTERS]) -> Counters {
                Counters {
                    $($field: counted[Counter::$counter as usize],)*
                }
            }
        }
    };
}

counters! {
    accepted = Accepted, "Connections accepted.";
    requests = Requests, "Requests answered, by a handler or by the loop.";
    informational = Informational, "Responses 1xx (final ones: 101).";
    success = Success, "Responses 2xx.";
    redirection = Redirection, "Responses 3xx.";
    client_error = ClientError, "Responses 4xx.";
    server_error = ServerError, "Responses 5xx.";
    refused = Refused, "Requests that no handler saw.";
    errors = Errors, "Handlers that returned an error.";
    panics = Panics, "Handlers that panicked.";
    aborted = Aborted, "Responses cut after their head was sent.";
    timed_out = TimedOut, "Connections ended because a deadline passed.";
    streams = Streams, "Requests that went to a stream thread.";
    bytes_in = BytesIn, "Bytes read from clients.";
    bytes_out = BytesOut, "Bytes written to clients.";
    log_dropped = LogDropped, "Lines of the access log dropped because their reader was too slow.";
    limited = Limited, "Connections and requests refused because their peer had taken its share.";
    given = Given, "Connections handed to a sibling.";
    taken = Taken, "Connections taken over from a sibling.";
    handler_micros = HandlerMicros, "Time in handlers, in µs.";
    queue_micros = QueueMicros, "Time in queues, in µs.";
    shed = Shed, "Requests refused because they had waited too long.";
    poisoned = Poisoned, "Requests refused because workers have died of their like.";
    log_errors = LogErrors, "Messages of the error log at level error.";
    log_warnings = LogWarnings, "Messages of the error log at level warning.";
    log_lost = LogLost, "Messages of the error log dropped because their reader was too slow.";
}
