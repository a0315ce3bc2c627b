//! What has happened per second between two looks at the same server. Pure.

use crate::control::words::human::{quantile, since};
use crate::control::words::{Status, Worker};

/// Of all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// Between the looks.
    pub seconds: f64,
    pub requests: f64,
    pub server_errors: f64,
    pub bytes_in: f64,
    pub bytes_out: f64,
}

/// Of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pace {
    pub requests: f64,
    /// The share of the time that it was in a handler, 0 to 1.
    pub busy: f64,
    /// Within which time 99 of 100 handlers were done, in seconds.
    pub late: Option<f64>,
}

/// Whether `later` was said by the same server, after `earlier`.
pub(super) fn is_after(earlier: &Status, later: &Status) -> bool {
    earlier.pid == later.pid && earlier.uptime < later.uptime
}

impl Rates {
    /// Between two looks at one server.
    pub(super) fn between(earlier: &Status, later: &Status) -> Rates {
        let seconds = later.uptime - earlier.uptime;
        let (before, now) = (&earlier.totals, &later.totals);
        let rate = |before: u64, now: u64| per(now.saturating_sub(before) as f64, seconds);
        Rates {
            seconds,
            requests: rate(before.requests, now.requests),
            server_errors: rate(before.server_error, now.server_error),
            bytes_in: rate(before.bytes_in, now.bytes_in),
            bytes_out: rate(before.bytes_out, now.bytes_out),
        }
    }
}

/// Within which time this share of the handlers was done that ended between two looks.
pub(super) fn latency(earlier: &Status, later: &Status, share: f64) -> Option<f64> {
    quantile(&since(&later.handler_times, &earlier.handler_times), share)
}

impl Pace {
    /// Of a worker between two looks; one that was not there before has done all since.
    pub(super) fn between(earlier: &Status, later: &Status, worker: &Worker) -> Pace {
        let seconds = (later.uptime - earlier.uptime).min(worker.age);
        let nothing = Worker::default();
        let before = earlier.workers.iter().find(|w| w.pid == worker.pid);
        let before = before.unwrap_or(&nothing);
        let requests = worker.requests.saturating_sub(before.requests) as f64;
        let (then, now) = (&before.counters, &worker.counters);
        // A handler that runs counts as far as it has come.
        let done = now.handler_micros.saturating_sub(then.handler_micros) as f64 / 1e6;
        let busy = done + worker.handling - before.handling;
        let busy = busy / worker.threads.max(1) as f64;
        Pace {
            requests: per(requests, seconds),
            busy: per(busy, seconds).clamp(0.0, 1.0),
            late: quantile(&since(&worker.handler_times, &before.handler_times), 0.99),
        }
    }
}

fn per(number: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { number / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::words::Counters;

    fn look(uptime: f64, worker: Worker) -> Status {
        Status {
            pid: 1,
            uptime,
            totals: worker.counters,
            handler_times: worker.handler_times.clone(),
            workers: vec![worker],
            ..Status::default()
        }
    }

    fn worker(requests: u64, handler_micros: u64, ages: &[f64]) -> Worker {
        Worker {
            pid: 7,
            age: 100.0,
            requests,
            counters: Counters {
                requests,
                handler_micros,
                bytes_out: requests * 10,
                ..Counters::default()
            },
            handling: ages.iter().sum(),
            handler_times: vec![0, 0, 0, requests],
            ..Worker::default()
        }
    }

    #[test]
    fn rates_are_differences_by_the_servers_own_clock() {
        let (one, two) = (
            look(10.0, worker(100, 0, &[])),
            look(12.0, worker(150, 0, &[])),
        );
        assert!(is_after(&one, &two) && !is_after(&two, &one));
        let rates = Rates::between(&one, &two);
        assert_eq!((rates.requests, rates.bytes_out), (25.0, 250.0));
        assert_eq!(latency(&one, &two, 0.5), Some(6e-6));
        assert_eq!(latency(&two, &two, 0.5), None);
    }

    #[test]
    fn a_worker_is_busy_with_what_ended_and_with_what_runs() {
        let busy = |before: Worker, now: Worker| {
            let now = look(12.0, now);
            Pace::between(&look(10.0, before), &now, &now.workers[0]).busy
        };
        assert_eq!(busy(worker(0, 0, &[]), worker(9, 1_000_000, &[])), 0.5);
        assert_eq!(busy(worker(0, 0, &[]), worker(0, 0, &[0.5])), 0.25);
        // The handler that ran for 5 s at the first look has ended after 6.
        let ended = worker(1, 6_000_000, &[]);
        assert_eq!(busy(worker(0, 0, &[5.0]), ended), 0.5);
        assert_eq!(busy(worker(0, 0, &[5.0]), worker(0, 0, &[7.0])), 1.0);
        let mut threads = worker(0, 1_000_000, &[2.0, 1.0]);
        threads.threads = 4;
        assert_eq!(busy(worker(0, 0, &[]), threads), 0.5);
    }

    #[test]
    fn a_new_worker_has_its_own_time() {
        let mut young = worker(10, 0, &[]);
        (young.pid, young.age) = (8, 0.5);
        let now = look(12.0, young);
        let before = look(10.0, worker(100, 0, &[]));
        assert_eq!(Pace::between(&before, &now, &now.workers[0]).requests, 20.0);
    }
}
