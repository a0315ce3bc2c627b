//! `pre-stop-delay` and `readiness-path`: a load balancer learns of the end before anybody is refused.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::hold::Hold;
use crate::support::http::{Answer, Client};
use crate::support::load::Load;
use crate::support::{Server, testapp};

fn connect(server: &Server) -> Client<std::net::TcpStream> {
    Client::connect(server.address()).unwrap()
}

#[test]
fn before_a_stop_the_server_goes_on_for_its_delay() {
    // A second word, or one that is quick, ends the wait.
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = testapp()
            .args("--workers 2 --readiness-path /ready --pre-stop-delay 600")
            .ready();
        let mut balancer = connect(&server);
        assert_ready(&balancer.get("/ready").unwrap());
        let load = Load::start(server.address(), 4, "/who");
        load.wait_good(20);
        server.signal(Signal::SIGTERM);
        let line = server.wait("told to stop");
        assert!(line.contains("pre-stop-delay (600 s)"), "{line}");
        // New connections are answered as before, and hear of the end as old ones do.
        assert_stopping(&balancer.get("/ready").unwrap());
        assert_stopping(&server.get("/ready"));
        load.wait_good(50);
        let report = load.stop();
        report.assert_nobody_noticed();
        let again = balancer.get("/ready").unwrap();
        assert_stopping(&again);
        assert!(!again.closes());
        server.signal(second);
        assert_eq!(server.wait_exit().code(), Some(0));
    }
}

#[test]
fn a_stop_ends_by_itself_after_its_delay() {
    let mut server = testapp().args("--workers 2 --pre-stop-delay 1").ready();
    let load = Load::start(server.address(), 4, "/who");
    load.wait_good(20);
    load.may_end();
    let begun = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(load.stop().bad, Vec::<String>::new());
}

fn assert_ready(answer: &Answer) {
    assert_eq!((answer.status, answer.text()), (200, "ready\n"));
}

fn assert_stopping(answer: &Answer) {
    assert_eq!((answer.status, answer.text()), (503, "stopping\n"));
}

/// Also by a worker that was not there when the server was told.
#[test]
fn a_worker_that_comes_before_a_stop_knows_of_it() {
    let mut server = testapp()
        .args("--workers 1 --readiness-path /ready --pre-stop-delay 600")
        .ready();
    // The image that stops is not the one that made the scoreboard.
    server.take_over();
    assert_ready(&server.get("/ready"));
    server.signal(Signal::SIGTERM);
    server.wait("told to stop");
    let mark = server.mark();
    server.kill_worker(server.pid_of(0), Signal::SIGKILL);
    server.wait_after(mark, "Worker 0 is ready");
    assert_stopping(&server.get("/ready"));
    assert_eq!(server.who().generation, 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
}

/// A reload is nobody's business: not for a moment does the server seem to stop. And the application
/// is not asked, be it that it could not answer.
#[test]
fn reloads_do_not_touch_readiness() {
    let server = testapp()
        .args("--workers 2 --readiness-path /error --access-logfile access.log")
        .ready();
    let load = Load::keep_alive(server.address(), 4, "/error");
    for _ in 0..5 {
        load.wait_good(50);
        server.reload();
    }
    load.wait_good(50);
    load.stop().assert_nobody_noticed();
    let mut client = connect(&server);
    for (method, status) in [("HEAD", 200), ("POST", 500)] {
        client
            .send(format!("{method} /error HTTP/1.1\r\nHost: h\r\n\r\n"))
            .unwrap();
        assert_eq!(client.head().unwrap().status, status);
    }
    server.until("the access log", || {
        let lines = server.dir.read("access.log");
        let told = lines.contains("\"HEAD /error HTTP/1.1\" 200");
        told.then_some(())
    });
    server.stop();
}

/// Without a delay there is nothing to wait for: who is served once more at the stop hears of it.
#[test]
fn at_a_stop_without_delay_readiness_is_refused() {
    let mut server = testapp()
        .args("--workers 1 --readiness-path /ready")
        .ready();
    let hold = Hold::new();
    let mut busy = connect(&server);
    busy.send(format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        hold.path()
    ))
    .unwrap();
    server.until_in_handler(1);
    let mut balancer = connect(&server);
    server.signal(Signal::SIGTERM);
    server.wait("stopping: workers finish");
    balancer
        .send("GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    hold.let_go();
    assert_stopping(&balancer.answer().unwrap());
    assert_eq!(busy.answer().unwrap().status, 200);
    drop((busy, balancer));
    assert_eq!(server.wait_exit().code(), Some(0));
}
