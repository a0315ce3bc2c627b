//! The aide: health and status while no worker can answer, the 503 when none is there, and that it is
//! in nobody's way.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::hold::Hold;
use crate::support::http::{self, Answer, Client};
use crate::support::load::Load;
use crate::support::{Server, Start, is_root, proc, testapp};

/// The first address of metrics-bind that the log tells of from `mark` on.
fn desk(server: &Server, mark: usize) -> SocketAddr {
    let line = server.wait_after(mark, "Metrics, status and health at: ");
    let (_, address) = line.split_once("http://").unwrap();
    address.split(',').next().unwrap().trim().parse().unwrap()
}

/// The aide that was made last, when it serves.
fn aide(server: &Server, mark: usize) -> i32 {
    let line = server.wait_after(mark, "The aide is ready");
    let (_, pid) = line.split_once("(pid ").unwrap();
    pid.trim_end_matches(')').parse().unwrap()
}

fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = http::get(address, path).unwrap();
    (answer.status, answer.text().to_owned())
}

fn observed() -> Start {
    testapp().args("--metrics-bind 127.0.0.1:0 --workers 2")
}

/// A server none of whose workers is left, nor can another boot. When this returns none has been
/// missed long enough.
fn deserted(arguments: &str) -> Server {
    let server = testapp().args("--workers 1").args(arguments).ready();
    server.control("boot-fail", "");
    let mark = server.mark();
    server.kill_worker(server.pid_of(0), Signal::SIGKILL);
    server.wait_after(mark, "Worker 0 (pid ");
    server
}

fn assert_unavailable(answer: &Answer, retry_after: &str) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.field("retry-after"), Some(retry_after), "{answer:?}");
    assert!(answer.closes(), "{answer:?}");
}

#[test]
fn health_and_status_are_told_also_when_every_worker_is_in_a_handler() {
    let server = observed().ready();
    let desk = desk(&server, 0);
    let hang = || {
        let mut client = Client::connect(server.address()).unwrap();
        client
            .send("GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        client
    };
    let _both = [hang(), hang()];
    server.until_in_handler(2);
    assert_eq!(ask(desk, "/health/live"), (200, "live\n".to_owned()));
    assert_eq!(ask(desk, "/health/ready"), (200, "ready\n".to_owned()));
    let mut client = Client::connect(desk).unwrap();
    for path in ["/metrics", "/status", "/status.json"] {
        let answer = client.get(path).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.field("cache-control"), Some("no-store"), "{path}");
    }
    let (_, status) = ask(desk, "/status.json");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["aide"], aide(&server, 0));
    assert_eq!(
        (&status["ready"], &status["pid"]),
        (&2.into(), &server.pid.into())
    );
    assert_eq!(ask(desk, "/").0, 302);
    let (code, text) = ask(desk, "/nothing");
    assert!(code == 404 && text.contains("/health/ready"), "{text}");
    client
        .send("POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(
        (answer.status, answer.field("allow")),
        (405, Some("GET, HEAD"))
    );
}

#[test]
fn a_server_that_stops_says_so_to_its_last_moment() {
    let mut server = observed().args("--graceful-timeout 60").ready();
    let desk = desk(&server, 0);
    let hold = Hold::new();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send(format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
            hold.path()
        ))
        .unwrap();
    server.until_in_handler(1);
    // A scraper that keeps its connection does not delay the stop.
    let mut scraper = Client::connect(desk).unwrap();
    assert_eq!(scraper.get("/metrics").unwrap().status, 200);
    let aide = aide(&server, 0);
    server.signal(Signal::SIGTERM);
    server.wait("stopping:");
    let (code, text) = ask(desk, "/health/ready");
    assert_eq!((code, &*text), (503, "not ready: the server stops\n"));
    assert_eq!(ask(desk, "/health/live").0, 200);
    hold.let_go();
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(!proc::is_alive(aide));
    assert!(TcpStream::connect(desk).is_err(), "nobody has the address");
    assert_eq!(server.log.count(0, "[WARNING]"), 0, "nobody is missed");
}

#[test]
fn an_aide_that_is_killed_harms_nobody_and_comes_again() {
    let server = observed().ready();
    let (desk, first) = (desk(&server, 0), aide(&server, 0));
    let load = Load::start(server.address(), 2, "/who");
    load.wait_good(10);
    // What is for the workers, or for the whole terminal, is not for it.
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
    ] {
        kill(Pid::from_raw(first), signal).unwrap();
    }
    assert_eq!(ask(desk, "/status").0, 200);
    let blocked = proc::status(first, "SigBlk").unwrap();
    let blocked = u64::from_str_radix(&blocked, 16).unwrap();
    assert_eq!(
        blocked >> (Signal::SIGTERM as i32 - 1) & 1,
        1,
        "{blocked:x}"
    );
    assert!(proc::is_alive(first));
    let mark = server.mark();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    // The queue is kept meanwhile.
    assert_eq!(ask(desk, "/health/ready").0, 200);
    let second = aide(&server, mark);
    assert_ne!(first, second);
    assert_eq!(server.log.count(mark, "Booting worker"), 0);
    load.wait_good(10);
    load.stop().assert_nothing_lost();
    server.stop();
}

/// It is asked whether it lives, as a worker is by its heartbeat.
#[test]
fn an_aide_that_hangs_is_replaced() {
    let server = observed().args("--heartbeat-timeout 2").ready();
    let (desk, first) = (desk(&server, 0), aide(&server, 0));
    assert_eq!(ask(desk, "/health/live").0, 200);
    kill(Pid::from_raw(first), Signal::SIGSTOP).unwrap();
    let mark = server.mark();
    server.wait_after(
        mark,
        &format!("The aide (pid {first}) does not answer; killed"),
    );
    assert_ne!(aide(&server, mark), first);
    assert_eq!(ask(desk, "/health/live").0, 200);
    assert_eq!(server.log.count(mark, "Booting worker"), 0);
    // One that is well is asked as often, and stays.
    server.ctl_done("log-level debug");
    let mark = server.mark();
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!(server.log.count(mark, "The aide"), 0);
    server.stop();
}

#[test]
fn a_reload_keeps_answering_and_follows_the_setting() {
    let file = |binds: &str| format!("workers = 1\nmetrics-bind = [{binds}]\n");
    let server = testapp().file(&file("\"127.0.0.1:0\"")).ready();
    let (first, old) = (desk(&server, 0), aide(&server, 0));
    let load = Load::one_shot(first, 2, "/health/ready");
    load.wait_good(10);
    let mark = server.mark();
    server.reload();
    let new = aide(&server, mark);
    assert_ne!(old, new);
    load.wait_good(10);
    server.until("the old aide to leave", || {
        (!proc::is_alive(old)).then_some(())
    });
    load.wait_good(10);
    load.stop().assert_nothing_lost();
    assert_eq!(server.log.count(0, "killed"), 0, "it goes by itself");

    // Another address, and a unix socket.
    let mark = server.mark();
    server
        .dir
        .write("ferricorn.toml", &file("\"localhost:0\", \"unix:m.sock\""));
    server.reload();
    aide(&server, mark);
    let second = desk(&server, mark);
    assert_eq!(ask(second, "/health/ready").0, 200);
    let mut client = Client::connect_unix(&server.dir.path("m.sock")).unwrap();
    assert_eq!(client.get("/health/live").unwrap().status, 200);

    // None at all.
    server.dir.write("ferricorn.toml", &file(""));
    server.reload();
    server.until("the aide to leave", || TcpStream::connect(second).err());
    server.wait_workers(1);
    assert!(TcpStream::connect(first).is_err());
    assert!(!server.dir.path("m.sock").exists());
    server.stop();
}

#[test]
fn an_aide_has_no_rights_and_only_what_it_needs() {
    if !is_root("another user") {
        return;
    }
    let server = observed()
        .args("--user nobody --access-logfile access.log")
        .ready();
    let aide = aide(&server, 0);
    let nobody = "65534\t65534\t65534\t65534";
    assert_eq!(proc::status(aide, "Uid").as_deref(), Some(nobody));
    assert_eq!(proc::command_line(aide), "ferricorn: aide");
    let mut kinds = proc::kinds(aide);
    kinds.retain(|kind| !kind.starts_with("anon_inode:"));
    let board = kinds.iter().filter(|kind| kind.contains("ferricorn-board"));
    assert!(board.count() >= 1, "{kinds:?}");
    kinds.retain(|kind| !kind.contains("ferricorn-board"));
    let logs = kinds.iter().filter(|kind| kind.ends_with("access.log"));
    assert_eq!(logs.count(), 1, "{kinds:?}");
    assert!(!kinds.iter().any(|kind| kind.contains(".pid")), "{kinds:?}");
    server.stop();
}

#[test]
fn a_master_that_hangs_is_waited_for_once() {
    let server = observed().ready();
    let desk = desk(&server, 0);
    assert_eq!(ask(desk, "/status.json").0, 200);
    server.signal(Signal::SIGSTOP);
    server.until("the master to be stopped", || {
        (proc::stat(server.pid)?.state == 'T').then_some(())
    });
    assert_eq!(ask(desk, "/health/live").0, 200);
    assert_eq!(ask(desk, "/health/ready").0, 200);
    let old = server.until("an answer that is old", || {
        let answer = http::get(desk, "/status.json").unwrap();
        assert_eq!(answer.status, 200);
        answer.field("age").map(str::to_owned)
    });
    assert!(old.parse::<u64>().unwrap() >= 1, "{old}");
    server.signal(Signal::SIGCONT);
    server.until("an answer that is new", || {
        let answer = http::get(desk, "/status.json").unwrap();
        answer.field("age").is_none().then_some(())
    });
    server.stop();
}

#[test]
fn nobody_is_left_without_an_answer_when_no_worker_can_boot() {
    let server = deserted(
        "--outage-delay 0.3 --retry-after 7 --access-logfile access.log --readiness-path /ready",
    );
    let load = Load::one_shot(server.address(), 4, "/who");
    // Whoever came before is answered, too.
    let line = server.wait("Nobody serves");
    // It died, or its successor has failed to boot already.
    assert!(
        line.contains("0.3 s") && line.contains("(worker 0 "),
        "{line}"
    );
    // The next request of one that would keep its connection is for a worker.
    let mut keeps = Client::connect(server.address()).unwrap();
    let answer = keeps.get("/who").unwrap();
    assert_unavailable(&answer, "7");
    assert_unavailable(&server.get("/ready"), "7");
    drop(keeps);
    assert!(
        answer.text().starts_with("503 Service Unavailable"),
        "{answer:?}"
    );
    // A body that nobody wants keeps nobody from reading that, and what is no HTTP is told so.
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
    let body = [head.as_bytes(), &[b'x'; 100_000]].concat();
    for (request, status) in [(body, 503), (b"nonsense\r\n\r\n".to_vec(), 400)] {
        let mut client = Client::connect(server.address()).unwrap();
        client.send(request).unwrap();
        assert_eq!(client.answer().unwrap().status, status);
    }
    // Who is in the middle of a head, or has said nothing, is a worker's when there is one.
    let mut half = Client::connect(server.address()).unwrap();
    half.send("GET /who HTTP/1.1\r\nHo").unwrap();
    let silent = Client::connect(server.address()).unwrap();
    assert_unavailable(&server.get("/who"), "7");
    let mark = server.mark();
    server.uncontrol("boot-fail");
    server.wait_after(mark, "the outage ends");
    load.wait_good(50);
    half.send("st: localhost\r\n\r\n").unwrap();
    assert_eq!(half.answer().unwrap().who().slot, 0);
    let mut silent = silent;
    assert_eq!(silent.get("/who").unwrap().who().slot, 0);
    let report = load.stop();
    assert_eq!(report.refused, 0, "{report:?}");
    assert!(!report.bad.is_empty());
    assert!(
        report.bad.iter().all(|bad| bad == "status 503"),
        "{report:?}"
    );
    // It was there for that only.
    server.wait_workers(1);
    server.until("the access log", || {
        let told = server.dir.read("access.log").contains("\" 503 ");
        told.then_some(())
    });
    // And again.
    server.control("boot-fail", "");
    let mark = server.mark();
    server.kill_worker(server.workers()[0], Signal::SIGKILL);
    server.wait_after(mark, "Nobody serves");
    assert_unavailable(&server.get("/who"), "7");
    server.uncontrol("boot-fail");
    server.wait_after(mark, "the outage ends");
    server.until("no more 503", || {
        (server.get("/who").status == 200).then_some(())
    });
    server.stop();
}

/// How many requests were answered 503, as the metrics have it.
fn unavailable(desk: SocketAddr) -> u64 {
    let (_, metrics) = ask(desk, "/metrics");
    let series =
        |line: &&str| line.starts_with("ferricorn_responses_total") && line.contains("503");
    let line = metrics.lines().find(series);
    let count = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
    count.unwrap_or_default()
}

#[test]
fn a_reload_that_heals_ends_the_outage() {
    let server = deserted("--outage-delay 0.1 --metrics-bind 127.0.0.1:0");
    let desk = desk(&server, 0);
    server.wait("Nobody serves");
    assert_unavailable(&server.get("/who"), "5");
    let why = "not ready: no worker is ready (worker 0 cannot boot: the test wants boot to fail)\n";
    let told = || Some(ask(desk, "/health/ready")).filter(|(_, text)| text == why);
    assert_eq!(server.until("the reason", told).0, 503);
    let failure = server.reload_fails();
    assert!(failure.contains("the test wants boot to fail"), "{failure}");
    assert_unavailable(&server.get("/who"), "5");
    server.until("both to be counted", || {
        (unavailable(desk) == 2).then_some(())
    });
    let load = Load::one_shot(server.address(), 2, "/who");
    server.uncontrol("boot-fail");
    server.reload();
    server.wait("the outage ends");
    load.wait_good(20);
    let report = load.stop();
    assert_eq!(report.refused, 0, "{report:?}");
    assert!(
        report.bad.iter().all(|bad| bad == "status 503"),
        "{report:?}"
    );
    // They are counted like any answer, by whichever aide they were given.
    let told = report.bad.len() as u64 + 2;
    server.until("all to be counted", || {
        (unavailable(desk) == told).then_some(())
    });
    server.until("the server to be ready", || {
        (ask(desk, "/health/ready").0 == 200).then_some(())
    });
    server.stop();
}

#[test]
fn one_aide_answers_in_several_outages_and_all_its_answers_are_counted() {
    let server = deserted("--outage-delay 0.1 --metrics-bind 127.0.0.1:0");
    let desk = desk(&server, 0);
    let first = aide(&server, 0);
    let (mut mark, mut told) = (0, 0);
    for _ in 0..3 {
        server.wait_after(mark, "Nobody serves");
        assert_unavailable(&server.get("/who"), "5");
        told += 1;
        mark = server.mark();
        server.uncontrol("boot-fail");
        server.wait_after(mark, "the outage ends");
        // Whom the aide has let in a moment ago is answered by it still.
        while server.get("/who").status == 503 {
            told += 1;
        }
        server.until("all to be counted", || {
            (unavailable(desk) == told).then_some(())
        });
        let worker = server.pid_of(0);
        server.control("boot-fail", "");
        server.kill_worker(worker, Signal::SIGKILL);
    }
    assert_eq!(aide(&server, 0), first);
    assert_eq!(server.log.count(0, "The aide is ready"), 1);
    server.uncontrol("boot-fail");
    server.stop();
}

#[test]
fn a_stop_during_an_outage_answers_who_waits_and_ends() {
    let mut server = deserted("--outage-delay 0.1");
    server.wait("Nobody serves");
    assert_unavailable(&server.get("/who"), "5");
    let mut waits = Client::connect(server.address()).unwrap();
    waits
        .send("GET /who HTTP/1.1\r\nHost: localhost\r\n")
        .unwrap();
    server.signal(Signal::SIGTERM);
    let _ = waits.stream().read(&mut [0; 1]);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(TcpStream::connect(server.address()).is_err());
    assert!(proc::group(server.pid).is_empty());
}

#[test]
fn without_a_delay_clients_wait_for_a_worker() {
    let server = deserted("--outage-delay 0");
    let mark = server.mark();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    // Two more have failed to boot.
    server
        .log
        .wait_count(mark, "the test wants boot to fail", 2);
    server.uncontrol("boot-fail");
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(server.log.count(0, "Nobody serves"), 0);
    server.stop();
}

#[test]
fn a_second_master_has_an_aide_of_its_own_at_the_same_address() {
    let mut server = observed().args("--pidfile app.pid").ready();
    let (desk, first) = (desk(&server, 0), aide(&server, 0));
    let load = Load::one_shot(desk, 2, "/health/live");
    let mark = server.mark();
    server.signal(Signal::SIGUSR2);
    server.wait_after(mark, "the second master serves");
    // Not before: what it would say of itself is no news of the first.
    let second = aide(&server, mark);
    let log = server.log.text();
    assert!(log.rfind("Ready: serving") < log.rfind("Booting the aide"));
    server.signal(Signal::SIGQUIT);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(!proc::is_alive(first) && proc::is_alive(second));
    assert_eq!(ask(desk, "/health/ready").0, 200);
    load.wait_good(20);
    let report = load.stop();
    assert_eq!(
        (report.refused, &report.bad[..]),
        (0, &[][..]),
        "{report:?}"
    );
}

#[test]
fn no_aide_survives_a_killed_master() {
    let server = observed().ready();
    let (desk, aide) = (desk(&server, 0), aide(&server, 0));
    server.signal(Signal::SIGKILL);
    server.until("the aide to end", || (!proc::is_alive(aide)).then_some(()));
    server.until("its threads to end", || TcpStream::connect(desk).err());
}

#[test]
fn with_preload_the_aide_has_nothing_of_the_application() {
    let server = observed()
        .args("--preload")
        .control("load-note", "")
        .control("load-memory", "64")
        .ready();
    let aide = aide(&server, 0);
    assert_eq!(ask(desk(&server, 0), "/health/ready").0, 200);
    assert_eq!(server.log.count(0, "loaded in process"), 1);
    let loaded = server.log.wait(0, "loaded in process");
    assert!(!loaded.ends_with(&format!(" {aide}")), "{loaded}");
    let (all, own) = (proc::memory(aide, "Rss"), proc::memory(aide, "Pss"));
    println!("the aide: Rss {all:?} KiB, Pss {own:?} KiB");
    assert!(all.unwrap() < 48 << 10, "{all:?} KiB");
    server.stop();
}
