//! The process itself: pid file, ids, environment, background, PID 1, names.

use std::fs::File;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use crate::support::{self, Dir, ferricorn, http, proc, testapp};

#[test]
fn the_pid_file_is_locked_while_the_server_runs_and_goes_with_it() {
    let dir = Dir::new();
    let path = dir.path("app.pid");
    let start = || ferricorn().args("hello --workers 1 --pidfile").arg(&path);
    let server = start().ready();
    let content = std::fs::read_to_string(&path).unwrap();
    assert_eq!(content, format!("{}\n", server.pid));
    let second = start().run();
    assert_eq!(second.code, Some(1));
    let who = format!("process {} has it locked", server.pid);
    assert!(second.log.contains(&who), "{}", second.log);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    server.reload();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    server.stop();
    assert!(!path.exists());
}

#[test]
fn a_stale_pid_file_is_taken_over() {
    let dir = Dir::new();
    let path = dir.path("app.pid");
    let start = || ferricorn().args("hello --workers 1 --pidfile").arg(&path);
    let mut killed = start().ready();
    killed.signal(Signal::SIGKILL);
    killed.wait_exit();
    assert!(path.exists());
    let server = start().ready();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        format!("{}\n", server.pid)
    );
    server.stop();
    // Nor does a number that the system has given to somebody else hold it.
    dir.write("app.pid", "1\n");
    start().ready().stop();
}

#[test]
fn workers_become_the_user_for_good() {
    if !support::is_root("another user") {
        return;
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let server = testapp().args("--workers 1 --user nobody").ready();
    let status = server.get("/status");
    let line = |name: &str| {
        let line = status
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // Real, effective, saved and file system.
    assert_eq!(line("Uid:"), vec![nobody.uid.to_string(); 4]);
    assert_eq!(line("Gid:"), vec![nobody.gid.to_string(); 4]);
    // Not root's.
    assert_eq!(line("Groups:"), [nobody.gid.to_string()]);
    assert_eq!(server.get("/become-root").text(), "Err(EPERM)");
    // Nothing is blocked that it would need to hear.
    assert_eq!(line("SigBlk:"), ["0000000000000000"]);
    assert_eq!(proc::status(server.pid, "Uid").unwrap(), "0\t0\t0\t0");
    server.stop();
}

#[test]
fn a_group_alone_and_initgroups_are_obeyed() {
    if !support::is_root("another user") {
        return;
    }
    let server = testapp().args("--workers 1 --group 12345").ready();
    let pid = server.who().pid;
    assert_eq!(
        proc::status(pid, "Gid").unwrap(),
        "12345\t12345\t12345\t12345"
    );
    assert_eq!(proc::status(pid, "Groups").unwrap(), "12345");
    assert_eq!(proc::status(pid, "Uid").unwrap(), "0\t0\t0\t0");
    server.stop();
    let server = testapp()
        .args("--workers 1 --user nobody --group 12345 --initgroups")
        .ready();
    let pid = server.who().pid;
    assert_eq!(
        proc::status(pid, "Gid").unwrap(),
        "12345\t12345\t12345\t12345"
    );
    assert!(proc::status(pid, "Groups").unwrap().contains("12345"));
    server.stop();
}

#[test]
fn a_user_that_cannot_be_taken_is_an_error() {
    let ended = ferricorn().args("--user no-such-user").run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.log.contains("unknown user \"no-such-user\""),
        "{}",
        ended.log
    );
}

#[test]
fn directory_mask_and_variables_reach_the_workers() {
    let dir = Dir::new();
    let server = testapp()
        .env("GONE", "1")
        .args("--workers 1 --umask 0027 --env COLOUR=blue --env EMPTY= --chdir")
        .arg(dir.root())
        .ready();
    assert_eq!(
        server.get("/directory").text(),
        dir.root().to_str().unwrap()
    );
    assert_eq!(server.get("/environment/COLOUR").text(), "blue");
    assert_eq!(server.get("/environment/EMPTY").status, 200);
    assert_eq!(server.get("/environment/GONE").text(), "1");
    let pid = server.who().pid;
    assert_eq!(proc::status(pid, "Umask").unwrap(), "0027");
    server.stop();
}

#[test]
fn a_reload_changes_the_variables_of_the_workers() {
    let server = testapp()
        .file("workers = 1\n[env]\nCOLOUR = \"blue\"\n")
        .ready();
    assert_eq!(server.get("/environment/COLOUR").text(), "blue");
    server
        .dir
        .write("ferricorn.toml", "workers = 1\n[env]\nSHAPE = \"round\"\n");
    server.take_over();
    assert_eq!(server.get("/environment/COLOUR").status, 404);
    assert_eq!(server.get("/environment/SHAPE").text(), "round");
    server.stop();
}

#[test]
fn processes_are_named_for_what_they_are() {
    let server = testapp().args("--workers 2 --proc-name shop").ready();
    let master = proc::command_line(server.pid);
    assert!(
        master.contains("master") && master.contains("[shop]"),
        "{master}"
    );
    for pid in server.wait_workers(2) {
        let worker = proc::command_line(pid);
        assert!(
            worker.contains("worker") && worker.contains("[shop]"),
            "{worker}"
        );
    }
    server.stop();
}

/// Locks that a thread of the master holds at a fork would be held for ever in the worker.
#[test]
fn a_thread_before_the_server_is_refused_with_its_name() {
    let ended = testapp()
        .args("--workers 1")
        .env("TESTAPP_THREAD", "too-early")
        .run();
    assert!(matches!(ended.code, Some(1 | 3)), "{ended:?}");
    assert!(ended.log.contains("too-early"), "{}", ended.log);
}

#[test]
fn threads_of_the_workers_are_no_threads_of_the_master() {
    let server = testapp().args("--workers 2").ready();
    for _ in 0..20 {
        assert_eq!(server.get("/thread").status, 200);
    }
    server.reload();
    assert_eq!(proc::threads(server.pid).len(), 1);
    server.stop();
}

/// What waits in a buffer at a fork would come out of every process.
#[test]
fn buffered_output_appears_once() {
    let mut server = testapp()
        .args("--workers 4")
        .env("TESTAPP_PRINT", "only once")
        .ready();
    server.reload();
    server.signal(Signal::SIGTERM);
    server.wait_exit();
    let output = server.output.text();
    // Once by each image of the master.
    assert_eq!(output.matches("only once").count(), 2, "{output}");
}

#[test]
fn what_a_handler_prints_is_not_lost() {
    let mut server = testapp().args("--workers 1").ready();
    assert_eq!(server.get("/print").status, 200);
    server.signal(Signal::SIGTERM);
    server.wait_exit();
    assert_eq!(server.output.text().trim(), "printed by a handler");
}

/// What a library registered for exit(3) in the master is not for the workers to run.
#[test]
fn destructors_run_in_the_master_only() {
    let mut server = testapp().args("--workers 3").control("exited", "").ready();
    server.take_over();
    let mark = server.mark();
    server.get("/panic");
    server.wait_after(mark, "exited (replaced after a panic)");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert_eq!(
        server.dir.read("control/exited"),
        format!("{}\n", server.pid)
    );
}

/// A blocked signal or an ignored SIGPIPE would be inherited by everything that a handler executes.
#[test]
fn what_a_handler_executes_has_its_signals() {
    let server = testapp().args("--workers 1").ready();
    let answer = server.get("/status-of-child");
    let mask = |name: &str| {
        let line = answer
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk:"), 0);
    for signal in [
        Signal::SIGPIPE,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGCHLD,
    ] {
        assert_eq!(mask("SigIgn:") >> (signal as i32 - 1) & 1, 0, "{signal}");
    }
    server.stop();
}

/// A daemon's pid, from its pid file; it is ended with the test.
struct Daemon(i32);

impl Drop for Daemon {
    fn drop(&mut self) {
        if proc::is_alive(self.0) {
            let _ = kill(Pid::from_raw(self.0), Signal::SIGTERM);
        }
    }
}

#[test]
fn a_daemon_returns_when_it_serves_and_lets_the_terminal_go() {
    let dir = Dir::new();
    let socket = dir.path("app.sock");
    let ended = ferricorn()
        // Not where it is started, which goes when `run` is over: each image begins there.
        .wrapped(&["sh", "-c", "cd /; exec \"$@\"", "sh"])
        .bind(format!("unix:{}", socket.display()))
        .args("hello --workers 2 --daemon --pidfile")
        .arg(dir.path("app.pid"))
        .arg("--error-logfile")
        .arg(dir.path("error.log"))
        .run();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    // It serves by now.
    let mut client = http::Client::connect_unix(&socket).unwrap();
    assert_eq!(client.get("/").unwrap().text(), "Hello, World!");
    drop(client);
    let pid: i32 = dir.read("app.pid").trim().parse().unwrap();
    let daemon = Daemon(pid);
    let standard: Vec<String> = proc::descriptors(pid).into_values().take(3).collect();
    assert_eq!(standard, ["/dev/null"; 3]);
    // A session of its own, whose leader it is not, so that it never gets a terminal.
    let session = nix::unistd::getsid(Some(Pid::from_raw(pid))).unwrap();
    assert_ne!(session, nix::unistd::getsid(None).unwrap());
    assert_ne!(session.as_raw(), pid);
    // The image that a reload executes is the same daemon, with the lock of the pid file.
    kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    wait_for(|| dir.read("error.log").contains("Reload complete"));
    assert_eq!(dir.read("app.pid"), format!("{pid}\n"));
    let second = ferricorn()
        .args("hello --pidfile")
        .arg(dir.path("app.pid"))
        .run();
    assert!(second.log.contains("has it locked"), "{}", second.log);
    let standard: Vec<String> = proc::descriptors(pid).into_values().take(3).collect();
    assert_eq!(standard, ["/dev/null"; 3]);
    let workers = proc::children(pid);
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    wait_gone(&workers.into_iter().chain([pid]).collect::<Vec<_>>());
    assert!(!dir.path("app.pid").exists() && !socket.exists());
    assert!(dir.read("error.log").contains("Ready: serving at"));
    drop(daemon);
}

fn wait_gone(pids: &[i32]) {
    wait_for(|| !pids.iter().any(|pid| proc::is_alive(*pid)));
}

#[track_caller]
fn wait_for(done: impl Fn() -> bool) {
    let give_up = std::time::Instant::now() + support::PATIENCE;
    while !done() {
        assert!(std::time::Instant::now() < give_up, "it does not come");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_daemon_whose_start_fails_says_so_with_its_exit_code() {
    for (control, code) in [("load-fail", 4), ("boot-fail", 3)] {
        let ended = testapp()
            .args("--workers 1 --daemon")
            .control(control, "")
            .run();
        assert_eq!(ended.code, Some(code), "{}", ended.log);
        assert!(ended.log.contains("the test wants"), "{}", ended.log);
    }
    let ended = ferricorn().bind("fd://99").args("--daemon").run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("cannot bind fd://99"), "{}", ended.log);
}

/// As in a container: it inherits every orphan of its namespace, and TERM reaches it although the
/// kernel shields PID 1 from signals without a handler.
#[test]
fn as_pid_1_it_reaps_strangers_and_stops_on_term() {
    if !support::can_unshare(&["--pid", "--fork", "--mount-proc"]) {
        return;
    }
    // The shell becomes the server with exec; before, it leaves a grandchild behind that soon is an
    // orphan, and dead when nobody has the other end of the pipe any more.
    let script = "(cat pipe >cat & exec true) & wait; exec \"$@\"";
    let start = testapp();
    let pipe = start.dir().path("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let writer = File::options().read(true).write(true).open(&pipe).unwrap();
    let mut server = start
        .wrapped(&[
            "unshare",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .args("--workers 2")
        .ready();
    let line = server.wait("Listening at:");
    assert!(line.contains("(1)"), "{line}");
    let inner = proc::children(server.pid);
    let [master] = inner[..] else {
        panic!("{inner:?}")
    };
    drop(writer);
    server.wait("an orphan (pid");
    assert!(proc::zombies(master).is_empty());
    // Its workers die and come back as anywhere.
    let mark = server.mark();
    let victim = proc::children(master)[0];
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    server.wait_after(mark, "was killed by SIGKILL");
    server.wait_after(mark, "is ready (pid");
    assert_eq!(server.get("/").status, 200);
    kill(Pid::from_raw(master), Signal::SIGTERM).unwrap();
    assert_eq!(server.wait_exit().code(), Some(0), "{}", server.log.text());
}

/// Ctrl-C in a terminal goes to master and workers alike: one clean end.
#[test]
fn an_interrupt_to_the_whole_group_is_a_clean_stop() {
    let mut server = testapp().args("--workers 3").ready();
    nix::sys::signal::killpg(Pid::from_raw(server.pid), Signal::SIGINT).unwrap();
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(proc::group(server.pid).is_empty(), "processes are left");
    assert_eq!(server.log.count(0, "[ERROR]"), 0, "{}", server.log.text());
}

#[test]
fn a_signal_that_comes_before_anything_else_still_stops() {
    for _ in 0..20 {
        let mut server = testapp().args("--workers 2").spawn();
        server.wait("Starting ferricorn");
        server.signal(Signal::SIGTERM);
        let status = server.wait_exit();
        assert_eq!(status.code(), Some(0), "{status:?}\n{}", server.log.text());
        assert!(proc::group(server.pid).is_empty(), "processes are left");
    }
}

/// The signals that the parent ignored or blocked would be deaf in a handler's own children.
#[test]
fn a_worker_has_the_signal_mask_of_its_start() {
    let server = testapp().args("--workers 1").ready();
    let pid = server.who().pid;
    assert_eq!(proc::status(pid, "SigBlk").unwrap(), "0000000000000000");
    assert_eq!(
        proc::status(server.pid, "SigBlk").unwrap(),
        "0000000000000000"
    );
    server.stop();
}

/// What a worker takes for random must not have been copied with the master's memory.
#[test]
fn no_two_workers_make_the_same_random_name() {
    let server = testapp().args("--workers 3").ready();
    let all = server.wait_workers(3).len();
    // Connections that stay spread over the workers sooner or later; one after the other need not.
    let mut clients = Vec::new();
    let mut names = std::collections::BTreeMap::new();
    server.until("answers of all workers", || {
        let mut client = http::Client::connect(server.address()).unwrap();
        for _ in 0..4 {
            let answer = client.get("/random").unwrap();
            let (pid, name) = answer.text().split_once(' ').unwrap();
            let before = names.insert(name.to_owned(), pid.to_owned());
            assert_eq!(before, None, "{name} again, by {pid}");
        }
        clients.push(client);
        let pids: std::collections::BTreeSet<_> = names.values().collect();
        (pids.len() == all).then_some(())
    });
    drop(clients);
    server.stop();
}
