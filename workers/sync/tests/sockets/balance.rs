//! Several workers on one listener: connections spread, and one that is stuck delays nobody.

use std::time::{Duration, Instant};

use ferricorn_base::Request;
use ferricorn_base::board::Counter;

use crate::server::{Gate, Server, Setup};

fn held(server: &Server, workers: usize) -> Vec<u64> {
    (0..workers).map(|seat| server.connections(seat)).collect()
}

#[test]
fn connections_spread_over_the_workers() {
    for (workers, clients) in [(2, 100), (4, 100)] {
        let server = Setup::new()
            .workers(workers)
            .serve(|_: &mut Request| "hello");
        let clients: Vec<_> = (0..clients)
            .map(|_| {
                let mut client = server.get("/");
                client.reply();
                client
            })
            .collect();
        let held = held(&server, workers);
        let (max, sum) = (held.iter().max().unwrap(), held.iter().sum::<u64>());
        assert_eq!(sum, clients.len() as u64);
        // An idle machine gives 1.02; a busy one may not wake a worker in time.
        let ratio = *max as f64 * workers as f64 / sum as f64;
        assert!(ratio < 1.5, "{held:?}");
    }
}

/// All at once, as after a restart of whatever is in front.
#[test]
fn a_crowd_spreads_too() {
    let server = Setup::new().workers(4).serve(|_: &mut Request| "hello");
    let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.get("/");
    }
    for client in &mut clients {
        client.reply();
    }
    let held = held(&server, 4);
    assert_eq!(held.iter().sum::<u64>(), 200);
    assert!(
        held.iter().all(|held| (10..=120).contains(held)),
        "{held:?}"
    );
}

#[test]
fn a_worker_that_is_stuck_delays_nobody() {
    let gate = Gate::new();
    let inner = gate.clone();
    let server = Setup::new().workers(2).serve(move |request: &mut Request| {
        if request.path() == "/stuck" {
            inner.pass();
        }
        "hello"
    });
    // Give the other one more to hold, so that it would rather have the stuck one accept.
    let mut before: Vec<_> = (0..10).map(|_| server.get("/")).collect();
    before.iter_mut().for_each(|client| drop(client.reply()));
    let mut stuck = server.get("/stuck");
    gate.reached(1);
    let mut clients = vec![];
    let start = Instant::now();
    for _ in 0..50 {
        let mut client = server.get("/");
        client.reply();
        clients.push(client);
    }
    // Each would have waited for patience anew if the stuck one were not ignored.
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    gate.open();
    stuck.reply();
    // It moves again, and takes its part again.
    let fewest = (0..2).min_by_key(|seat| server.connections(*seat)).unwrap();
    let accepted = server.counter(fewest, Counter::Accepted);
    for _ in 0..20 {
        let mut client = server.get("/");
        client.reply();
        clients.push(client);
    }
    assert!(server.counter(fewest, Counter::Accepted) > accepted + 5);
}
