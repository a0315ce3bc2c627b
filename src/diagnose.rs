//! What is known of a worker that hangs or has died, in words.
//!
//! Nothing that comes from the scoreboard is believed: text is escaped and bounded, times are
//! clamped, and the pid is the one that fork gave. It reads /proc and never decides anything.

mod last;
mod memory;
mod pause;
mod place;

use std::fmt::Write;
use std::time::Duration;

use ferricorn_base::board::{LastWords, RequestView, SeatView};
use ferricorn_base::lifeline::Retirement;
use serde::{Deserialize, Serialize};

use crate::exit::signal_name;
use crate::memory::mebibytes;
use crate::state::{Ending, Fate, Moment, Overdue, Signal, Stop};

pub use last::answered;
pub use memory::Oom;
pub use pause::Pauses;
pub use place::{Look, Thread, dumps_core, whereabouts};

/// Bytes of a request line that are logged.
const LINE: usize = 200;
/// Requests that are listed in full.
const LISTED: usize = 8;

/// How long things may take in the workers of a generation. Zero: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// A handler with one request.
    pub timeout: Duration,
    /// A handler that is granted more: by its mount, or because it asks for it.
    pub longest: Duration,
    /// The loop outside a handler.
    pub heartbeat: Duration,
    /// How many handlers a worker runs at once.
    pub threads: usize,
}

/// The requests of a worker whose handlers are past their time. Times in which nothing ran do not count.
pub fn late<'a>(
    view: &'a SeatView,
    patience: Patience,
    pauses: &Pauses,
    now: Moment,
) -> Vec<&'a RequestView> {
    let Patience {
        timeout, longest, ..
    } = patience;
    let is_late = |request: &&RequestView| match request.deadline_us {
        None => !timeout.is_zero() && pauses.age(request.started_us, now) > timeout,
        Some(deadline) => {
            let granted = longest.is_zero() || pauses.age(request.started_us, now) <= longest;
            let paused = pauses.after(request.started_us);
            !granted || Duration::from_micros(deadline).saturating_add(paused) < now
        }
    };
    let in_handlers = view.in_flight.iter().filter(|r| !r.streaming);
    in_handlers.filter(is_late).collect()
}

/// Which deadline a worker that serves is past, if any, so many of whose requests are `late`; `leaving` tells
/// that it was told to go.
pub fn overdue(
    view: &SeatView,
    late: usize,
    leaving: bool,
    patience: Patience,
    pauses: &Pauses,
    now: Moment,
) -> Option<Overdue> {
    let threads = patience.threads.max(1);
    if late > 0 {
        let last = leaving && view.in_flight.len() == late && view.connections <= late as u64;
        let nothing_else = late >= threads || last;
        return Some(if nothing_else {
            Overdue::Request
        } else {
            Overdue::Thread
        });
    }
    // While handlers run on all threads, none can turn the loop.
    let idle = view.in_flight.iter().filter(|r| !r.streaming).count() < threads;
    let heartbeat = patience.heartbeat;
    let silent = idle && view.heartbeat_us > 0 && pauses.age(view.heartbeat_us, now) > heartbeat;
    (silent && !heartbeat.is_zero()).then_some(Overdue::Heartbeat)
}

/// How long ago, never negative: a worker may write any number.
pub fn age(since_us: u64, now: Moment) -> Duration {
    now.saturating_sub(Duration::from_micros(since_us))
}

/// For how long the requests that are in handlers have been there, added up.
pub fn in_handlers(view: &SeatView, now: Moment) -> Duration {
    let in_handlers = view.in_flight.iter().filter(|r| !r.streaming);
    in_handlers.fold(Duration::ZERO, |sum, request| {
        sum.saturating_add(age(request.started_us, now))
    })
}

/// "GET /slow from 127.0.0.1:4711 for 31.2 s (id 9f2a…)", one for each request in flight; empty when there
/// is none.
pub fn requests(view: &SeatView, now: Moment) -> Vec<String> {
    list(&view.in_flight.iter().collect::<Vec<_>>(), now)
}

fn list(requests: &[&RequestView], now: Moment) -> Vec<String> {
    let mut words: Vec<String> = requests
        .iter()
        .take(LISTED)
        .map(|request| {
            let seconds = age(request.started_us, now).as_secs_f64();
            let stream = if request.streaming {
                " (streaming)"
            } else {
                ""
            };
            format!(
                "{} from {} for {seconds:.1} s{stream} (id {})",
                line(&request.line),
                request.peer,
                request.id
            )
        })
        .collect();
    let more = requests.len().saturating_sub(LISTED);
    if more > 0 {
        words.push(format!("{more} more"));
    }
    words
}

/// " while serving A; B", or nothing. Where some of them are what it is about, the others stand
/// "beside" them.
pub fn serving(view: &SeatView, meant: impl Fn(&RequestView) -> bool, now: Moment) -> String {
    let (meant, beside): (Vec<_>, Vec<_>) = view.in_flight.iter().partition(|r| meant(r));
    let (meant, beside) = match meant.is_empty() {
        true => (beside, meant),
        false => (meant, beside),
    };
    let words =
        [(" while serving ", meant), (" beside ", beside)].map(|(word, requests)| {
            match list(&requests, now) {
                none if none.is_empty() => String::new(),
                some => format!("{word}{}", some.join("; ")),
            }
        });
    words.concat()
}

/// Whether a request was with the thread that has said this, in the worker `pid`.
pub fn is_with(request: &RequestView, words: &LastWords, pid: i32) -> bool {
    match request.tid {
        0 => !request.streaming && i64::from(words.tid) == i64::from(pid),
        tid => tid == words.tid,
    }
}

/// Method and target of a request line as printable ASCII, bounded; without the query unless
/// `queries`.
pub fn request_line(bytes: &[u8], queries: bool) -> (String, String) {
    let space = bytes.iter().position(|byte| *byte == b' ');
    let (method, target) = bytes.split_at(space.unwrap_or(bytes.len()));
    let target = target.strip_prefix(b" ").unwrap_or(target);
    let query = target.iter().position(|byte| *byte == b'?');
    match query.filter(|_| !queries) {
        Some(at) => (line(method), line(&target[..at])),
        None => (line(method), line(target)),
    }
}

/// A request line as printable ASCII, bounded.
pub fn line(bytes: &[u8]) -> String {
    let mut text = printable(&bytes[..bytes.len().min(LINE)]);
    if bytes.len() > LINE {
        text.push_str("...");
    }
    text
}

/// A stranger's bytes as printable ASCII.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text
}

/// Why the master is about to end a worker: the sentence before the kill.
pub fn accusation(fate: Fate) -> &'static str {
    match fate {
        Fate::RequestTimeout => "has a request past timeout",
        Fate::Silent => "is silent past heartbeat-timeout",
        Fate::BootTimeout => "was not ready within boot-timeout",
        Fate::GracefulTimeout => "did not finish within graceful-timeout",
        Fate::Superseded => "did not finish within superseded-timeout",
        Fate::Stubborn => "did not leave when told to",
        Fate::Unwanted => "is unwanted",
        Fate::TooLarge(_) => "has more memory than max-memory-hard",
        Fate::Recycled(_)
        | Fate::Replaced
        | Fate::Surplus
        | Fate::Stopped(_)
        | Fate::CouldNotBoot(_) => "has to go",
    }
}

/// What the master did to a worker, as a reason for its death.
pub fn reason(fate: Fate) -> String {
    match fate {
        Fate::Recycled(Retirement::MaxRequests) => "replaced after max-requests".to_owned(),
        Fate::Recycled(Retirement::Panic) => "replaced after a panic".to_owned(),
        Fate::Recycled(Retirement::Asked) => "replaced after SIGTERM".to_owned(),
        Fate::Recycled(Retirement::Commanded) => "replaced as the operator asked".to_owned(),
        Fate::Recycled(Retirement::Lifetime) => "replaced after max-lifetime".to_owned(),
        Fate::Recycled(Retirement::Memory) => "replaced because of max-memory".to_owned(),
        Fate::Recycled(Retirement::Timeout) => "replaced after a request past timeout".to_owned(),
        Fate::Replaced => "replaced by a reload".to_owned(),
        Fate::Superseded => "replaced by two reloads".to_owned(),
        Fate::Surplus => "fewer workers are wanted".to_owned(),
        Fate::Stopped(Stop::Graceful) => "the server stops".to_owned(),
        Fate::Stopped(Stop::Quick) => "the server stops at once".to_owned(),
        Fate::CouldNotBoot(_) => "it could not boot".to_owned(),
        Fate::Unwanted => "the operator asked for it".to_owned(),
        Fate::TooLarge(bytes) => {
            let size = mebibytes(bytes);
            format!("it had {size}, more than max-memory-hard")
        }
        fate => format!("it {}", accusation(fate)),
    }
}

/// Whether it was our signal that ended a worker.
pub fn is_ours(ending: Ending, sent: Option<Signal>) -> bool {
    matches!(
        (ending, sent),
        (Ending::Signal(libc::SIGKILL), Some(Signal::Kill))
            | (
                Ending::Signal(libc::SIGABRT),
                Some(Signal::Abort | Signal::Kill)
            )
            | (Ending::Signal(libc::SIGTERM), Some(_))
    )
}

/// The end of a worker, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// How it ended.
    pub ending: Ending,
    /// Why the master ended it, if it did.
    pub fate: Option<Fate>,
    /// The last signal that it was sent by us.
    pub sent: Option<Signal>,
    /// What speaks for the OOM killer.
    pub oom: Option<&'a str>,
    /// What it said itself.
    pub last: Option<&'a LastWords>,
    /// Its pid.
    pub pid: Option<i32>,
}

/// What became of a worker, without who: "exited with code 1", "was killed by SIGKILL from outside".
/// The second value tells whether it is as it should be.
pub fn obituary(end: End<'_>) -> (String, bool) {
    let by_us = is_ours(end.ending, end.sent);
    let cause = end.last.and_then(|last| last::cause(last, end.pid));
    let behind = cause.map_or(String::new(), |cause| format!(": {cause}"));
    match (end.ending, end.fate) {
        (Ending::Code(0), Some(fate)) => (format!("exited ({})", reason(fate)), true),
        (Ending::Code(0), None) => (
            format!("exited with code 0 without being told to{behind}"),
            false,
        ),
        (Ending::Code(code), Some(fate)) => {
            let stage_code = matches!(code, 3 | 4);
            let boot = matches!(fate, Fate::CouldNotBoot(_)) || stage_code;
            (format!("exited with code {code} ({})", reason(fate)), boot)
        }
        (Ending::Code(code), None) => (format!("exited with code {code}{behind}"), false),
        (Ending::Signal(number), Some(fate)) if by_us => (
            format!(
                "was killed by {} from us: {}",
                signal_name(number),
                reason(fate)
            ),
            false,
        ),
        (Ending::Signal(libc::SIGKILL), _) => match end.oom {
            Some(evidence) => (format!("was killed by the OOM killer ({evidence})"), false),
            None => ("was killed by SIGKILL from outside".to_owned(), false),
        },
        (Ending::Signal(number), _) => {
            let first = end.last.and_then(|last| last::other(last, number));
            let after = first.map_or(String::new(), |first| format!(" after {first}"));
            let name = signal_name(number);
            (format!("was killed by {name}{after}{behind}"), false)
        }
    }
}

#[cfg(test)]
mod tests;
