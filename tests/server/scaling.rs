//! The number of workers where it is the server's to decide.

use std::net::TcpStream;

use nix::sys::signal::Signal;

use crate::support::http::Client;
use crate::support::load::Load;
use crate::support::{proc, testapp};

fn ask(client: &mut Client<TcpStream>) -> u16 {
    let request = "GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.send(request).unwrap();
    client.answer().unwrap().status
}

#[test]
fn it_grows_by_doubling_under_load_and_shrinks_by_one_after_it_and_loses_nothing() {
    let server = testapp()
        .args("--workers 1 --max-workers 4 --scale-down-delay 1")
        .ready();
    let load = Load::start(server.address(), 8, "/sleep/20");
    let line = server.wait("2 workers wanted after 1:");
    assert!(line.contains("% of the time"), "{line}");
    server.wait("4 workers wanted after 2:");
    server.log.wait_count(0, "is ready (pid", 4);
    load.wait_good(100);
    let status = server.status();
    assert_eq!(
        (&status["wanted"], &status["scaling"]["most"]),
        (&4.into(), &4.into())
    );
    let report = load.stop();
    report.assert_nothing_lost();
    assert!(report.by.len() > 1, "{report:?}");
    // Kept connections go on in the workers that stay.
    let connect = |_| Client::connect(server.address()).unwrap();
    let mut clients: Vec<_> = (0..12).map(connect).collect();
    for line in [
        "3 workers wanted after 4",
        "2 workers wanted after 3",
        "1 workers wanted after 2",
    ] {
        assert!(clients.iter_mut().all(|client| ask(client) == 200));
        server.wait(line);
    }
    server
        .log
        .wait_count(0, "exited (fewer workers are wanted)", 3);
    assert!(clients.iter_mut().all(|client| ask(client) == 200));
    assert_eq!(server.who().slot, 0);
    server.stop();
}

/// One that waits for something is busy, however long the request has taken already; and who waits to be
/// accepted counts where nobody is busy at all.
#[test]
fn long_requests_and_a_long_queue_ask_for_workers_alike() {
    let server = testapp().args("--workers 1 --max-workers 3").ready();
    let pid = server.pid_of(0);
    let mut hangs = Client::connect(server.address()).unwrap();
    let request = "GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n";
    hangs.send(request).unwrap();
    let line = server.wait("2 workers wanted after 1:");
    assert!(
        line.contains("busy for 100 % of the time, 0 connections"),
        "{line}"
    );
    server.log.wait_count(0, "is ready (pid", 2);
    // Neither the one in the handler nor the other one accepts.
    let other = server.pid_of(1);
    server.kill_worker(other, Signal::SIGSTOP);
    server.until("it to stand still", || {
        (proc::stat(other)?.state == 'T').then_some(())
    });
    let connect = |_| Client::connect(server.address()).unwrap();
    let mut clients: Vec<_> = (0..6).map(connect).collect();
    let line = server.wait("3 workers wanted after 2:");
    assert!(
        line.contains("busy for 50 % of the time, 6 connections"),
        "{line}"
    );
    assert!(clients.iter_mut().all(|client| ask(client) == 200));
    server.kill_worker(other, Signal::SIGCONT);
    server.kill_worker(pid, Signal::SIGKILL);
    server.stop();
}

#[test]
fn what_the_operator_says_holds_until_it_is_given_back() {
    let server = testapp()
        .args("--workers 2 --min-workers 1 --max-workers 4 --scale-down-delay 1")
        .ready();
    assert_eq!(server.ctl_done("scale 5"), "5 workers wanted\n");
    server.log.wait_count(0, "is ready (pid", 5);
    assert!(server.ctl_done("status").contains("scaling: off"));
    let mark = server.mark();
    server.reload();
    // Nobody is asked for anything, and it has had the time.
    server.wait_after(mark, "Worker 4 is ready");
    assert_eq!(server.status()["scaling"]["pinned"], true);
    assert_eq!(server.log.count(mark, "workers wanted"), 0);
    assert_eq!(server.ctl_done("scale auto"), "4 workers wanted\n");
    server.wait_after(mark, "3 workers wanted after 4");
    assert_eq!(server.status()["scaling"]["pinned"], false);
    server.stop();

    let fixed = testapp().args("--workers 1").ready();
    let reason = fixed.ctl_fails("scale auto");
    assert!(reason.contains("leave nothing to decide"), "{reason}");
    fixed.stop();
}
