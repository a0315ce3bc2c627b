//! What the service manager is told (sd_notify(3)), at a socket that pretends to be its own.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::support::{PATIENCE, Start, testapp};

/// The manager's end. Who sends is told by the system itself.
pub struct Manager(UnixDatagram);

/// One datagram.
#[derive(Debug)]
pub struct Told {
    pub pid: i32,
    pub text: String,
    /// Descriptors for its store.
    pub fds: Vec<OwnedFd>,
}

impl Manager {
    pub fn at(path: &Path) -> Manager {
        Manager::of(UnixDatagram::bind(path).unwrap())
    }

    fn of(socket: UnixDatagram) -> Manager {
        setsockopt(&socket, sockopt::PassCred, &true).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        Manager(socket)
    }

    /// The next datagram, if one comes within a moment.
    pub fn next(&self) -> Option<Told> {
        let mut bytes = [0; 4096];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(&self.0, &mut parts, &mut control, flags) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(errno) => panic!("{errno}"),
        };
        let (mut pid, mut fds) = (None, Vec::new());
        for message in control.drain() {
            match message {
                RecvAncillaryMessage::ScmCredentials(sender) => {
                    pid = Some(sender.pid.as_raw_nonzero().get());
                }
                RecvAncillaryMessage::ScmRights(rights) => fds.extend(rights),
                _ => {}
            }
        }
        let (pid, length) = (pid.unwrap(), received.bytes);
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        Some(Told { pid, text, fds })
    }

    /// All datagrams up to one that has this in it.
    #[track_caller]
    pub fn until(&self, what: &str) -> Vec<Told> {
        let give_up = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        while Instant::now() < give_up {
            all.extend(self.next());
            if all.last().is_some_and(|told| told.text.contains(what)) {
                return all;
            }
        }
        panic!("{what:?} did not come: {all:#?}");
    }
}

/// The first words of the datagrams that say how it goes, but for those with a status alone.
pub fn changes(all: &[Told]) -> Vec<&str> {
    let first = all.iter().map(|told| told.text.split('\n').next().unwrap());
    let other = |word: &&str| !word.starts_with("STATUS=") && !word.starts_with("FDSTORE");
    first.filter(other).collect()
}

/// Now, as sd_notify(3) wants it told.
fn micros() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    now.tv_sec() as u64 * 1_000_000 + now.tv_nsec() as u64 / 1000
}

fn last(all: &[Told]) -> &str {
    &all.last().unwrap().text
}

pub(crate) fn managed(workers: usize) -> (Manager, Start) {
    let start = testapp().args(&format!("--workers {workers}"));
    let path = start.dir().path("notify");
    let manager = Manager::at(&path);
    (manager, start.env("NOTIFY_SOCKET", path))
}

#[test]
fn a_life_is_told_in_order_and_by_the_master_alone() {
    let (manager, start) = managed(2);
    let server = start.control("boot-wait", "").spawn();
    let mut all = manager.until("STATUS=Starting: 0 of 2 workers ready");
    server.uncontrol("boot-wait");
    let told = manager.until("READY=1");
    assert_eq!(
        last(&told),
        "READY=1\nSTATUS=Serving: 2 of 2 workers ready, generation 1"
    );
    all.extend(told);

    server.reload();
    let told = manager.until("READY=1");
    assert_eq!(
        last(&told),
        "READY=1\nSTATUS=Serving: 2 of 2 workers ready, generation 2"
    );
    let begun = told
        .iter()
        .find(|told| told.text.starts_with("RELOADING=1"));
    let begun: Vec<&str> = begun.unwrap().text.split('\n').collect();
    let [_, time, status] = begun[..] else {
        panic!("{begun:?}")
    };
    let micros: u128 = time
        .strip_prefix("MONOTONIC_USEC=")
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        micros > 0 && status.contains("trying the program"),
        "{begun:?}"
    );
    let rolls = |told: &Told| told.text.contains("workers ready in generation 2");
    assert!(told.iter().any(rolls), "{told:#?}");
    all.extend(told);

    let pid = server.pid;
    server.stop();
    while let Some(told) = manager.next() {
        all.push(told);
    }
    assert_eq!(
        changes(&all),
        ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    );
    assert!(all.iter().all(|told| told.pid == pid), "{all:#?}");
}

/// Whoever asks for a reload (Type=notify-reload, systemd.service(5)) takes for its begin what was told
/// of a later time than that, and for its end the next READY.
#[test]
fn every_reload_that_is_asked_for_has_a_begin_and_an_end_of_its_own() {
    let (manager, start) = managed(1);
    let server = start.file("backlog = 5\n").ready();
    manager.until("READY=1");
    let ask = || {
        let asked = micros();
        server.signal(Signal::SIGHUP);
        asked
    };
    let ended = |asked: u64| {
        loop {
            let all = manager.until("RELOADING=1");
            let mut lines = last(&all).lines();
            let time = lines.find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
            let time: u64 = time.unwrap().parse().unwrap();
            assert!(time <= micros());
            if time >= asked {
                break;
            }
        }
        last(&manager.until("READY=1")).to_owned()
    };
    assert!(ended(ask()).contains("generation 2"));

    // One after another, the second when nobody knows yet how the first will end.
    server.control("boot-wait", "");
    ask();
    manager.until("RELOADING=1");
    let asked = ask();
    server.wait("a reload follows when what is under way is over");
    server.uncontrol("boot-wait");
    assert!(ended(asked).contains("generation 4"));

    server.dir.write("ferricorn.toml", "backlogg = 5\n");
    assert!(ended(ask()).contains("Reload failed: "));
    server.stop();
}

#[test]
fn a_reload_that_fails_ends_like_any_other_and_says_why() {
    let (manager, start) = managed(1);
    let server = start.file("backlog = 5\n").ready();
    manager.until("READY=1");
    server.dir.write("ferricorn.toml", "backlogg = 5\n");
    for _ in 0..2 {
        server.reload_fails();
        let all = manager.until("READY=1");
        assert_eq!(changes(&all), ["RELOADING=1", "READY=1"]);
        let text = last(&all);
        assert!(text.contains("STATUS=Reload failed: "), "{text}");
        assert!(text.contains("backlogg"), "{text}");
        assert!(text.contains("generation 1 serves on"), "{text}");
    }
    // What is well again is said to be.
    server.dir.write("ferricorn.toml", "backlog = 6\n");
    server.reload();
    assert!(last(&manager.until("READY=1")).contains("STATUS=Serving: 1 of 1"));
    // A program that fails in the roll, when it was executed already: it says so itself.
    let odds = "2";
    server.control("boot-odds", odds);
    server.reload_fails();
    let mut all = manager.until("READY=1");
    // It may take its time.
    all.retain(|told| !told.text.starts_with("EXTEND_TIMEOUT_USEC"));
    assert_eq!(changes(&all), ["RELOADING=1", "READY=1"]);
    let rolls = |told: &Told| told.text.contains("workers ready in generation 3");
    assert!(all.iter().any(rolls), "{all:#?}");
    let text = last(&all);
    assert!(text.contains("STATUS=Reload failed: "), "{text}");
    assert!(text.contains("generation 2 serves on"), "{text}");
    server.stop();
}

#[test]
fn a_start_that_fails_says_why() {
    let (manager, start) = managed(1);
    let ended = start.control("load-fail", "").run();
    assert_eq!(ended.code, Some(4));
    let all = manager.until("STOPPING=1");
    assert!(last(&all).contains("STATUS=Cannot start: "), "{all:#?}");

    let (manager, start) = managed(1);
    assert_eq!(start.bind("fd://99").run().code, Some(1));
    let all = manager.until("Cannot start");
    assert!(last(&all).contains("fd://99"), "{all:#?}");
    assert!(changes(&all).is_empty(), "{all:#?}");
}

#[test]
fn the_watchdog_is_fed_by_whoever_it_is_meant_for() {
    let (manager, start) = managed(1);
    let server = start.env("WATCHDOG_USEC", "200000").ready();
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        let answer = server.get(&format!("/environment/{name}"));
        assert_eq!(answer.status, 404, "{name} is not for the workers");
    }
    for _ in 0..5 {
        manager.until("WATCHDOG=1");
    }
    // The next image goes on.
    server.reload();
    manager.until("generation 2");
    manager.until("WATCHDOG=1");
    server.stop();

    let (manager, start) = managed(1);
    let other = start.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    let server = other.ready();
    server.reload();
    let all = manager.until("STATUS=Serving: 1 of 1 workers ready, generation 2");
    assert!(!changes(&all).contains(&"WATCHDOG=1"), "{all:#?}");
    server.stop();
}

#[test]
fn a_stop_that_takes_long_asks_for_more_time() {
    let (manager, start) = managed(1);
    let server = start.args("--graceful-timeout 7").ready();
    let mut client = crate::support::http::Client::connect(server.address()).unwrap();
    client
        .send("GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    server.until_in_handler(1);
    server.stop();
    let all = manager.until("EXTEND_TIMEOUT_USEC=");
    assert_eq!(
        changes(&all),
        ["READY=1", "STOPPING=1", "EXTEND_TIMEOUT_USEC=15000000"]
    );
}

#[test]
fn an_abstract_socket_is_told_as_well() {
    let name = format!("ferricorn-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager::of(UnixDatagram::bind_addr(&address).unwrap());
    let start = testapp().args("--workers 1");
    let server = start.env("NOTIFY_SOCKET", format!("@{name}")).ready();
    assert_eq!(changes(&manager.until("READY=1")), ["READY=1"]);
    server.stop();
}

/// What the manager does not take now it gets later, and nothing else waits for it.
#[test]
fn a_manager_that_does_not_read_holds_nobody_up() {
    let (manager, start) = managed(1);
    let server = start.ready();
    // More datagrams than any system queues (net.unix.max_dgram_qlen).
    for _ in 0..300 {
        let mark = server.mark();
        server.signal(Signal::SIGTTIN);
        server.wait_after(mark, "2 workers wanted");
        let mark = server.mark();
        server.signal(Signal::SIGTTOU);
        server.wait_after(mark, "1 worker wanted");
    }
    server.reload();
    manager.until("READY=1");
    // The queue held what it could; the rest is told as it stands.
    let all = manager.until("READY=1");
    assert_eq!(changes(&all), ["RELOADING=1", "READY=1"]);
    assert!(last(&all).contains("1 of 1 workers ready, generation 2"));
    server.stop();
}

#[test]
fn a_daemon_says_which_process_it_is() {
    let (manager, start) = managed(1);
    let pidfile = start.dir().path("pid");
    let start = start.arg("--daemon").arg("--pidfile").arg(&pidfile);
    let log = start.dir().path("log");
    let mut server = start.arg("--error-logfile").arg(log).spawn();
    assert_eq!(server.wait_exit().code(), Some(0));
    let all = manager.until("READY=1");
    let pid: i32 = std::fs::read_to_string(&pidfile)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(
        last(&all).contains(&format!("READY=1\nMAINPID={pid}\n")),
        "{all:#?}"
    );
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    manager.until("STOPPING=1");
}
