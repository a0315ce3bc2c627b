//! Logs that go to syslog and to the journal, with receivers that read, do not read, and come back.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::http::Client;
use crate::support::syslog::{self, Receiver, TcpReceiver};
use crate::support::{Dir, PATIENCE, Start, testapp};

const WARNING: u8 = 4;
const INFO: u8 = 6;
const ERROR: u8 = 3;

fn to(receiver: &Receiver) -> Start {
    testapp()
        .args("--workers 1 --syslog --syslog-addr")
        .arg(receiver.url())
}

#[test]
fn both_logs_go_to_syslog_over_udp_and_on_over_a_reload() {
    let receiver = Receiver::udp();
    let server = to(&receiver)
        .args("--syslog-facility local3 --syslog-prefix shop --access-logfile access.log")
        .ready();
    let started = receiver.find("Ready: serving at");
    assert_eq!((started.facility, started.severity), (19, INFO));
    assert_eq!(
        (started.app.as_str(), started.kind.as_str()),
        ("ferricorn.shop", "error")
    );
    assert_eq!(started.pid, server.pid);
    assert!(!started.host.is_empty());

    assert_eq!(server.get("/who?first").status, 200);
    let line = receiver.find("/who?first");
    assert_eq!((line.facility, line.severity), (19, INFO));
    assert_eq!((line.kind.as_str(), line.pid), ("access", server.pid_of(0)));
    assert!(line.text.starts_with("127.0.0.1 - - ["), "{line:?}");
    server.until("the same in the file", || {
        let log = server.dir.read("access.log");
        log.lines().any(|other| other == line.text).then_some(())
    });

    assert_eq!(server.get("/error").status, 500);
    let failed = receiver.find("the test wants an error");
    assert_eq!(failed.severity, ERROR);

    server.take_over();
    assert_eq!(receiver.find("Reload complete").pid, server.pid);
    assert_eq!(server.get("/who?second").status, 200);
    assert_eq!(receiver.find("/who?second").pid, server.pid_of(0));
    // Standard error has it all as well.
    server.wait("Reload complete");
    server.stop();
    receiver.find("exited (the server stops)");
}

#[test]
fn the_access_log_stays_out_of_syslog_where_that_is_wanted() {
    let receiver = Receiver::udp();
    let server = to(&receiver)
        .args("--disable-redirect-access-to-syslog --name shop")
        .ready();
    assert_eq!(server.get("/who").status, 200);
    assert_eq!(server.get("/error").status, 500);
    let mut found = receiver.find("");
    while !found.text.contains("the test wants an error") {
        assert_eq!(
            (found.kind.as_str(), found.app.as_str()),
            ("error", "ferricorn.shop")
        );
        found = receiver.find("");
    }
    server.stop();
}

#[test]
fn a_unix_socket_gets_what_its_daemons_read_or_the_standard() {
    for (format, has_host) in [("auto", false), ("rfc5424", true)] {
        let dir = Dir::new();
        let receiver = Receiver::unix(&dir.path("log"));
        let server = to(&receiver).args("--syslog-format").arg(format).ready();
        let ready = receiver.find("Ready: serving at");
        assert_eq!((ready.facility, ready.severity), (1, INFO));
        assert_eq!(
            (ready.app.as_str(), ready.kind.as_str()),
            ("ferricorn", "error")
        );
        assert_eq!(!ready.host.is_empty(), has_host);
        server.stop();
    }
}

/// The bounded buffer takes what comes while nobody reads; what is more is counted, not waited for.
#[test]
fn a_receiver_that_does_not_read_costs_lines_and_never_time() {
    let dir = Dir::new();
    let receiver = Receiver::unix(&dir.path("log"));
    let server = to(&receiver)
        .args("--keep-alive 60 --access-logformat")
        .arg(format!("%(U)s {}", "x".repeat(4000)))
        .ready();
    let mut client = Client::connect(server.address()).unwrap();
    // Far more than the socket and the buffer hold.
    for _ in 0..1500 {
        assert_eq!(client.get("/who").unwrap().status, 200);
    }
    receiver.find("lines of the access log were lost");
    let notice = loop {
        let message = receiver.find("");
        if message.text.contains("dropped here") {
            break message;
        }
    };
    assert_eq!(notice.severity, WARNING);
    // It goes on behind the gap.
    assert_eq!(client.get("/who/after").unwrap().status, 200);
    receiver.find("/who/after");
    server.stop();
}

#[test]
fn a_receiver_that_comes_back_gets_what_it_missed() {
    let dir = Dir::new();
    let path = dir.path("log");
    let receiver = Receiver::unix(&path);
    let server = to(&receiver).ready();
    receiver.find("Ready: serving at");
    drop(receiver);
    assert_eq!(server.get("/who?gone").status, 200);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(server.get("/who?away").status, 200);
    let receiver = Receiver::unix(&path);
    assert_eq!(server.get("/who?back").status, 200);
    for path in ["/who?gone", "/who?away", "/who?back"] {
        let found = receiver.find("/who").text;
        assert!(found.contains(path), "{path}: {found}");
    }
    server.stop();
}

/// One connection for all processes, which the aide makes, and makes anew.
#[test]
fn a_receiver_by_tcp_may_vanish_and_come_back() {
    let receiver = TcpReceiver::at(None);
    let server = testapp()
        .args("--workers 2 --syslog --syslog-addr")
        .arg(receiver.url())
        .ready();
    assert_eq!(receiver.find("Ready: serving at").pid, server.pid);
    assert_eq!(server.get("/who?first").status, 200);
    let line = receiver.find("/who?first");
    assert_eq!((line.kind.as_str(), line.severity), ("access", INFO));

    let address = receiver.vanish();
    server.wait("syslog takes no messages");
    assert_eq!(server.get("/who?away").status, 200);
    let receiver = TcpReceiver::at(Some(address));
    receiver.find("/who?away");
    server.wait("syslog takes messages again");

    // While there is no aide messages wait, and the next one makes a connection of its own.
    let line = server.wait("The aide is ready (pid ");
    let (_, aide) = line.split_once("(pid ").unwrap();
    let aide = Pid::from_raw(aide.trim_end_matches(')').parse().unwrap());
    kill(aide, Signal::SIGKILL).unwrap();
    assert_eq!(server.get("/who?orphan").status, 200);
    receiver.find("/who?orphan");

    // The next image's aide goes on with what was not sent yet.
    server.take_over();
    receiver.find("Reload complete");
    assert_eq!(server.get("/who?second").status, 200);
    receiver.find("/who?second");
    server.stop();
}

#[test]
fn a_receiver_by_tcp_that_does_not_read_costs_lines_and_never_time() {
    let receiver = TcpReceiver::at(None);
    let server = testapp()
        .args("--workers 1 --syslog --syslog-addr")
        .arg(receiver.url())
        .args("--access-logformat")
        .arg(format!("%(U)s {}", "x".repeat(7000)))
        .ready();
    receiver.find("Ready: serving at");
    let reads = Arc::clone(&receiver.reads);
    let stopped = reads.lock().unwrap();
    let mut client = Client::connect(server.address()).unwrap();
    let mark = server.mark();
    // Until the socket, the aide, the socket before it and the worker have no room any more.
    while server.log.count(mark, "lines of the access log were lost") == 0 {
        assert_eq!(client.get("/who").unwrap().status, 200);
    }
    drop(stopped);
    assert_eq!(receiver.find("dropped here").severity, WARNING);
    assert_eq!(client.get("/who/after").unwrap().status, 200);
    receiver.find("/who/after");
    server.stop();
}

#[test]
fn a_unix_stream_gets_lines() {
    let dir = Dir::new();
    let path = dir.path("log");
    let listener = UnixListener::bind(&path).unwrap();
    let server = testapp()
        .args("--workers 1 --syslog --syslog-addr")
        .arg(format!("unix://{}#stream", path.display()))
        .ready();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut messages = BufReader::new(stream).lines().map(|line| {
        let line = line.unwrap();
        syslog::local(&line).unwrap_or_else(|why| panic!("{why}: {line}"))
    });
    let ready = messages.find(|message| message.text.contains("Ready: serving at"));
    assert_eq!(ready.unwrap().pid, server.pid);
    server.stop();
}

#[test]
fn the_journal_gets_fields() {
    let dir = Dir::new();
    let path = dir.path("journal");
    let journal = Receiver::unix(&path);
    let mut server = testapp()
        .args("--workers 1 --name shop --access-logfile access.log --error-logfile")
        .arg(format!("journald:{}", path.display()))
        .spawn();
    let ready = journal.find_in_journal("Ready: serving at");
    assert_eq!(ready["PRIORITY"], "6");
    assert_eq!(ready["SYSLOG_IDENTIFIER"], "ferricorn.shop");
    assert_eq!(ready["SYSLOG_PID"], server.pid.to_string());
    assert!(!ready.contains_key("FERRICORN_WORKER"), "{ready:?}");
    server.learn_address_from(&ready["MESSAGE"]);

    assert_eq!(server.get("/error").status, 500);
    let failed = journal.find_in_journal("the test wants an error");
    assert_eq!(failed["PRIORITY"], "3");
    let whose = (
        &*failed["FERRICORN_WORKER"],
        &*failed["FERRICORN_GENERATION"],
    );
    assert_eq!(whose, ("0", "1"));

    // Nothing is opened anew, and nothing is lost.
    server.signal(Signal::SIGUSR1);
    journal.find_in_journal("Logs opened anew");
    server.signal(Signal::SIGHUP);
    journal.find_in_journal("Reload complete");
    server.until("the new worker", || {
        let failed = server.get("/error");
        assert_eq!(failed.status, 500);
        let failed = journal.find_in_journal("the test wants an error");
        (failed["FERRICORN_GENERATION"] == "2").then_some(())
    });
    server.signal(Signal::SIGTERM);
    server.wait_exit();
    journal.find_in_journal("exited (the server stops)");
}

#[test]
fn a_journal_that_is_not_there_stops_a_start() {
    let ended = testapp().args("--error-logfile journald:nowhere").run();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.log.contains("there is no journal at /"), "{ended:?}");
}
