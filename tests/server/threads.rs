//! The worker class `threads`: several requests of one worker in handlers at once, and the loop goes on.

use std::collections::BTreeSet;
use std::net::{Shutdown, TcpStream};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::hold::Hold;
use crate::support::http::{Answer, Client, get};
use crate::support::load::Load;
use crate::support::{Server, Start, ferricorn, proc, testapp};

/// One worker with so many handler threads.
fn threads(number: usize) -> Start {
    testapp().args(&format!(
        "--workers 1 --worker-class threads --threads {number}"
    ))
}

/// A request in a handler that waits for the test.
struct Held {
    client: Client<TcpStream>,
    hold: Hold,
}

impl Held {
    fn send(server: &Server) -> Held {
        let hold = Hold::new();
        let mut client = Client::connect(server.address()).unwrap();
        client.send(request(&hold.path())).unwrap();
        Held { client, hold }
    }

    /// So many, each in its handler.
    fn many(server: &Server, number: usize) -> Vec<Held> {
        let before = in_handlers(server);
        let held: Vec<Held> = (0..number).map(|_| Held::send(server)).collect();
        server.until_in_handler(before + number);
        held
    }

    #[track_caller]
    fn finish(&mut self) -> Answer {
        self.hold.let_go();
        let answer = self.client.answer().unwrap();
        assert_eq!((answer.status, answer.text()), (200, "Ok(0)"));
        answer
    }
}

fn in_handlers(server: &Server) -> usize {
    server.log.count(0, "in the handler of")
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn send(server: &Server, path: &str) -> Client<TcpStream> {
    let mut client = Client::connect(server.address()).unwrap();
    client.send(request(path)).unwrap();
    client
}

fn in_flight(server: &Server) -> u64 {
    server.status()["workers"][0]["in_flight"].as_u64().unwrap()
}

#[test]
fn slow_requests_are_in_handlers_at_once_and_fast_ones_are_answered_beside_them() {
    let server = threads(4).ready();
    let mut kept = Client::connect(server.address()).unwrap();
    let mut held = Held::many(&server, 3);
    for _ in 0..50 {
        assert_eq!(kept.get("/").unwrap().text(), "hello");
        assert_eq!(server.get("/").text(), "hello");
    }
    let status = server.status();
    let worker = &status["workers"][0];
    assert_eq!(
        (&worker["in_flight"], &worker["threads"]),
        (&3.into(), &4.into()),
        "{status}"
    );
    let word = |current: &Value, name: &str| current[name].as_str().unwrap().to_owned();
    let current = worker["current"].as_array().unwrap().iter();
    let shown: BTreeSet<_> = current
        .map(|c| (word(c, "target"), word(c, "peer")))
        .collect();
    let sent = held.iter().map(|held| {
        let peer = held.client.stream().local_addr().unwrap();
        (held.hold.path(), peer.to_string())
    });
    assert_eq!(shown, sent.collect());
    held.extend(Held::many(&server, 1));
    assert_eq!(in_flight(&server), 4);
    // In another order than they came.
    for held in held.iter_mut().rev() {
        held.finish();
        // Its connection goes on, on whatever thread.
        assert_eq!(held.client.get("/").unwrap().text(), "hello");
    }
    server.until("all to have ended", || {
        (in_flight(&server) == 0).then_some(())
    });
    let names: BTreeSet<String> = proc::threads(server.pid_of(0)).into_iter().collect();
    for n in 0..4 {
        assert!(names.contains(&format!("handler-{n}")), "{names:?}");
    }
    server.stop();
}

#[test]
fn what_finds_no_thread_waits_for_one() {
    let server = threads(2).ready();
    let mut kept = Client::connect(server.address()).unwrap();
    assert_eq!(kept.get("/").unwrap().status, 200);
    let mut held = Held::many(&server, 2);
    // On a connection that is there, and on new ones.
    kept.send(request("/")).unwrap();
    let mut more: Vec<Held> = (0..3).map(|_| Held::send(&server)).collect();
    assert_eq!(in_flight(&server), 2);
    held[0].finish();
    assert_eq!(kept.answer().unwrap().text(), "hello");
    held[1].finish();
    for held in &mut more {
        held.finish();
    }
    server.stop();
}

#[test]
fn several_threads_and_gunicorns_name_are_this_class() {
    for (arguments, class) in [
        ("--threads 2", "threads"),
        ("--threads 2 --worker-class sync", "threads"),
        ("--worker-class gthread", "threads"),
        ("--threads 1", "sync"),
    ] {
        let server = ferricorn()
            .args("--workers 1")
            .args(arguments)
            .arg("hello")
            .ready();
        server.wait(&format!("Using worker: {class}"));
        assert_eq!(server.get("/").status, 200);
        server.stop();
    }
}

#[test]
fn answers_come_in_the_order_of_a_pipeline_and_others_do_not_wait_for_it() {
    let server = threads(3).ready();
    let hold = Hold::new();
    let mut client = Client::connect(server.address()).unwrap();
    let both = [
        request("/version"),
        request(&hold.path()),
        request("/"),
        request("/who"),
    ];
    client.send(both.concat()).unwrap();
    server.until_in_handler(1);
    let pid = server.who().pid;
    hold.let_go();
    assert_eq!(client.answer().unwrap().text(), "0");
    assert_eq!(client.answer().unwrap().text(), "Ok(0)");
    assert_eq!(client.answer().unwrap().text(), "hello");
    assert_eq!(client.answer().unwrap().who().pid, pid);
    server.stop();
}

#[test]
fn bodies_and_streams_go_on_beside_busy_threads() {
    let server = threads(2).args("--body-buffer 4K").ready();
    let mut stream = send(&server, "/stream-slowly");
    assert_eq!(stream.head().unwrap().status, 200);
    let mut held = Held::many(&server, 1);
    let mut upload = Client::connect(server.address()).unwrap();
    let body = vec![b'x'; 200_000];
    upload
        .send(format!(
            "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ))
        .unwrap();
    for part in body.chunks(50_000) {
        upload.send(part).unwrap();
        assert_eq!(stream.chunk().unwrap().unwrap(), b"tick\n");
        assert_eq!(server.get("/").status, 200);
    }
    assert!(upload.answer().unwrap().text().starts_with("200000 "));
    // The rest of a body comes while all are busy.
    let expect = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n";
    upload.send(expect).unwrap();
    upload.send(&body[..100_000]).unwrap();
    held.extend(Held::many(&server, 1));
    upload.send(&body[100_000..]).unwrap();
    assert_eq!(stream.chunk().unwrap().unwrap(), b"tick\n");
    held[1].finish();
    assert!(upload.answer().unwrap().text().starts_with("200000 "));
    held[0].finish();
    server.stop();
}

#[test]
fn a_client_that_leaves_while_its_handler_runs_leaves_nothing_behind() {
    let server = threads(2).ready();
    let before = proc::descriptors(server.pid_of(0)).len();
    for _ in 0..3 {
        let Held { client, hold } = Held::many(&server, 1).remove(0);
        drop(client);
        assert_eq!(server.get("/").status, 200);
        hold.let_go();
    }
    server.until("no request and no connection", || {
        let worker = &server.status()["workers"][0];
        (worker["in_flight"] == 0 && worker["connections"] == 0).then_some(())
    });
    server.until("no descriptor", || {
        (proc::descriptors(server.pid_of(0)).len() == before).then_some(())
    });
    server.stop();
}

#[test]
fn a_crash_is_that_of_the_request_of_its_thread() {
    let server = threads(4).ready();
    let pid = server.pid_of(0);
    let mut stream = send(&server, "/stream-slowly");
    assert_eq!(stream.head().unwrap().status, 200);
    let mut held = Held::many(&server, 2);
    let mark = server.mark();
    let mut client = send(&server, "/fault");
    assert_eq!(client.answer().unwrap().status, 502);
    let line = server.wait_after(mark, "was killed by SIGSEGV: nothing is mapped at 0x0");
    assert!(line.contains(&format!("(pid {pid})")), "{line}");
    let (died, beside) = line.split_once(" beside ").unwrap();
    assert!(died.contains(" in thread handler-"), "{line}");
    assert!(died.contains(" while serving GET /fault from "), "{line}");
    assert!(!died.contains(';'), "{line}");
    for path in [
        &*held[0].hold.path(),
        &*held[1].hold.path(),
        "/stream-slowly",
    ] {
        assert!(beside.contains(&format!("GET {path} from ")), "{line}");
    }
    let line = server.wait_after(mark, "died in ");
    assert!(line.contains("deaths::fault"), "{line}");
    for held in &mut held {
        let answer = held.client.answer().unwrap();
        assert_eq!(answer.status, 502);
        assert!(answer.closes());
    }
    assert!(
        stream
            .rest()
            .is_ok_and(|rest| !rest.ends_with(b"0\r\n\r\n"))
    );
    server.wait_after(mark, "Worker 0 is ready");
    server.stop();
}

#[test]
fn only_the_request_that_workers_die_of_is_poison() {
    let server = threads(2).args("--poison-deaths 2").ready();
    for _ in 0..2 {
        let mark = server.mark();
        let _held = Held::many(&server, 1);
        assert_eq!(send(&server, "/fault").answer().unwrap().status, 502);
        server.wait_after(mark, "Worker 0 is ready");
    }
    server.wait("GET /fault is in quarantine");
    let status = server.status();
    assert_eq!(
        status["quarantine"].as_array().unwrap().len(),
        1,
        "{status}"
    );
    server.stop();
}

#[test]
fn a_handler_that_hangs_is_named_and_the_others_go_on_until_there_is_a_successor() {
    let server = threads(3).args("--timeout 1 --poison-deaths 1").ready();
    let pid = server.pid_of(0);
    let mut hung = send(&server, "/hang");
    let peer = hung.stream().local_addr().unwrap();
    server.until_in_handler(1);
    let hold = Hold::new();
    let patient = hold.path().replace("wait-for", "patient");
    let mut slow = send(&server, &patient);
    server.until_in_handler(2);
    let answer = hung.answer().unwrap();
    assert_eq!((answer.status, answer.closes()), (504, true));
    assert_eq!(hung.rest().unwrap(), b"");
    let line = server.wait(" goes on with its other threads");
    let (late, beside) = line.split_once(" beside ").unwrap();
    assert!(
        late.contains(&format!("Worker 0 (pid {pid}) has a request past timeout")),
        "{line}"
    );
    assert!(
        late.contains(&format!(" while serving GET /hang from {peer} for ")),
        "{line}"
    );
    let start = format!("GET {patient} from ");
    assert!(beside.starts_with(&start), "{line}");
    assert!(beside.contains(" (thread handler-"), "{line}");
    assert!(beside.contains("blocked in "), "{line}");
    let line = server.wait(&format!("Worker 0 (pid {pid}) is in "));
    assert!(line.contains("hang"), "{line}");
    server.wait(&format!(
        "(pid {pid}) is to be replaced after a request past timeout"
    ));
    // Nobody misses anything while the next one comes.
    assert_eq!(server.get("/").status, 200);
    server.wait("Worker 0 is ready (pid");
    hold.let_go();
    assert_eq!(slow.answer().unwrap().text(), "Ok(0)");
    drop(slow);
    // Nothing but what hangs is left of it.
    server.wait(&format!(
        "(pid {pid}) was killed by SIGKILL from us: it has a request past timeout"
    ));
    assert_ne!(server.who().pid, pid);
    server.wait("GET /hang is in quarantine");
    let status = server.status();
    assert_eq!(
        status["quarantine"].as_array().map(Vec::len),
        Some(1),
        "{status}"
    );
    server.stop();
}

/// Nor for as long as others may take that go on.
#[test]
fn a_stop_does_not_wait_for_what_hangs() {
    let mut server = threads(2)
        .args("--timeout 1 --graceful-timeout 300")
        .ready();
    let mut hung = send(&server, "/hang");
    let hold = Hold::new();
    let mut slow = send(&server, &hold.path().replace("wait-for", "patient"));
    server.until_in_handler(2);
    server.signal(Signal::SIGTERM);
    assert_eq!(hung.answer().unwrap().status, 504);
    server.wait(" goes on with its other threads while serving GET /hang from ");
    hold.let_go();
    assert_eq!(slow.answer().unwrap().text(), "Ok(0)");
    drop(slow);
    server.wait(" was killed by SIGKILL from us: it has a request past timeout");
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn a_worker_all_of_whose_handlers_hang_is_ended_and_each_client_is_told() {
    let server = threads(2).args("--timeout 1").ready();
    let pid = server.pid_of(0);
    let mut clients = [send(&server, "/hang"), send(&server, "/spin")];
    server.until_in_handler(2);
    for client in &mut clients {
        assert_eq!(client.answer().unwrap().status, 504);
    }
    let line = server.wait(" was killed by SIGKILL from us: it has a request past timeout");
    assert!(line.contains(&format!("(pid {pid})")), "{line}");
    assert!(
        line.contains("GET /hang from ") && line.contains("GET /spin from "),
        "{line}"
    );
    server.until("a successor", || (server.pid_of(0) != pid).then_some(()));
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

/// Where no handler comes back in time, nobody waits for one in vain.
#[test]
fn who_waits_for_a_handler_that_hangs_is_refused_before_its_worker_is_ended() {
    let server = threads(2).args("--timeout 1").ready();
    let mut kept = Client::connect(server.address()).unwrap();
    assert_eq!(kept.get("/").unwrap().status, 200);
    let mut hung = [send(&server, "/hang"), send(&server, "/hang")];
    server.until_in_handler(2);
    kept.send(request("/")).unwrap();
    kept.send(request("/who")).unwrap();
    for client in &mut hung {
        assert_eq!(client.answer().unwrap().status, 504);
    }
    let answer = kept.answer().unwrap();
    assert_eq!((answer.status, answer.closes()), (503, true));
    assert_eq!(kept.rest().unwrap(), b"");
    server.wait("503 for 1 requests that waited for a handler: none comes back in time");
    server.wait(" was killed by SIGKILL from us: it has a request past timeout");
    server.wait("Worker 0 is ready");
    server.stop();
}

/// Nor is a connection lost that has nothing to do with it.
#[test]
fn a_worker_all_of_whose_handlers_hang_hands_on_its_other_connections() {
    let server = testapp()
        .args("--workers 2 --worker-class threads --threads 1 --timeout 1")
        .ready();
    let mut kept = Client::connect(server.address()).unwrap();
    let pid = kept.get("/who").unwrap().who().pid;
    let mut others = vec![];
    let mut hung = server.until("another connection to it", || {
        let mut client = Client::connect(server.address()).unwrap();
        if client.get("/who").unwrap().who().pid == pid {
            return Some(client);
        }
        others.push(client);
        None
    });
    hung.send(request("/hang")).unwrap();
    assert_eq!(hung.answer().unwrap().status, 504);
    server.wait(" was killed by SIGKILL from us: it has a request past timeout");
    assert_ne!(kept.get("/who").unwrap().who().pid, pid);
    server.stop();
}

#[test]
fn nothing_is_run_for_a_client_that_left_while_it_waited_for_a_handler() {
    let server = threads(1).args("--access-logfile access.log").ready();
    let connect = || {
        let mut client = Client::connect(server.address()).unwrap();
        assert_eq!(client.get("/").unwrap().status, 200);
        client
    };
    let (mut leaving, mut patient, mut half) = (connect(), connect(), connect());
    let mut busy = Held::many(&server, 1).remove(0);
    leaving.send(request("/hang/1?left")).unwrap();
    patient.send(request("/hang/1?patient")).unwrap();
    until_waiting(&server, 2);
    assert!(
        server
            .ctl_done("status")
            .contains("  worker 0: 2 wait for a thread")
    );
    drop(leaving);
    until_waiting(&server, 1);
    // Who has nothing more to say with its request has not left.
    let pid = Pid::from_raw(server.pid_of(0));
    kill(pid, Signal::SIGSTOP).unwrap();
    half.send(request("/hang/1?half")).unwrap();
    half.stream().shutdown(Shutdown::Write).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    until_waiting(&server, 2);
    busy.finish();
    for client in [&mut patient, &mut half] {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    until_waiting(&server, 0);
    assert_eq!(server.log.count(0, "in the handler of /hang/1"), 2);
    let totals = server.status();
    assert_eq!(totals["totals"]["client_error"], 1, "{totals}");
    let access = server.until("the lines of all", || {
        let text = server.dir.read("access.log");
        (text.lines().count() == 7).then_some(text)
    });
    let left = access.lines().find(|line| line.contains("?left")).unwrap();
    assert!(left.contains("\" 499 "), "{left}");
    server.stop();
}

fn until_waiting(server: &Server, number: u64) {
    server.until("so many to wait for a handler", || {
        let status = server.status();
        (status["workers"][0]["waiting"] == number).then_some(())
    });
}

#[test]
fn a_stop_waits_for_all_that_is_in_handlers() {
    let mut server = threads(3).ready();
    let mut idle = Client::connect(server.address()).unwrap();
    assert_eq!(idle.get("/").unwrap().status, 200);
    let mut held = Held::many(&server, 3);
    server.signal(Signal::SIGTERM);
    server.wait("stopping: workers finish what they have");
    for held in &mut held {
        assert!(held.finish().closes());
    }
    assert_eq!(server.wait_exit().code(), Some(0));
    assert_eq!(server.log.count(0, "cut "), 0, "{}", server.log.text());
}

#[test]
fn what_is_not_finished_in_time_is_cut_and_named() {
    let mut server = threads(2).args("--graceful-timeout 1").ready();
    let held = Held::many(&server, 1);
    server.signal(Signal::SIGTERM);
    server.wait(&format!("cut GET {} ", held[0].hold.path()));
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn a_reload_loses_no_request_be_it_fast_or_slow() {
    let server = testapp().args("--workers 2 --threads 3").ready();
    let fast = Load::start(server.address(), 4, "/who");
    let slow = Load::start(server.address(), 4, "/sleep/30");
    let mut held = Held::many(&server, 2);
    for _ in 0..3 {
        fast.wait_good(20);
        slow.wait_good(4);
        server.reload();
    }
    fast.wait_good(20);
    for held in &mut held {
        held.finish();
    }
    for load in [fast, slow] {
        let report = load.stop();
        report.assert_nothing_lost();
        assert!(report.generations().len() > 1, "{report:?}");
    }
    server.stop();
}

#[test]
fn workers_are_replaced_after_max_requests_without_a_loss() {
    let server = testapp()
        .args("--workers 2 --threads 3 --max-requests 40 --max-requests-jitter 20")
        .ready();
    let fast = Load::start(server.address(), 4, "/who");
    let slow = Load::start(server.address(), 2, "/sleep/20");
    server.log.wait_count(0, "(replaced after max-requests)", 3);
    for load in [fast, slow] {
        load.stop().assert_nothing_lost();
    }
    server.stop();
}

#[test]
fn a_panic_is_one_answer_and_a_successor() {
    let server = threads(3).ready();
    let first = server.who().pid;
    let mut held = Held::many(&server, 2);
    let mark = server.mark();
    assert_eq!(server.get("/panic").status, 500);
    server.wait_after(mark, "Worker 0 is ready (pid");
    server.until("the next one", || (server.who().pid != first).then_some(()));
    for held in &mut held {
        held.finish();
    }
    server.wait_after(mark, "(replaced after a panic)");
    server.stop();
}

#[test]
fn the_tables_of_ctl_show_all_that_is_under_way() {
    let server = threads(12).ready();
    let mut held = Held::many(&server, 11);
    assert_eq!(in_flight(&server), 11);
    let text = server.ctl_done("status");
    assert!(text.contains("  worker 0: GET /wait-for/"), "{text}");
    assert!(text.contains("3 more"), "{text}");
    for held in &mut held {
        held.finish();
    }
    server.stop();
}

#[test]
fn a_quick_stop_does_not_wait_for_handlers() {
    let mut server = threads(2).ready();
    let _held = Held::many(&server, 2);
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(get(server.address(), "/").is_err());
}
