//! The control socket under attack: whatever is done to it, the master goes on and others are heard.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::support::ctl::{Raw, run};
use crate::support::{ferricorn, install, is_root, proc, testapp};

#[test]
fn lines_that_are_no_commands_are_answered() {
    let server = ferricorn().ready();
    let mut client = server.control_client();
    for (line, reason) in [
        (&b"hello\n"[..], "cannot read the command"),
        (b"\n", "cannot read the command"),
        (b"\0\xff\xfe\x80\n", "cannot read the command"),
        (b"[1, 2]\n", "cannot read the command"),
        (
            b"{\"command\":\"relaod\"}\n",
            "expected one of `status`, `reload`",
        ),
        (
            b"{\"command\":\"scale\"}\n",
            "scale takes one of workers and by",
        ),
        (b"{\"command\":\"scale\",\"workers\":0}\n", "one stays"),
        (
            b"{\"command\":\"scale\",\"workers\":18446744073709551615}\n",
            "no room",
        ),
        (
            b"{\"command\":\"scale\",\"workers\":-1}\n",
            "cannot read the command",
        ),
        (
            b"{\"command\":\"scale\",\"by\":-9223372036854775808}\n",
            "one stays",
        ),
        (
            b"{\"command\":\"scale\",\"by\":9223372036854775807}\n",
            "no room",
        ),
        (
            b"{\"command\":\"kill\",\"pid\":-1}\n",
            "no worker with pid -1",
        ),
        (
            b"{\"command\":\"kill\",\"pid\":0}\n",
            "no worker with pid 0",
        ),
        (
            b"{\"command\":\"drain\",\"pid\":2147483647}\n",
            "no worker with pid",
        ),
        (
            b"{\"version\":7,\"command\":\"status\"}\n",
            "speaks version 1",
        ),
    ] {
        client.say(line);
        let answer = client.answer();
        assert_eq!(answer["ok"], false, "{answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(reason), "{line:?}: {error}");
    }
    client.say("{\"command\":\"status\"}\n");
    assert_eq!(client.answer()["ok"], true);
    server.stop();
}

#[test]
fn a_line_without_an_end_is_cut() {
    let server = ferricorn().ready();
    for bytes in [vec![b'['; 1 << 20], vec![0; 1 << 20], vec![b' '; 4097]] {
        let mut client = server.control_client();
        // It is closed before all of it was taken.
        let _ = client.0.get_mut().write_all(&bytes);
        let answer = client.answer();
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains("longer than 4096 bytes"), "{error}");
        assert_eq!(client.line(), None);
    }
    // A last line need not have an end.
    let mut client = server.control_client();
    client.say("{\"command\":\"status\"}");
    client
        .0
        .get_ref()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    assert_eq!(client.answer()["ok"], true);
    assert_eq!(client.line(), None);
    server.stop();
}

#[test]
fn a_thousand_connections_keep_nobody_from_the_server() {
    let server = ferricorn().ready();
    let path = server.control_socket();
    let mut idle = Vec::new();
    for n in 0..1000 {
        let mut stream = UnixStream::connect(&path).unwrap();
        if n % 2 == 0 {
            let _ = stream.write_all(b"{\"comm");
        }
        idle.push(stream);
        if n % 250 == 249 {
            server.ctl_done("status");
        }
    }
    server.ctl_done("status");
    // Those that were dropped have not cost the master its descriptors.
    let sockets = proc::kinds(server.pid)
        .into_iter()
        .filter(|kind| kind == "socket");
    assert!(sockets.count() < 100);
    // Neither do those that ask for everything.
    drop(idle);
    let mut waiting: Vec<Raw> = Vec::new();
    for _ in 0..100 {
        let mut client = server.control_client();
        // One too many is told so, and closed.
        let _ = client.0.get_mut().write_all(b"{\"command\":\"events\"}\n");
        waiting.push(client);
    }
    server.until("a refusal", || {
        let ended = server.ctl("status");
        ended.log.contains("too many clients").then_some(())
    });
    assert_eq!(server.get("/").status, 200);
    drop(waiting);
    server.until("room", || {
        (server.ctl("status").code == Some(0)).then_some(())
    });
    server.stop();
}

/// Whether the other side is gone; what it has said is not read for that.
fn is_hung_up(client: &Raw) -> bool {
    let mut polled = [PollFd::new(client.0.get_ref().as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).unwrap();
    polled[0].revents().unwrap().contains(PollFlags::POLLHUP)
}

#[test]
fn who_does_not_read_is_dropped_and_delays_nobody() {
    let server = testapp().args("--workers 1").ready();
    // One subscribes, and one asks again and again.
    let mut deaf = server.control_client();
    deaf.say("{\"command\":\"events\"}\n");
    let mut greedy = server.control_client();
    greedy.0.get_ref().set_nonblocking(true).unwrap();
    let asks = "{\"command\":\"status\"}\n".repeat(1000);
    // Until nothing of it is taken any more.
    while greedy.0.get_mut().write(asks.as_bytes()).is_ok() {}
    server.ctl_done("status");
    // Each command is an event; some ten thousand of them are more than it may leave unread. On a busy
    // machine that takes longer than anybody may read nothing, which is the other reason to drop it.
    let mut busy = server.control_client();
    let mut rounds = 0;
    while !is_hung_up(&deaf) {
        busy.say("{\"command\":\"scale\",\"workers\":1}\n".repeat(50));
        for _ in 0..50 {
            assert_eq!(busy.answer()["ok"], true);
        }
        rounds += 1;
        assert!(rounds < 2000, "it is not dropped");
    }
    let mut rest = Vec::new();
    let _ = deaf.0.read_to_end(&mut rest);
    assert!(rest.len() > 10_000, "{}", rest.len());
    // The master's memory is bounded, and it is not busy with any of them.
    server.ctl_done("status");
    assert_eq!(server.who().generation, 1);
    drop(greedy);
    server.stop();
}

#[test]
fn a_client_that_has_hung_up_does_not_keep_the_master_busy() {
    let server = testapp().args("--workers 1").ready();
    for command in ["events", "status"] {
        let mut client = server.control_client();
        client.say(format!("{{\"command\":\"{command}\"}}\n"));
        drop(client);
    }
    // One that says nothing more but listens on.
    let mut client = server.control_client();
    client.say("{\"command\":\"events\"}\n");
    client
        .0
        .get_ref()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    server.until("the subscription", || {
        server.ctl_done("scale 1");
        (server.log.count(0, "1 worker wanted") > 2).then_some(())
    });
    assert_eq!(client.event("wanted")["workers"], 1);
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid)).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_secs(2));
    // A loop that turns all the time would take some 200 of them.
    assert!(ticks() < before + 40, "{} ticks", ticks() - before);
    server.ctl_done("reload --wait");
    assert_eq!(client.event("executed")["reload"], 1);
    server.stop();
}

#[test]
fn workers_have_nothing_of_the_control_socket() {
    let server = testapp().args("--workers 1").ready();
    let sockets = || {
        let kinds = proc::kinds(server.workers()[0]);
        kinds.iter().filter(|kind| *kind == "socket").count()
    };
    let before = sockets();
    let mut clients: Vec<Raw> = (0..5).map(|_| server.control_client()).collect();
    for client in &mut clients {
        client.say("{\"command\":\"events\"}\n");
    }
    let pid = server.workers()[0];
    server.ctl_done(&format!("kill {pid}"));
    clients[0].event("worker-ready");
    assert_eq!(sockets(), before);
    server.ctl_done("reload --wait");
    assert_eq!(sockets(), before);
    // So that the end of the master is an end of file, whoever lives on.
    server.signal(Signal::SIGKILL);
    for client in &mut clients {
        while client.line().is_some() {}
    }
}

#[test]
fn another_user_is_refused_even_where_the_file_is_open_to_him() {
    if !is_root("another user") {
        return;
    }
    let server = ferricorn().args("--control-socket c").ready();
    let socket = server.control_socket();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(server.dir.root(), fs::Permissions::from_mode(0o755)).unwrap();
    // The program may lie where he cannot go.
    let program = server.dir.path("ferricorn");
    let bytes = fs::read(env!("CARGO_BIN_EXE_ferricorn")).unwrap();
    install(&program, &bytes, 0o755);
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(&program).args(["ctl", "--socket"]).arg(&socket);
        run(command.args(words))
    };
    for words in [&["status"][..], &["stop"], &["events"]] {
        let ended = as_nobody(words);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.log.contains("uid 65534 may not control this server"),
            "{ended:?}"
        );
    }
    server.wait("control: uid 65534");
    server.ctl_done("status");
    server.stop();
}
