//! `--preload`: the application is loaded once, in the mold, and the workers come from there.

use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::support::load::Load;
use crate::support::{self, Server, Start, http, proc, testapp};

fn preloaded(arguments: &str) -> Start {
    testapp()
        .args("--preload")
        .args(arguments)
        .control("load-note", "")
}

/// The mold that was made last.
fn mold(server: &Server) -> i32 {
    // The mold itself may write sooner than its master.
    server.wait("in the mold (pid ");
    let line = server.log.matching(0, "in the mold (pid ").pop().unwrap();
    let pid = line.split("(pid ").nth(1).unwrap();
    pid.trim_end_matches(')').parse().unwrap()
}

/// The workers, when there are so many, a mold, and nobody else below the master.
#[track_caller]
fn workers(server: &Server, number: usize) -> Vec<i32> {
    server.until(&format!("a mold and {number} workers"), || {
        let mut all = proc::children(server.pid);
        all.sort_unstable();
        let count = all.len();
        all.retain(|pid| *pid != mold(server) && proc::is_alive(*pid));
        (count == number + 1 && all.len() == number).then_some(all)
    })
}

/// One worker more or less; the system keeps a signal of a kind only once.
#[track_caller]
fn change(server: &Server, signal: Signal, wanted: usize) {
    let mark = server.mark();
    server.signal(signal);
    server.wait_after(mark, &format!("{wanted} workers wanted"));
}

#[track_caller]
fn kill_mold(server: &Server, signal: Signal) {
    let pid = mold(server);
    let parent = proc::stat(pid).map(|stat| stat.parent);
    assert_eq!(parent, Some(server.pid), "pid {pid} is no mold of ours");
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Pids of those that have loaded the application.
fn loaders(server: &Server, mark: usize) -> Vec<i32> {
    let lines = server.log.matching(mark, "loaded in process ");
    let pid = |line: &String| line.rsplit(' ').next().unwrap().parse().unwrap();
    lines.iter().map(pid).collect()
}

#[test]
fn the_application_is_loaded_once_and_the_workers_are_the_masters_children() {
    let server = preloaded("--workers 4 --proc-name shop").ready();
    let pids = workers(&server, 4);
    assert_eq!(loaders(&server, 0), [mold(&server)]);
    // As the log has them.
    let booted: BTreeSet<i32> = (0..4).map(|slot| server.pid_of(slot)).collect();
    assert_eq!(booted, pids.iter().copied().collect());
    let title = proc::command_line(mold(&server));
    assert_eq!(title, "ferricorn: mold [shop]");
    for pid in pids {
        let title = proc::command_line(pid);
        assert!(title.starts_with("ferricorn: worker "), "{title}");
        assert_eq!(proc::status(pid, "SigBlk").unwrap(), "0000000000000000");
    }
    // Once more for each generation: on trial, and in its mold.
    let mark = server.mark();
    server.take_over();
    workers(&server, 4);
    let again = loaders(&server, mark);
    assert_eq!(again.len(), 2, "{again:?}");
    assert_eq!(again[1], mold(&server));
    server.stop();
}

#[test]
fn a_worker_of_a_mold_has_the_descriptors_of_any_worker() {
    let plain = testapp().args("--workers 3").ready();
    let server = preloaded("--workers 3").ready();
    let of = |pid| {
        let kinds = proc::kinds(pid);
        kinds.into_iter().filter(|kind| kind != "/dev/null")
    };
    let expected: Vec<String> = of(plain.wait_workers(3)[0]).collect();
    let pids = workers(&server, 3);
    for pid in &pids {
        server.until("its doors", || {
            of(*pid).eq(expected.iter().cloned()).then_some(())
        });
    }
    // Those that come later know the doors that were made after the mold.
    let mark = server.mark();
    for wanted in 4..=5 {
        change(&server, Signal::SIGTTIN, wanted);
    }
    server.log.wait_count(mark, "is ready", 2);
    let events = |pid| of(pid).filter(|kind| kind.contains("eventfd")).count();
    // What a worker has beside the doors, which the master has all of by now.
    let own = events(plain.workers()[0]) - events(plain.pid);
    for pid in workers(&server, 5) {
        server.until("all doors", || {
            (events(pid) == events(server.pid) + own).then_some(())
        });
    }
    plain.stop();
    server.stop();
}

#[test]
fn nothing_random_is_shared_by_those_that_a_mold_has_made() {
    let server = preloaded("--workers 3").ready();
    let mut clients: Vec<_> = (0..12)
        .map(|_| http::Client::connect(server.address()).unwrap())
        .collect();
    let mut names = BTreeSet::new();
    for client in &mut clients {
        let answer = client.get("/random").unwrap();
        let (_, name) = answer.text().split_once(' ').unwrap();
        assert!(names.insert(name.to_owned()), "{name} again");
    }
    server.stop();
}

#[test]
fn a_mold_that_is_killed_takes_nobody_with_it_and_is_made_again() {
    let server = preloaded("--workers 2").ready();
    let before = workers(&server, 2);
    let (mark, first) = (server.mark(), mold(&server));
    kill_mold(&server, Signal::SIGKILL);
    let line = server.wait_after(mark, "The mold (pid ");
    assert!(line.contains("was killed by SIGKILL"), "{line}");
    assert!(proc::zombies(server.pid).is_empty());
    assert_eq!(server.wait_workers(2), before);
    assert_eq!(server.get("/").status, 200);
    // The next worker is made from a new one.
    for pid in before {
        server.kill_worker(pid, Signal::SIGKILL);
    }
    server.log.wait_count(mark, "is ready", 2);
    workers(&server, 2);
    assert_ne!(mold(&server), first);
    assert_eq!(loaders(&server, mark), [mold(&server)]);
    assert_eq!(server.log.count(mark, "The mold (pid "), 1);
    server.stop();
}

#[test]
fn workers_of_a_mold_that_are_killed_are_made_again_from_it() {
    let server = preloaded("--workers 8").ready();
    for _ in 0..5 {
        let mark = server.mark();
        for pid in workers(&server, 8) {
            server.kill_worker(pid, Signal::SIGKILL);
        }
        server.log.wait_count(mark, "was killed by SIGKILL", 8);
        server.log.wait_count(mark, "is ready", 8);
    }
    workers(&server, 8);
    assert_eq!(loaders(&server, 0), [mold(&server)]);
    assert_eq!(server.log.count(0, "an orphan"), 0);
    server.stop();
}

/// A server with one worker whose mold is stopped, and has been told to make another.
fn ordered() -> Server {
    let server = preloaded("--workers 1").ready();
    workers(&server, 1);
    let sockets = || {
        let kinds = proc::kinds(server.pid).into_iter();
        kinds.filter(|kind| kind == "socket").count()
    };
    let before = sockets();
    kill_mold(&server, Signal::SIGSTOP);
    change(&server, Signal::SIGTTIN, 2);
    // Its life-line is there, and the other end of it is the mold's.
    server.until("the order", || (sockets() == before + 1).then_some(()));
    server
}

#[test]
fn a_worker_that_ends_before_its_pid_is_known_is_buried_like_any_other() {
    let server = ordered();
    let (mark, first) = (server.mark(), server.pid_of(0));
    server.signal(Signal::SIGSTOP);
    kill_mold(&server, Signal::SIGCONT);
    let pid = server.until("the worker", || {
        let mut children = proc::children(server.pid).into_iter();
        children.find(|pid| {
            let serves = |kind: &String| kind == "anon_inode:[eventpoll]";
            *pid != first && proc::kinds(*pid).iter().any(serves)
        })
    });
    server.kill_worker(pid, Signal::SIGKILL);
    server.until("its end", || (!proc::is_alive(pid)).then_some(()));
    server.signal(Signal::SIGCONT);
    server.wait_after(mark, &format!("Booting worker with pid: {pid} (worker 1,"));
    server.wait_after(
        mark,
        &format!("Worker 1 of generation 1 (pid {pid}) was killed by SIGKILL"),
    );
    server.log.wait_count(mark, "Booting worker", 2);
    workers(&server, 2);
    assert_eq!(server.log.count(0, "an orphan"), 0);
    server.stop();
}

#[test]
fn a_worker_that_was_not_made_when_the_mold_was_killed_is_made_by_another() {
    let server = ordered();
    let mark = server.mark();
    kill_mold(&server, Signal::SIGKILL);
    let line = server.wait_after(mark, "worker 1 cannot boot: ");
    assert!(line.contains("or its mold did"), "{line}");
    server.wait_after(mark, "Worker 1 is ready");
    workers(&server, 2);
    server.stop();
}

/// What was ordered is nobody's any more, and the stop does not wait for it.
#[test]
fn a_stop_waits_for_no_worker_that_was_not_made() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = ordered();
        server.signal(signal);
        assert_eq!(server.wait_exit().code(), Some(0), "{}", server.log.text());
        assert!(proc::group(server.pid).is_empty());
    }
}

#[track_caller]
fn assert_nobody_survives(mut server: Server) {
    server.signal(Signal::SIGKILL);
    server.wait_exit();
    server.until("all to end", || {
        proc::group(server.pid).is_empty().then_some(())
    });
}

#[test]
fn neither_mold_nor_worker_survives_a_killed_master() {
    for arguments in ["--workers 3", "--workers 3 --user nobody"] {
        if arguments.contains("nobody") && !support::is_root("another user") {
            continue;
        }
        assert_nobody_survives(preloaded(arguments).ready());
        // While it loads, and reads nothing.
        let server = preloaded(arguments).control("load-hang", "").spawn();
        server.wait("loaded in process");
        assert_nobody_survives(server);
        let server = preloaded(arguments).control("boot-hang", "").spawn();
        server.wait("Booting worker");
        assert_nobody_survives(server);
    }
    // While it forks.
    for _ in 0..10 {
        let server = preloaded("--workers 8").spawn();
        server.wait("The mold has loaded");
        assert_nobody_survives(server);
    }
}

#[test]
fn a_first_start_whose_application_cannot_be_loaded_ends_with_code_4() {
    for (control, reason) in [
        ("load-fail", "the test wants load to fail"),
        ("load-panic", "the test wants load to panic"),
        ("load-exit", "exited with code 7 while it loaded"),
        (
            "load-thread",
            "threads (ferricorn: mold, stays): start threads in App::boot",
        ),
    ] {
        let ended = preloaded("--workers 3").control(control, "").run();
        assert_eq!(ended.code, Some(4), "{control}: {}", ended.log);
        let line = ended.log.lines().find(|line| line.contains("cannot start"));
        assert!(line.unwrap().contains(reason), "{}", ended.log);
        assert_eq!(ended.log.matches("loaded in process").count(), 1);
    }
}

#[test]
fn the_time_of_loading_counts_against_the_boot_timeout() {
    let ended = preloaded("--workers 2 --boot-timeout 0.5")
        .control("load-hang", "")
        .run();
    assert_eq!(ended.code, Some(3), "{}", ended.log);
    for words in ["boot-timeout", "loads the application"] {
        assert!(ended.log.contains(words), "{}", ended.log);
    }
}

#[test]
fn a_mold_that_is_killed_while_it_loads_is_a_failed_start() {
    let mut server = preloaded("--workers 2").control("load-hang", "").spawn();
    server.wait("loaded in process");
    kill_mold(&server, Signal::SIGKILL);
    assert_eq!(server.wait_exit().code(), Some(4));
    server.wait("was killed by SIGKILL while it loaded the application");
    assert!(proc::group(server.pid).is_empty());
}

#[test]
fn a_stop_ends_a_mold_that_loads() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = preloaded("--workers 2").control("load-hang", "").spawn();
        server.wait("loaded in process");
        server.signal(signal);
        assert_eq!(server.wait_exit().code(), Some(0), "{}", server.log.text());
        assert!(proc::group(server.pid).is_empty());
    }
}

#[test]
fn a_reload_that_cannot_load_changes_nothing() {
    let server = preloaded("--workers 2 --boot-timeout 1").ready();
    let (before, first) = (workers(&server, 2), mold(&server));
    for (control, reason) in [
        ("load-fail", "the test wants load to fail"),
        ("load-panic", "the test wants load to panic"),
        ("load-exit", "exited with code 7"),
        ("load-hang", "boot-timeout"),
        ("load-thread", "stays): start threads in App::boot"),
    ] {
        server.control(control, "");
        let line = server.reload_fails();
        assert!(line.contains(reason), "{line}");
        server.uncontrol(control);
    }
    assert_eq!(workers(&server, 2), before);
    assert_eq!(mold(&server), first);
    server.take_over();
    workers(&server, 2);
    server.stop();
}

/// The worker on trial has loaded, and the mold of the new generation cannot.
#[test]
fn a_mold_that_cannot_load_after_the_trial_is_a_failed_reload_and_tried_again() {
    for (control, reason) in [
        ("load-fail", "the test wants load to fail"),
        ("load-exit", "exited with code 7 while it loaded"),
        ("load-hang", "boot-timeout"),
    ] {
        let server = preloaded("--workers 2 --boot-timeout 1").ready();
        let before = workers(&server, 2);
        let load = Load::start(server.address(), 2, "/who");
        server.control(control, "mold");
        let line = server.reload_fails();
        assert!(line.contains(reason), "{line}");
        server.until("the survivors", || {
            let now: Vec<i32> = server.workers();
            before.iter().all(|pid| now.contains(pid)).then_some(())
        });
        // Who goes missing comes from the new generation, as soon as that can be loaded.
        let mark = server.mark();
        server.kill_worker(before[0], Signal::SIGKILL);
        server.wait_after(mark, "cannot boot: ");
        server.uncontrol(control);
        server.wait_after(mark, "is ready");
        load.wait_good(20);
        drop(load.stop());
        let pids = workers(&server, 2);
        assert!(pids.contains(&before[1]));
        server.take_over();
        workers(&server, 2);
        server.stop();
    }
}

#[test]
fn reloads_under_load_lose_nothing_and_leave_nothing_behind() {
    let server = preloaded("--workers 2 --access-logfile access.log").ready();
    // After the first one there is a door for the extra worker of a roll.
    server.take_over();
    workers(&server, 2);
    let before = proc::kinds(server.pid);
    let load = Load::start(server.address(), 4, "/who");
    let kept = Load::keep_alive(server.address(), 2, "/who");
    for _ in 0..20 {
        load.wait_good(2);
        server.reload();
    }
    load.wait_good(20);
    load.stop().assert_nothing_lost();
    kept.stop().assert_nobody_noticed();
    workers(&server, 2);
    server.wait_kinds(&before);
    assert_eq!(server.who().generation, 22);
    assert_eq!(server.log.count(0, "an orphan"), 0);
    server.stop();
}

#[test]
fn ttin_and_ttou_go_through_the_mold() {
    let server = preloaded("--workers 1").ready();
    for wanted in 2..=4 {
        change(&server, Signal::SIGTTIN, wanted);
    }
    workers(&server, 4);
    for wanted in [3, 2] {
        change(&server, Signal::SIGTTOU, wanted);
    }
    workers(&server, 2);
    assert_eq!(loaders(&server, 0), [mold(&server)]);
    server.stop();
}

#[test]
fn retired_workers_need_no_mold_until_they_come_back() {
    let server = preloaded("--workers 2").ready();
    workers(&server, 2);
    server.signal(Signal::SIGWINCH);
    server.until("all to leave", || {
        proc::children(server.pid).is_empty().then_some(())
    });
    let mark = server.mark();
    server.signal(Signal::SIGTTIN);
    server.wait_after(mark, "is ready");
    workers(&server, 1);
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

#[test]
fn signals_that_are_the_masters_do_nothing_to_the_mold() {
    let server = preloaded("--workers 1").ready();
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGPIPE,
    ] {
        kill_mold(&server, signal);
    }
    // What it was sent is nothing that a worker of it would have to do.
    let (mark, first) = (server.mark(), mold(&server));
    server.signal(Signal::SIGTTIN);
    server.wait_after(mark, "is ready");
    workers(&server, 2);
    assert_eq!(mold(&server), first);
    for _ in 0..20 {
        assert_eq!(server.get("/").status, 200);
    }
    assert_eq!(server.log.count(mark, "exited"), 0);
    server.stop();
}

/// Ctrl-C in a terminal goes to all of them.
#[test]
fn an_interrupt_at_the_terminal_is_one_clean_end() {
    let mut server = preloaded("--workers 2").ready();
    workers(&server, 2);
    killpg(Pid::from_raw(server.pid), Signal::SIGINT).unwrap();
    assert_eq!(server.wait_exit().code(), Some(0), "{}", server.log.text());
    assert!(proc::group(server.pid).is_empty());
    assert_eq!(server.log.count(0, "The mold (pid"), 0);
}

#[test]
fn workers_that_are_made_after_a_rotation_write_to_the_new_files() {
    let server = preloaded("--workers 1 --access-logfile access.log --error-logfile error.log");
    let mut server = server.spawn();
    let wait = |server: &Server, file: &str, text: &str| {
        server.until(text, || server.dir.read(file).contains(text).then_some(()));
    };
    wait(&server, "error.log", "Ready: serving at");
    let line = server.dir.read("error.log");
    let address = line.split("Ready: serving at http://").nth(1).unwrap();
    let address = address.lines().next().unwrap().parse().unwrap();
    for name in ["access.log", "error.log"] {
        std::fs::rename(server.dir.path(name), server.dir.path(&format!("{name}.1"))).unwrap();
    }
    server.signal(Signal::SIGUSR1);
    wait(&server, "error.log", "Logs opened anew");
    let pid = http::get(address, "/who").unwrap().who().pid;
    server.kill_worker(pid, Signal::SIGKILL);
    wait(&server, "error.log", "is ready");
    let rotated = server.dir.read("access.log.1");
    assert_eq!(http::get(address, "/error").unwrap().status, 500);
    wait(&server, "error.log", "the test wants an error");
    wait(&server, "access.log", "/error");
    assert_eq!(server.dir.read("access.log.1"), rotated);
    // Nor does the mold keep the old one.
    let children = proc::children(server.pid);
    let open = children.iter().flat_map(|pid| proc::kinds(*pid));
    assert!(!open.into_iter().any(|kind| kind.ends_with(".log.1")));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn the_mold_has_the_rights_of_the_workers_before_it_loads() {
    if !support::is_root("another user") {
        return;
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let server = preloaded("--workers 2 --user nobody").ready();
    let uids = vec![nobody.uid.to_string(); 4].join("\t");
    for pid in workers(&server, 2).into_iter().chain([mold(&server)]) {
        assert_eq!(proc::status(pid, "Uid").unwrap(), uids);
        assert_eq!(proc::status(pid, "Groups").unwrap(), nobody.gid.to_string());
    }
    assert_eq!(server.get("/become-root").text(), "Err(EPERM)");
    server.stop();
}

#[test]
fn recycled_workers_come_from_the_mold_and_nobody_is_refused() {
    let server = preloaded("--workers 2 --max-requests 20").ready();
    let load = Load::start(server.address(), 2, "/who");
    server
        .log
        .wait_count(0, "exited (replaced after max-requests)", 6);
    load.stop().assert_nothing_lost();
    assert_eq!(loaders(&server, 0), [mold(&server)]);
    server.stop();
}

/// It is stopped, as a debugger would: who needs a worker meanwhile does not wait for ever.
#[test]
fn a_mold_that_does_not_answer_is_replaced() {
    let server = preloaded("--workers 2 --boot-timeout 1").ready();
    let pids = workers(&server, 2);
    let (mark, first) = (server.mark(), mold(&server));
    kill_mold(&server, Signal::SIGSTOP);
    server.kill_worker(pids[0], Signal::SIGKILL);
    server.wait_after(mark, "has not made it");
    server.wait_after(mark, "is ready");
    workers(&server, 2);
    assert_ne!(mold(&server), first);
    server.stop();
}

/// The next image has no use for it, and nobody else would end it.
#[test]
fn a_reload_ends_a_mold_that_still_loads() {
    let server = preloaded("--workers 2").ready();
    let pids = workers(&server, 2);
    kill_mold(&server, Signal::SIGKILL);
    server.control("load-wait", "mold");
    let mark = server.mark();
    server.kill_worker(pids[0], Signal::SIGKILL);
    server.wait_after(mark, "waiting in load");
    let waits = mold(&server);
    let mark = server.mark();
    server.signal(Signal::SIGHUP);
    server.wait_after(mark, "waiting in load");
    server.until("the old one to go", || {
        proc::stat(waits).is_none().then_some(())
    });
    server.uncontrol("load-wait");
    server.wait_after(mark, "Reload complete");
    workers(&server, 2);
    server.stop();
}

/// Who is the subreaper of its workers inherits what those leave behind.
#[test]
fn orphans_of_the_workers_are_reaped() {
    let server = preloaded("--workers 2").ready();
    for _ in 0..5 {
        assert_eq!(server.get("/orphan").text(), "left");
    }
    server.log.wait_count(0, "an orphan (pid", 5);
    workers(&server, 2);
    server.stop();
}

/// The reason for all this.
#[test]
fn what_load_has_made_is_shared() {
    const MEBIBYTES: u64 = 64;
    let sum = |server: &Server, pids: Vec<i32>| {
        // Whoever has answered has surely booted.
        assert_eq!(server.get("/memory").text(), (MEBIBYTES << 20).to_string());
        let all = pids
            .into_iter()
            .map(|pid| proc::memory(pid, "Pss").unwrap());
        all.sum::<u64>() >> 10
    };
    let start = |arguments| {
        let start = testapp().args("--workers 4").args(arguments);
        start.control("load-memory", &MEBIBYTES.to_string()).ready()
    };
    let each = start("");
    let apart = sum(&each, each.wait_workers(4));
    let server = start("--preload");
    let together = sum(&server, workers(&server, 4));
    let master = proc::memory(server.pid, "Pss").unwrap() >> 10;
    eprintln!("PSS of 4 workers: {apart} MiB, with preload {together} MiB; the master {master}");
    assert!(apart >= 4 * MEBIBYTES, "{apart} MiB");
    assert!(together < 2 * MEBIBYTES, "{together} MiB");
    assert!(master < MEBIBYTES / 4, "{master} MiB");
    each.stop();
    server.stop();
}

#[test]
fn a_configuration_can_begin_and_cease_to_preload() {
    let server = testapp()
        .file("workers = 2\n")
        .control("load-note", "")
        .ready();
    assert_eq!(loaders(&server, 0).len(), 2);
    for (file, all) in [
        ("workers = 2\npreload = true\n", 3),
        ("workers = 2\npreload = false\n", 2),
    ] {
        server.dir.write("ferricorn.toml", file);
        server.take_over();
        server.until("the old ones to go", || {
            (proc::children(server.pid).len() == all).then_some(())
        });
        assert_eq!(server.get("/").status, 200);
    }
    server.stop();
}

#[test]
fn a_class_of_the_programs_own_is_preloaded_too() {
    let server = preloaded("--workers 2 -k announced").ready();
    workers(&server, 2);
    assert_eq!(loaders(&server, 0), [mold(&server)]);
    assert_eq!(server.log.count(0, "a worker of the class announced"), 2);
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

/// A slow load, during which nothing of the old generation is touched.
#[test]
fn a_reload_with_a_slow_load_is_never_without_workers() {
    let server = preloaded("--workers 1").ready();
    server.control("load-slow", "500");
    let load = Load::start(server.address(), 2, "/who");
    server.reload();
    load.wait_good(20);
    let report = load.stop();
    report.assert_nothing_lost();
    assert_eq!(report.generations(), [1, 2]);
    server.stop();
}
