//! Memory that runs out: the OOM killer is named, and where there is none for an extra worker, workers are
//! replaced in place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::http::Client;
use crate::support::load::Load;
use crate::support::{Server, Start, can_unshare, is_root, proc, testapp};

/// A server that reads `name` where everybody else reads a file of /proc.
fn pretending(name: &str, text: &str) -> Option<Start> {
    if !is_root("another /proc") || !can_unshare(&["--mount"]) {
        return None;
    }
    let start = testapp();
    start.dir().write(name, text);
    let path = start.dir().path(name);
    let shell = format!(
        "mount --bind {} /proc/{name} && exec \"$@\"",
        path.display()
    );
    Some(start.wrapped(&["unshare", "--mount", "sh", "-c", &shell, "sh"]))
}

/// Says how much memory there is, and waits until the master has read it.
fn set_free(server: &Server, kibibytes: u64) {
    let text = format!("MemAvailable: {kibibytes} kB\n");
    server.dir.write("meminfo", &text);
    server.until("the master to know", || {
        let status = server.status();
        let weighed = |worker: &serde_json::Value| worker["rss"].as_u64().is_some();
        let workers = status["workers"].as_array()?;
        (status["free_memory"] == kibibytes * 1024 && workers.iter().all(weighed)).then_some(())
    });
}

#[test]
fn without_memory_for_an_extra_worker_they_are_replaced_in_place() {
    let Some(start) = pretending("meminfo", "MemAvailable: 1048576 kB\n") else {
        return;
    };
    let server = start.args("--workers 2").ready();
    let load = Load::start(server.address(), 2, "/sleep/1");
    let mut events = server.control_client();
    events.say("{\"command\":\"events\"}\n");
    set_free(&server, 64);
    for (in_place, kibibytes) in [(true, 64), (false, 1 << 20)] {
        set_free(&server, kibibytes);
        let (mark, old) = (server.mark(), server.pid_of(0));
        server.ctl_done(&format!("drain {old}"));
        let gone = format!("(pid {old}) exited (replaced as the operator asked)");
        server.wait_after(mark, &gone);
        server.wait_after(mark, "Worker 0 is ready");
        let text = server.log.text();
        let booted = text.rfind("Booting worker with pid").unwrap();
        assert_eq!(text.find(&gone).unwrap() < booted, in_place, "{text}");
        server.wait_workers(2);
    }
    assert_eq!(server.log.count(0, "no memory for an extra worker"), 1);
    assert_eq!(events.event("memory-short")["free"], 64 * 1024);
    load.stop().assert_nothing_lost();
    server.stop();
}

/// More workers would take it from those that there are.
#[test]
fn without_memory_no_more_workers_are_started_whatever_there_is_to_do() {
    let Some(start) = pretending("meminfo", "MemAvailable: 64 kB\n") else {
        return;
    };
    let server = start.args("--workers 1 --max-workers 4").ready();
    set_free(&server, 64);
    let load = Load::start(server.address(), 8, "/sleep/20");
    server.wait("no memory for the further workers that are wanted");
    assert_eq!(server.status()["wanted"], 1);
    let mark = server.mark();
    set_free(&server, 1 << 20);
    server.wait_after(mark, "2 workers wanted after 1:");
    load.stop().assert_nothing_lost();
    server.stop();
}

/// What is tried should not cost what serves.
#[test]
fn a_program_on_trial_is_the_first_to_go_when_memory_runs_out() {
    let score = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    let server = testapp().args("--workers 1").ready();
    let own = score(server.pid);
    let old = server.workers();
    server.control("boot-wait", "");
    let mark = server.mark();
    server.signal(Signal::SIGHUP);
    server.wait_after(mark, "waiting in boot");
    let mut tried = proc::children(server.pid);
    tried.retain(|pid| !old.contains(pid));
    let [trial] = tried[..] else {
        panic!("{tried:?}")
    };
    for pid in [trial].into_iter().chain(proc::children(trial)) {
        assert_eq!(score(pid), "1000\n");
    }
    server.uncontrol("boot-wait");
    server.wait_after(mark, "Reload complete");
    for pid in [server.pid].into_iter().chain(server.wait_workers(1)) {
        assert_eq!(score(pid), own);
    }
    server.stop();
}

/// The kernel's count is asked, and no guess is made.
#[test]
fn a_worker_is_said_to_be_the_oom_killers_only_where_the_kernel_has_counted_one() {
    let Some(start) = pretending("vmstat", "oom_kill 7\n") else {
        return;
    };
    let server = start.args("--workers 1").ready();
    for (count, words, cause) in [
        (7, "was killed by SIGKILL from outside", "killed"),
        (
            8,
            "was killed by the OOM killer (the machine counts one more)",
            "oom",
        ),
    ] {
        let (pid, mark) = (server.pid_of(0), server.mark());
        let mut client = Client::connect(server.address()).unwrap();
        client
            .send("GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        server.wait_after(mark, "in the handler of /hang");
        server.dir.write("vmstat", &format!("oom_kill {count}\n"));
        server.kill_worker(pid, Signal::SIGKILL);
        let line = server.wait_after(mark, &format!("(pid {pid}) was killed by"));
        assert!(line.contains(words), "{line}");
        assert!(line.contains(" while serving GET /hang from "), "{line}");
        server.wait_after(mark, "Worker 0 is ready");
        assert_eq!(server.status()["restarts"][cause], 1);
    }
    server.stop();
}

#[test]
fn a_worker_that_outgrows_its_control_group_is_named_as_the_oom_killers() {
    let Some(group) = Group::limited(96 << 20) else {
        return;
    };
    let enter = format!(
        "echo $$ > {}/cgroup.procs && exec \"$@\"",
        group.path.display()
    );
    let server = testapp()
        .wrapped(&["sh", "-c", &enter, "sh"])
        .args("--workers 1")
        .ready();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /memory-hog HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert!(client.answer().is_err());
    let line = server.wait(&format!(
        "was killed by the OOM killer ({} of its control group counts one more)",
        group.counter
    ));
    assert!(line.contains("while serving GET /memory-hog"), "{line}");
    server.wait("Worker 0 is ready");
    server.stop();
}

/// A control group with little memory, removed when dropped.
struct Group {
    path: PathBuf,
    /// The file in which the kernel counts those that it kills.
    counter: &'static str,
}

impl Group {
    /// Of version 2 below the group that we are in, if that has been given the controller; else of
    /// version 1, beside the others.
    fn limited(bytes: u64) -> Option<Group> {
        let second = Group::second(bytes);
        let found = second.or_else(|why| Group::first(bytes).map_err(|other| (why, other)));
        let skipped = |why: &_| eprintln!("skipped: a control group with a limit: {why:?}");
        found.inspect_err(skipped).ok()
    }

    fn second(bytes: u64) -> Result<Group, String> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let own = Path::new("/sys/fs/cgroup").join(own.ok_or("there is no cgroup v2")?);
        let controls = std::fs::read_to_string(own.join("cgroup.subtree_control"));
        if !controls.is_ok_and(|text| text.split_whitespace().any(|name| name == "memory")) {
            return Err("the group has not been given the controller for those below".to_owned());
        }
        let limits = [
            ("memory.max", bytes.to_string()),
            ("memory.swap.max", "0".into()),
        ];
        Group::made(&own, "memory.events", &limits)
    }

    fn first(bytes: u64) -> Result<Group, String> {
        let limits = [
            ("memory.limit_in_bytes", bytes.to_string()),
            ("memory.swappiness", "0".into()),
        ];
        let hierarchy = Path::new("/sys/fs/cgroup/memory");
        Group::made(hierarchy, "memory.oom_control", &limits)
    }

    fn made(
        above: &Path,
        counter: &'static str,
        limits: &[(&str, String)],
    ) -> Result<Group, String> {
        let path = above.join(format!("ferricorn-test-{}", std::process::id()));
        let made = std::fs::create_dir(&path);
        made.map_err(|error| format!("{}: {error}", path.display()))?;
        let group = Group { path, counter };
        for (file, value) in limits {
            let written = std::fs::write(group.path.join(file), value);
            written.map_err(|error| format!("{file}: {error}"))?;
        }
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            if std::fs::remove_dir(&self.path).is_ok() {
                return;
            }
            // Its processes are reaped by now, and leave it a moment later.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
