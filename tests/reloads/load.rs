//! Load over many reloads: kept connections, new ones, requests that must be carried out exactly once.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::http::Client;
use crate::support::load::Load;
use crate::support::{Server, proc, testapp};
use crate::{meanwhile, turn};

#[test]
fn two_hundred_reloads_under_load_close_no_connection() {
    let _turn = turn();
    let server = testapp().args("--workers 2").ready();
    let load = Load::keep_alive(server.address(), 8, "/who");
    // These are seldom not in a handler.
    let slow = Load::keep_alive(server.address(), 4, "/sleep/3");
    for _ in 0..200 {
        load.wait_good(20);
        server.reload();
    }
    load.wait_good(200);
    slow.wait_good(20);
    for (load, clients) in [(load, 8), (slow, 4)] {
        let report = load.stop();
        report.assert_nobody_noticed();
        assert_eq!(report.generations().last(), Some(&201), "{report:?}");
        println!("{} requests on {clients} connections", report.good);
    }
    assert_nothing_left(&server, 2);
    server.stop();
}

/// `RELOADS` makes them more: each takes a quarter of a second, as these clients leave the machine no
/// time. At a steady rate and with a program that was optimised, `benches/churn` does the same.
#[test]
fn who_connects_for_each_request_notices_no_reload() {
    let _turn = turn();
    let reloads = std::env::var("RELOADS").ok();
    let reloads = reloads.and_then(|text| text.parse().ok()).unwrap_or(40);
    let server = testapp().args("--workers 2").ready();
    let load = Load::one_shot(server.address(), 3, "/who");
    let begun = Instant::now();
    for _ in 0..reloads {
        load.wait_good(500);
        server.reload();
    }
    load.wait_good(500);
    let took = begun.elapsed();
    let report = load.stop();
    report.assert_nothing_lost();
    assert_eq!(report.generations().last(), Some(&(reloads + 1)));
    let rate = report.good as f64 / took.as_secs_f64();
    println!("{} connections, {rate:.0} in a second", report.good);
    assert_nothing_left(&server, 2);
    server.stop();
}

/// A POST may not be repeated: what the server has done and what clients know of is the same.
#[test]
fn what_was_posted_was_done_exactly_once() {
    let _turn = turn();
    let server = testapp().args("--workers 2").ready();
    let address = server.address();
    let answered = Mutex::new(BTreeMap::new());
    let client = |number: usize, over: &AtomicBool| {
        let mut poster = Poster::new(address, number % 2 == 0);
        for turn in 0.. {
            let line = format!("client {number} request {turn}");
            poster.post(&line);
            *answered.lock().unwrap().entry(line).or_insert(0) += 1;
            if over.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    meanwhile(4, client, || {
        for _ in 0..50 {
            let goal = answered.lock().unwrap().len() + 40;
            server.until("some answers", || {
                (answered.lock().unwrap().len() >= goal).then_some(())
            });
            server.reload();
        }
    });
    let mut counted = BTreeMap::new();
    for line in server.dir.read("control/counted").lines() {
        *counted.entry(line.to_owned()).or_insert(0) += 1;
    }
    let answered = answered.lock().unwrap();
    println!("{} requests", answered.len());
    assert!(answered.len() > 2000 && *answered == counted);
    server.stop();
}

#[test]
fn a_hundred_reloads_asked_for_in_a_second_lose_nothing() {
    let _turn = turn();
    let server = testapp().args("--workers 2").ready();
    let load = Load::start(server.address(), 6, "/who");
    load.wait_good(20);
    let begun = Instant::now();
    for n in 1..=100 {
        server.signal(Signal::SIGHUP);
        let due = begun + Duration::from_millis(10) * n;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let took = begun.elapsed();
    until_quiet(&server);
    load.wait_good(20);
    let report = load.stop();
    report.assert_nothing_lost();
    let reloads = server.log.count(0, "Reload complete");
    println!(
        "{reloads} reloads of a hundred within {took:?}, {} requests",
        report.good
    );
    assert_nothing_left(&server, 2);
    server.stop();
}

/// The second one comes at every moment of the first.
#[test]
fn a_reload_just_behind_another_loses_nothing() {
    let _turn = turn();
    let server = testapp().args("--workers 2").ready();
    let load = Load::keep_alive(server.address(), 4, "/who");
    for round in 0..40 {
        load.wait_good(10);
        server.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(if round < 20 { 10 } else { round }));
        let mark = server.mark();
        server.signal(Signal::SIGHUP);
        server.wait_after(mark, "Reload complete");
        until_quiet(&server);
    }
    load.wait_good(20);
    load.stop().assert_nobody_noticed();
    assert_nothing_left(&server, 2);
    server.stop();
}

/// Waits until every reload that has begun is complete.
#[track_caller]
fn until_quiet(server: &Server) {
    server.until("the last reload to be complete", || {
        let count = |text| server.log.count(0, text);
        (count("Trying ") == count("Reload complete")).then_some(())
    });
}

/// Every worker that was ever started has been seen to end, those that serve aside.
#[track_caller]
pub fn assert_nothing_left(server: &Server, workers: usize) {
    server.wait_workers(workers);
    server.until("the last one to be logged", || {
        let booted = server.log.count(0, "Booting worker with pid");
        (server.log.count(0, ") exited (") + workers == booted).then_some(())
    });
    assert!(proc::zombies(server.pid).is_empty());
}

/// A client that asks for what may not be done twice.
struct Poster {
    address: SocketAddr,
    keeps: bool,
    kept: Option<Client<TcpStream>>,
}

impl Poster {
    fn new(address: SocketAddr, keeps: bool) -> Poster {
        Poster {
            address,
            keeps,
            kept: None,
        }
    }

    fn post(&mut self, line: &str) {
        let mut client = match self.kept.take() {
            Some(client) => client,
            None => Client::connect(self.address).unwrap(),
        };
        let wish = if self.keeps { "keep-alive" } else { "close" };
        let (length, host) = (line.len(), "localhost");
        client
            .send(format!(
                "POST /count HTTP/1.1\r\nHost: {host}\r\nConnection: {wish}\r\n\
                 Content-Length: {length}\r\n\r\n{line}"
            ))
            .unwrap();
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.closes()), (200, !self.keeps));
        assert_eq!(answer.text().trim_end(), line);
        self.kept = self.keeps.then_some(client);
    }
}
