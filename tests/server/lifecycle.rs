//! From the first start to the last process: serving, stopping, starts that fail.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;

use crate::support::http::Client;
use crate::support::load::Load;
use crate::support::{ferricorn, proc, testapp};

#[test]
fn the_first_start_serves_and_says_where() {
    let server = ferricorn().args("--workers 2").ready();
    let address = server.address();
    assert_ne!(address.port(), 0);
    let ready = server.wait("Ready: serving at");
    assert!(ready.contains(&format!("http://{address}")), "{ready}");
    let answer = server.get("/");
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("Ferricorn is running"));
    server.stop();
}

#[test]
fn as_many_workers_as_asked_for_serve() {
    let server = testapp().args("--workers 5").ready();
    let workers = server.wait_workers(5);
    assert!(workers.contains(&server.who().pid));
    assert_eq!(server.log.count(0, "is ready (pid"), 5);
    server.stop();
}

#[test]
fn hello_answers_13_bytes_of_text_at_every_path() {
    let server = ferricorn().args("hello --workers 1").ready();
    for path in ["/", "/any/where?x=1"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.text()), (200, "Hello, World!"));
        assert_eq!(answer.field("content-type"), Some("text/plain"));
        assert_eq!(answer.field("content-length"), Some("13"));
    }
    server.stop();
}

#[test]
fn a_graceful_stop_under_load_answers_every_request() {
    let mut server = testapp().args("--workers 3").ready();
    let load = Load::start(server.address(), 8, "/sleep/5");
    load.wait_good(200);
    load.may_end();
    server.signal(Signal::SIGTERM);
    let status = server.wait_exit();
    let report = load.stop();
    assert_eq!(status.code(), Some(0));
    assert_eq!(report.bad, Vec::<String>::new());
    assert!(proc::group(server.pid).is_empty(), "processes are left");
}

/// Gunicorn resets what waits in the accept queue at a stop: 1 busy and 10 queued gave 10 resets.
#[test]
fn a_graceful_stop_answers_what_waits_in_the_backlog() {
    let mut server = testapp().args("--workers 1").ready();
    let address = server.address();
    let ask = |path: &str| {
        let mut client = Client::connect(address).unwrap();
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .unwrap();
        client
    };
    let mut clients = vec![ask("/hang/300")];
    server.until_in_handler(1);
    // More than one turn of the loop accepts.
    clients.extend((0..200).map(|_| ask("/sleep/2")));
    server.signal(Signal::SIGTERM);
    for client in &mut clients {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    drop(clients);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn a_graceful_stop_tells_streams_and_lets_them_end_in_order() {
    let mut server = testapp().args("--workers 1").ready();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /stream-slowly HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap().unwrap(), b"tick\n");
    server.signal(Signal::SIGTERM);
    let mut last = Vec::new();
    while let Some(chunk) = client.chunk().unwrap() {
        last = chunk;
    }
    assert_eq!(last, b"end\n");
    drop(client);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn an_idle_connection_does_not_delay_a_graceful_stop() {
    let mut server = testapp().args("--workers 1 --graceful-timeout 600").ready();
    let mut kept = Client::connect(server.address()).unwrap();
    assert_eq!(kept.get("/").unwrap().status, 200);
    let silent = Client::connect(server.address()).unwrap();
    // The worker has taken it in before it answers this one.
    assert_eq!(server.get("/").status, 200);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert_eq!(kept.rest().unwrap(), b"");
    drop(silent);
}

/// What graceful-timeout cuts is named in the log, and the worker is not waited for any longer.
#[test]
fn a_request_past_graceful_timeout_is_cut_with_a_line_in_the_log() {
    let mut server = testapp().args("--workers 1 --graceful-timeout 0.2").ready();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /hang?cut HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    server.until_in_handler(1);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert_eq!(client.answer().unwrap().status, 504);
    let cut = server.log.matching(0, "GET /hang?cut");
    assert!(
        cut.iter().any(|line| line.contains("graceful-timeout")),
        "{}",
        server.log.text()
    );
}

#[test]
fn int_and_quit_stop_at_once() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        // Longer than anything is waited for here.
        let mut server = testapp().args("--workers 2 --graceful-timeout 600").ready();
        let mut busy = Client::connect(server.address()).unwrap();
        busy.send("GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        server.until_in_handler(1);
        server.signal(signal);
        let status = server.wait_exit();
        assert_eq!((status.code(), status.signal()), (Some(0), None));
        assert!(busy.answer().is_err());
        // The idle one left when told to, the other one did not hear.
        let left = server.log.count(0, "exited (the server stops at once)");
        let killed = server.log.count(0, "was killed by SIGKILL from us");
        assert_eq!((left, killed), (1, 1), "{}", server.log.text());
        assert!(proc::group(server.pid).is_empty(), "processes are left");
    }
}

#[test]
fn a_quick_stop_cuts_a_graceful_one_short() {
    let mut server = testapp().args("--workers 1 --graceful-timeout 600").ready();
    let mut busy = Client::connect(server.address()).unwrap();
    busy.send("GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    server.until_in_handler(1);
    server.signal(Signal::SIGTERM);
    server.wait("stopping: workers finish");
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn an_app_that_cannot_load_ends_the_first_start_with_4() {
    let ended = testapp().args("--workers 2").control("load-fail", "").run();
    assert_eq!(ended.code, Some(4), "{}", ended.log);
    assert!(ended.log.contains("the test wants load to fail"));
}

#[test]
fn a_worker_that_cannot_boot_ends_the_first_start_with_3() {
    for (control, reason) in [
        ("boot-fail", "the test wants boot to fail"),
        ("boot-panic", "the test wants boot to panic"),
        ("boot-exit", "exited with code 7 before it was ready"),
    ] {
        let ended = testapp().args("--workers 2").control(control, "").run();
        assert_eq!(ended.code, Some(3), "{control}\n{}", ended.log);
        assert!(ended.log.contains(reason), "{control}\n{}", ended.log);
    }
}

#[test]
fn a_worker_that_hangs_at_boot_ends_the_first_start_with_3() {
    let ended = testapp()
        .args("--workers 1 --boot-timeout 0.3")
        .control("boot-hang", "")
        .run();
    assert_eq!(ended.code, Some(3), "{}", ended.log);
    assert!(ended.log.contains("boot-timeout"), "{}", ended.log);
}

/// Gunicorn halts the whole server when any one worker cannot boot.
#[test]
fn one_worker_of_several_that_cannot_boot_leaves_the_others_serving() {
    let mut server = testapp()
        .args("--workers 3")
        .control("boot-wait", "2")
        .control("boot-fail", "2")
        .spawn();
    server.wait("Worker 0 is ready");
    server.wait("Worker 1 is ready");
    server.uncontrol("boot-wait");
    let line = server.wait("worker 2 cannot boot");
    assert!(line.contains("the test wants boot to fail"), "{line}");
    server.wait("Ready: serving at");
    server.learn_address();
    assert!(server.who().slot < 2);
    server.uncontrol("boot-fail");
    server.wait("Worker 2 is ready");
    server.wait_workers(3);
    server.stop();
}

/// Boot failures after the first start never end the server, and never make a storm of forks.
#[test]
fn a_worker_that_cannot_boot_later_is_retried_ever_more_slowly() {
    let server = testapp().args("--workers 2").ready();
    server.control("boot-fail", "1");
    let mark = server.mark();
    server.kill_worker(server.pid_of(1), Signal::SIGKILL);
    // One more, and the place would be suspended.
    let lines = server.log.wait_count(mark, "worker 1 cannot boot", 3);
    let delay = |line: &String| {
        let words = line
            .rsplit_once("the next try is in ")
            .map(|(_, rest)| rest);
        words.and_then(|rest| rest.strip_suffix(" s")?.parse::<f64>().ok())
    };
    let delays: Vec<f64> = lines.iter().filter_map(delay).collect();
    assert_eq!(delays.len(), lines.len(), "{lines:?}");
    // Doubled each time, spread by half either way.
    assert!(delays[2] >= 0.2, "{delays:?}");
    assert_eq!(server.who().slot, 0);
    server.uncontrol("boot-fail");
    server.wait_after(mark, "Worker 1 is ready");
    server.stop();
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = ferricorn().bind(&address).run();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let message = format!("cannot bind {address}: address in use");
    assert!(ended.log.contains(&message), "{}", ended.log);
}

#[test]
fn a_stop_during_the_first_boot_ends_at_once() {
    let mut server = testapp()
        .args("--workers 2 --boot-timeout 600 --graceful-timeout 600")
        .control("boot-hang", "")
        .spawn();
    server.log.wait_count(0, "Booting worker", 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0), "{}", server.log.text());
    assert!(proc::group(server.pid).is_empty(), "processes are left");
}
