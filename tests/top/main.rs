//! `ferricorn top` in a terminal: a pseudo-terminal whose other end reads what a person would see.
//!
//! `cargo test --test top`. `setsid` of util-linux makes it the terminal of the program, so that a new
//! size and Ctrl-Z arrive as they do at a desk.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "../support/mod.rs"]
mod support;

mod terminal;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::{Server, testapp};
use crate::terminal::Top;

fn server() -> Server {
    let server = testapp().args("--workers 2 --name shop").ready();
    server.who();
    server
}

#[test]
fn keys_do_what_they_say() {
    let server = server();
    let mut top = Top::start(&server, 24, 80);
    top.wait("workers 2/2");
    assert!(
        top.line(0).starts_with("shop  ferricorn "),
        "{}",
        top.text()
    );
    assert!(top.screen().alternate_screen());

    top.press("+");
    top.wait("3 workers wanted");
    top.wait("workers 3/3");
    top.press("-");
    top.wait("workers 2/2");

    let first = server.pid_of(0);
    top.press("d");
    server.wait(&format!(
        "(pid {first}) exited (replaced as the operator asked)"
    ));
    top.wait("exited (replaced as the op");

    top.until("it to leave the table", |screen| {
        !screen.contains(&format!("   0 {first:>5} "))
    });

    // A question that is not answered with yes kills nobody.
    top.press("\x1b[B");
    top.press("k");
    top.wait("Kill worker 1 (pid ");
    top.press("n");
    top.until("the question to go", |screen| {
        !screen.contains("Kill worker")
    });
    let second = server.pid_of(1);
    top.press("k");
    top.wait(&format!("Kill worker 1 (pid {second})?"));
    top.press("y");
    server.wait(&format!("(pid {second}) was killed by SIGKILL from us"));
    top.wait("was killed by SIGKILL from us");

    top.press("r");
    top.wait("reload 1 is complete");
    top.wait("generation 2");
    top.press("h");
    top.wait("recycle the worker");
    top.press("h");

    let (status, terminal) = top.end("q");
    assert_eq!(status.code(), Some(0));
    assert!(terminal.is_as_it_was(), "{}", terminal.text());
    server.stop();
}

#[test]
fn another_size_is_another_picture() {
    let server = server();
    let mut top = Top::start(&server, 24, 80);
    top.wait("REQ/S");
    top.wait(" events ");
    top.resize(10, 40);
    top.until("less", |screen| !screen.contains("REQ/S"));
    top.wait("REQUEST");
    top.resize(40, 150);
    top.wait("LAST END");
    top.resize(3, 10);
    top.wait("too small");
    // Stopped like any program, and back again.
    top.resize(24, 80);
    top.wait("workers 2/2");
    top.press("\x1a");
    top.until_stopped();
    // What it has written last may still be on its way.
    top.until("the terminal as it was", |_| top.is_as_it_was());
    top.signal(Signal::SIGCONT);
    top.wait("workers 2/2");
    assert!(top.screen().alternate_screen());
    let (status, terminal) = top.end("\x03");
    assert_eq!(status.code(), Some(0));
    assert!(terminal.is_as_it_was(), "{}", terminal.text());
}

#[test]
fn a_signal_ends_it_and_the_terminal_is_as_it_was() {
    let server = server();
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let top = Top::start(&server, 24, 80);
        top.wait("workers 2/2");
        top.signal(signal);
        let (status, terminal) = top.end("");
        assert_eq!(status.signal(), Some(signal as i32));
        assert!(terminal.is_as_it_was(), "{}", terminal.text());
    }
}

#[test]
fn a_server_that_is_started_again_is_found_again() {
    let dir = support::Dir::new();
    let socket = dir.path("control.sock");
    let start = || {
        let start = testapp().args("--workers 2");
        start
            .arg(format!("--control-socket={}", socket.display()))
            .ready()
    };
    let first = start();
    let mut top = Top::start(&first, 24, 80);
    top.wait(&format!("pid {}", first.pid));
    first.stop();
    top.wait("looking for it");
    let second = start();
    top.wait(&format!("pid {}", second.pid));
    top.until("it to be found", |screen| {
        !screen.contains("looking for it")
    });
    // Its events are heard, too.
    top.press("+");
    top.wait("worker 2 (pid ");
    let (status, _) = top.end("q");
    assert_eq!(status.code(), Some(0));
    second.stop();
}

#[test]
fn once_is_a_table_for_pipes() {
    let server = server();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferricorn"));
        command
            .arg("top")
            .arg("--socket")
            .arg(server.control_socket());
        let output = command.args(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, text, _) = run(&["--once", "--interval", "0.2"]);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("shop  ferricorn "), "{text}");
    let (_, rows) = text.split_once("\nSLOT ").unwrap();
    assert_eq!(rows.lines().skip(1).count(), 2, "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    let (code, _, error) = run(&[]);
    assert_eq!(code, Some(1));
    assert_eq!(
        error,
        "ferricorn: top needs a terminal; --once prints a table\n"
    );
    let (code, _, error) = run(&["--interval", "0"]);
    assert_eq!(code, Some(2), "{error}");
    server.stop();
}
