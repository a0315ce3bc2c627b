//! What Prometheus is told: well-formed, equal to what clients counted, and never less than before.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use crate::support::exposition::Parsed;
use crate::support::http::{Client, get};
use crate::support::load::Load;
use crate::support::{Server, proc, testapp};

/// Where the aide of a server answers.
fn metrics_of(server: &Server) -> SocketAddr {
    let line = server.wait("Metrics, status and health at: http://");
    server.wait("The aide is ready");
    let address = line.rsplit("http://").next().unwrap();
    address.trim().parse().unwrap()
}

fn scrape(address: SocketAddr) -> Parsed {
    let answer = get(address, "/metrics").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let kind = answer.field("content-type");
    assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
    Parsed::strictly(answer.text(), false)
}

/// What is in RAM of a process, in bytes.
fn rss(pid: i32) -> f64 {
    proc::memory(pid, "Rss").unwrap() as f64 * 1024.0
}

/// Does `act` while somebody scrapes all the time: whatever happens, each scrape succeeds and nothing goes
/// backwards.
fn scraped(metrics: SocketAddr, act: impl FnOnce()) {
    /// Set at the end of whoever has it, be it a panic.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Done(&done);
        let scraper = scope.spawn(|| {
            let mut last = scrape(metrics);
            let mut scrapes = 0;
            while !done.load(Ordering::Relaxed) {
                let next = scrape(metrics);
                next.follows(&last);
                last = next;
                scrapes += 1;
            }
            scrapes
        });
        act();
        drop(ends);
        assert!(scraper.join().unwrap() > 5);
    });
}

const REQUESTS: &str = "ferricorn_requests_total";

#[test]
fn numbers_equal_what_clients_counted_over_recycling_and_reloads() {
    let server = testapp()
        .args("--workers 3 --max-requests 300 --metrics-bind 127.0.0.1:0")
        .ready();
    let metrics = metrics_of(&server);
    scraped(metrics, || {
        let load = Load::start(server.address(), 4, "/who");
        load.wait_good(600);
        server.reload();
        load.wait_good(300);
        server.control("load-fail", "");
        server.reload_fails();
        server.uncontrol("load-fail");
        server.wait("(replaced after max-requests)");
        server.wait("the old workers have gone");
        let report = load.stop();
        report.assert_nothing_lost();
        let good = report.good as f64;
        let now = scrape(metrics);
        assert_eq!(now.value(REQUESTS, &[("status", "2xx")]), good);
        assert_eq!(now.sum(REQUESTS), good, "nothing else was asked");
        let code = [("code", "200")];
        assert_eq!(now.value("ferricorn_responses_total", &code), good);
        let duration = "ferricorn_request_duration_seconds_count";
        assert_eq!(now.value(duration, &[]), good);
        let exits = |cause| now.value("ferricorn_worker_exits_total", &[("cause", cause)]);
        // Who was about to be recycled when the reload came is counted as that.
        assert!(exits("max-requests") > 0.0);
        assert!(exits("max-requests") + exits("reload") >= 3.0);
        server.until("both reloads to be counted", || {
            let now = scrape(metrics);
            let verdict = |verdict| now.value("ferricorn_reloads_total", &[("verdict", verdict)]);
            ((verdict("ok"), verdict("failed")) == (1.0, 1.0)).then_some(())
        });
        // How things stand is what the master said a moment ago.
        server.until("the generation", || {
            let generation = scrape(metrics).value("ferricorn_generation", &[]);
            (generation == 2.0).then_some(())
        });
    });
    server.stop();
}

#[test]
fn what_killed_workers_did_is_counted_on() {
    let server = testapp()
        .args("--workers 2 --metrics-bind 127.0.0.1:0")
        .ready();
    let metrics = metrics_of(&server);
    scraped(metrics, || {
        let load = Load::start(server.address(), 4, "/who");
        for _ in 0..3 {
            load.wait_good(50);
            let (pid, mark) = (server.pid_of(0), server.mark());
            server.kill_worker(pid, Signal::SIGKILL);
            server.wait_after(mark, &format!("(pid {pid}) was killed by SIGKILL"));
            server.wait_after(mark, "Worker 0 is ready");
        }
        load.wait_good(50);
        let report = load.stop();
        let now = scrape(metrics);
        // Whom a killed worker served has no answer, but may be counted.
        let (least, most) = (report.good, report.good + report.bad.len());
        let counted = now.sum(REQUESTS);
        assert!(
            (least as f64..=most as f64).contains(&counted),
            "{least} <= {counted} <= {most}"
        );
        let killed = now.value("ferricorn_worker_exits_total", &[("cause", "killed")]);
        assert_eq!(killed, 3.0);
        // What the master says of it is counted as well.
        let errors = server.until("all lines to be counted", || {
            let now = scrape(metrics);
            let lines = ["[ERROR]", "[WARNING]"].map(|level| server.log.count(0, level) as f64);
            let counted = ["error", "warning"]
                .map(|level| now.value("ferricorn_log_messages_total", &[("level", level)]));
            (counted == lines).then_some(lines[0])
        });
        assert!(errors >= 3.0);
    });
    server.stop();
}

#[test]
fn what_workers_do_and_who_waits_is_told_in_both_formats() {
    let server = testapp()
        .args("--workers 2 --metrics-bind 127.0.0.1:0")
        .ready();
    let metrics = metrics_of(&server);
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    server.until_in_handler(1);
    server.get("/who");
    let told = server.until("what the master knows", || {
        let told = scrape(metrics);
        let busy = told.value("ferricorn_workers", &[("state", "busy")]);
        // The worker sees a moment later that the other client has gone.
        let connections = told.value("ferricorn_connections", &[]);
        ((busy, connections) == (1.0, 1.0)).then_some(told)
    });
    assert_eq!(told.value("ferricorn_workers", &[("state", "idle")]), 1.0);
    assert_eq!(told.value("ferricorn_workers_wanted", &[]), 2.0);
    let url = format!("http://{}", server.address());
    assert_eq!(told.sum("ferricorn_log_messages_total"), 0.0);
    assert_eq!(told.value("ferricorn_generation", &[]), 1.0);
    assert_eq!(told.value("ferricorn_reload_number", &[]), 0.0);
    // Two workers have about twice what one has.
    let of = |process| {
        let kind = [("process", process)];
        scrape(metrics).find("ferricorn_resident_memory_bytes", &kind)
    };
    let status = server.status();
    let pids = status["workers"].as_array().unwrap().iter();
    let pids = pids.map(|worker| i32::try_from(worker["pid"].as_i64().unwrap()).unwrap());
    let known: f64 = pids.map(rss).sum();
    // Each is looked at by and by.
    server.until("the workers' memory", || {
        let share = of("worker")? / known;
        (0.7..1.5).contains(&share).then_some(())
    });
    for process in ["master", "aide"] {
        let size = server.until(process, || of(process));
        assert!(size > 1e5, "{process}: {size}");
    }
    let listener = [("listener", &*url)];
    assert_eq!(told.value("ferricorn_accept_queue_length", &listener), 0.0);
    let limit = told.value("ferricorn_accept_queue_limit", &listener);
    assert!(limit > 1.0, "{limit}");
    let build = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(told.value("ferricorn_build_info", &build), 1.0);
    let started = told.value("ferricorn_start_time_seconds", &[]);
    let unix = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    assert!((unix.as_secs_f64() - started).abs() < 600.0, "{started}");

    let mut scraper = Client::connect(metrics).unwrap();
    scraper
        .send(
            "GET /metrics HTTP/1.1\r\nHost: a\r\n\
             Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n",
        )
        .unwrap();
    let answer = scraper.answer().unwrap();
    let kind = answer.field("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"));
    let open = Parsed::strictly(answer.text(), true);
    assert_eq!(open.sum("ferricorn_requests_total"), 1.0);
}

#[test]
fn workers_that_come_and_go_are_told_as_that() {
    let server = testapp()
        .args("--workers 2 --metrics-bind 127.0.0.1:0")
        .ready();
    let metrics = metrics_of(&server);
    let states = || {
        let told = scrape(metrics);
        let of = |state| told.value("ferricorn_workers", &[("state", state)]);
        let states = ["booting", "idle", "busy", "draining"].map(of);
        (states, told.value("ferricorn_workers_wanted", &[]))
    };
    let is = |expected| server.until("the states", || (states() == expected).then_some(()));
    is(([0.0, 2.0, 0.0, 0.0], 2.0));
    // One that boots.
    server.control("boot-hang", "");
    server.signal(Signal::SIGTTIN);
    is(([1.0, 2.0, 0.0, 0.0], 3.0));
    server.uncontrol("boot-hang");
    server.signal(Signal::SIGTTOU);
    is(([0.0, 2.0, 0.0, 0.0], 2.0));
    // One that drains, and finishes what it has.
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /hang/3000 HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    server.until_in_handler(1);
    let status = server.status();
    let workers = status["workers"].as_array().unwrap();
    let busy = workers
        .iter()
        .find(|worker| worker["in_flight"] == 1)
        .unwrap();
    server.ctl_done(&format!("drain {}", busy["pid"]));
    is(([0.0, 2.0, 0.0, 1.0], 2.0));
    assert_eq!(client.answer().unwrap().status, 200);
    is(([0.0, 2.0, 0.0, 0.0], 2.0));
    server.stop();
}

#[test]
fn bytes_and_waits_are_those_that_clients_had_and_a_unix_queue_is_told() {
    let server = testapp()
        .args("--workers 1 --metrics-bind 127.0.0.1:0 --bind unix:app.sock")
        .ready();
    let metrics = metrics_of(&server);
    let mut client = Client::connect(server.address()).unwrap();
    for _ in 0..40 {
        assert_eq!(client.get("/who").unwrap().status, 200);
    }
    drop(client);
    let idle = || {
        let told = scrape(metrics);
        let none = told.value("ferricorn_connections", &[]) == 0.0;
        none.then_some(told)
    };
    let before = server.until("the end of the connection", idle);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let request = "POST /upload HTTP/1.1
Host: a
Content-Length: 5
Connection: close

hello";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    drop(stream);
    let told = server.until("the end of the connection", idle);
    let more = |name| told.value(name, &[]) - before.value(name, &[]);
    assert_eq!(more("ferricorn_received_bytes_total"), request.len() as f64);
    assert_eq!(more("ferricorn_sent_bytes_total"), answer.len() as f64);
    assert_eq!(more("ferricorn_connections_accepted_total"), 1.0);
    // A sample of them.
    let waits = told.value("ferricorn_queue_duration_seconds_count", &[]);
    assert!((1.0..40.0).contains(&waits), "{waits}");

    let worker = server.pid_of(0);
    server.kill_worker(worker, Signal::SIGSTOP);
    let path = server.dir.path("app.sock");
    let waiting: Vec<_> = (0..3)
        .map(|_| Client::connect_unix(&path).unwrap())
        .collect();
    let url = format!("unix:{}", path.display());
    server.until("those who wait", || {
        let told = scrape(metrics);
        let length = told.value("ferricorn_accept_queue_length", &[("listener", &url)]);
        (length == waiting.len() as f64).then_some(())
    });
    server.kill_worker(worker, Signal::SIGCONT);
    server.stop();
}
