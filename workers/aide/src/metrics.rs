//! `/metrics`: the numbers of the server for Prometheus. A pure function of a [`Snapshot`].
//!
//! Everything that only grows comes from the scoreboard, which is as of now, whoever reads it: so it never
//! goes backwards. How things stand is what the master said last. Every series is told from the first scrape on, with 0 where nothing
//! has happened, but for single status codes and what the system does not tell. `docs/OPERATIONS.md`
//! lists them.

mod exposition;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ferricorn_base::board::{CODES, Counter, Tally, Totals};
use ferricorn_base::words::{Memory, Status, Worker};
use ferricorn_base::{Request, Response, typed};
use http::header::{ACCEPT, HeaderValue, VARY};

use self::exposition::{Exposition, Format, Kind};
use crate::Snapshot;

/// Answers in the format that the client wants.
pub(crate) fn answer(snapshot: &Snapshot, request: &Request) -> Response {
    let accept = request.headers().get_all(ACCEPT).iter();
    let format = Format::wanted(accept.filter_map(|field| field.to_str().ok()));
    let text = render(&Facts::of(snapshot), format);
    let mut response = typed(format.content_type(), text);
    let fields = response.headers_mut();
    fields.insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// What is told.
#[derive(Clone, Debug)]
struct Facts {
    /// How the server stands, as the master says.
    status: Arc<Status>,
    /// How old that is.
    age: Duration,
    /// When the server was started, in seconds of Unix time.
    started: f64,
    /// What the workers have counted.
    totals: Totals,
    /// Workers that have ended, by cause.
    exits: BTreeMap<String, u64>,
    /// Reloads that are over, by verdict.
    reloads: BTreeMap<String, u64>,
}

impl Facts {
    fn of(snapshot: &Snapshot) -> Facts {
        let board = &snapshot.board;
        Facts {
            status: Arc::clone(&snapshot.status),
            age: snapshot.age(),
            started: board.started(),
            totals: board.totals(),
            exits: board.tallied(Tally::Exits),
            reloads: board.tallied(Tally::Reloads),
        }
    }
}

/// All series.
fn render(facts: &Facts, format: Format) -> String {
    let mut text = Exposition::new(format);
    server(&mut text, facts);
    requests(&mut text, &facts.totals, facts.status.quarantine.len());
    connections(&mut text, &facts.status, &facts.totals);
    workers(&mut text, &facts.status, &facts.exits);
    logs(&mut text, &facts.totals);
    memory(&mut text, &facts.status);
    text.finish()
}

/// The server as a whole.
fn server(text: &mut Exposition, facts: &Facts) {
    let status = &facts.status;
    text.family(Kind::Info, "ferricorn_build", "The program.")
        .sample(&[("version", &status.server)], 1);
    text.gauge(
        "ferricorn_start_time_seconds",
        "When the server was started, in seconds of Unix time. A reload is no start.",
        format_args!("{:.3}", facts.started),
    );
    text.gauge(
        "ferricorn_status_age_seconds",
        "How old is what the master says; more than a second when it does not answer.",
        format_args!("{:.3}", facts.age.as_secs_f64()),
    );
    text.gauge(
        "ferricorn_generation",
        "The generation that serves: the first is 1, each successful reload makes another.",
        status.generation,
    );
    text.gauge(
        "ferricorn_reload_number",
        "The number of the last reload that has begun; 0 when there was none.",
        status.reloads,
    );
    text.gauge(
        "ferricorn_reload_in_progress",
        "1 while a reload is under way.",
        u8::from(status.reload.is_some()),
    );
    let mut reloads = text.family(
        Kind::Counter,
        "ferricorn_reloads",
        "Reloads that are over, by what came of them.",
    );
    for (verdict, count) in &facts.reloads {
        reloads.sample(&[("verdict", verdict)], count);
    }
    text.gauge(
        "ferricorn_outage",
        "1 while no worker serves who should.",
        u8::from(status.outage.is_some()),
    );
}

/// Counters of requests, by name and what they count.
const REQUESTS: [(&str, Counter, &str); 10] = [
    (
        "ferricorn_requests_refused",
        Counter::Refused,
        "Requests that the server refused before any handler saw them.",
    ),
    (
        "ferricorn_requests_shed",
        Counter::Shed,
        "Requests refused because they and others had waited too long.",
    ),
    (
        "ferricorn_requests_quarantined",
        Counter::Poisoned,
        "Requests refused because workers have died of their like.",
    ),
    (
        "ferricorn_limited",
        Counter::Limited,
        "Connections and requests refused because their peer had taken its share.",
    ),
    (
        "ferricorn_handler_errors",
        Counter::Errors,
        "Handlers that returned an error.",
    ),
    (
        "ferricorn_handler_panics",
        Counter::Panics,
        "Handlers that panicked.",
    ),
    (
        "ferricorn_responses_aborted",
        Counter::Aborted,
        "Responses cut after their head was sent.",
    ),
    (
        "ferricorn_streams",
        Counter::Streams,
        "Responses that went to a stream thread, upgraded connections included.",
    ),
    (
        "ferricorn_received_bytes",
        Counter::BytesIn,
        "Bytes read from clients.",
    ),
    (
        "ferricorn_sent_bytes",
        Counter::BytesOut,
        "Bytes written to clients.",
    ),
];

fn requests(text: &mut Exposition, totals: &Totals, quarantined: usize) {
    let mut classes = text.family(
        Kind::Counter,
        "ferricorn_requests",
        "Requests answered, by a handler or by the server itself, by the class of the status.",
    );
    for (status, counter) in [
        ("1xx", Counter::Informational),
        ("2xx", Counter::Success),
        ("3xx", Counter::Redirection),
        ("4xx", Counter::ClientError),
        ("5xx", Counter::ServerError),
    ] {
        classes.sample(&[("status", status)], totals.get(counter));
    }
    let mut codes = text.family(
        Kind::Counter,
        "ferricorn_responses",
        "The same by status code, as far as there were any.",
    );
    for (n, count) in totals.codes.iter().enumerate().take(CODES) {
        if *count > 0 {
            codes.sample(&[("code", &(100 + n).to_string())], count);
        }
    }
    text.histogram(
        "ferricorn_request_duration_seconds",
        "Time in handlers; what streams do after it is not counted.",
        &totals.handler_times,
        totals.get(Counter::HandlerMicros),
    );
    text.histogram(
        "ferricorn_queue_duration_seconds",
        "Time that was waited for a worker: of a sample of requests, so that its count is not theirs.",
        &totals.queue_times,
        totals.get(Counter::QueueMicros),
    );
    for (name, counter, help) in REQUESTS {
        text.counter(name, help, totals.get(counter));
    }
    text.gauge(
        "ferricorn_quarantine",
        "Requests that are in quarantine.",
        quarantined,
    );
}

/// Counters of connections.
const CONNECTIONS: [(&str, Counter, &str); 4] = [
    (
        "ferricorn_connections_accepted",
        Counter::Accepted,
        "Connections accepted.",
    ),
    (
        "ferricorn_connections_timed_out",
        Counter::TimedOut,
        "Connections ended because a deadline of their client passed.",
    ),
    (
        "ferricorn_connections_given",
        Counter::Given,
        "Connections handed to a sibling by a worker that drains.",
    ),
    (
        "ferricorn_connections_taken",
        Counter::Taken,
        "Connections taken over from a sibling; they are not accepted again.",
    ),
];

fn connections(text: &mut Exposition, status: &Status, totals: &Totals) {
    text.gauge(
        "ferricorn_connections",
        "Connections that are open.",
        totals.connections,
    );
    text.gauge(
        "ferricorn_requests_waiting",
        "Requests that wait for a handler thread.",
        totals.waiting,
    );
    for (name, counter, help) in CONNECTIONS {
        text.counter(name, help, totals.get(counter));
    }
    let mut lengths = text.family(
        Kind::Gauge,
        "ferricorn_accept_queue_length",
        "Connections that wait to be accepted.",
    );
    for queue in &status.queues {
        lengths.sample(&[("listener", &queue.listener)], queue.waiting);
    }
    let mut limits = text.family(
        Kind::Gauge,
        "ferricorn_accept_queue_limit",
        "Connections that may wait to be accepted.",
    );
    for queue in &status.queues {
        limits.sample(&[("listener", &queue.listener)], queue.room);
    }
}

/// What a worker is doing, in one of the words of the label `state`.
fn state(worker: &Worker) -> &'static str {
    match &*worker.stage {
        "booting" => "booting",
        "serving" | "retiring" if worker.in_flight > 0 => "busy",
        "serving" | "retiring" => "idle",
        _ => "draining",
    }
}

fn workers(text: &mut Exposition, status: &Status, exits: &BTreeMap<String, u64>) {
    let mut states = text.family(
        Kind::Gauge,
        "ferricorn_workers",
        "Workers, by what they are doing.",
    );
    for wanted in ["booting", "idle", "busy", "draining"] {
        let workers = status.workers.iter().map(state);
        let count = workers.filter(|state| *state == wanted).count();
        states.sample(&[("state", wanted)], count);
    }
    text.gauge(
        "ferricorn_workers_wanted",
        "Workers that there should be.",
        status.wanted,
    );
    text.gauge(
        "ferricorn_suspended_places",
        "Places that stay vacant for a while, as their workers fail again and again.",
        status.suspended.len(),
    );
    let mut causes = text.family(
        Kind::Counter,
        "ferricorn_worker_exits",
        "Workers that have ended, by cause.",
    );
    for (cause, count) in exits {
        causes.sample(&[("cause", cause)], count);
    }
}

/// What became of the logs.
fn logs(text: &mut Exposition, totals: &Totals) {
    let mut messages = text.family(
        Kind::Counter,
        "ferricorn_log_messages",
        "Messages in the error logs of the master and of the workers, by their level.",
    );
    for (level, counter) in [
        ("error", Counter::LogErrors),
        ("warning", Counter::LogWarnings),
    ] {
        messages.sample(&[("level", level)], totals.get(counter));
    }
    let mut dropped = text.family(
        Kind::Counter,
        "ferricorn_log_lines_dropped",
        "Lines of a log dropped because their reader was too slow.",
    );
    for (log, counter) in [("access", Counter::LogDropped), ("error", Counter::LogLost)] {
        dropped.sample(&[("log", log)], totals.get(counter));
    }
}

/// Memory by the kind of process, as it was when the master last looked.
fn memory(text: &mut Exposition, status: &Status) {
    let of = |memory: Option<Memory>| memory.map(|memory| (Some(memory.rss), memory.pss));
    let of_workers = |part: fn(&Worker) -> Option<u64>| {
        let known = status.workers.iter().filter_map(part);
        known.fold(None, |sum: Option<u64>, one| {
            Some(sum.unwrap_or(0).saturating_add(one))
        })
    };
    let kinds = [
        ("aide", of(status.aide_memory)),
        ("master", of(status.memory)),
        ("mold", of(status.mold_memory)),
        (
            "worker",
            Some((
                of_workers(|worker| worker.rss),
                of_workers(|worker| worker.pss),
            )),
        ),
    ];
    let mut resident = text.family(
        Kind::Gauge,
        "ferricorn_resident_memory_bytes",
        "Memory of all processes of a kind, where what they share counts for each (RSS).",
    );
    for (kind, known) in kinds {
        if let Some((Some(bytes), _)) = known {
            resident.sample(&[("process", kind)], bytes);
        }
    }
    let mut proportional = text.family(
        Kind::Gauge,
        "ferricorn_proportional_memory_bytes",
        "Memory of all processes of a kind, where what is shared counts in parts (PSS).",
    );
    for (kind, known) in kinds {
        if let Some((_, Some(bytes))) = known {
            proportional.sample(&[("process", kind)], bytes);
        }
    }
    let mut free = text.family(
        Kind::Gauge,
        "ferricorn_free_memory_bytes",
        "Memory that another worker could take, by the limits of the machine and of control groups.",
    );
    if let Some(bytes) = status.free_memory {
        free.sample(&[], bytes);
    }
}
