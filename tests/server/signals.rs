//! The other signals to the master: TTIN, TTOU, WINCH, USR1.

use nix::sys::signal::Signal;

use crate::support::http;
use crate::support::load::Load;
use crate::support::{self, Start, testapp};

#[test]
fn ttin_and_ttou_change_the_number_of_workers_by_one() {
    let server = testapp().args("--workers 2").ready();
    let first = server.wait_workers(2);
    for number in [3, 4] {
        server.signal(Signal::SIGTTIN);
        server.wait_workers(number);
    }
    let load = Load::start(server.address(), 4, "/who");
    load.wait_good(10);
    for number in [3, 2, 1] {
        server.signal(Signal::SIGTTOU);
        server.wait_workers(number);
    }
    load.wait_good(10);
    load.stop().assert_nothing_lost();
    server.signal(Signal::SIGTTOU);
    server.wait("the last one stays");
    let last = server.wait_workers(1);
    assert!(first.contains(&last[0]), "the newest go first");
    server.stop();
}

/// In Gunicorn the next HUP forgets them.
#[test]
fn workers_added_by_ttin_outlive_a_reload() {
    let server = testapp().args("--workers 1").ready();
    server.signal(Signal::SIGTTIN);
    server.wait_workers(2);
    server.reload();
    server.wait_workers(2);
    server.stop();
}

#[test]
fn winch_retires_the_workers_and_hup_brings_them_back() {
    let mut server = testapp().args("--workers 2").ready();
    server.signal(Signal::SIGWINCH);
    server.wait("the workers retire");
    server.wait_workers(0);
    assert!(server.is_running());
    server.reload();
    server.wait_workers(2);
    assert_eq!(server.get("/").status, 200);
    server.signal(Signal::SIGWINCH);
    server.wait_workers(0);
    server.signal(Signal::SIGTTIN);
    server.wait_workers(1);
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

#[test]
fn a_request_to_retired_workers_waits_for_the_next_ones() {
    let server = testapp().args("--workers 1").ready();
    let address = server.address();
    server.signal(Signal::SIGWINCH);
    server.wait_workers(0);
    let waiting = std::thread::spawn(move || http::get(address, "/"));
    server.signal(Signal::SIGTTIN);
    let answer = waiting.join().unwrap();
    assert_eq!(answer.unwrap().status, 200);
    server.stop();
}

fn assert_reopens(start: Start) {
    let server = start
        .args("--workers 2 --error-logfile error.log --access-logfile access.log")
        .spawn();
    let address = server.until("the address", || {
        let log = server.dir.read("error.log");
        let (_, rest) = log.split_once("Ready: serving at http://")?;
        rest.lines().next()?.parse().ok()
    });
    let before = server.wait_workers(2);
    assert_eq!(http::get(address, "/first").unwrap().status, 404);
    server.until("the first line", || {
        server
            .dir
            .read("access.log")
            .contains("GET /first")
            .then_some(())
    });
    for name in ["error.log", "access.log"] {
        let (old, new) = (server.dir.path(name), server.dir.path(&format!("{name}.1")));
        std::fs::rename(old, new).unwrap();
    }
    server.signal(Signal::SIGUSR1);
    server.until("new files", || {
        let both = ["error.log", "access.log"].map(|name| server.dir.path(name).exists());
        (both == [true, true]).then_some(())
    });
    // The workers get them a little later: whoever writes into the old file has not read its
    // life-line yet.
    server.until("lines in the new files", || {
        http::get(address, "/second").unwrap();
        http::get(address, "/error").unwrap();
        let access = server.dir.read("access.log").contains("GET /second");
        let error = server
            .dir
            .read("error.log")
            .contains("the test wants an error");
        (access && error).then_some(())
    });
    assert_eq!(server.wait_workers(2), before, "somebody was recycled");
    // And the old ones are let go of.
    let old: Vec<String> = [server.pid]
        .into_iter()
        .chain(before)
        .flat_map(support::proc::descriptors)
        .map(|(_, link)| link)
        .filter(|link| link.ends_with(".log.1"))
        .collect();
    assert_eq!(old, Vec::<String>::new());
    server.stop();
}

#[test]
fn usr1_reopens_both_logs_and_recycles_nobody() {
    assert_reopens(testapp());
}

/// The workers could not open them: only root may write there.
#[test]
fn usr1_reopens_both_logs_after_privileges_were_dropped() {
    if support::is_root("another user") {
        assert_reopens(testapp().args("--user nobody"));
    }
}

/// Somebody sends it to a worker, as Gunicorn allows.
#[test]
fn usr1_to_a_worker_gives_it_new_logs_too() {
    let server = testapp()
        .args("--workers 1 --access-logfile access.log")
        .ready();
    let pid = server.who().pid;
    server.kill_worker(pid, Signal::SIGUSR1);
    assert_eq!(server.who().pid, pid);
    server.stop();
}
