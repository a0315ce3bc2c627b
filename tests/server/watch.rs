//! `--reload`: what changes on disk is served a moment later, or said to be broken; nothing else is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Dir, Server, can_unshare, install, proc, program, testapp, testapp_path};

/// The test application as a file of these bytes, whose `/version` answers this.
fn version(version: u32) -> Vec<u8> {
    let mut bytes = fs::read(testapp_path()).unwrap();
    bytes.extend(format!("version {version}").bytes());
    bytes
}

/// Writes a program as a linker does: the old one is unlinked first, since it runs.
fn link(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    install(path, bytes, 0o755);
}

/// A server of a program in a directory of its own.
fn serve(version_: u32) -> (Server, Dir, PathBuf) {
    let programs = Dir::new();
    let path = programs.path("app");
    link(&path, &version(version_));
    let server = program(&path).args("--workers 1 --reload").ready();
    (server, programs, path)
}

/// Waits for the reload that a change makes, and returns the line that names the files.
#[track_caller]
fn reloaded(server: &Server, mark: usize) -> String {
    let line = server.wait_after(mark, "Changed: ");
    server.wait_after(mark, "Reload complete");
    line
}

/// How many inotify instances a process has.
fn eyes(pid: i32) -> usize {
    let kinds = proc::kinds(pid);
    kinds.iter().filter(|kind| kind.contains("inotify")).count()
}

#[test]
fn a_program_that_is_replaced_or_linked_anew_is_served() {
    let (server, programs, path) = serve(1);
    let line = server.wait("Watching for changes: ");
    assert!(line.contains(&*path.to_string_lossy()), "{line}");
    let pid = server.pid;
    for number in 2..8 {
        let mark = server.mark();
        if number % 2 == 0 {
            link(&programs.path("new"), &version(number));
            fs::rename(programs.path("new"), &path).unwrap();
        } else {
            link(&path, &version(number));
        }
        let line = reloaded(&server, mark);
        assert!(line.contains(&*path.to_string_lossy()), "{line}");
        server.until("the new program to answer", || {
            (server.get("/version").text() == number.to_string()).then_some(())
        });
        assert_eq!(server.log.count(mark, "Reload complete"), 1);
        // The watch is made anew in each image, and is nobody else's.
        assert_eq!(eyes(pid), 1);
        server
            .wait_workers(1)
            .into_iter()
            .for_each(|worker| assert_eq!(eyes(worker), 0));
    }
    server.stop();
}

#[test]
fn a_program_that_is_half_written_fails_and_the_next_write_tries_again() {
    let (server, _programs, path) = serve(1);
    let whole = version(2);
    let mark = server.mark();
    link(&path, &whole[..256 << 10]);
    server.wait_after(mark, "reload failed");
    assert_eq!(server.get("/version").text(), "1");
    // It does not run, so that it can be written in place.
    let mark = server.mark();
    install(&path, &whole, 0o755);
    reloaded(&server, mark);
    server.until("the new program to answer", || {
        (server.get("/version").text() == "2").then_some(())
    });
    server.stop();
}

#[test]
fn a_symlink_that_is_switched_leads_to_the_next_release() {
    let releases = Dir::new();
    for number in [1, 2] {
        fs::create_dir(releases.path(&number.to_string())).unwrap();
        link(&releases.path(&format!("{number}/app")), &version(number));
    }
    let current = releases.path("current");
    symlink("1", &current).unwrap();
    let server = program(current.join("app"))
        .args("--workers 1 --reload")
        .ready();
    assert_eq!(server.get("/version").text(), "1");
    let mark = server.mark();
    symlink("2", releases.path("next")).unwrap();
    fs::rename(releases.path("next"), &current).unwrap();
    let line = reloaded(&server, mark);
    assert!(line.contains("current/app"), "{line}");
    server.until("the next release to answer", || {
        (server.get("/version").text() == "2").then_some(())
    });
    server.stop();
}

#[test]
fn a_broken_edit_changes_nothing_and_a_good_one_does() {
    let server = testapp().arg("--reload").file("workers = 1\n").ready();
    server.wait_workers(1);
    let mark = server.mark();
    server.dir.write("ferricorn.toml", "workres = 2\n");
    let line = server.wait_after(mark, "Changed: ");
    assert!(line.ends_with("/ferricorn.toml"), "{line}");
    let line = server.wait_after(mark, "reload failed");
    assert!(line.contains("did you mean \"workers\""), "{line}");
    assert_eq!(server.who().generation, 1);
    let mark = server.mark();
    server.dir.write("ferricorn.toml", "workers = 2\n");
    reloaded(&server, mark);
    server.wait_workers(2);
    // A file that is gone is waited for.
    let mark = server.mark();
    fs::remove_file(server.dir.path("ferricorn.toml")).unwrap();
    server.dir.write("new", "workers = 3\n");
    fs::rename(server.dir.path("new"), server.dir.path("ferricorn.toml")).unwrap();
    reloaded(&server, mark);
    server.wait_workers(3);
    server.stop();
}

/// The list of extra files is part of the configuration, and so is whether to watch at all.
#[test]
fn extra_files_are_watched_as_the_configuration_in_force_says() {
    let server = testapp()
        .arg("--workers=1")
        .file("reload = true\nreload-extra-file = [\"a.txt\", \"sub/b.txt\"]\n")
        .ready();
    let change = |name: &str| {
        let mark = server.mark();
        server.dir.write(name, "x");
        let line = reloaded(&server, mark);
        assert!(line.ends_with(&format!("/{name}")), "{line}");
        fs::remove_file(server.dir.path(name)).unwrap();
    };
    change("a.txt");
    // Its directory comes only now.
    fs::create_dir(server.dir.path("sub")).unwrap();
    change("sub/b.txt");
    let mark = server.mark();
    let file = "reload = true\nreload-extra-file = \"c.txt\"\n";
    server.dir.write("ferricorn.toml", file);
    reloaded(&server, mark);
    change("c.txt");
    // What nobody watches any more, or never did, starts nothing.
    let mark = server.mark();
    server.dir.write("a.txt", "y");
    server.dir.write("c.txt~", "y");
    server.dir.write("ferricorn.toml", "reload = false\n");
    let line = reloaded(&server, mark);
    assert!(line.ends_with("/ferricorn.toml"), "{line}");
    assert_eq!(server.log.count(mark, "Changed: "), 1);
    server.until("the watch to end", || (eyes(server.pid) == 0).then_some(()));
    server.dir.write("c.txt", "y");
    let mark = server.mark();
    server.reload();
    assert_eq!(server.log.count(mark, "Changed: "), 0);
    server.stop();
}

#[test]
fn a_configuration_that_comes_later_is_read() {
    let server = testapp().args("--workers=1 --reload").ready();
    let mark = server.mark();
    server.dir.write("ferricorn.toml", "timeout = 5\n");
    reloaded(&server, mark);
    server.stop();
}

#[test]
fn a_storm_of_writes_is_few_reloads() {
    let server = testapp().arg("--reload").file("workers = 1\n").ready();
    for number in 0..100 {
        server
            .dir
            .write("ferricorn.toml", &format!("workers = {}\n", 1 + number % 2));
        std::thread::sleep(Duration::from_millis(5));
    }
    server.wait("Changed: ");
    server.wait_workers(2);
    server.wait("Reload complete");
    let reloads = server.log.count(0, "Trying ");
    assert!((1..=5).contains(&reloads), "{reloads}");
    server.stop();
}

/// What is written while the master tries and executes what was there before is not missed.
#[test]
fn a_change_during_a_reload_is_followed_by_another_reload() {
    for wait in [0, 30, 60, 90, 120, 150, 180] {
        let server = testapp().arg("--reload").file("workers = 1\n").ready();
        // Between reading and executing, and quicker than a change is acted upon.
        server.control("boot-slow", "130");
        let mark = server.mark();
        server.signal(Signal::SIGHUP);
        server.wait_after(mark, "Trying ");
        std::thread::sleep(Duration::from_millis(wait));
        server.dir.write("ferricorn.toml", "workers = 2\n");
        server.wait_after(mark, "Worker 1 is ready");
        server.stop();
    }
}

/// What a HUP has just tried is not tried again because it had changed before.
#[test]
fn a_change_that_somebody_reloads_himself_is_reloaded_once() {
    let server = testapp().arg("--reload").file("workers = 1\n").ready();
    // The trial takes longer than a change needs to be acted upon.
    server.control("boot-slow", "600");
    let mark = server.mark();
    // The master finds both at once, however slow this test is.
    server.signal(Signal::SIGSTOP);
    server.dir.write("ferricorn.toml", "workers = 2\n");
    server.signal(Signal::SIGHUP);
    server.signal(Signal::SIGCONT);
    server.wait_after(mark, "Reload complete");
    server.wait_workers(2);
    assert_eq!(server.log.count(mark, "Changed: "), 0);
    server.uncontrol("boot-slow");
    // The next change comes alone.
    server.dir.write("ferricorn.toml", "workers = 1\n");
    reloaded(&server, mark);
    server.wait_workers(1);
    assert_eq!(server.log.count(mark, "Reload complete"), 2);
    server.stop();
}

#[test]
fn polling_sees_changes_too() {
    let server = testapp()
        .args("--reload --reload-engine poll")
        .file("workers = 1\n")
        .ready();
    assert_eq!(eyes(server.pid), 0);
    for workers in [2, 1] {
        let mark = server.mark();
        server
            .dir
            .write("ferricorn.toml", &format!("workers = {workers}\n"));
        reloaded(&server, mark);
        server.wait_workers(workers);
    }
    server.stop();
}

/// The limits of inotify(7) are those of a user; a namespace can have none at all.
#[test]
fn where_the_system_cannot_tell_the_files_are_looked_at() {
    let namespace = ["--user", "--map-root-user"];
    if !can_unshare(&namespace) {
        return;
    }
    for (limit, setting) in [
        ("max_inotify_instances", "fs.inotify.max_user_instances"),
        ("max_inotify_watches", "fs.inotify.max_user_watches"),
    ] {
        let script = format!("echo 0 >/proc/sys/user/{limit} && exec \"$@\"");
        let wrapper = [
            "unshare",
            namespace[0],
            namespace[1],
            "sh",
            "-c",
            &script,
            "sh",
        ];
        let server = testapp()
            .wrapped(&wrapper)
            .args("--workers 1 --reload --reload-extra-file extra")
            .ready();
        let line = server.wait("looking every 1 s");
        assert!(line.contains("WARNING") && line.contains(setting), "{line}");
        let mark = server.mark();
        server.dir.write("extra", "x");
        reloaded(&server, mark);
        // The old worker may take one more until it hears.
        server.until("the new generation to answer", || {
            (server.who().generation == 2).then_some(())
        });
        server.stop();
    }
}
