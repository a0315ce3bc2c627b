//! What is written where, and that nobody waits for it.

use std::io::Read;
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::support::exposition::Parsed;
use crate::support::http::{self, Client};
use crate::support::load::Load;
use crate::support::{Server, testapp};

fn access(server: &Server, part: &str) -> String {
    server.until(&format!("{part} in the access log"), || {
        let log = server.dir.read("access.log");
        log.lines()
            .find(|line| line.contains(part))
            .map(str::to_owned)
    })
}

#[test]
fn the_access_log_has_gunicorns_atoms() {
    let format = "%(h)s|%(l)s|%(u)s|%(m)s|%(U)s|%(q)s|%(H)s|%(s)s|%(B)s|%(b)s|%(f)s|%(a)s|%(r)s|\
                  %(p)s|%({x-test}i)s|%({content-type}o)s|%({none}i)s";
    let server = testapp()
        .args("--workers 1 --access-logfile access.log --access-logformat")
        .arg(format)
        .ready();
    let pid = server.who().pid;
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send(
            "GET /big/10?a=b HTTP/1.1\r\nHost: localhost\r\nReferer: http://r/\r\n\
             User-Agent: agent/1\r\nX-Test: \"quoted\"\r\nAuthorization: Basic YWxpY2U6eA==\r\n\r\n",
        )
        .unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    let line = access(&server, "/big/10");
    let fields: Vec<&str> = line.split('|').collect();
    let pid = format!("<{pid}>");
    let expected = [
        "127.0.0.1",
        "-",
        "alice",
        "GET",
        "/big/10",
        "a=b",
        "HTTP/1.1",
        "200",
        "10",
        "10",
        "http://r/",
        "agent/1",
        "GET /big/10?a=b HTTP/1.1",
        &pid,
        "\\\"quoted\\\"",
    ];
    assert_eq!(fields[..expected.len()], expected, "{line}");
    assert_eq!(fields[fields.len() - 1], "-", "{line}");
    server.stop();
}

#[test]
fn the_default_access_line_is_the_combined_format() {
    let server = testapp()
        .args("--workers 1 --access-logfile access.log")
        .ready();
    assert_eq!(server.get("/nothing?x").status, 404);
    let line = access(&server, "/nothing");
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(
        line.contains("] \"GET /nothing?x HTTP/1.1\" 404 "),
        "{line}"
    );
    assert!(line.ends_with("\"-\" \"-\""), "{line}");
    server.stop();
}

#[test]
fn json_lines_are_json() {
    let server = testapp()
        .args("--workers 1 --access-logfile access.log --access-logformat json")
        .ready();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /big/7?\"a\" HTTP/1.1\r\nHost: localhost\r\nUser-Agent: \"\\\u{1}x\r\n\r\n")
        .unwrap();
    let refused = client.answer().unwrap();
    assert_eq!(refused.status, 400);
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /big/7?a HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a \"b\" \\c\r\n\r\n")
        .unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    let line = access(&server, "/big/7?a");
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(line.contains("a \\\"b\\\" \\\\c"), "{line}");
    assert!(value.is_object());
    assert!(
        value
            .as_object()
            .unwrap()
            .values()
            .any(|value| value == 200 || value == "200"),
        "{line}"
    );
    server.stop();
}

#[test]
fn the_access_log_goes_to_standard_output_as_a_dash() {
    let server = testapp().args("--workers 1 --access-logfile -").ready();
    assert_eq!(server.get("/nothing").status, 404);
    let line = server.output.wait(0, "GET /nothing");
    assert!(line.contains(" 404 "), "{line}");
    server.stop();
}

#[test]
fn no_request_that_was_answered_before_a_stop_is_missing_in_the_log() {
    let server = testapp()
        .args("--workers 3 --access-logfile access.log")
        .ready();
    let load = Load::start(server.address(), 6, "/who");
    load.wait_good(300);
    let report = load.stop();
    let path = server.dir.path("access.log");
    let kept = server.dir.path("kept.log");
    std::fs::hard_link(&path, &kept).unwrap();
    let mut server = server;
    server.signal(Signal::SIGTERM);
    server.wait_exit();
    let lines = std::fs::read_to_string(kept).unwrap();
    let complete = lines
        .lines()
        .filter(|line| line.contains("\"GET /who HTTP/1.1\" 200 "));
    assert_eq!(complete.count(), report.good);
    assert_eq!(lines.lines().count(), report.good);
}

#[test]
fn a_level_hides_what_is_below_it() {
    let mut server = testapp().args("--workers 1 --log-level error").spawn();
    server.wait_workers(1);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert_eq!(server.log.text(), "");
}

#[test]
fn a_line_is_there_while_its_request_is_with_its_handler() {
    let server = testapp().args("--workers 1").ready();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    server.wait("in the handler of /hang");
}

/// A client's bytes never begin a line of their own.
#[test]
fn a_request_in_the_log_cannot_forge_lines() {
    let server = testapp()
        .args("--workers 1 --access-logfile access.log")
        .ready();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send(
            "GET /nothing HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a\tb\u{85}\u{9b}31m\"\r\n\r\n",
        )
        .unwrap();
    let status = client.answer().unwrap().status;
    let line = access(&server, if status == 404 { "GET /nothing" } else { "400" });
    let printable = line.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    assert!(printable, "{line:?}");
    server.stop();
}

fn assert_serves_on(address: std::net::SocketAddr) {
    let begun = std::time::Instant::now();
    // Each has a line, and some have two; a pipe holds 64 KiB.
    for _ in 0..1500 {
        assert_eq!(http::get(address, "/error").unwrap().status, 500);
    }
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(45),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_named_pipe_that_nobody_reads_stalls_no_worker() {
    let start =
        testapp().args("--workers 1 --access-logfile access.fifo --error-logfile error.log");
    let path = start.dir().path("access.fifo");
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
    // Somebody has it open and does not read.
    let reader = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let server = start.spawn();
    let address = server.until("the address", || {
        let log = server.dir.read("error.log");
        let (_, rest) = log.split_once("Ready: serving at http://")?;
        rest.lines().next()?.parse().ok()
    });
    assert_serves_on(address);
    drop(reader);
    server.stop();
}

#[test]
fn a_full_pipe_on_standard_error_stalls_nobody() {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    // Non-blocking for us only to drain it at the end; the writer's end stays blocking.
    fcntl(reader.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    // Where it is cannot be read in the log.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = testapp()
        .bind("fd://3")
        .inherit(listener, 3, ":")
        .args("--workers 1 --metrics-bind unix:metrics.sock")
        .stderr(writer)
        .spawn();
    server.until("the server", || http::get(address, "/").ok());
    assert_serves_on(address);
    // What is lost is counted. It takes more than the pipe and the buffer hold.
    let mut client = Client::connect(address).unwrap();
    let long = format!("/trace/{}", "x".repeat(3000));
    for _ in 0..200 {
        assert_eq!(client.get(&long).unwrap().status, 200);
    }
    server.until("what is lost to be counted", || {
        let desk = server.dir.path("metrics.sock");
        let metrics = Client::connect_unix(&desk).ok()?.get("/metrics").ok()?;
        let told = Parsed::strictly(metrics.text(), false);
        let lost = told.value("ferricorn_log_lines_dropped_total", &[("log", "error")]);
        (lost > 0.0).then_some(())
    });
    // The master does not wait either.
    let pid = http::get(address, "/who").unwrap().who().pid;
    server.kill_worker(pid, Signal::SIGKILL);
    server.until("another worker", || {
        let answer = http::get(address, "/who").ok()?;
        (answer.who().pid != pid).then_some(())
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    let mut text = vec![0; 1 << 20];
    let read = std::fs::File::from(reader).read(&mut text).unwrap();
    assert!(read > 0);
}

#[test]
fn a_log_that_cannot_be_opened_ends_the_start() {
    let ended = testapp()
        .args("--error-logfile /nonexistent/error.log")
        .run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.log.contains("/nonexistent/error.log"),
        "{}",
        ended.log
    );
    // The master waits for nobody to read, either.
    let start = testapp().args("--access-logfile access.fifo");
    let path = start.dir().path("access.fifo");
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
    let ended = start.run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("access.fifo"), "{}", ended.log);
    let ended = testapp()
        .args("--access-logfile /nonexistent/access.log")
        .run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.log.contains("/nonexistent/access.log"),
        "{}",
        ended.log
    );
}

/// Each line has the pid of the process that wrote it, and lines of several do not mix.
#[test]
fn lines_of_several_workers_do_not_mix() {
    let server = testapp()
        .args("--workers 4 --error-logfile error.log --access-logfile access.log")
        .spawn();
    let address = server.until("the address", || {
        let log = server.dir.read("error.log");
        let (_, rest) = log.split_once("Ready: serving at http://")?;
        rest.lines().next()?.parse().ok()
    });
    let long = format!("/nothing/{}", "x".repeat(3000));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let long = long.clone();
            std::thread::spawn(move || {
                let mut client = Client::connect(address).unwrap();
                for _ in 0..50 {
                    assert_eq!(client.get(&long).unwrap().status, 404);
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    server.until("200 lines", || {
        let log = server.dir.read("access.log");
        (log.lines().count() == 200).then_some(())
    });
    for line in server.dir.read("access.log").lines() {
        assert!(
            line.starts_with("127.0.0.1 - - [") && line.ends_with("\"-\""),
            "{line}"
        );
        assert_eq!(line.matches("/nothing/").count(), 1);
    }
    for line in server.dir.read("error.log").lines() {
        assert!(
            line.starts_with('[') && line.matches("] [").count() >= 2,
            "{line}"
        );
    }
    server.stop();
}
