//! What happens when something runs out, stands still or floods.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use crate::support::http::Client;
use crate::support::{Dir, proc, testapp};

/// A worker without a free descriptor waits for one; it neither dies nor burns its processor.
#[test]
fn a_worker_out_of_descriptors_recovers() {
    let server = testapp()
        .wrapped(&["sh", "-c", "ulimit -n 40; exec \"$@\"", "sh"])
        .args("--workers 1")
        .ready();
    let pid = server.pid_of(0);
    let held: Vec<_> = (0..60)
        .map(|_| {
            let mut client = Client::connect(server.address()).unwrap();
            client.send("GET / HTTP/1.1\r\nHost: loc").unwrap();
            client
        })
        .collect();
    server.wait("cannot accept a connection");
    let before = proc::stat(pid).unwrap().ticks;
    std::thread::sleep(Duration::from_secs(1));
    // Ticks are 10 ms.
    assert!(proc::stat(pid).unwrap().ticks - before < 30);
    drop(held);
    assert_eq!(server.get("/who").who().pid, pid);
    // And the log is not flooded.
    assert!(server.log.len() < 200, "{}", server.log.len());
    server.stop();
}

/// One client that sends requests without end does not have the worker for itself.
#[test]
fn a_flood_of_pipelined_requests_delays_nobody() {
    let server = testapp().args("--workers 1").ready();
    let address = server.address();
    let flood = std::thread::spawn(move || {
        let mut client = Client::connect(address).unwrap();
        let many = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500);
        for _ in 0..20 {
            client.send(&many).unwrap();
            for _ in 0..500 {
                assert_eq!(client.answer().unwrap().status, 200);
            }
        }
    });
    let mut between = 0;
    while !flood.is_finished() {
        assert_eq!(server.get("/").status, 200);
        between += 1;
    }
    flood.join().unwrap();
    // One for each of its pieces, had it the worker for itself as long as there is one.
    assert!(between > 40, "{between} answers in between");
    server.stop();
}

/// As when a laptop sleeps or a virtual machine is moved: nobody hung, time did.
#[test]
fn a_pause_of_everything_kills_nobody() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = testapp()
        .args("--workers 3 --heartbeat-timeout 3 --timeout 3 --boot-timeout 3")
        .ready();
    // One is in a handler, one boots, one is idle.
    server.control("boot-wait", "2");
    let mark = server.mark();
    server.kill_worker(server.pid_of(2), Signal::SIGKILL);
    server.wait_after(mark, "waiting in boot");
    let mut client = Client::connect(server.address()).unwrap();
    let address = listener.local_addr().unwrap();
    client
        .send(format!(
            "GET /wait-for/{address} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ))
        .unwrap();
    let (waited_for, _) = listener.accept().unwrap();
    let workers = server.workers();
    let all: Vec<i32> = [server.pid].into_iter().chain(workers.clone()).collect();
    for pid in &all {
        kill(Pid::from_raw(*pid), Signal::SIGSTOP).unwrap();
    }
    std::thread::sleep(Duration::from_secs(7));
    let mark = server.mark();
    for pid in &all {
        kill(Pid::from_raw(*pid), Signal::SIGCONT).unwrap();
    }
    let line = server.wait_after(mark, "nothing was run for");
    assert!(line.contains("all deadlines are put off"), "{line}");
    // They go on, as slowly as before.
    std::thread::sleep(Duration::from_millis(1500));
    server.uncontrol("boot-wait");
    drop(waited_for);
    assert_eq!(client.answer().unwrap().status, 200);
    server.wait_after(mark, "Worker 2 is ready");
    assert_eq!(server.wait_workers(3), workers);
    assert_eq!(server.log.count(mark, "[ERROR]"), 0);
    server.stop();
}

#[test]
fn a_full_disk_under_the_logs_stalls_nobody() {
    let server = testapp()
        .args("--workers 1 --access-logfile /dev/full")
        .ready();
    let pid = server.pid_of(0);
    for _ in 0..300 {
        assert_eq!(server.get("/who").who().pid, pid);
    }
    server.wait("of the access log were lost");
    server.signal(Signal::SIGUSR1);
    assert_eq!(server.get("/who").who().pid, pid);
    server.stop();
}

/// The system sends a signal then that would end the process.
#[test]
fn a_log_at_the_limit_of_a_files_size_ends_nobody() {
    // Above the size of the scoreboard.
    const LIMIT: u64 = 128 << 20;
    let start = testapp()
        .wrapped(&["prlimit", &format!("--fsize={LIMIT}"), "--"])
        .args("--workers 1 --access-logfile a.log");
    let log = std::fs::File::create(start.dir().path("a.log")).unwrap();
    log.set_len(LIMIT).unwrap();
    let server = start.ready();
    let pid = server.pid_of(0);
    for _ in 0..20 {
        assert_eq!(server.get("/who").who().pid, pid);
    }
    server.wait("of the access log were lost");
    server.stop();
}

/// Opening a named pipe waits for its other end, which the master must never do.
#[test]
fn a_configuration_that_is_no_file_is_refused_at_once() {
    let start = testapp().args("--config my.toml");
    start.dir().write("my.toml", "workers = 1\n");
    let server = start.ready();
    let path = server.dir.path("my.toml");
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
    assert!(server.reload_fails().contains("not a regular file"));
    assert_eq!(server.get("/who").status, 200);
    server.stop();

    let ended = testapp().args("--config /dev/zero").run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("not a regular file"), "{}", ended.log);
}

/// Relative paths would quietly have become those of the root directory.
#[test]
fn a_working_directory_that_is_gone_is_told() {
    let ended = testapp()
        .wrapped(&[
            "sh",
            "-c",
            "mkdir gone; cd gone; rmdir ../gone; exec \"$@\"",
            "sh",
        ])
        .run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("working directory"), "{}", ended.log);
}

#[test]
fn a_directory_where_no_body_can_be_kept_is_told_at_the_start() {
    let server = testapp().args("--workers 1 --tmp-dir /proc").ready();
    server.wait("no body beyond body-buffer can be kept there");
    assert_eq!(server.get("/who").status, 200);
    server.stop();
}

/// The file was named relative to where the server was started, not to where it works.
#[test]
fn a_reload_finds_its_file_after_chdir() {
    let elsewhere = Dir::new();
    let start = testapp()
        .args("--config my.toml --chdir")
        .arg(elsewhere.root());
    start.dir().write("my.toml", "workers = 1\n");
    let server = start.ready();
    server.dir.write("my.toml", "workers = 2\n");
    server.reload();
    server.wait_workers(2);
    server.dir.write("my.toml", "workers = 0\n");
    assert!(server.reload_fails().contains("my.toml:1"));
    server.stop();
}

/// Relative paths of other settings start at `chdir`, and are found again at the end.
#[test]
fn files_lie_below_chdir_and_go_with_the_server() {
    let elsewhere = Dir::new();
    let server = testapp()
        .args("--workers 1 --bind unix:app.sock --pidfile app.pid --access-logfile a.log --chdir")
        .arg(elsewhere.root())
        .ready();
    for name in ["app.sock", "app.pid", "a.log"] {
        assert!(elsewhere.path(name).exists(), "{name}");
    }
    server.stop();
    for (name, stays) in [("app.sock", false), ("app.pid", false), ("a.log", true)] {
        assert_eq!(elsewhere.path(name).exists(), stays, "{name}");
    }
}

/// A temporary file that cannot be made is an answer to one client and nothing more.
#[test]
fn a_body_that_cannot_be_kept_is_an_answer_not_a_death() {
    let scratch = Dir::new();
    let inner = scratch.path("inner");
    std::fs::create_dir(&inner).unwrap();
    let server = testapp()
        .args("--workers 1 --body-buffer 1000 --tmp-dir")
        .arg(&inner)
        .ready();
    std::fs::remove_dir(&inner).unwrap();
    let pid = server.pid_of(0);
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
        .unwrap();
    client.send(vec![b'a'; 5000]).unwrap();
    let status = client.answer().unwrap().status;
    assert!((500..600).contains(&status), "{status}");
    assert_eq!(server.get("/who").who().pid, pid);
    server.stop();
}

#[test]
fn thousands_of_idle_connections_neither_slow_a_reload_nor_a_stop() {
    let server = testapp()
        .args("--workers 2 --worker-connections 2000 --keep-alive 1 --graceful-timeout 600")
        .ready();
    let kept: Vec<_> = (0..600)
        .map(|_| {
            let mut client = Client::connect(server.address()).unwrap();
            assert_eq!(client.get("/").unwrap().status, 200);
            client
        })
        .collect();
    server.take_over();
    for mut client in kept {
        assert_eq!(client.rest().unwrap(), b"");
    }
    server.stop();
}

#[test]
fn more_workers_than_there_are_seats_are_refused_with_the_bound() {
    let ended = testapp().args("--workers 4000").run();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains("from 1 to 256"), "{}", ended.log);
    let server = testapp().file("workers = 1\n").ready();
    server.dir.write("ferricorn.toml", "workers = 4000\n");
    assert!(server.reload_fails().contains("from 1 to 256"));
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

/// Many signals at once, each of which means something: none may be lost or stop the others.
#[test]
fn a_mix_of_all_signals_ends_well() {
    let mut server = testapp().args("--workers 3").ready();
    for round in 0..40 {
        let signal = [
            Signal::SIGHUP,
            Signal::SIGTTIN,
            Signal::SIGUSR1,
            Signal::SIGTTOU,
            Signal::SIGWINCH,
            Signal::SIGCHLD,
        ][round % 6];
        server.signal(signal);
        if round % 7 == 0 {
            if let Some(pid) = server.workers().first() {
                // It may end by itself meanwhile.
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
        }
        std::thread::sleep(Duration::from_millis(7));
    }
    let mark = server.mark();
    server.signal(Signal::SIGHUP);
    server.wait_after(mark, "Reload complete");
    assert_eq!(server.get("/").status, 200);
    assert!(server.is_running());
    server.stop();
}
