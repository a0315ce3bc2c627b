//! What is known of one worker, or of the server, in full: names and texts. Pure.

use std::collections::BTreeMap;

use super::table::{Row, memory};
use super::text::{age, bytes, count, latency};
use crate::control::words::human::quantile;
use crate::control::words::{Status, Worker};

/// A name, and what is to be said under it. It still has to be cleaned for a terminal.
pub(super) type Fact = (&'static str, String);

/// The server in full.
pub(super) fn server(status: &Status) -> Vec<Fact> {
    let size = |size: Option<u64>| size.map_or("-".to_owned(), |size| bytes(size as f64));
    let counts = |counts: &BTreeMap<String, u64>| {
        let counts = counts.iter().filter(|(_, n)| **n > 0);
        let counts: Vec<String> = counts.map(|(name, n)| format!("{n} {name}")).collect();
        match counts.is_empty() {
            true => "none".to_owned(),
            false => counts.join(", "),
        }
    };
    let share = |share| quantile(&status.queue_times, share).map_or("-".to_owned(), latency);
    let totals = &status.totals;
    let mut facts = Vec::new();
    for listener in &status.listeners {
        let queue = status.queues.iter().find(|q| q.listener == *listener);
        let queue = queue.map(|q| format!(", {} of {} wait", q.waiting, q.room));
        facts.push((
            "listener",
            format!("{listener}{}", queue.unwrap_or_default()),
        ));
    }
    facts.extend([
        (
            "answers",
            format!(
                "{}: {} 2xx, {} 3xx, {} 4xx, {} 5xx",
                totals.requests,
                totals.success,
                totals.redirection,
                totals.client_error,
                totals.server_error
            ),
        ),
        (
            "refused",
            format!(
                "{}, {} for overload, {} in quarantine, {} over a share",
                totals.refused, totals.shed, totals.poisoned, totals.limited
            ),
        ),
        ("waited", format!("p50 {}, p99 {}", share(0.5), share(0.99))),
        ("ended", counts(&status.restarts)),
        ("reloads", counts(&status.verdicts)),
        (
            "log",
            format!(
                "{} errors, {} warnings, {} lines dropped",
                totals.log_errors,
                totals.log_warnings,
                totals.log_lost.saturating_add(totals.log_dropped)
            ),
        ),
        ("free", size(status.free_memory)),
    ]);
    if let Some(scaling) = &status.scaling {
        facts.push(("scaling", scaling.to_string()));
    }
    let held = status.quarantine.iter().map(ToString::to_string);
    facts.extend(held.map(|text| ("quarantine", text)));
    let suspended = status.suspended.iter().map(ToString::to_string);
    facts.extend(suspended.map(|text| ("suspended", text)));
    let ignored = status.ignored_limits.iter();
    facts.extend(ignored.map(|limit| ("too small", format!("{limit}, ignored until a reload"))));
    facts.extend(status.failure.iter().map(|text| ("failure", text.clone())));
    facts
}

/// One worker in full.
pub(super) fn worker(row: &Row<'_>) -> Vec<Fact> {
    let Row { worker, pace } = row;
    let counters = &worker.counters;
    let share = |share| quantile(&worker.handler_times, share).map_or("-".to_owned(), latency);
    let size = |size: Option<u64>| size.map_or("-".to_owned(), |size| bytes(size as f64));
    let mut facts = vec![
        (
            "process",
            format!(
                "{}, {} for {}, generation {}",
                worker.pid,
                worker.stage,
                age(worker.age),
                worker.generation
            ),
        ),
        (
            "requests",
            format!(
                "{}: {} 2xx, {} 3xx, {} 4xx, {} 5xx",
                worker.requests,
                counters.success,
                counters.redirection,
                counters.client_error,
                counters.server_error
            ),
        ),
        (
            "now",
            format!(
                "{} req/s, busy {:.0} %, {} connections",
                count(pace.requests),
                pace.busy * 100.0,
                worker.connections
            ),
        ),
        (
            "latency",
            format!(
                "p50 {}, p90 {}, p99 {}, since its start",
                share(0.5),
                share(0.9),
                share(0.99)
            ),
        ),
        (
            "bytes",
            format!(
                "{} in, {} out",
                bytes(counters.bytes_in as f64),
                bytes(counters.bytes_out as f64)
            ),
        ),
        (
            "memory",
            match memory(worker) {
                Some(_) => format!("{} (PSS), {} (RSS)", size(worker.pss), size(worker.rss)),
                None => "-".to_owned(),
            },
        ),
        (
            "trouble",
            format!(
                "{} panics, {} errors, {} timed out, {} aborted",
                counters.panics, counters.errors, counters.timed_out, counters.aborted
            ),
        ),
        ("before", before(worker)),
    ];
    for request in &worker.current {
        let stream = if request.streaming { ", streaming" } else { "" };
        facts.push((
            "request",
            format!(
                "{} {} from {} for {}{stream}",
                request.method,
                request.target,
                request.peer,
                age(request.age)
            ),
        ));
        facts.push(("", format!("id {}", request.id)));
    }
    facts
}

fn before(worker: &Worker) -> String {
    match &worker.last_end {
        Some(end) => format!(
            "{} ended, the last {} ago: {}",
            worker.restarts,
            age(end.ago),
            end.how
        ),
        None => "it is the first of its place".to_owned(),
    }
}
