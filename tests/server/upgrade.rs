//! SIGHUP with another program on disk: the same process goes on as that, or nothing has changed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::load::Load;
use crate::support::{Dir, Server, ferricorn, install, proc, program, testapp, testapp_path};

/// A directory for programs, on the file system of the tests.
pub(crate) struct Programs(pub(crate) Dir);

impl Programs {
    pub(crate) fn new() -> Programs {
        Programs(Dir::new())
    }

    /// The test application, whose `/version` answers this.
    pub(crate) fn version(&self, name: &str, version: u32) -> PathBuf {
        let path = self.0.path(name);
        let mut bytes = fs::read(testapp_path()).unwrap();
        bytes.extend(format!("version {version}").bytes());
        install(&path, &bytes, 0o755);
        path
    }

    /// Puts a program in the place of another one, as mv(1) does.
    pub(crate) fn replace(&self, path: &Path, by: &Path) {
        let new = self.0.path("new");
        fs::hard_link(by, &new).unwrap();
        fs::rename(&new, path).unwrap();
        // The two may be one file already, which rename(2) leaves alone.
        let _ = fs::remove_file(&new);
    }
}

/// The pid of the trial that a log has last told of.
fn trial(server: &Server, mark: usize) -> i32 {
    let line = server.wait_after(mark, "Trying ");
    let (_, rest) = line.rsplit_once("(pid ").unwrap();
    rest.trim_end_matches(')').parse().unwrap()
}

#[test]
fn fifty_reloads_leave_neither_descriptors_nor_processes_behind() {
    let server = testapp()
        .args("--workers 2 --pidfile app.pid --error-logfile - --access-logfile access.log")
        .ready();
    // After the first one there is a door for the extra worker of a roll.
    server.take_over();
    server.wait_workers(2);
    let before = proc::kinds(server.pid);
    let load = Load::start(server.address(), 4, "/who");
    for _ in 0..50 {
        load.wait_good(2);
        server.reload();
    }
    load.wait_good(20);
    load.stop().assert_nothing_lost();
    server.wait_workers(2);
    server.wait_kinds(&before);
    assert_eq!(server.who().generation, 52);
    assert_eq!(server.dir.read("app.pid"), format!("{}\n", server.pid));
    server.stop();
}

#[test]
fn what_breaks_on_trial_leaves_no_trace() {
    let server = testapp()
        .args("--boot-timeout 1")
        .no_bind()
        .file("workers = 2\nbind = \"127.0.0.1:0\"\n")
        .ready();
    let before = (server.wait_workers(2), proc::kinds(server.pid));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = format!(
        "workers = 2\nbind = [\"127.0.0.1:0\", \"unix:new.sock\", \"{}\"]\n",
        taken.local_addr().unwrap()
    );
    let named = "workers = 2\npidfile = \"new.pid\"\nbind = [\"127.0.0.1:0\", \"unix:new.sock\"]\n";
    for (control, text, file, reason) in [
        ("load-fail", "", named, "the test wants load to fail"),
        ("boot-panic", "", named, "the test wants boot to panic"),
        ("boot-exit", "", named, "exited with code 7"),
        ("boot-hang", "", named, "boot-timeout (1 s"),
        (
            "main",
            "exit",
            named,
            "the program exited with code 9 without an answer",
        ),
        ("main", "hang", named, "no answer within 11 s"),
        ("nothing", "", "workers = 'x'\n", "ferricorn.toml:1"),
        ("nothing", "", &busy, "address in use"),
        ("nothing", "", "chdir = \"/nonexistent\"\n", "/nonexistent"),
    ] {
        server.control(control, text);
        server.dir.write("ferricorn.toml", file);
        let mark = server.mark();
        let line = server.reload_fails();
        assert!(line.contains(reason), "{line}");
        let trial = trial(&server, mark);
        server.until("its processes to end", || {
            proc::group(trial).is_empty().then_some(())
        });
        assert_eq!(server.wait_workers(2), before.0);
        server.wait_kinds(&before.1);
        for name in ["new.sock", "new.pid"] {
            assert!(!server.dir.path(name).exists(), "{control}: {name} is left");
        }
        server.uncontrol(control);
    }
    assert_eq!(server.who().generation, 1);
    server.dir.write("ferricorn.toml", named);
    server.reload();
    assert_eq!(server.dir.read("new.pid"), format!("{}\n", server.pid));
    server.stop();
}

#[test]
fn a_trial_that_is_killed_takes_its_worker_with_it() {
    let server = testapp().args("--workers 1").ready();
    server.control("boot-hang", "");
    let mark = server.mark();
    server.signal(Signal::SIGHUP);
    let trial = trial(&server, mark);
    server.wait_after(mark, "Booting a worker on trial");
    // The master has not reaped it: it waits for an answer.
    kill(Pid::from_raw(trial), Signal::SIGKILL).unwrap();
    let line = server.wait_after(mark, "reload failed");
    assert!(
        line.contains("was killed by SIGKILL without an answer"),
        "{line}"
    );
    server.until("its worker to end", || {
        proc::group(trial).is_empty().then_some(())
    });
    server.wait_workers(1);
    server.uncontrol("boot-hang");
    server.reload();
    server.stop();
}

#[test]
fn a_stop_at_any_moment_of_a_reload_is_obeyed() {
    for wait in 0..24 {
        let mut server = testapp().args("--workers 2").ready();
        server.signal(Signal::SIGHUP);
        // Before, in and after trial, exec and roll, wherever they are by then.
        std::thread::sleep(Duration::from_millis(8 * wait));
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait_exit().code(), Some(0), "{}", server.log.text());
        assert!(proc::group(server.pid).is_empty(), "processes are left");
    }
}

/// One that was counted by the image before, and not acted upon yet, is acted upon by the next.
#[test]
fn no_signal_is_lost_around_an_exec() {
    let server = testapp().args("--workers 1").ready();
    for _ in 0..60 {
        let mark = server.mark();
        server.signal(Signal::SIGHUP);
        server.wait_after(mark, "It can serve");
        server.signal(Signal::SIGUSR1);
        server.wait_after(mark, "Logs opened anew");
        server.wait_after(mark, "Reload complete");
    }
    server.stop();
}

#[test]
fn workers_that_die_while_the_program_is_executed_are_replaced() {
    let server = testapp().args("--workers 3").ready();
    for round in 0..8 {
        let mark = server.mark();
        server.signal(Signal::SIGHUP);
        server.wait_after(
            mark,
            if round % 2 == 0 {
                "It can serve"
            } else {
                "Executed"
            },
        );
        for pid in server.workers() {
            // One that has ended since is not reaped before the master says so, or is nobody's.
            if proc::stat(pid).is_some_and(|stat| stat.parent == server.pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        server.wait_workers(3);
        server.until("a new generation alone", || {
            (server.who().generation == round + 2).then_some(())
        });
        server.until("the roll to end", || {
            let complete = server.log.count(mark, "Reload complete");
            (complete > 0).then_some(())
        });
        server.wait_workers(3);
        assert!(proc::zombies(server.pid).is_empty());
    }
    server.stop();
}

#[test]
fn a_file_changed_after_its_trial_counts_at_the_next_reload() {
    let server = testapp().file("workers = 1\n").ready();
    server.dir.write("ferricorn.toml", "workers = 3\n");
    server.control("boot-wait", "");
    let mark = server.mark();
    server.signal(Signal::SIGHUP);
    server.wait_after(mark, "waiting in boot");
    server.dir.write("ferricorn.toml", "workers = none\n");
    server.uncontrol("boot-wait");
    server.wait_after(mark, "Reload complete");
    server.wait_workers(3);
    assert!(server.reload_fails().contains("ferricorn.toml:1"));
    server.stop();
}

#[test]
fn every_image_finds_all_as_the_first_start_did() {
    let odd = OsStr::from_bytes(b"\xff odd");
    let shell = "ulimit -Sn 300; umask 027; exec \"$@\"";
    let server = testapp()
        .wrapped(&["sh", "-c", shell, "sh"])
        .env("ODD", odd)
        .control("originals", "")
        .file("workers = 1\nchdir = \"/\"\numask = 0o077\nenv = [\"ODD=even\"]\n")
        .ready();
    let limits = |pid: i32| fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let before = (limits(server.pid), proc::status(server.pid, "Umask"));
    for _ in 0..3 {
        server.take_over();
        assert_eq!(
            (limits(server.pid), proc::status(server.pid, "Umask")),
            before
        );
        assert_eq!(server.get("/environment/ODD").text(), "even");
        assert_eq!(server.get("/directory").text(), "/");
    }
    // The first, and then one on trial and one that serves each time.
    let lines = server.dir.read("control/originals");
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert!(lines.iter().all(|line| line == &lines[0]), "{lines:?}");
    assert!(
        lines[0].contains(" 300 ") && lines[0].contains("xFF odd"),
        "{lines:?}"
    );
    // Nothing of the hand-over is left for anybody to find.
    assert_eq!(server.get("/environment/FERRICORN_HANDOVER").status, 404);
    server.stop();
}

#[test]
fn a_symlink_in_the_path_is_followed_anew() {
    let programs = Programs::new();
    for (release, version, workers) in [("1", 1, 1), ("2", 2, 2)] {
        fs::create_dir_all(programs.0.path(&format!("{release}/bin"))).unwrap();
        programs.version(&format!("{release}/bin/app"), version);
        // Names start where the server was started, wherever it is now.
        let file = format!("workers = {workers}\nchdir = \"/\"\n");
        programs
            .0
            .write(&format!("{release}/ferricorn.toml"), &file);
    }
    let current = programs.0.path("current");
    let switch = |release: &str| {
        let _ = fs::remove_file(&current);
        symlink(release, &current).unwrap();
    };
    let text = current.to_str().unwrap();
    // From within it; by its absolute path; and found in PATH.
    for (shell, called) in [
        (
            format!("cd {text}; exec \"$@\""),
            PathBuf::from("./bin/app"),
        ),
        (format!("cd {text}; exec \"$@\""), current.join("bin/app")),
        (
            format!("cd {text}; PATH={text}/bin:$PATH; exec \"$@\""),
            PathBuf::from("app"),
        ),
    ] {
        switch("1");
        let server = program(called).wrapped(&["sh", "-c", &shell, "sh"]).ready();
        assert_eq!(server.get("/version").text(), "1");
        server.wait_workers(1);
        switch("2");
        server.take_over();
        assert_eq!(server.get("/version").text(), "2");
        server.wait_workers(2);
        server.stop();
    }
}

#[test]
fn a_symlink_that_is_switched_counts_from_the_next_trial_on() {
    let programs = Programs::new();
    for (release, version) in [("1", 1), ("2", 2)] {
        fs::create_dir(programs.0.path(release)).unwrap();
        programs.version(&format!("{release}/app"), version);
        programs
            .0
            .write(&format!("{release}/ferricorn.toml"), "workers = 1\n");
    }
    let current = programs.0.path("current");
    let switch = |release: &str| {
        let _ = fs::remove_file(&current);
        symlink(release, &current).unwrap();
    };
    let shell = format!("cd {}; exec \"$@\"", current.display());
    for preload in ["", "--preload"] {
        switch("1");
        let server = program("./app")
            .args(preload)
            .wrapped(&["sh", "-c", &shell, "sh"])
            .ready();
        let serves = |release: &str| {
            let directory = programs.0.path(release);
            assert_eq!(server.get("/version").text(), release);
            assert_eq!(server.get("/directory").text(), directory.to_str().unwrap());
        };
        let replaced = || {
            let before = server.who().pid;
            kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
            server.until("its end", || (!proc::is_alive(before)).then_some(()));
        };
        serves("1");
        // Nobody has asked for a reload: what dies comes back where it was.
        switch("2");
        replaced();
        serves("1");
        // Switched while the second one is on trial.
        server.control("boot-wait", "");
        let mark = server.mark();
        server.signal(Signal::SIGHUP);
        server.wait_after(mark, "waiting in boot");
        switch("1");
        server.uncontrol("boot-wait");
        server.wait_after(mark, "the old workers have gone");
        serves("2");
        // And nothing is left of where the next ones would begin.
        fs::remove_file(&current).unwrap();
        assert!(server.reload_fails().contains("No such file or directory"));
        replaced();
        serves("2");
        server.stop();
    }
}

#[test]
fn names_and_arguments_need_not_be_utf_8() {
    let programs = Programs::new();
    let odd = programs.0.root().join(OsStr::from_bytes(b"a\xffp"));
    install(&odd, &fs::read(testapp_path()).unwrap(), 0o755);
    let server = program(&odd)
        .args("--workers 1 --pidfile")
        .arg(OsStr::from_bytes(b"p\xffd"))
        .bind("unix:a.sock")
        .spawn();
    server.wait("Ready: serving at");
    for _ in 0..2 {
        server.reload();
    }
    let pidfile = server.dir.root().join(OsStr::from_bytes(b"p\xffd"));
    assert_eq!(
        fs::read_to_string(&pidfile).unwrap(),
        format!("{}\n", server.pid)
    );
    server.stop();
    assert!(!pidfile.exists());
}

#[test]
fn logs_are_reopened_by_an_image_that_did_not_open_them() {
    let server = testapp()
        .file("workers = 1\naccess-logfile = \"access.log\"\nerror-logfile = \"error.log\"\n")
        .bind("unix:a.sock")
        .spawn();
    let wait = |file: &str, text: &str| {
        server.until(text, || server.dir.read(file).contains(text).then_some(()));
    };
    wait("error.log", "Ready: serving at");
    server.signal(Signal::SIGHUP);
    wait("error.log", "Reload complete: generation 2");
    // A generation that does not come up leaves the image before in charge of its log.
    server.control("boot-fail", "0");
    server.signal(Signal::SIGHUP);
    wait("error.log", "reload failed");
    server.uncontrol("boot-fail");
    for name in ["access.log", "error.log"] {
        fs::rename(server.dir.path(name), server.dir.path(&format!("{name}.1"))).unwrap();
    }
    server.signal(Signal::SIGUSR1);
    wait("error.log", "Logs opened anew");
    let mut client =
        crate::support::http::Client::connect_unix(&server.dir.path("a.sock")).unwrap();
    // A worker hears of the new log beside its clients, and may have answered one of them first.
    server.until("/rotated", || {
        assert_eq!(client.get("/rotated").unwrap().status, 404);
        let log = server.dir.read("access.log");
        log.contains("/rotated").then_some(())
    });
    drop(client);
    server.stop();
}

#[test]
fn a_roll_that_fails_after_its_trial_keeps_who_is_left() {
    let server = testapp().args("--workers 3").ready();
    let old = server.wait_workers(3);
    server.control("boot-fail", "1");
    let line = server.reload_fails();
    assert!(line.contains("the test wants boot to fail"), "{line}");
    // Slot 0 was replaced; the others are the old ones, supervised by an image that did not make
    // them.
    server.until("the old worker 0 to leave", || {
        let now = server.workers();
        (now.len() == 3 && now.iter().filter(|pid| old.contains(pid)).count() == 2).then_some(())
    });
    let victim = *server
        .workers()
        .iter()
        .find(|pid| old.contains(pid))
        .unwrap();
    server.kill_worker(victim, Signal::SIGKILL);
    server.wait(&format!("(pid {victim}) was killed by SIGKILL"));
    server.uncontrol("boot-fail");
    server.wait_workers(3);
    server.reload();
    let now = server.wait_workers(3);
    assert!(now.iter().all(|pid| !old.contains(pid)));
    server.stop();
}

/// The next image has not made them, and knows of them what the one before knew.
#[test]
fn what_is_known_of_server_and_workers_goes_along_with_an_exec() {
    let server = testapp().args("--workers 3").ready();
    let old = server.wait_workers(3);
    for _ in 0..20 {
        server.get("/who");
    }
    let known = |status: &serde_json::Value| {
        let workers = status["workers"].as_array().unwrap().iter();
        let one = |worker: &serde_json::Value| {
            let words = ["pid", "slot", "generation", "requests"];
            let words = words.map(|word| worker[word].as_u64().unwrap());
            let uptime = status["uptime"].as_f64().unwrap();
            (words, uptime - worker["age"].as_f64().unwrap())
        };
        workers.map(one).collect::<Vec<_>>()
    };
    let before = server.status();
    // The roll ends after its first worker.
    server.control("boot-fail", "1");
    server.reload_fails();
    server.until("the old worker 0 to leave", || {
        let now = server.workers();
        (now.len() == 3 && now.iter().filter(|pid| old.contains(pid)).count() == 2).then_some(())
    });
    let after = server.status();
    let older: Vec<_> = known(&before)
        .into_iter()
        .filter(|(words, _)| words[1] > 0)
        .collect();
    let kept: Vec<_> = known(&after)
        .into_iter()
        .filter(|(words, _)| words[2] == 1)
        .collect();
    assert_eq!((older.len(), kept.len()), (2, 2), "{before} {after}");
    for ((before, began), (after, begins)) in older.iter().zip(&kept) {
        assert_eq!(before, after);
        assert!(
            (began - begins).abs() < 0.01,
            "at {began} s, then at {begins} s"
        );
    }
    assert_eq!(
        (&before["reloads"], &after["reloads"]),
        (&0.into(), &1.into())
    );
    assert!(after["uptime"].as_f64() > before["uptime"].as_f64());
    let sum = |status: &serde_json::Value| status["totals"]["requests"].as_u64();
    assert!(
        sum(&before) >= Some(20) && sum(&after) >= sum(&before),
        "{after}"
    );
    server.stop();
}

/// The master can be killed at any time; what it tries must not outlive it.
#[test]
fn a_killed_master_takes_its_trial_with_it() {
    let mut server = testapp().args("--workers 1").ready();
    server.control("boot-hang", "");
    let mark = server.mark();
    server.signal(Signal::SIGHUP);
    let trial = trial(&server, mark);
    server.wait_after(mark, "Booting a worker on trial");
    server.signal(Signal::SIGKILL);
    server.wait_exit();
    server.until("all to end", || {
        let left = [proc::group(trial), proc::group(server.pid)].concat();
        left.is_empty().then_some(())
    });
}

/// What was proved and cannot be executed after all is given back.
#[test]
fn an_exec_that_fails_leaves_everything_as_it_was() {
    let programs = Programs::new();
    let app = programs.version("app", 1);
    let server = program(&app).file("workers = 2\n").ready();
    let before = (server.wait_workers(2), proc::kinds(server.pid));
    let pidfile = server.dir.path("app.pid");
    let file = format!("workers = 2\npidfile = \"{}\"\n", pidfile.display());
    server.dir.write("ferricorn.toml", &file);
    server.control("boot-wait", "");
    let mark = server.mark();
    server.signal(Signal::SIGHUP);
    server.wait_after(mark, "waiting in boot");
    let mode = |mode| fs::set_permissions(&app, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o600);
    server.uncontrol("boot-wait");
    let line = server.wait_after(mark, "reload failed");
    assert!(line.contains("cannot execute"), "{line}");
    assert_eq!(server.wait_workers(2), before.0);
    server.wait_kinds(&before.1);
    assert!(!pidfile.exists());
    assert_eq!(server.who().generation, 1);
    mode(0o700);
    server.take_over();
    assert_eq!(server.who().generation, 2);
    server.stop();
}

/// Even then somebody supervises the workers that are there.
#[test]
fn an_image_that_has_nothing_to_spawn_from_takes_care_of_the_old_workers() {
    let start = testapp().file("workers = 2\n");
    fs::create_dir(start.dir().path("here")).unwrap();
    let server = start.ready();
    let old = server.wait_workers(2);
    server
        .dir
        .write("ferricorn.toml", "workers = 2\nchdir = \"here\"\n");
    server.control("boot-wait", "");
    let mark = server.mark();
    server.signal(Signal::SIGHUP);
    server.wait_after(mark, "waiting in boot");
    let (here, there) = (server.dir.path("here"), server.dir.path("there"));
    fs::rename(&here, &there).unwrap();
    server.uncontrol("boot-wait");
    server.wait_after(mark, "Executed");
    let line = server.wait_after(mark, "reload failed");
    assert!(line.contains("ferricorn.toml:2: chdir"), "{line}");
    assert_eq!(server.wait_workers(2), old);
    // One that dies is buried, and missed.
    server.kill_worker(old[0], Signal::SIGKILL);
    server.wait_after(mark, "cannot boot: ferricorn.toml:2: chdir");
    assert_eq!(server.wait_workers(1), [old[1]]);
    assert_eq!(server.who().generation, 1);
    fs::rename(&there, &here).unwrap();
    server.reload();
    assert!(!server.wait_workers(2).contains(&old[1]));
    server.stop();
}

#[test]
fn a_reload_can_ask_a_worker_of_the_new_program_first() {
    let file = |path: &str| format!("workers = 2\nreload-check-path = \"{path}\"\n");
    let server = testapp()
        .args("--boot-timeout 1")
        .file(&file("/who"))
        .ready();
    let before = (server.wait_workers(2), proc::kinds(server.pid));
    for (path, reason) in [
        ("/answer/503", "GET /answer/503 was answered 503"),
        ("/panic", "GET /panic was answered 500"),
        // Its dying breath.
        ("/exit/7", "GET /exit/7 was answered 502"),
        ("/hang", "boot-timeout is over"),
        ("who", "expected a path"),
    ] {
        server.dir.write("ferricorn.toml", &file(path));
        let line = server.reload_fails();
        assert!(line.contains(reason), "{line}");
        assert_eq!(server.wait_workers(2), before.0);
        server.wait_kinds(&before.1);
    }
    for path in ["/no-such-page", "/who"] {
        server.dir.write("ferricorn.toml", &file(path));
        server.reload();
    }
    server.stop();
}

/// A file that begins with `#!`: what runs is its interpreter, and the file is one of its arguments.
#[test]
fn a_script_whose_interpreter_is_the_program_is_executed_again() {
    let start = ferricorn()
        .wrapped(&["sh", "-c", "PATH=; shift; exec hello \"$@\"", "sh"])
        .args("--workers 1");
    let interpreter = Path::new(env!("CARGO_BIN_EXE_ferricorn"));
    let script = format!("#!{}\n", interpreter.display());
    install(&start.dir().path("hello"), script.as_bytes(), 0o755);
    let server = start.ready();
    for _ in 0..2 {
        server.take_over();
        assert_eq!(server.get("/").text(), "Hello, World!");
    }
    let running = fs::read_link(format!("/proc/{}/exe", server.pid)).unwrap();
    assert_eq!(running, interpreter);
    server.stop();
}

/// The variable of the hand-over is the server's own.
#[test]
fn a_hand_over_that_nobody_made_is_refused() {
    for (text, reason) in [
        (
            "nonsense",
            "FERRICORN_HANDOVER is for the server itself to set",
        ),
        ("next:99", "cannot go on: Bad file descriptor"),
        ("next:0", "cannot go on"),
        ("trial:0:99", "there is nobody to answer to"),
    ] {
        let ended = testapp().env("FERRICORN_HANDOVER", text).run();
        assert_eq!(ended.code, Some(1), "{text}");
        assert!(ended.log.contains(reason), "{text}: {}", ended.log);
    }
}
