//! Two minutes of whatever may befall workers, under load: who was with a worker that was killed fails,
//! and nobody else; and nothing is left behind.
//!
//! A worker is stopped before it is killed, so that it can be counted exactly whom it had. Which kills,
//! reloads and pauses come when is the same in every run but for the clock. `CHAOS_SECONDS` makes it
//! shorter or longer.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::load::Load;
use support::{Server, proc, testapp};

const WORKERS: usize = 4;
const CLIENTS: usize = 12;
/// By which workers wake each other.
const DOOR: &str = "descriptor anon_inode:[eventfd]";

#[test]
fn who_fails_was_with_a_killed_worker_and_nothing_is_left_behind() {
    let seconds = std::env::var("CHAOS_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(120);
    let server = testapp()
        .args("--max-requests 3000 --max-requests-jitter 500 --graceful-timeout 10 --pid pid")
        .file(&format!("workers = {WORKERS}\n"))
        .ready();
    let before = belongings(&server);
    let load = Load::keep_alive(server.address(), CLIENTS, "/sleep/2");
    load.wait_good(100);
    let (mut random, mut chaos) = (Random(7), Chaos::default());
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        match random.below(12) {
            0..3 => chaos.kill(&server, &mut random, Signal::SIGKILL),
            3 => chaos.kill(&server, &mut random, Signal::SIGSEGV),
            4 => chaos.kill(&server, &mut random, Signal::SIGABRT),
            5 => server.signal(Signal::SIGHUP),
            6 => server.take_over(),
            7 => pause(&server, &mut random),
            8 => recycle(&server, &mut random),
            9 => server.signal(Signal::SIGTTIN),
            10 => server.signal(Signal::SIGTTOU),
            _ => server.signal(Signal::SIGUSR1),
        }
        std::thread::sleep(Duration::from_millis(200 + random.below(1500)));
        assert!(proc::is_alive(server.pid), "{}", server.log.text());
    }
    server.take_over();
    load.wait_good(100);
    let report = load.stop();
    println!(
        "{} requests, {} with the {} workers that were killed; {} generations",
        report.good + report.bad.len(),
        chaos.failures,
        chaos.killed,
        server.log.count(0, "Reload complete") + 1
    );
    assert_eq!(report.refused, 0, "{:?}", report.bad);
    assert_eq!(report.bad.len(), chaos.failures, "{:?}", report.bad);

    // As many workers as in the beginning, whatever TTIN and TTOU have left.
    server.dir.write("ferricorn.toml", "workers = 3\n");
    server.take_over();
    server
        .dir
        .write("ferricorn.toml", &format!("workers = {WORKERS}\n"));
    server.take_over();
    let after = server.until("all to be as it was", || {
        let after = belongings(&server);
        let same = |what: &&String| **what == DOOR || before.get(*what) == after.get(*what);
        let all = before.keys().chain(after.keys());
        all.into_iter().all(|what| same(&what)).then_some(after)
    });
    // There is one for each place on the scoreboard that was ever taken.
    let places = 2 * (WORKERS + 4);
    assert!(after[DOOR] <= before[DOOR] + places, "{after:?}");
    let (pid, dir) = (server.pid, server.dir.path(""));
    server.stop();
    assert!(proc::group(pid).is_empty());
    assert!(!dir.join("pid").exists());
}

/// What was done to workers.
#[derive(Default)]
struct Chaos {
    killed: usize,
    failures: usize,
}

impl Chaos {
    /// Ends a worker, and counts whom it had.
    fn kill(&mut self, server: &Server, random: &mut Random, signal: Signal) {
        let Some(pid) = any(server, random) else {
            return;
        };
        tell(server, pid, Signal::SIGSTOP);
        // Or it has left just now.
        let stopped = server.until("it to stand still", || match proc::stat(pid) {
            Some(stat) if stat.state == 'T' => Some(true),
            Some(stat) if stat.state != 'Z' => None,
            _ => Some(false),
        });
        if !stopped {
            return;
        }
        let sockets: BTreeSet<String> = proc::descriptors(pid).into_values().collect();
        let had = &sockets & &established();
        let mark = server.mark();
        tell(server, pid, signal);
        // After SIGKILL there may be nobody to be told.
        tell(server, pid, Signal::SIGCONT);
        // That it stands still is told of as well.
        server.until("its end to be told of", || {
            let told = |end| server.log.count(mark, &format!("(pid {pid}) {end}")) > 0;
            (told("was killed by") || told("exited")).then_some(())
        });
        self.killed += 1;
        // Those that are there still were on their way to another worker.
        self.failures += had.difference(&established()).count();
    }
}

/// A worker that is there, if there is one; nobody's but the master's, and none on trial.
fn any(server: &Server, random: &mut Random) -> Option<i32> {
    let mut workers = server.workers();
    workers.retain(|pid| proc::command_line(*pid).starts_with("ferricorn: worker "));
    let count = u64::try_from(workers.len()).unwrap();
    (count > 0).then(|| workers[usize::try_from(random.below(count)).unwrap()])
}

/// Sends a signal to a worker, if it has not left meanwhile. Its master alone reaps it, so its number is
/// nobody else's as long as it is there.
fn tell(server: &Server, pid: i32, signal: Signal) {
    let parent = proc::stat(pid).map(|stat| stat.parent);
    if parent == Some(server.pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// A worker stands still for a while.
fn pause(server: &Server, random: &mut Random) {
    let Some(pid) = any(server, random) else {
        return;
    };
    tell(server, pid, Signal::SIGSTOP);
    std::thread::sleep(Duration::from_millis(random.below(500)));
    tell(server, pid, Signal::SIGCONT);
}

/// A worker is replaced, kindly.
fn recycle(server: &Server, random: &mut Random) {
    if let Some(pid) = any(server, random) {
        tell(server, pid, Signal::SIGTERM);
    }
}

/// The TCP connections of all processes whose other side is there (`/proc/net/tcp`, proc(5)), as they
/// are named among descriptors.
fn established() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let fields =
        |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    let lines = table.lines().skip(1).map(fields);
    let established = lines.filter(|fields| fields[3] == "01");
    established
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect()
}

/// All that a server has: processes by what they are, descriptors of the master by their kind, threads,
/// files.
fn belongings(server: &Server) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    let mut add = |what: String| *all.entry(what).or_insert(0) += 1;
    for pid in proc::children(server.pid) {
        let title = proc::command_line(pid);
        let words: Vec<&str> = title.split_whitespace().take(2).collect();
        let zombie = if proc::is_alive(pid) { "" } else { " (dead)" };
        add(format!("process {}{zombie}", words.join(" ")));
    }
    proc::kinds(server.pid)
        .into_iter()
        .for_each(|kind| add(format!("descriptor {kind}")));
    proc::threads(server.pid)
        .into_iter()
        .for_each(|_| add("thread".to_owned()));
    let mut directories = vec![server.dir.path("")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            }
            add(format!("file {}", entry.path().display()));
        }
    }
    all
}

/// Numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
