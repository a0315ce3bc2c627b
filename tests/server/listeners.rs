//! Where connections come in: TCP, IPv6, unix sockets, inherited descriptors.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::http::{self, Answer, Client};
use crate::support::{self, ferricorn, proc, testapp};

fn get_unix(path: &Path) -> Answer {
    let mut client = Client::connect_unix(path).unwrap();
    client.get("/").unwrap()
}

#[test]
fn two_binds_both_serve_with_ipv6_and_unix() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let start = ferricorn().args("hello --workers 2 --bind [::1]:0 --bind unix:app.sock");
    let server = start.ready();
    assert_eq!(server.get("/").text(), "Hello, World!");
    let line = server.wait("Ready: serving at");
    let v6: SocketAddr = line
        .split("http://")
        .find(|part| part.starts_with("[::1]"))
        .and_then(|part| part.split(',').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{line}"));
    assert_eq!(http::get(v6, "/").unwrap().text(), "Hello, World!");
    assert_eq!(
        get_unix(&server.dir.path("app.sock")).text(),
        "Hello, World!"
    );
    server.stop();
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_the_server() {
    // Gunicorn's default is open to everybody.
    for (arguments, mode) in [
        ("", 0o660),
        ("--umask 0", 0o660),
        ("--umask 077", 0o660),
        ("--socket-mode 0600", 0o600),
    ] {
        let mut server = ferricorn()
            .bind("unix:app.sock")
            .args("hello --workers 1")
            .args(arguments)
            .spawn();
        server.wait("Ready: serving at");
        let path = server.dir.path("app.sock");
        let file = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(file.permissions().mode() & 0o7777, mode, "{arguments}");
        assert_eq!(get_unix(&path).status, 200);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait_exit().code(), Some(0));
        assert!(!path.exists(), "{arguments}");
    }
}

#[test]
fn a_unix_socket_gets_the_owner_that_is_asked_for() {
    if !support::is_root("chown") {
        return;
    }
    let server = ferricorn()
        .bind("unix:app.sock")
        .args("hello --workers 1 --socket-owner nobody --socket-group 12345")
        .spawn();
    server.wait("Ready: serving at");
    let file = std::fs::symlink_metadata(server.dir.path("app.sock")).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    assert_eq!((file.uid(), file.gid()), (nobody.uid.as_raw(), 12345));
    server.stop();
}

#[test]
fn a_stale_unix_socket_is_recovered() {
    let start = ferricorn().bind("unix:app.sock").args("hello --workers 1");
    let path = start.dir().path("app.sock");
    // Its listener is gone, its file is not.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = start.spawn();
    server.wait("Ready: serving at");
    assert_eq!(get_unix(&path).status, 200);
    server.stop();
}

/// Gunicorn takes it over in silence, and whoever stops first removes the other's.
#[test]
fn a_live_unix_socket_is_never_stolen() {
    let start = ferricorn().bind("unix:app.sock").args("hello --workers 1");
    let path = start.dir().path("app.sock");
    let mine = UnixListener::bind(&path).unwrap();
    let identity = |path: &Path| std::fs::symlink_metadata(path).unwrap().ino();
    let before = identity(&path);
    let server = start.spawn();
    let line = server.wait("address in use");
    assert!(line.contains("unix:app.sock"), "{line}");
    let mut server = server;
    assert_eq!(server.wait_exit().code(), Some(1));
    assert_eq!(identity(&path), before);
    drop(mine);
}

#[test]
fn a_file_that_is_no_socket_is_not_removed() {
    let start = ferricorn().bind("unix:app.sock").args("hello --workers 1");
    start.dir().write("app.sock", "precious");
    let mut server = start.spawn();
    assert_eq!(server.wait_exit().code(), Some(1));
    assert!(server.log.text().contains("unix:app.sock"));
    assert_eq!(server.dir.read("app.sock"), "precious");
}

#[test]
fn a_socket_file_of_somebody_else_is_left_at_the_stop() {
    let mut server = ferricorn()
        .bind("unix:app.sock")
        .args("hello --workers 1")
        .spawn();
    server.wait("Ready: serving at");
    let path = server.dir.path("app.sock");
    std::fs::remove_file(&path).unwrap();
    let mine = UnixListener::bind(&path).unwrap();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(path.exists());
    drop(mine);
}

/// As of a path below a link such as `current` that leads to another release by now.
#[test]
fn a_socket_that_is_not_where_it_should_be_is_bound_there_by_a_reload() {
    let server = testapp().args("--workers 1 --bind unix:app.sock").ready();
    let path = server.dir.path("app.sock");
    let moved = server.dir.path("moved.sock");
    std::fs::rename(&path, &moved).unwrap();
    let mut before = Client::connect_unix(&moved).unwrap();
    assert_eq!(before.get("/").unwrap().status, 200);
    server.reload();
    assert_eq!(get_unix(&path).status, 200);
    // Whoever was connected notices nothing.
    assert_eq!(before.get("/").unwrap().status, 200);
    // A file that is there is kept, with its queue.
    let identity = || std::fs::metadata(&path).unwrap().ino();
    let kept = identity();
    server.reload();
    assert_eq!(identity(), kept);
    server.stop();
    assert!(!path.exists());
}

#[test]
fn crashing_workers_remove_neither_socket_nor_pid_file() {
    let server = testapp()
        .args("--workers 2 --bind unix:app.sock --pidfile app.pid")
        .ready();
    for (path, message) in [
        ("/panic", "exited (replaced after a panic)"),
        ("/segv", "is ready (pid"),
        ("/exit/1", "is ready (pid"),
    ] {
        let mark = server.mark();
        let _ = http::get(server.address(), path);
        server.wait_after(mark, message);
        assert_eq!(get_unix(&server.dir.path("app.sock")).status, 200, "{path}");
        assert!(server.dir.path("app.pid").exists(), "{path}");
    }
    server.control("boot-panic", "");
    server.reload_fails();
    assert_eq!(get_unix(&server.dir.path("app.sock")).status, 200);
    assert!(server.dir.path("app.pid").exists());
    server.stop();
}

#[test]
fn an_abstract_unix_socket_serves() {
    let name = format!("ferricorn-test-{}", std::process::id());
    let server = ferricorn()
        .bind(format!("unix:@{name}"))
        .args("hello --workers 1")
        .spawn();
    server.wait("Ready: serving at");
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    let stream = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
    assert_eq!(
        stream.peer_addr().unwrap().as_abstract_name(),
        address.as_abstract_name()
    );
    server.stop();
}

#[test]
fn an_inherited_descriptor_serves_by_its_number() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = testapp()
        .inherit(listener, 7, "true")
        .bind("fd://7")
        .args("--workers 2")
        .ready();
    assert_eq!(server.address(), address);
    assert_eq!(server.get("/").status, 200);
    // A reload keeps it, under its number, and so does the next image.
    for generation in 2..5 {
        server.take_over();
        assert_eq!(server.who().generation, generation);
        let sockets = proc::descriptors(server.pid);
        assert!(sockets[&7].starts_with("socket:"), "{sockets:?}");
    }
    server.stop();
}

#[test]
fn a_descriptor_that_is_no_listener_is_refused() {
    let ended = ferricorn().bind("fd://99").run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("cannot bind fd://99"), "{}", ended.log);
}

#[test]
fn sockets_of_systemd_are_served_and_their_variables_kept_from_the_workers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = testapp()
        .inherit(
            listener,
            3,
            "export LISTEN_FDS=1 LISTEN_PID=$$ NOTIFY_SOCKET=/none",
        )
        .no_bind()
        .args("--workers 1")
        .ready();
    assert_eq!(server.address(), address);
    for name in ["LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"] {
        assert_eq!(
            server.get(&format!("/environment/{name}")).status,
            404,
            "{name}"
        );
    }
    // They were meant for this process, whatever it executes.
    for _ in 0..2 {
        server.take_over();
    }
    assert_eq!(server.address(), address);
    assert_eq!(server.who().generation, 3);
    server.stop();
}

#[test]
fn a_socket_of_systemd_is_found_by_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = testapp()
        .inherit(listener, 3, "export LISTEN_FDS=1 LISTEN_PID=$$")
        .bind(address.to_string())
        .args("--workers 1")
        .ready();
    assert_eq!(server.address(), address);
    server.stop();
}

#[test]
fn a_socket_of_systemd_is_taken_by_its_name() {
    let socket = || TcpListener::bind("127.0.0.1:0").unwrap();
    let shell = "export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=app.socket:other";
    let listener = socket();
    let address = listener.local_addr().unwrap();
    let server = testapp()
        .inherit(listener, 3, shell)
        .bind("fd://app.socket")
        .args("--workers 1")
        .ready();
    assert_eq!(server.address(), address);
    for _ in 0..2 {
        server.take_over();
    }
    assert_eq!(server.address(), address);
    assert_eq!(server.who().generation, 3);
    server.stop();

    let unknown = testapp().inherit(socket(), 3, shell);
    let ended = unknown.bind("fd://api").run();
    assert_eq!(ended.code, Some(1));
    let why = "cannot bind fd://api: no socket of this name was passed; passed were \"app.socket\"";
    assert!(ended.log.contains(why), "{}", ended.log);
    let ended = testapp().bind("fd://api").run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.log.contains("no socket with a name was"),
        "{}",
        ended.log
    );
}

/// LISTEN_PID is meant for somebody else: a parent that did not clear it.
#[test]
fn sockets_for_another_process_are_not_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = testapp()
        .inherit(listener, 3, "export LISTEN_FDS=1 LISTEN_PID=1")
        .bind(address.to_string())
        .args("--workers 1")
        .spawn();
    server.wait("address in use");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn a_backlog_above_the_systems_bound_is_told() {
    let bound = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let beyond: u32 = bound.trim().parse::<u32>().unwrap() + 1;
    let server = testapp()
        .args(&format!("--workers 1 --backlog {beyond}"))
        .ready();
    let line = server.wait("net.core.somaxconn");
    assert!(line.contains("WARN"), "{line}");
    server.stop();
}

#[test]
fn the_limit_of_open_files_is_raised_to_its_hard_bound() {
    let server = testapp()
        .wrapped(&["sh", "-c", "ulimit -Sn 64; exec \"$@\"", "sh"])
        .args("--workers 1")
        .ready();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid)).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
    server.stop();
}
