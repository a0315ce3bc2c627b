//! SIGUSR2: a second master beside the first one, and what becomes of the two.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::notify::{changes, managed};
use crate::support::http::Client;
use crate::support::load::Load;
use crate::support::{Server, install, proc, program, testapp};
use crate::upgrade::Programs;

/// Tells the second master.
fn tell(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// The pid after the last "pid " of a line.
fn pid_in(line: &str) -> i32 {
    let (_, rest) = line.rsplit_once("pid ").unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// USR2, until the second master serves.
#[track_caller]
fn upgrade(server: &Server) -> i32 {
    let mark = server.mark();
    server.signal(Signal::SIGUSR2);
    pid_in(&server.wait_after(mark, "the second master serves"))
}

/// USR2 that comes to nothing; the line that says why.
#[track_caller]
fn upgrade_fails(server: &Server) -> String {
    let mark = server.mark();
    server.signal(Signal::SIGUSR2);
    server.wait_after(mark, "the second master does not serve")
}

#[track_caller]
fn until_gone(server: &Server, pid: i32) {
    server.until("the end of a master", || {
        (!proc::is_alive(pid)).then_some(())
    });
}

/// The first master has ended, and the second one knows.
#[track_caller]
fn until_alone(server: &Server) {
    server.wait(&format!("the first master (pid {}) is gone", server.pid));
}

/// Ends the second master after the first one; nothing is left of either.
#[track_caller]
fn end(server: &Server, second: i32) {
    tell(second, Signal::SIGTERM);
    server.until("the end of all", || {
        proc::group(server.pid).is_empty().then_some(())
    });
}

/// The master of who answers.
fn master(server: &Server) -> i32 {
    let mut parent = None;
    // A worker that has answered may be gone when it is looked for.
    server.until("a master", || {
        parent = proc::stat(server.who().pid).map(|stat| stat.parent);
        parent
    })
}

/// Answers come from the workers of this master alone.
#[track_caller]
fn only(server: &Server, pid: i32) {
    for _ in 0..20 {
        assert_eq!(master(server), pid, "{}", server.log.text());
    }
}

#[test]
fn a_whole_upgrade_under_load_loses_nothing() {
    let programs = Programs::new();
    let (one, two) = (programs.version("one", 1), programs.version("two", 2));
    let app = programs.0.path("app");
    fs::hard_link(&one, &app).unwrap();
    let server = program(&app).args("--workers 2 --pidfile app.pid").ready();
    let load = Load::start(server.address(), 6, "/who");
    load.wait_good(50);
    programs.replace(&app, &two);
    let second = upgrade(&server);
    assert_eq!(server.dir.read("app.pid"), format!("{}\n", server.pid));
    assert_eq!(server.dir.read("app.pid.2"), format!("{second}\n"));
    assert!(proc::command_line(second).contains("second master"));
    load.wait_good(50);
    for version in ["1", "2"] {
        server.until("both to answer", || {
            (server.get("/version").text() == version).then_some(())
        });
    }

    server.signal(Signal::SIGWINCH);
    assert_eq!(server.wait_workers(1), [second]);
    only(&server, second);
    assert_eq!(server.get("/version").text(), "2");
    load.wait_good(50);

    server.signal(Signal::SIGQUIT);
    until_alone(&server);
    assert_eq!(server.dir.read("app.pid"), format!("{second}\n"));
    assert!(!server.dir.path("app.pid.2").exists());
    assert!(!proc::command_line(second).contains("second"));
    load.wait_good(50);

    // It is a master like any other.
    let mark = server.mark();
    tell(second, Signal::SIGHUP);
    server.wait_after(mark, "Reload complete");
    load.wait_good(50);
    load.stop().assert_nothing_lost();
    end(&server, second);
    assert!(!server.dir.path("app.pid").exists());
}

#[test]
fn a_whole_roll_back_under_load_loses_nothing() {
    let programs = Programs::new();
    let (one, two) = (programs.version("one", 1), programs.version("two", 2));
    let app = programs.0.path("app");
    fs::hard_link(&one, &app).unwrap();
    let server = program(&app).args("--workers 2 --pidfile app.pid").ready();
    let load = Load::start(server.address(), 6, "/who");
    programs.replace(&app, &two);
    for stop in [Signal::SIGTERM, Signal::SIGQUIT] {
        let second = upgrade(&server);
        server.signal(Signal::SIGWINCH);
        assert_eq!(server.wait_workers(1), [second]);
        load.wait_good(50);
        // The program that has been well, not the one that is on disk.
        let mark = server.mark();
        server.signal(Signal::SIGHUP);
        server.wait_after(mark, "the workers come back");
        server.log.wait_count(mark, "is ready (pid ", 2);
        load.wait_good(50);
        if stop == Signal::SIGQUIT {
            // At once is for workers that have nothing to do.
            let mark = server.mark();
            tell(second, Signal::SIGWINCH);
            server.wait_after(mark, "the workers retire");
            server.until("them to go", || {
                proc::children(second).is_empty().then_some(())
            });
        }
        let mark = server.mark();
        tell(second, stop);
        let line = server.wait_after(mark, "this one has everything again");
        assert!(line.contains(&format!("(pid {second}) exited with code 0")));
        assert!(!server.dir.path("app.pid.2").exists());
        only(&server, server.pid);
        assert_eq!(server.get("/version").text(), "1");
        load.wait_good(50);
    }
    load.stop().assert_nothing_lost();
    assert_eq!(server.dir.read("app.pid"), format!("{}\n", server.pid));
    server.stop();
}

#[test]
fn a_second_master_that_cannot_serve_changes_nothing() {
    let programs = Programs::new();
    let good = programs.version("good", 1);
    let app = programs.0.path("app");
    fs::hard_link(&good, &app).unwrap();
    let server = program(&app)
        .no_bind()
        .file("workers = 2\nboot-timeout = 1\npidfile = \"app.pid\"\nbind = [\"127.0.0.1:0\", \"unix:a.sock\"]\n")
        .ready();
    let usual = server.dir.read("ferricorn.toml");
    let before = (server.wait_workers(2), proc::kinds(server.pid));
    let unharmed = |what: &str| {
        server.until("its processes to end", || {
            (server.workers() == before.0).then_some(())
        });
        assert_eq!(server.wait_workers(2), before.0, "{what}");
        server.wait_kinds(&before.1);
        server.until("its files to go", || {
            let left = |name: &&str| server.dir.path(name).exists();
            (!["app.pid.2", "new.sock"].iter().any(left)).then_some(())
        });
        assert!(server.dir.path("a.sock").exists(), "{what}");
        assert_eq!(server.who().generation, 1);
    };
    let load = Load::start(server.address(), 2, "/who");
    // Programs that are none.
    let quits = fs::read("/bin/false").unwrap();
    for (name, bytes, mode, reason) in [
        ("data", &b"\x7fELF"[..], 0o644, "Permission denied"),
        ("text", &b"not a program\n"[..], 0o755, "Exec format error"),
        ("quits", &quits[..], 0o755, "exited with code 1"),
    ] {
        let path = programs.0.path(name);
        install(&path, bytes, mode);
        programs.replace(&app, &path);
        let line = upgrade_fails(&server);
        assert!(line.contains(reason), "{name}: {line}");
        unharmed(name);
    }
    fs::remove_file(&app).unwrap();
    let line = upgrade_fails(&server);
    assert!(line.contains("No such file"), "{line}");
    fs::hard_link(&good, &app).unwrap();
    // Configurations that are none, and applications that do not come up.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = format!(
        "bind = [\"127.0.0.1:0\", \"unix:new.sock\", \"{}\"]\n",
        taken.local_addr().unwrap()
    );
    for (control, text, file, reason) in [
        ("load-fail", "", &*usual, "the test wants load to fail"),
        ("boot-fail", "1", &*usual, "the test wants boot to fail"),
        ("boot-panic", "", &*usual, "the test wants boot to panic"),
        ("boot-exit", "", &*usual, "exited with code 7"),
        (
            "boot-hang",
            "",
            &*usual,
            "not ready within boot-timeout (1 s",
        ),
        ("main", "exit", &*usual, "exited with code 9"),
        ("main", "hang", &*usual, "not ready in time"),
        ("nothing", "", "workers = 'x'\n", "ferricorn.toml:1"),
        ("nothing", "", &*busy, "address in use"),
        ("nothing", "", "chdir = \"/nonexistent\"\n", "/nonexistent"),
    ] {
        server.control(control, text);
        server.dir.write("ferricorn.toml", file);
        let line = upgrade_fails(&server);
        assert!(line.contains(reason), "{control}: {line}");
        unharmed(control);
        server.uncontrol(control);
    }
    server.dir.write("ferricorn.toml", &usual);
    let second = upgrade(&server);
    load.wait_good(20);
    tell(second, Signal::SIGTERM);
    server.wait(&format!("the second master (pid {second}) exited"));
    unharmed("a stop");
    load.wait_good(20);
    load.stop().assert_nothing_lost();
    server.stop();
}

#[test]
fn there_are_two_masters_at_most() {
    let server = testapp().args("--workers 1").ready();
    server.control("boot-wait", "");
    server.signal(Signal::SIGUSR2);
    let starting = pid_in(&server.wait("Starting a second master"));
    server.wait("waiting in boot");
    let refused = |told: i32, reason: &str| {
        let mark = server.mark();
        tell(told, Signal::SIGUSR2);
        let line = server.wait_after(mark, "no second master is started");
        assert!(line.contains(reason), "{line}");
    };
    refused(server.pid, &format!("starts already (pid {starting})"));
    // A reload waits for it.
    let mark = server.mark();
    server.signal(Signal::SIGHUP);
    server.wait_after(mark, "a reload follows");
    server.uncontrol("boot-wait");
    assert_eq!(pid_in(&server.wait("the second master serves")), starting);
    server.wait_after(mark, "Reload complete");
    refused(server.pid, &format!("second master (pid {starting})"));
    refused(
        starting,
        &format!("first master lives (pid {})", server.pid),
    );
    // The one that is left may have one again.
    server.signal(Signal::SIGTERM);
    until_alone(&server);
    let mark = server.mark();
    tell(starting, Signal::SIGUSR2);
    let third = pid_in(&server.wait_after(mark, "the second master serves"));
    assert_ne!(third, starting);
    tell(starting, Signal::SIGTERM);
    server.wait(&format!("the first master (pid {starting}) is gone"));
    only(&server, third);
    end(&server, third);
}

#[test]
fn a_second_master_that_is_killed_leaves_the_first_one_everything() {
    let server = testapp()
        .args("--workers 1 --pidfile app.pid --bind unix:a.sock --bind 127.0.0.1:0")
        .no_bind()
        .ready();
    let before = proc::kinds(server.pid);
    for retired in [false, true] {
        let second = upgrade(&server);
        if retired {
            server.signal(Signal::SIGWINCH);
            assert_eq!(server.wait_workers(1), [second]);
        }
        let mark = server.mark();
        tell(second, Signal::SIGKILL);
        let line = server.wait_after(mark, "this one has everything again");
        assert!(line.contains("was killed by SIGKILL"), "{line}");
        // Nobody else would serve.
        server.wait_workers(1);
        only(&server, server.pid);
        server.wait_kinds(&before);
    }
    assert_eq!(server.dir.read("app.pid"), format!("{}\n", server.pid));
    assert!(server.dir.path("a.sock").exists());
    let files = [server.dir.path("a.sock"), server.dir.path("app.pid")];
    let _ = fs::remove_file(server.dir.path("app.pid.2"));
    let dir = server.dir.root().to_owned();
    assert!(dir.exists() && files.iter().all(|file| file.exists()));
    server.signal(Signal::SIGTERM);
    until_gone(&server, server.pid);
    assert!(files.iter().all(|file| !file.exists()), "files are left");
}

#[test]
fn a_first_master_that_is_killed_leaves_the_second_one_everything() {
    let server = testapp()
        .args("--workers 2 --pidfile app.pid --control-socket c.sock --bind unix:a.sock --bind 127.0.0.1:0")
        .no_bind()
        .ready();
    let second = upgrade(&server);
    assert!(server.dir.path("c.sock.2").exists());
    server.signal(Signal::SIGKILL);
    until_alone(&server);
    assert!(!server.dir.path("c.sock.2").exists());
    UnixStream::connect(server.dir.path("c.sock")).unwrap();
    assert_eq!(server.dir.read("app.pid"), format!("{second}\n"));
    assert!(!server.dir.path("app.pid.2").exists());
    let files = ["a.sock", "app.pid", "c.sock"].map(|name| server.dir.path(name));
    assert!(files.iter().all(|file| file.exists()));
    // The workers of the one that was killed finish what they have.
    let theirs = |pid: &i32| *pid == second || proc::children(second).contains(pid);
    server.until("the orphans to leave", || {
        proc::group(server.pid).iter().all(theirs).then_some(())
    });
    only(&server, second);
    assert_eq!(ask(&files[0], "/").status, 200);
    end(&server, second);
    assert!(files.iter().all(|file| !file.exists()), "files are left");
}

fn ask(socket: &Path, path: &str) -> crate::support::http::Answer {
    let mut client = Client::connect_unix(socket).unwrap();
    client.get(path).unwrap()
}

#[test]
fn both_masters_reload_while_the_other_lives() {
    let server = testapp()
        .file("workers = 1\npidfile = \"app.pid\"\n")
        .ready();
    let load = Load::start(server.address(), 4, "/who");
    let second = upgrade(&server);
    let kinds = |pid: i32| proc::kinds(pid);
    let mut before = None;
    for _ in 0..3 {
        for pid in [server.pid, second] {
            let mark = server.mark();
            tell(pid, Signal::SIGHUP);
            server.wait_after(mark, "Reload complete");
            load.wait_good(20);
        }
        // After the first one there is a door for the extra worker of a roll.
        let workers = || [server.pid, second].map(|pid| proc::children(pid).len());
        server.until("the old workers to leave", || {
            (workers() == [2, 1]).then_some(())
        });
        let now = || (kinds(server.pid), kinds(second));
        let before = before.get_or_insert_with(now);
        server.until("their descriptors to be those of before", || {
            (now() == *before).then_some(())
        });
    }
    // They know each other still.
    for pid in [server.pid, second] {
        let mark = server.mark();
        tell(pid, Signal::SIGUSR2);
        server.wait_after(mark, "no second master is started");
    }
    // And a trial writes no pid file of its own.
    server
        .dir
        .write("ferricorn.toml", "workers = 1\npidfile = \"new.pid\"\n");
    let mark = server.mark();
    tell(second, Signal::SIGHUP);
    server.wait_after(mark, "Reload complete");
    server.until("its pid file to move", || {
        let moved = !server.dir.path("app.pid.2").exists();
        (moved && server.dir.read("new.pid.2") == format!("{second}\n")).then_some(())
    });
    server.signal(Signal::SIGWINCH);
    assert_eq!(server.wait_workers(1), [second]);
    server.signal(Signal::SIGTERM);
    until_alone(&server);
    assert_eq!(server.dir.read("new.pid"), format!("{second}\n"));
    assert!(!server.dir.path("app.pid").exists());
    load.wait_good(20);
    load.stop().assert_nothing_lost();
    end(&server, second);
    assert!(!server.dir.path("new.pid").exists());
}

/// What only one of them has is its own.
#[test]
fn a_second_master_binds_what_the_first_one_does_not_have() {
    let file = |names: &str| format!("workers = 1\nbind = [\"127.0.0.1:0\", {names}]\n");
    let server = testapp()
        .no_bind()
        .file(&file("\"unix:old.sock\", \"unix:both.sock\""))
        .ready();
    let paths = ["old.sock", "both.sock", "new.sock"].map(|name| server.dir.path(name));
    let there = || paths.clone().map(|path| path.exists());
    let new = file("\"unix:new.sock\", \"unix:both.sock\"");
    server.dir.write("ferricorn.toml", &new);
    let second = upgrade(&server);
    assert_eq!(there(), [true, true, true]);
    assert_eq!(ask(&paths[2], "/").status, 200);
    assert_eq!(ask(&paths[0], "/").status, 200);
    tell(second, Signal::SIGTERM);
    server.wait("this one has everything again");
    assert_eq!(there(), [true, true, false]);
    let second = upgrade(&server);
    server.signal(Signal::SIGTERM);
    until_alone(&server);
    assert_eq!(there(), [false, true, true]);
    assert_eq!(ask(&paths[1], "/").status, 200);
    end(&server, second);
    assert_eq!(there(), [false, false, false]);
}

#[test]
fn inherited_sockets_are_inherited_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = testapp()
        .no_bind()
        .args("--workers 1 --bind fd://7")
        .inherit(listener, 7, "true")
        .spawn();
    server.wait("Ready: serving at");
    server.learn_address();
    assert_eq!(server.address(), address);
    let second = upgrade(&server);
    server.signal(Signal::SIGTERM);
    until_alone(&server);
    only(&server, second);
    let mark = server.mark();
    tell(second, Signal::SIGHUP);
    server.wait_after(mark, "Reload complete");
    only(&server, second);
    end(&server, second);
}

/// A stop while the second one starts is meant for the server as a whole.
#[test]
fn a_second_master_that_does_not_serve_yet_ends_with_the_first_one() {
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        let mut server = testapp().args("--workers 1 --pidfile app.pid").ready();
        server.control("boot-hang", "");
        server.signal(Signal::SIGUSR2);
        server.wait("Starting a second master");
        server.wait("Booting worker with pid");
        server.signal(signal);
        assert_eq!(server.wait_exit().code(), Some(0), "{}", server.log.text());
        assert!(proc::group(server.pid).is_empty(), "processes are left");
        for name in ["app.pid", "app.pid.2"] {
            assert!(!server.dir.path(name).exists(), "{name} is left");
        }
    }
}

/// Connections that wait when one of the two stops are the other one's.
#[test]
fn a_stop_beside_another_master_loses_no_connection() {
    let server = testapp().args("--workers 1").ready();
    let load = Load::start(server.address(), 8, "/who");
    for _ in 0..5 {
        let second = upgrade(&server);
        load.wait_good(20);
        let mark = server.mark();
        tell(second, Signal::SIGTERM);
        server.wait_after(mark, "this one has everything again");
    }
    load.wait_good(20);
    load.stop().assert_nothing_lost();
    server.stop();
}

/// Which process systemd takes for the main one is told when the new one serves, by who is it then.
#[test]
fn the_service_manager_is_told_who_leads() {
    let (manager, start) = managed(1);
    let server = start.env("WATCHDOG_USEC", "200000").ready();
    manager.until("READY=1");
    let words = |text: &str| -> Vec<String> {
        let words = text.split('\n').filter(|word| !word.starts_with("STATUS="));
        words.map(str::to_owned).collect()
    };
    server.control("boot-wait", "");
    server.signal(Signal::SIGUSR2);
    server.wait("waiting in boot");
    // Whatever is told until here, it is by the first one and not of the second.
    manager.until("WATCHDOG=1");
    let all = manager.until("WATCHDOG=1");
    assert!(all.iter().all(|told| told.pid == server.pid), "{all:#?}");
    assert!(!all.iter().any(|told| told.text.contains("MAINPID")));
    server.uncontrol("boot-wait");
    let all = manager.until("MAINPID=");
    let second = pid_in(&server.wait("the second master serves"));
    let told = all.last().unwrap();
    assert_eq!(
        (told.pid, &*told.text),
        (server.pid, &*format!("MAINPID={second}"))
    );
    let told = manager.until("READY=1").pop().unwrap();
    assert_eq!(told.pid, second);
    assert_eq!(
        words(&told.text),
        ["READY=1".to_owned(), format!("MAINPID={second}")]
    );

    // From now on the first one is silent, whatever it does.
    server.reload();
    server.signal(Signal::SIGWINCH);
    server.wait("the workers retire");
    let mark = server.mark();
    tell(second, Signal::SIGHUP);
    server.wait_after(mark, "Reload complete");
    let mut all = manager.until("RELOADING=1");
    all.extend(manager.until("READY=1"));
    all.extend(manager.until("WATCHDOG=1"));
    assert!(all.iter().all(|told| told.pid == second), "{all:#?}");

    // Roll-back: the second one says who leads again, and the first one goes on.
    tell(second, Signal::SIGTERM);
    let told = manager.until("MAINPID=").pop().unwrap();
    let back = format!("MAINPID={}", server.pid);
    assert_eq!((told.pid, &*told.text), (second, &*back));
    let told = manager.until("READY=1").pop().unwrap();
    assert_eq!(told.pid, server.pid);
    assert_eq!(words(&told.text), ["READY=1", &back]);
    let all = manager.until("WATCHDOG=1");
    assert!(all.iter().all(|told| told.pid == server.pid), "{all:#?}");
    server.wait("this one has everything again");

    // One that is killed can say nothing; the first one tries.
    let second = upgrade(&server);
    manager.until(&format!("READY=1\nMAINPID={second}"));
    tell(second, Signal::SIGKILL);
    let told = manager.until("MAINPID=").pop().unwrap();
    assert_eq!(told.pid, server.pid);

    // Upgrade: the first one ends without a word.
    let second = upgrade(&server);
    manager.until(&format!("READY=1\nMAINPID={second}"));
    server.signal(Signal::SIGTERM);
    until_alone(&server);
    tell(second, Signal::SIGTERM);
    let all = manager.until("STOPPING=1");
    assert!(all.iter().all(|told| told.pid == second), "{all:#?}");
    assert_eq!(
        changes(&all)
            .iter()
            .filter(|word| **word != "WATCHDOG=1")
            .count(),
        1
    );
}

#[test]
fn a_daemon_is_upgraded_like_any_other() {
    let (manager, start) = managed(1);
    let start = start.args("--daemon --pidfile app.pid --error-logfile log");
    let mut server = start.spawn();
    assert_eq!(server.wait_exit().code(), Some(0));
    manager.until("READY=1");
    let read = |name: &str| server.dir.read(name).trim().parse::<i32>().ok();
    let first = read("app.pid").unwrap();
    tell(first, Signal::SIGUSR2);
    let told = manager.until("READY=1").pop().unwrap();
    let second = read("app.pid.2").unwrap();
    assert_eq!(told.pid, second);
    tell(first, Signal::SIGQUIT);
    server.until("the second one to be alone", || {
        (read("app.pid") == Some(second)).then_some(())
    });
    until_gone(&server, first);
    tell(second, Signal::SIGTERM);
    manager.until("STOPPING=1");
    server.until("its end", || (!proc::is_alive(second)).then_some(()));
    assert!(!server.dir.path("app.pid").exists());
}

/// The variable is the server's own.
#[test]
fn a_channel_that_nobody_made_is_refused() {
    for (text, reason) in [
        (
            "second:1",
            "FERRICORN_HANDOVER is for the server itself to set",
        ),
        ("second:0:99", "there is nobody to answer to"),
    ] {
        let ended = testapp().env("FERRICORN_HANDOVER", text).run();
        assert_eq!(ended.code, Some(1), "{text}");
        assert!(ended.log.contains(reason), "{text}: {}", ended.log);
    }
}
