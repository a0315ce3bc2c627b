//! More reloads than requests end: hardly more than two generations stay alive.

use nix::sys::signal::Signal;

use crate::support::http::Client;
use crate::support::{Server, testapp};

/// A request whose body is half here when the workers are replaced.
fn half(server: &Server, name: &str) -> Client<std::net::TcpStream> {
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send(format!(
            "POST /upload?{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf-"
        ))
        .unwrap();
    // Whoever answers this has read that.
    assert_eq!(server.get("/who").status, 200);
    client
}

#[test]
fn the_oldest_of_three_generations_is_cut_in_order_and_the_second_is_not() {
    let server = testapp()
        .args("--workers 1 --graceful-timeout 60 --superseded-timeout 0.5")
        .ready();
    let first = server.who().pid;
    let mut oldest = half(&server, "first");
    let mut kept = Client::connect(server.address()).unwrap();
    assert_eq!(kept.get("/who").unwrap().who().pid, first);
    server.reload();
    // The first worker was told to drain; it lets in nobody any more when it has given this away.
    server.until("the next generation to take over", || {
        (kept.get("/who").unwrap().who().pid != first).then_some(())
    });
    let mut second = half(&server, "second");
    // There are two; nothing ends either of them.
    assert_eq!(server.workers().len(), 2);
    server.reload();
    let line = server.wait("after superseded-timeout (0.5 s)");
    assert!(line.contains("cut POST /upload?first"), "{line}");
    server.wait(&format!("(pid {first}) exited (replaced by two reloads)"));
    assert_eq!(oldest.answer().unwrap().status, 503);
    second.send("whole").unwrap();
    assert!(second.answer().unwrap().text().starts_with("10 "));
    server.wait_workers(1);
    assert_eq!(server.log.count(0, "superseded-timeout"), 1);
    server.stop();
}

/// A worker that reads its life-line no more is ended by the master.
#[test]
fn a_handler_that_hangs_does_not_outlive_two_reloads() {
    let server = testapp()
        .args("--workers 1 --timeout 0 --graceful-timeout 60 --superseded-timeout 0.5")
        .ready();
    let old = server.who().pid;
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /hang?straggler HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    server.until_in_handler(1);
    server.reload();
    assert!(server.workers().contains(&old));
    server.signal(Signal::SIGHUP);
    let line = server.wait("did not finish within superseded-timeout");
    assert!(line.contains("GET /hang?straggler"), "{line}");
    server.wait(&format!("(pid {old}) was killed by SIGKILL from us"));
    assert_eq!(client.answer().unwrap().status, 504);
    server.wait_workers(1);
    server.stop();
}
