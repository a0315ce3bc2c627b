//! Several workers on one listener: connections spread, and one that is stuck delays nobody.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use ferricorn_base::Request;
use ferricorn_base::board::Counter;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};

use crate::client::Client;
use crate::server::{Gate, Server, Setup, eventually};

/// Where a busy machine does not let a worker run in time, its siblings pass it over, as they are to,
/// and the spread is uneven; so it is tried again. Workers that do not balance never spread evenly.
const TRIES: usize = 10;

/// What the worker with most may hold, of an even share. An idle machine gives 1.02.
const MOST: f64 = 1.25;

/// Asserts that connections spread over so many workers.
fn assert_spread(workers: usize, connect: impl Fn(&Server) -> Vec<Client>) {
    let mut uneven = vec![];
    for _ in 0..TRIES {
        let server = Setup::new()
            .workers(workers)
            .serve(|_: &mut Request| "hello");
        let clients = connect(&server);
        let held: Vec<_> = (0..workers).map(|seat| server.connections(seat)).collect();
        let (max, sum) = (held.iter().max().unwrap(), held.iter().sum::<u64>());
        assert_eq!(sum, clients.len() as u64);
        if *max as f64 * workers as f64 <= MOST * sum as f64 {
            return;
        }
        uneven.push(held);
    }
    panic!("{uneven:?}");
}

#[test]
fn connections_spread_over_the_workers() {
    for workers in [2, 4] {
        assert_spread(workers, |server| {
            let mut clients: Vec<_> = vec![];
            for _ in 0..100 {
                let mut client = server.get("/");
                client.reply();
                clients.push(client);
            }
            clients
        });
    }
}

/// All at once, as after a restart of whatever is in front.
#[test]
fn a_crowd_spreads_too() {
    assert_spread(4, |server| {
        let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.get("/");
        }
        for client in &mut clients {
            client.reply();
        }
        clients
    });
}

/// An arrival wakes one of those who wait for it. Where that one was stopped at that very moment, nobody
/// else is told.
#[test]
fn a_wake_up_that_went_astray_delays_an_arrival_by_a_heartbeat_at_most() {
    let first = Epoll::new(EpollCreateFlags::empty()).unwrap();
    let copy = Epoll(first.0.try_clone().unwrap());
    let server = Setup::new().first(copy).serve(|_: &mut Request| "hello");
    let (sender, thread) = channel();
    let waiting = std::thread::spawn(move || {
        sender.send(nix::unistd::gettid()).unwrap();
        first.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)
    });
    let path = format!("/proc/self/task/{}/stat", thread.recv().unwrap());
    eventually("it waits", || {
        let stat = std::fs::read_to_string(&path).unwrap();
        stat.contains(") S ")
    });
    let begun = Instant::now();
    server.get("/").reply();
    let took = begun.elapsed();
    assert_eq!(waiting.join().unwrap(), Ok(1));
    assert!(took < Duration::from_secs(5), "{took:?}");
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
    // It moves again, and takes its part again as often as the machine lets it run.
    let fewest = (0..2).min_by_key(|seat| server.connections(*seat)).unwrap();
    let accepted = server.counter(fewest, Counter::Accepted);
    let takes_part = || server.counter(fewest, Counter::Accepted) > accepted + 5;
    while !takes_part() {
        assert!(clients.len() < 500, "it accepts no more");
        let mut client = server.get("/");
        client.reply();
        clients.push(client);
    }
}
