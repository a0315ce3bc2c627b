//! Workers that die, hang, panic or retire, and what becomes of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::http::Client;
use crate::support::load::Load;
use crate::support::{self, Server, proc, testapp};

fn busy(server: &Server, path: &str) -> Client<std::net::TcpStream> {
    let mut client = Client::connect(server.address()).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.send(request).unwrap();
    client
}

#[test]
fn a_killed_worker_is_replaced_and_only_its_requests_are_lost() {
    let server = testapp().args("--workers 3").ready();
    let load = Load::start(server.address(), 6, "/sleep/2");
    load.wait_good(50);
    let mut kills = 0;
    for _ in 0..4 {
        let who = server.who();
        let mark = server.mark();
        server.kill_worker(who.pid, Signal::SIGKILL);
        kills += 1;
        server.wait_after(mark, &format!("(pid {}) was killed by SIGKILL", who.pid));
        server.wait_after(mark, &format!("Worker {} is ready", who.slot));
        load.wait_good(50);
    }
    let report = load.stop();
    // Each client can have had one connection with the one that was killed, and they share three
    // workers.
    assert!(report.bad.len() <= kills * 6, "{report:?}");
    assert_eq!(report.refused, 0);
    server.wait_workers(3);
    server.stop();
}

#[test]
fn the_log_names_the_signal_and_the_request_in_flight() {
    let server = testapp().args("--workers 1").ready();
    let pid = server.who().pid;
    let mut client = busy(&server, "/hang?who=me");
    server.until_in_handler(1);
    server.kill_worker(pid, Signal::SIGKILL);
    let line = server.wait(&format!("(pid {pid}) was killed by SIGKILL"));
    assert!(line.contains("GET /hang?who=me"), "{line}");
    assert!(line.contains("127.0.0.1"), "{line}");
    assert!(line.contains(" s (id "), "{line}");
    assert!(client.answer().is_err());
    server.wait_workers(1);
    server.stop();
}

#[test]
fn a_crash_in_a_handler_is_named_with_its_request() {
    let server = testapp().args("--workers 1").ready();
    for (path, death) in [
        ("/segv/now", "was killed by SIGSEGV"),
        ("/exit/9", "exited with code 9"),
    ] {
        let mark = server.mark();
        let mut client = busy(&server, path);
        assert_eq!(client.answer().unwrap().status, 502);
        let line = server.wait_after(mark, death);
        assert!(line.contains(path), "{line}");
        server.wait_after(mark, "Worker 0 is ready");
    }
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

/// nix's waitpid loses a child that died of a real-time signal: it would stay a zombie for ever.
#[test]
fn death_by_a_real_time_signal_is_noticed() {
    let server = testapp().args("--workers 1").ready();
    let pid = server.who().pid;
    let number = libc::SIGRTMIN() + 3;
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("kill -{number} {pid}")])
        .status();
    assert!(status.unwrap().success());
    server.wait(&format!("(pid {pid}) was killed by SIGRTMIN+3"));
    server.log.wait_count(0, "Worker 0 is ready", 2);
    assert_ne!(server.who().pid, pid);
    assert!(proc::zombies(server.pid).is_empty());
    server.stop();
}

/// SIGCHLD coalesces: sixteen at once are fewer than sixteen signals.
#[test]
fn sixteen_workers_killed_at_once_are_sixteen_respawns() {
    let server = testapp().args("--workers 16").ready();
    let before = server.wait_workers(16);
    let mark = server.mark();
    for pid in &before {
        server.kill_worker(*pid, Signal::SIGKILL);
    }
    server.log.wait_count(mark, "was killed by SIGKILL", 16);
    server.log.wait_count(mark, "is ready (pid", 16);
    let after = server.wait_workers(16);
    assert!(after.iter().all(|pid| !before.contains(pid)));
    assert!(proc::zombies(server.pid).is_empty());
    server.stop();
}

/// A thousand workers killed in twenty rounds. A reload follows each, for back-off does not hold
/// across generations.
#[test]
fn a_thousand_respawns_leave_no_descriptor_zombie_or_thread() {
    const WORKERS: usize = 50;
    let server = testapp().args("--workers 50 --max-surge 100%").ready();
    server.reload();
    server.wait_workers(WORKERS);
    let descriptors = proc::kinds(server.pid);
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        for pid in server.wait_workers(WORKERS) {
            assert!(seen.insert(pid), "pid {pid} lives on");
            server.kill_worker(pid, Signal::SIGKILL);
        }
        server.reload();
    }
    server.wait_workers(WORKERS);
    assert_eq!(seen.len(), 1000);
    server.wait_kinds(&descriptors);
    assert_eq!(proc::threads(server.pid).len(), 1);
    assert!(proc::zombies(server.pid).is_empty());
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

/// Worker k must not inherit what the master holds of workers 0 to k-1, nor anything else.
#[test]
fn a_worker_has_exactly_the_descriptors_it_should() {
    let server = testapp().args("--workers 8 --max-surge 2").ready();
    let assert_all = |server: &Server| {
        let of = |kinds: &[String], kind: &str| {
            kinds.iter().filter(|other| other.starts_with(kind)).count()
        };
        let doors = of(&proc::kinds(server.pid), "anon_inode:[eventfd]");
        for pid in server.wait_workers(8) {
            // A door that was just made is on its way.
            let kinds = server.until("all doors", || {
                let kinds = proc::kinds(pid);
                (of(&kinds, "anon_inode:[eventfd]") == doors + 3).then_some(kinds)
            });
            // The life-line; the listener, and its second descriptor to accept from; the rendezvous.
            assert_eq!(of(&kinds, "socket"), 5, "{kinds:?}");
            assert_eq!(of(&kinds, "/memfd:ferricorn-board"), 1, "{kinds:?}");
            // The error log.
            assert_eq!(of(&kinds, "pipe"), 1, "{kinds:?}");
            assert_eq!(of(&kinds, "anon_inode:[eventpoll]"), 1, "{kinds:?}");
            // All doors, what wakes the loop (signals and streams), what wakes upgraded connections when
            // the worker retires. And that is all.
            assert_eq!(kinds.len(), doors + 3 + 8, "{kinds:?}");
        }
        doors
    };
    assert_eq!(assert_all(&server), 8);
    for _ in 0..20 {
        server.reload();
    }
    // A door stays for the next worker on its seat; of seats there are as many as were ever taken at
    // once.
    assert!(assert_all(&server) <= 16);
    server.stop();
}

#[test]
fn a_handler_past_timeout_is_diagnosed_and_its_worker_replaced() {
    for path in ["/hang?slow", "/spin"] {
        let server = testapp().args("--workers 1 --timeout 1").ready();
        let pid = server.who().pid;
        let begun = Instant::now();
        let mut client = busy(&server, path);
        let line = server.wait("has a request past timeout");
        assert!(line.contains(&format!("(pid {pid})")), "{line}");
        assert!(line.contains(&format!("GET {path}")), "{line}");
        assert!(line.contains("from 127.0.0.1"), "{line}");
        let age = line
            .split(" for ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
        assert!(age.is_some_and(|age| (1.0..30.0).contains(&age)), "{line}");
        // The server's clock began a moment before this one: with the turn of its loop.
        assert!(begun.elapsed() >= Duration::from_millis(900));
        assert_eq!(client.answer().unwrap().status, 504);
        // The diagnosis comes before the death.
        let text = server.log.text();
        server.wait(&format!("(pid {pid}) was killed by SIGKILL from us"));
        assert!(text.find("past timeout") < text.find("SIGKILL from us").or(Some(usize::MAX)));
        server.log.wait_count(0, "Worker 0 is ready", 2);
        assert_eq!(server.get("/").status, 200);
        server.stop();
    }
}

/// `timeout` counts the handler's time, not the client's.
#[test]
fn a_slow_client_is_not_taken_for_a_slow_handler() {
    let server = testapp().args("--workers 1 --timeout 0.5").ready();
    let pid = server.who().pid;
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
        .unwrap();
    let mut stream = busy(&server, "/stream-slowly");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        stream.head().err();
        if stream.chunk().is_err() {
            break;
        }
    }
    client.send("cd").unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(server.who().pid, pid);
    assert_eq!(server.log.count(0, "past timeout"), 0);
    drop(stream);
    server.stop();
}

#[test]
fn a_worker_whose_loop_is_silent_is_replaced() {
    let server = testapp().args("--workers 2 --heartbeat-timeout 1").ready();
    let pid = server.who().pid;
    server.kill_worker(pid, Signal::SIGSTOP);
    let line = server.wait("is silent past heartbeat-timeout");
    assert!(line.contains(&format!("(pid {pid})")), "{line}");
    assert!(line.contains("state T (stopped)"), "{line}");
    server.wait(&format!("(pid {pid}) was killed by"));
    server.log.wait_count(0, "is ready (pid", 3);
    let workers = server.wait_workers(2);
    assert!(!workers.contains(&pid));
    server.stop();
}

/// Idle workers are not silent ones: their loop turns now and then.
#[test]
fn an_idle_worker_is_not_taken_for_a_silent_one() {
    let server = testapp().args("--workers 2 --heartbeat-timeout 1").ready();
    let before = server.wait_workers(2);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(server.wait_workers(2), before);
    assert_eq!(server.log.count(0, "silent"), 0);
    server.stop();
}

#[test]
fn a_respawned_worker_that_hangs_at_boot_is_killed_and_tried_again() {
    let server = testapp().args("--workers 2 --boot-timeout 0.5").ready();
    server.control("boot-hang", "");
    let mark = server.mark();
    let who = server.who();
    server.kill_worker(who.pid, Signal::SIGKILL);
    let hung = format!("Worker {} (pid ", who.slot);
    server.wait_after(mark, &format!("worker {} was not ready within", who.slot));
    let line = server.wait_after(mark, ") was not ready within boot-timeout");
    assert!(line.contains(&hung), "{line}");
    assert_ne!(server.who().slot, who.slot);
    server.uncontrol("boot-hang");
    server.wait_after(mark, &format!("Worker {} is ready", who.slot));
    server.wait_workers(2);
    server.stop();
}

fn assert_nobody_survives(mut server: Server) {
    server.signal(Signal::SIGKILL);
    let begun = Instant::now();
    server.wait_exit();
    server.until("the workers to end", || {
        proc::group(server.pid).is_empty().then_some(())
    });
    // Not the 30 s of a deadline.
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn nobody_survives_a_killed_master() {
    let server = testapp().args("--workers 3").ready();
    let _hangs = busy(&server, "/hang");
    server.until_in_handler(1);
    let _spins = busy(&server, "/spin");
    let mut streams = busy(&server, "/stream-slowly");
    streams.head().unwrap();
    assert_nobody_survives(server);
}

#[test]
fn nobody_survives_a_killed_master_during_boot() {
    let server = testapp()
        .args("--workers 3")
        .control("boot-hang", "")
        .spawn();
    server.log.wait_count(0, "Booting worker", 3);
    server.until("the workers to boot", || {
        let workers = server.workers();
        let asleep = |pid: &i32| proc::stat(*pid).is_some_and(|stat| stat.state == 'S');
        (workers.len() == 3 && workers.iter().all(asleep)).then_some(())
    });
    assert_nobody_survives(server);
}

#[test]
fn nobody_survives_a_killed_master_as_another_user() {
    if !support::is_root("another user") {
        return;
    }
    let server = testapp().args("--workers 2 --user nobody").ready();
    let _hangs = busy(&server, "/hang");
    server.until_in_handler(1);
    assert_nobody_survives(server);
}

#[test]
fn a_panic_is_a_500_and_its_worker_retires_while_the_others_serve() {
    let server = testapp().args("--workers 2").ready();
    for path in ["/panic", "/begin-panic"] {
        let mark = server.mark();
        let load = Load::start(server.address(), 4, "/who");
        load.wait_good(20);
        let answer = server.get(path);
        assert_eq!(answer.status, 500);
        assert!(!answer.text().contains("test wants"), "{answer:?}");
        server.wait_after(mark, "the test wants");
        server.wait_after(mark, "exited (replaced after a panic)");
        load.wait_good(20);
        load.stop().assert_nothing_lost();
        server.wait_workers(2);
    }
    server.stop();
}

#[test]
fn an_error_is_a_500_whose_text_goes_to_the_log_only() {
    let server = testapp().args("--workers 1").ready();
    let pid = server.who().pid;
    let answer = server.get("/error");
    assert_eq!(answer.status, 500);
    assert!(!answer.text().contains("test wants"), "{answer:?}");
    // The line has the pid of whoever wrote it, not of its parent.
    let line = server.wait("the test wants an error");
    assert!(line.contains(&format!("[{pid}] [ERROR]")), "{line}");
    assert_eq!(server.who().pid, pid);
    server.stop();
}

/// So that no cache keeps a truncated body.
#[test]
fn a_stream_that_fails_after_its_head_is_cut_not_ended() {
    let server = testapp().args("--workers 1").ready();
    let mut client = busy(&server, "/stream-panic");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap().unwrap(), b"some");
    assert!(client.chunk().is_err());
    server.wait("the test wants a stream to panic");
    server.stop();
}

#[test]
fn recycling_after_max_requests_under_load_loses_nothing() {
    let server = testapp()
        .args("--workers 2 --max-requests 100 --max-requests-jitter 20")
        .ready();
    let load = Load::start(server.address(), 6, "/who");
    server
        .log
        .wait_count(0, "exited (replaced after max-requests)", 6);
    let report = load.stop();
    report.assert_nothing_lost();
    assert!(report.by.len() >= 6, "{report:?}");
    server.wait_workers(2);
    server.stop();
}

/// Those that came with a reload had all of them blocked: they were forked before the next image of the
/// master had let them through.
#[test]
fn workers_of_a_reload_hear_signals() {
    let server = testapp().args("--workers 2").ready();
    server.take_over();
    for pid in server.workers() {
        let mark = server.mark();
        server.kill_worker(pid, Signal::SIGTERM);
        server.wait_after(
            mark,
            &format!("(pid {pid}) exited (replaced after SIGTERM)"),
        );
    }
    server.stop();
}

/// A worker that is told to go by somebody else is replaced before it drains.
#[test]
fn sigterm_to_a_worker_replaces_it_before_it_leaves() {
    let server = testapp().args("--workers 1").ready();
    let load = Load::start(server.address(), 4, "/who");
    load.wait_good(20);
    let pid = server.who().pid;
    let mark = server.mark();
    server.kill_worker(pid, Signal::SIGTERM);
    server.wait_after(
        mark,
        &format!("(pid {pid}) exited (replaced after SIGTERM)"),
    );
    load.wait_good(20);
    load.stop().assert_nothing_lost();
    let text = server.log.text();
    let ready = text.rfind("Worker 0 is ready").unwrap();
    assert!(
        ready < text.find("replaced after SIGTERM").unwrap(),
        "{text}"
    );
    server.stop();
}

/// `pkill -HUP` by name reaches the workers too; in Gunicorn that kills them.
#[test]
fn signals_that_are_the_masters_do_nothing_to_a_worker() {
    let server = testapp().args("--workers 1").ready();
    let pid = server.who().pid;
    let mark = server.mark();
    for _ in 0..100 {
        for signal in [
            Signal::SIGHUP,
            Signal::SIGWINCH,
            Signal::SIGTTIN,
            Signal::SIGTTOU,
        ] {
            server.kill_worker(pid, signal);
        }
    }
    assert_eq!(server.who().pid, pid);
    assert_eq!(server.wait_workers(1), [pid]);
    // Nor did the master see any of them.
    assert_eq!(server.log.count(mark, "Handling signal"), 0);
    server.stop();
}

#[test]
fn int_and_quit_to_a_worker_end_it_and_the_master_replaces_it() {
    let server = testapp().args("--workers 1").ready();
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let (pid, mark) = (server.who().pid, server.mark());
        server.kill_worker(pid, signal);
        server.wait_after(mark, &format!("(pid {pid}) exited"));
        server.wait_after(mark, "Worker 0 is ready");
        assert_ne!(server.who().pid, pid);
    }
    server.stop();
}

/// The master waits for events: it does nothing when nothing happens.
#[test]
fn idle_processes_use_next_to_no_time() {
    let server = testapp().args("--workers 2").ready();
    let workers = server.wait_workers(2);
    let pids: Vec<i32> = workers.into_iter().chain([server.pid]).collect();
    let ticks = || {
        pids.iter()
            .map(|pid| proc::stat(*pid).unwrap().ticks)
            .collect::<Vec<_>>()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(3));
    for (before, after) in before.into_iter().zip(ticks()) {
        // Ticks are 10 ms.
        assert!(after - before <= 3, "{before} then {after}");
    }
    server.stop();
}

/// A crash loop must not become a storm of forks.
#[test]
fn a_worker_that_dies_again_and_again_waits_ever_longer() {
    let server = testapp().args("--workers 2").ready();
    let mark = server.mark();
    for death in 1..=4 {
        server.kill_worker(server.pid_of(0), Signal::SIGKILL);
        server.log.wait_count(mark, "Worker 0 is ready", death);
    }
    let delay = |line: &String| {
        let rest = line.rsplit_once("its successor comes in ")?.1;
        rest.strip_suffix(" s")?.parse::<f64>().ok()
    };
    let lines = server.log.matching(mark, "worker 0 lived briefly");
    let delays: Vec<f64> = lines.iter().filter_map(delay).collect();
    assert_eq!(delays.len(), 4, "{lines:?}");
    // From the next one on the place is suspended; before, 0.1 s, doubled each time, spread by half either way.
    for (n, delay) in delays.iter().enumerate() {
        let middle = 0.1 * f64::from(1 << n);
        assert!((middle * 0.4..=middle * 1.6).contains(delay), "{delays:?}");
    }
    // The other one was let alone.
    assert_eq!(server.log.count(mark, "worker 1"), 0);
    server.stop();
}

/// Gunicorn exits when a replacement cannot boot, and takes the healthy workers along.
#[test]
fn the_master_outlives_any_number_of_boot_failures() {
    let mut server = testapp().args("--workers 2").ready();
    server.control("load-fail", "");
    let mark = server.mark();
    for pid in server.wait_workers(2) {
        server.kill_worker(pid, Signal::SIGKILL);
    }
    for slot in 0..2 {
        let reason = format!("worker {slot} cannot boot: the test wants load to fail");
        server.log.wait_count(mark, &reason, 3);
    }
    assert!(server.is_running());
    server.uncontrol("load-fail");
    assert_eq!(server.get("/").status, 200);
    server.wait_workers(2);
    server.stop();
}

/// Accept only what can start now: nothing waits behind a handler while another worker is free.
#[test]
fn a_busy_worker_takes_no_connection_that_another_could_serve() {
    // Who waited behind a handler would wait for longer than the client does.
    let server = testapp().args("--workers 3 --timeout 600").ready();
    let _one = busy(&server, "/hang");
    server.until_in_handler(1);
    let _two = busy(&server, "/hang");
    server.until_in_handler(2);
    for _ in 0..100 {
        assert_eq!(server.get("/").status, 200);
    }
    server.signal(Signal::SIGINT);
}

#[test]
fn a_stopped_process_does_not_hold_up_a_stop() {
    for (signal, arguments) in [
        (Signal::SIGTERM, "--graceful-timeout 0.3"),
        (Signal::SIGINT, "--graceful-timeout 600"),
    ] {
        let mut server = testapp().args("--workers 2").args(arguments).ready();
        let pid = server.pid_of(1);
        server.kill_worker(pid, Signal::SIGSTOP);
        server.signal(signal);
        assert_eq!(server.wait_exit().code(), Some(0), "{}", server.log.text());
        assert!(
            server
                .log
                .count(0, &format!("(pid {pid}) was killed by SIGKILL from us"))
                == 1
        );
        assert!(proc::group(server.pid).is_empty());
    }
}

/// At any point: during the first boot, a reload, a respawn, a stop.
#[test]
fn nobody_survives_a_master_killed_at_any_point() {
    for round in 0..12 {
        let server = testapp().args("--workers 4").spawn();
        match round % 4 {
            0 => drop(server.wait("Booting worker")),
            1 => {
                server.wait("Ready: serving at");
                server.signal(Signal::SIGHUP);
                server.wait("generation 2");
            }
            2 => {
                server.wait("Ready: serving at");
                server.kill_worker(server.pid_of(2), Signal::SIGKILL);
                server.wait("was killed by SIGKILL");
            }
            _ => {
                server.wait("Ready: serving at");
                server.signal(Signal::SIGTERM);
                server.wait("stopping");
            }
        }
        if proc::is_alive(server.pid) {
            assert_nobody_survives(server);
        }
    }
}
