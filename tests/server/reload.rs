//! SIGHUP: a new generation takes over and nobody notices, or nothing has changed.

use nix::sys::signal::Signal;

use crate::support::hold::Hold;
use crate::support::http::{self, Client};
use crate::support::load::Load;
use crate::support::{proc, testapp};

/// Gunicorn tells the old workers to stop before a new one has loaded.
#[test]
fn a_reload_with_one_slow_worker_is_never_without_one_that_serves() {
    let server = testapp().args("--workers 1").ready();
    server.control("boot-slow", "700");
    let load = Load::start(server.address(), 2, "/who");
    server.reload();
    load.wait_good(20);
    let report = load.stop();
    report.assert_nothing_lost();
    assert_eq!(report.generations(), [1, 2]);
    server.stop();
}

#[test]
fn a_request_in_flight_is_finished_by_the_old_generation() {
    let server = testapp().args("--workers 1").ready();
    let hold = Hold::new();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send(format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
            hold.path()
        ))
        .unwrap();
    server.until_in_handler(1);
    server.reload();
    // The old worker is in the handler, and so nobody else answers.
    assert_eq!(server.who().generation, 2);
    hold.let_go();
    assert_eq!(client.answer().unwrap().status, 200);
    server.stop();
}

#[test]
fn one_new_worker_of_several_that_cannot_boot_gives_the_reload_up() {
    let server = testapp().args("--workers 3").ready();
    let load = Load::start(server.address(), 4, "/who");
    server.control("boot-fail", "2");
    let line = server.reload_fails();
    assert!(line.contains("the test wants boot to fail"), "{line}");
    server.uncontrol("boot-fail");
    load.wait_good(20);
    load.stop().assert_nothing_lost();
    // All three places are held by somebody again, whoever it is.
    server.wait_workers(3);
    server.reload();
    server.wait_workers(3);
    server.stop();
}

/// The pipe of the signal handlers is the master's alone: a child that took its wake-up would make a
/// signal unseen.
#[test]
fn no_signal_is_lost_while_workers_are_forked_and_die() {
    let server = testapp().args("--workers 4").ready();
    for round in 0..15 {
        let mark = server.mark();
        for pid in server.wait_workers(4) {
            server.kill_worker(pid, Signal::SIGKILL);
        }
        server.signal(Signal::SIGHUP);
        server.wait_after(mark, "Reload complete");
        // Those that were told to drain have done so.
        server.wait_workers(4);
        assert_eq!(server.who().generation, round + 2);
    }
    server.stop();
}

#[test]
fn changed_binds_are_bound_before_and_closed_after() {
    let server = testapp()
        .no_bind()
        .file("bind = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\nworkers = 2\n")
        .ready();
    let line = server.wait("Ready: serving at");
    let addresses = addresses(&line);
    let load = Load::start(addresses[0], 4, "/who");
    let new = {
        std::net::TcpListener::bind("127.0.0.3:0")
            .unwrap()
            .local_addr()
            .unwrap()
    };
    let file = format!("bind = [\"127.0.0.1:0\", \"{new}\"]\nworkers = 2\n");
    server.dir.write("ferricorn.toml", &file);
    server.reload();
    assert_eq!(http::get(new, "/who").unwrap().who().generation, 2);
    // The one that stays was never closed.
    load.wait_good(20);
    load.stop().assert_nothing_lost();
    // The removed one is closed when the old generation has gone.
    server.until("the removed listener to close", || {
        http::get(addresses[1], "/who").is_err().then_some(())
    });
    let sockets = |pid| {
        proc::kinds(pid)
            .iter()
            .filter(|kind| *kind == "socket")
            .count()
    };
    // Two listeners, the control socket, two life-lines, two ends of the rendezvous.
    server.until("the master to close it", || {
        (sockets(server.pid) == 7).then_some(())
    });
    server.stop();
}

/// "… http://127.0.0.1:1, http://127.0.0.2:2".
fn addresses(line: &str) -> Vec<std::net::SocketAddr> {
    let parts = line.split("http://").skip(1);
    let ends = parts.map(|part| part.trim_end_matches([',', ' ']));
    ends.map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_changed_number_of_workers_takes_effect() {
    let server = testapp().file("workers = 2\n").ready();
    server.wait_workers(2);
    for workers in [5, 1, 3] {
        let text = format!("workers = {workers}\n");
        server.dir.write("ferricorn.toml", &text);
        server.reload();
        server.wait_workers(workers);
    }
    server.stop();
}

#[test]
fn what_a_reload_cannot_change_is_said() {
    let server = testapp().file("workers = 1\n").ready();
    server
        .dir
        .write("ferricorn.toml", "workers = 1\ndaemon = true\n");
    let mark = server.mark();
    server.reload();
    let said = server.log.matching(mark, "daemon");
    assert!(!said.is_empty(), "{}", server.log.text());
    server.stop();
}

#[test]
fn a_changed_pid_file_takes_effect() {
    let server = testapp().file("workers = 1\npidfile = \"a.pid\"\n").ready();
    let new = "workers = 1\npidfile = \"b.pid\"\n";
    server.dir.write("ferricorn.toml", new);
    server.reload();
    assert_eq!(server.dir.read("b.pid"), format!("{}\n", server.pid));
    server.until("the old file to go", || {
        (!server.dir.path("a.pid").exists()).then_some(())
    });
    server.stop();
}

/// Gunicorn's master is deaf while it reloads: TERM came 8 s late.
#[test]
fn a_stop_during_a_reload_is_obeyed_at_once() {
    let mut server = testapp()
        .args("--workers 2 --boot-timeout 600 --graceful-timeout 600")
        .ready();
    server.control("boot-hang", "");
    let mark = server.mark();
    server.signal(Signal::SIGHUP);
    let line = server.wait_after(mark, "Trying");
    server.wait_after(mark, "Booting a worker on trial");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    let trial = pid_in(&line);
    server.until("the trial to end", || {
        proc::group(trial).is_empty().then_some(())
    });
    assert!(proc::group(server.pid).is_empty(), "processes are left");
}

/// "… (pid 4711)".
fn pid_in(line: &str) -> i32 {
    let (_, rest) = line.split_once("(pid ").unwrap();
    rest.trim_end_matches(')').parse().unwrap()
}

/// `graceful-timeout` bounds a reload too: Gunicorn leaves its stragglers for ever.
#[test]
fn an_old_worker_that_does_not_finish_is_killed_with_the_request_named() {
    let server = testapp().args("--workers 1 --graceful-timeout 0.3").ready();
    let old = server.who().pid;
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /hang?straggler HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    server.until_in_handler(1);
    server.reload();
    let line = server.wait("did not finish within graceful-timeout");
    assert!(line.contains("GET /hang?straggler"), "{line}");
    server.wait(&format!("(pid {old}) was killed by SIGKILL from us"));
    assert_ne!(server.wait_workers(1), [old]);
    assert_eq!(client.answer().unwrap().status, 504);
    server.stop();
}

/// What waited in the accept queue of a listener that is removed is not reset.
#[test]
fn a_removed_listener_is_drained_first() {
    let server = testapp()
        .no_bind()
        .file("bind = [\"127.0.0.1:0\", \"unix:old.sock\"]\nworkers = 1\n")
        .ready();
    let path = server.dir.path("old.sock");
    let mut busy = Client::connect(server.address()).unwrap();
    busy.send("GET /hang/1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    server.until_in_handler(1);
    let mut waiting: Vec<_> = (0..10)
        .map(|_| {
            let mut client = Client::connect_unix(&path).unwrap();
            client
                .send("GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .unwrap();
            client
        })
        .collect();
    let file = "bind = [\"127.0.0.1:0\", \"unix:new.sock\"]\nworkers = 1\n";
    server.dir.write("ferricorn.toml", file);
    server.reload();
    let mut new = Client::connect_unix(&server.dir.path("new.sock")).unwrap();
    assert_eq!(new.get("/who").unwrap().who().generation, 2);
    // They were accepted by the old generation, and answered by whoever had them then.
    for client in &mut waiting {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    assert_eq!(busy.answer().unwrap().who().generation, 1);
    drop((waiting, busy));
    server.until("the old socket to go", || (!path.exists()).then_some(()));
    server.stop();
}

#[test]
fn a_reload_asked_for_during_the_first_boot_follows_it() {
    let server = testapp()
        .args("--workers 2")
        .control("boot-wait", "")
        .spawn();
    server.log.wait_count(0, "Booting worker", 2);
    server.signal(Signal::SIGHUP);
    server.wait("a reload follows");
    server.uncontrol("boot-wait");
    let line = server.wait("Reload complete");
    assert!(line.contains("generation 2"), "{line}");
    server.stop();
}

/// `max-surge` bounds what a reload costs: one more process at a time here.
#[test]
fn a_reload_starts_no_more_workers_at_once_than_it_may() {
    let server = testapp().args("--workers 5 --max-surge 1").ready();
    server.control("boot-slow", "50");
    let mark = server.mark();
    server.reload();
    let (mut booting, mut most) = (0, 0);
    for line in server.log.matching(mark, "orker ") {
        if line.contains("Booting worker") {
            booting += 1;
        } else if line.contains("is ready") {
            booting -= 1;
        }
        most = most.max(booting);
    }
    assert_eq!(most, 1, "{}", server.log.text());
    server.stop();
}
