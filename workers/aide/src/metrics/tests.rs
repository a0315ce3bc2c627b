//! What Prometheus would make of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../../tests/support/exposition.rs"]
mod parser;

use ferricorn_base::RequestId;
use ferricorn_base::board::{Board, State};
use ferricorn_base::words::Queue;

use self::parser::Parsed;
use super::*;

fn status() -> Status {
    let worker = |stage: &str, in_flight| Worker {
        stage: stage.to_owned(),
        in_flight,
        rss: Some(1000),
        pss: (in_flight > 0).then_some(10),
        ..Worker::default()
    };
    Status {
        server: "1.2.3".to_owned(),
        generation: 3,
        reloads: 4,
        wanted: 5,
        workers: vec![
            worker("booting", 0),
            worker("serving", 0),
            worker("serving", 1),
            worker("retiring", 2),
            worker("draining", 1),
            worker("killed", 0),
        ],
        queues: vec![
            Queue {
                listener: "http://127.0.0.1:80".to_owned(),
                waiting: 7,
                room: 128,
            },
            Queue {
                listener: "unix:/run/a\"b\\c\nd.sock".to_owned(),
                waiting: 0,
                room: 64,
            },
        ],
        memory: Some(Memory { rss: 77, pss: None }),
        free_memory: Some(1 << 30),
        ..Status::default()
    }
}

fn facts(status: Status, board: &Board) -> Facts {
    let snapshot = Snapshot {
        status: Arc::new(status),
        told: ferricorn_base::sys::monotonic(),
        is_silent: false,
        board: Arc::new(Board::attach(board.fd().try_clone_to_owned().unwrap()).unwrap()),
    };
    Facts::of(&snapshot)
}

#[test]
fn what_is_told_of_an_idle_and_of_a_busy_server_is_well_formed() {
    let board = Board::create().unwrap();
    let fd = board.fd().try_clone_to_owned().unwrap();
    let mut page = Board::attach(fd).unwrap().take_seat(0, 0, 1).unwrap();
    board.set_alive(0, true);
    page.set_state(State::Serving);
    for (busy, status) in [(false, Status::default()), (true, status())] {
        if busy {
            for n in 0..100_u64 {
                let peer = ferricorn_base::Peer::Unix;
                let cell = page.begin(b"GET /", &peer, RequestId::Made(n), 0);
                page.end(cell, 200, n * n * n);
                page.count_status([200, 404, 503][n as usize % 3]);
                page.queued(n);
            }
        }
        for format in [Format::Text, Format::OpenMetrics] {
            let text = render(&facts(status.clone(), &board), format);
            let parsed = Parsed::strictly(&text, format == Format::OpenMetrics);
            let busy = if busy { 100.0 } else { 0.0 };
            let count = parsed.value("ferricorn_request_duration_seconds_count", &[]);
            assert_eq!(count, busy);
            assert_eq!(parsed.sum("ferricorn_requests_total"), busy);
            assert_eq!(parsed.sum("ferricorn_responses_total"), busy);
        }
    }
}

#[test]
fn every_series_stands_in_the_manual() {
    let manual = include_str!("../../../../docs/OPERATIONS.md");
    let board = Board::create().unwrap();
    let text = render(&facts(status(), &board), Format::Text);
    let families = Parsed::strictly(&text, false).types;
    for family in families.keys() {
        assert!(manual.contains(&format!("`{family}`")), "{family}");
    }
}

#[test]
fn everything_that_is_known_is_told() {
    let board = Board::create().unwrap();
    let fd = board.fd().try_clone_to_owned().unwrap();
    let page = Board::attach(fd).unwrap().take_seat(0, 0, 1).unwrap();
    board.set_alive(0, true);
    for (n, cause) in (1..).zip(["crash", "oom"]) {
        board.tally(Tally::Exits, cause, n);
    }
    for (n, verdict) in (1..).zip(["failed", "ok", "rolled-back"]) {
        board.tally(Tally::Reloads, verdict, n);
    }
    let quiet = facts(status(), &board);
    let render = |facts: &Facts| render(facts, Format::Text);
    // Those of requests are the sum of their classes.
    let shown = (0..quiet.totals.counters.len()).filter(|n| *n != Counter::Requests as usize);
    for n in shown {
        let mut busy = quiet.clone();
        busy.totals.counters[n] += 1;
        let is_shown = render(&busy) != render(&quiet);
        assert!(is_shown, "counter {n} has no series");
    }
    page.set_connections(9);
    page.set_waiting(4);
    let facts = facts(status(), &board);
    let parsed = Parsed::strictly(&render(&facts), false);
    let started = parsed.value("ferricorn_start_time_seconds", &[]);
    assert_eq!(started, facts.started);
    for (name, labels, value) in [
        ("ferricorn_build_info", &[("version", "1.2.3")][..], 1.0),
        ("ferricorn_generation", &[], 3.0),
        ("ferricorn_reload_number", &[], 4.0),
        (
            "ferricorn_reloads_total",
            &[("verdict", "rolled-back")],
            3.0,
        ),
        ("ferricorn_workers", &[("state", "booting")], 1.0),
        ("ferricorn_workers", &[("state", "idle")], 1.0),
        ("ferricorn_workers", &[("state", "busy")], 2.0),
        ("ferricorn_workers", &[("state", "draining")], 2.0),
        ("ferricorn_workers_wanted", &[], 5.0),
        ("ferricorn_worker_exits_total", &[("cause", "oom")], 2.0),
        ("ferricorn_connections", &[], 9.0),
        ("ferricorn_requests_waiting", &[], 4.0),
        (
            "ferricorn_resident_memory_bytes",
            &[("process", "worker")],
            6000.0,
        ),
        (
            "ferricorn_proportional_memory_bytes",
            &[("process", "worker")],
            30.0,
        ),
        (
            "ferricorn_resident_memory_bytes",
            &[("process", "master")],
            77.0,
        ),
        ("ferricorn_free_memory_bytes", &[], 1_073_741_824.0),
        (
            "ferricorn_accept_queue_length",
            &[("listener", "http://127.0.0.1:80")],
            7.0,
        ),
        (
            "ferricorn_accept_queue_limit",
            &[("listener", "unix:/run/a\"b\\c\nd.sock")],
            64.0,
        ),
    ] {
        assert_eq!(parsed.value(name, labels), value, "{name} {labels:?}");
    }
}
