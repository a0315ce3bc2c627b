//! The log level while the server runs: `ctl log-level`.

use std::net::SocketAddr;

use nix::sys::signal::Signal;

use crate::support::http::Client;
use crate::support::{Server, testapp};

/// Asks for something that is refused.
#[track_caller]
fn refused(address: SocketAddr) {
    let mut client = Client::connect(address).unwrap();
    client.send("GET / HTTP/9\r\n\r\n").unwrap();
    client.answer().unwrap();
}

/// Waits until a worker logs at debug: it says then whom it has refused. The order is answered when it is
/// sent, and heard a moment later.
#[track_caller]
fn says_debug(server: &Server) {
    let mark = server.mark();
    server.until("a word at debug", || {
        refused(server.address());
        (server.log.count(mark, "refused a request") > 0).then_some(())
    });
}

#[test]
fn the_aide_logs_at_the_level_of_all() {
    let server = testapp()
        .args("--workers 1 --metrics-bind 127.0.0.1:0")
        .ready();
    let desk = server.wait("Metrics, status and health at: ");
    let desk = desk
        .rsplit("http://")
        .next()
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    server.wait("The aide is ready");
    let aide = server.status()["aide"].to_string();
    server.ctl_done("log-level debug");
    let mark = server.mark();
    server.until("its word", || {
        refused(desk);
        let lines = server.log.matching(mark, "refused a request");
        lines
            .iter()
            .any(|line| line.contains(&format!("[{aide}]")))
            .then_some(())
    });
    server.stop();
}

#[test]
fn the_level_holds_over_a_reload_and_until_the_setting_is_another() {
    for more in ["", "preload = true\n"] {
        let server = testapp()
            .args("--workers 1")
            .file(&format!("log-level = \"warning\"\n{more}"))
            .args("--log-level info")
            .ready();
        assert_eq!(server.ctl_done("log-level"), "info\n");
        assert_eq!(server.ctl_done("log-level debug"), "debug\n");
        says_debug(&server);
        // Whoever is made afterwards is told as well.
        let mark = server.mark();
        server.kill_worker(server.pid_of(0), Signal::SIGKILL);
        server.wait_after(mark, "Worker 0 is ready");
        says_debug(&server);
        server.take_over();
        assert_eq!(server.ctl_done("log-level"), "debug\n");
        says_debug(&server);
        assert_eq!(server.ctl_done("log-level default"), "info\n");
        assert_eq!(server.ctl("log-level loud").code, Some(2));
        server.take_over();
        assert_eq!(server.ctl_done("log-level"), "info\n");
        let mark = server.mark();
        refused(server.address());
        assert_eq!(server.log.count(mark, "refused a request"), 0);
        server.stop();
    }
}

#[test]
fn a_setting_that_was_changed_is_the_last_word() {
    let server = testapp()
        .args("--workers 1")
        .file("log-level = \"info\"\n")
        .ready();
    assert_eq!(server.ctl_done("log-level trace"), "trace\n");
    server
        .dir
        .write("ferricorn.toml", "log-level = \"debug\"\n");
    server.take_over();
    assert_eq!(server.ctl_done("log-level"), "debug\n");
    server.stop();
}
