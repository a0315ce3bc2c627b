//! Workers that have had their time or their memory, and places that flap.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::http::Client;
use crate::support::load::Load;
use crate::support::{Server, testapp};

/// The worker of a place, as the status has it.
fn worker(server: &Server, slot: u64) -> serde_json::Value {
    let status = server.status();
    let workers = status["workers"].as_array().unwrap();
    let found = workers.iter().find(|worker| worker["slot"] == slot);
    found.unwrap_or_else(|| panic!("{status}")).clone()
}

#[test]
fn workers_are_replaced_after_their_lifetime_and_nothing_is_lost() {
    let server = testapp()
        .args("--workers 2 --max-lifetime 0.8 --max-lifetime-jitter 0.5")
        .ready();
    let load = Load::start(server.address(), 4, "/who");
    let mut watcher = server.control_client();
    watcher.say("{\"command\":\"events\"}\n");
    let event = watcher.event("worker-retiring");
    assert_eq!(event["cause"], "replaced after max-lifetime");
    server
        .log
        .wait_count(0, "exited (replaced after max-lifetime)", 3);
    load.stop().assert_nothing_lost();
    assert!(server.status()["restarts"]["max-lifetime"].as_u64() >= Some(3));
    server.stop();
}

#[test]
fn a_worker_that_grows_over_max_memory_is_replaced_and_nothing_is_lost() {
    let server = testapp()
        .args("--workers 2 --max-memory 64MiB --max-memory-samples 2")
        .ready();
    let load = Load::start(server.address(), 2, "/sleep/2");
    load.wait_good(10);
    let large = server.get("/grow/100").who();
    let line = server.wait("is to be replaced because of max-memory (it has");
    assert!(line.contains(&format!("(pid {})", large.pid)), "{line}");
    let gone = format!(
        "(pid {}) exited (replaced because of max-memory)",
        large.pid
    );
    server.wait(&gone);
    load.wait_good(10);
    load.stop().assert_nothing_lost();
    // The new one was ready before, and the other one has nothing to do with it.
    assert_eq!(server.log.count(0, "is to be replaced"), 1);
    let text = server.log.text();
    let again = format!("Worker {} is ready", large.slot);
    assert!(text.rfind(&again) < text.find(&gone), "{text}");
    let found = server.until("what it has", || worker(&server, 0)["rss"].as_u64());
    assert!(found > 1 << 20);
    server.stop();
}

#[test]
fn beyond_max_memory_hard_a_worker_is_killed_with_what_it_serves_in_the_log() {
    let server = testapp()
        .args("--workers 2 --max-memory-hard 64MiB")
        .ready();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /swell/100 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let line = server.wait("more than max-memory-hard");
    assert!(
        line.contains("was killed by SIGKILL from us: it had"),
        "{line}"
    );
    assert!(line.contains("GET /swell/100"), "{line}");
    assert!(client.answer().is_err());
    server.until("two that serve", || {
        (server.status()["ready"] == 2).then_some(())
    });
    assert_eq!(server.status()["restarts"]["max-memory-hard"], 1);
    server.stop();
}

#[test]
fn a_start_beyond_max_memory_hard_fails_with_the_reason() {
    let ended = testapp().args("--workers 1 --max-memory-hard 4096").run();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let reason = "worker 0 was past max-memory-hard before it was ready";
    assert!(ended.log.contains(reason), "{ended:?}");
}

/// Else it would replace them for ever.
#[test]
fn a_limit_that_every_worker_is_past_at_once_is_named_and_ignored() {
    let server = testapp()
        .args("--workers 1 --max-memory 4096 --max-memory-samples 1")
        .ready();
    let line = server.wait("max-memory is too small: worker 0 had");
    assert!(line.contains("ignored until a reload"), "{line}");
    assert_eq!(server.log.count(0, "because of max-memory (it has"), 1);
    assert_eq!(server.status()["ignored_limits"], json!(["max-memory"]));
    assert!(server.ctl_done("status").contains("too small, and ignored"));
    let pid = server.who().pid;
    let mark = server.mark();
    server.reload();
    // What is known is not learned again.
    server.wait_after(mark, "max-memory is too small: worker 0 had");
    assert_eq!(server.log.count(mark, "because of max-memory (it has"), 0);
    assert_ne!(server.who().pid, pid);
    server.stop();
}

#[test]
fn a_place_that_flaps_stays_vacant_while_the_others_serve_until_a_reload() {
    let server = testapp().args("--workers 2").ready();
    for n in 1..=5 {
        let mark = server.mark();
        let pid = server.pid_of(1);
        server.kill_worker(pid, Signal::SIGKILL);
        server.wait_after(mark, &format!("(pid {pid}) was killed"));
        if n < 5 {
            server.wait_after(mark, "Worker 1 is ready");
        }
    }
    let line = server.wait("worker 1 fails again and again while others serve");
    assert!(line.contains("its place stays vacant for"), "{line}");
    let status = server.status();
    assert_eq!(status["suspended"][0]["slot"], 1);
    assert!(status["suspended"][0]["seconds"].as_f64() > Some(30.0));
    assert!(server.ctl_done("status").contains("suspended: worker 1"));
    assert_eq!(server.who().slot, 0);
    let mark = server.mark();
    server.reload();
    server.wait_after(mark, "Worker 1 is ready");
    assert_eq!(server.status()["suspended"], json!([]));
    server.stop();
}

/// Whoever they are for: twice as many as may be in a second at once, and then one after the other.
#[test]
fn no_more_workers_are_started_in_a_time_than_spawn_rate() {
    let begun = Instant::now();
    let server = testapp().args("--workers 1 --spawn-rate 1").ready();
    let mut vacant = 0;
    for n in 2..=5 {
        let (pid, mark) = (server.pid_of(0), server.mark());
        // What the operator wants is no failure, so nothing else delays the next one.
        server.ctl_done(&format!("kill {pid}"));
        server.wait_after(mark, &format!("(pid {pid}) was killed"));
        vacant += usize::from(server.status()["workers"] == json!([]));
        server.log.wait_count(0, "Worker 0 is ready", n);
    }
    // Two at once, and three at one a second; without a bound nobody would see a place vacant.
    assert!(begun.elapsed() >= Duration::from_secs(3));
    assert!(vacant > 0);
    assert_eq!(server.log.count(0, "Booting worker with pid"), 5);
    server.stop();
}
