//! Listeners in the service manager's store: who may be killed and comes back finds its clients
//! waiting. The manager here only pretends; a real one has tests of its own (`tests/systemd`).

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::notify::{Manager, Told};
use crate::support::http::Client;
use crate::support::{Server, Start, proc, testapp};

/// What lies in the store, under its name.
type Store = (String, OwnedFd);

fn managed(start: Start) -> (Manager, Start) {
    let path = start.dir().path("notify");
    let manager = Manager::at(&path);
    (manager, start.env("NOTIFY_SOCKET", path))
}

/// Puts into the store what these datagrams say, and takes out of it.
fn keep(store: &mut Vec<Store>, all: Vec<Told>) {
    for told in all {
        let field = |name: &str| {
            let mut lines = told.text.lines();
            lines.find_map(|line| line.strip_prefix(name).map(str::to_owned))
        };
        let name = field("FDNAME=");
        if field("FDSTORE=").is_some() {
            assert_eq!(field("FDPOLL="), Some("0".to_owned()));
            let name = name.unwrap();
            let allowed = |c: char| (' '..='~').contains(&c) && c != ':';
            assert!(name.len() <= 255 && name.chars().all(allowed), "{name}");
            store.extend(told.fds.into_iter().map(|fd| (name.clone(), fd)));
        } else if field("FDSTOREREMOVE=").is_some() {
            store.retain(|(other, _)| Some(other) != name.as_ref());
        }
    }
}

/// The store of a server that has just said that it is ready.
#[track_caller]
fn stored(manager: &Manager) -> Vec<Store> {
    let mut store = Vec::new();
    keep(&mut store, manager.until("READY=1"));
    store
}

/// Kills the master, and waits until its workers are gone as well.
fn kill(mut server: Server) -> SocketAddr {
    server.signal(Signal::SIGKILL);
    server.wait_exit();
    server.until("the workers to follow", || {
        proc::group(server.pid).is_empty().then_some(())
    });
    server.address()
}

/// Starts it as the manager would start it again.
fn again(start: Start, (name, fd): Store) -> Start {
    let set = format!("export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES='{name}'");
    start.inherit(fd, 3, &set)
}

fn ask(address: SocketAddr) -> Client<TcpStream> {
    let mut client = Client::connect(address).unwrap();
    let request = "GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.send(request).unwrap();
    client
}

#[test]
fn a_master_that_was_killed_comes_back_to_those_who_wait() {
    let (manager, start) = managed(testapp().args("--workers 2"));
    let server = start.env("FDSTORE", "4").ready();
    let answer = server.get("/environment/FDSTORE");
    assert_eq!(answer.status, 404, "that is not for the workers");
    let mut store = stored(&manager);
    assert_eq!(store.len(), 1, "{store:?}");
    let address = kill(server);

    let mut waiting: Vec<_> = (0..50).map(|_| ask(address)).collect();
    let (manager, start) = managed(testapp().args("--workers 2 --backlog 77"));
    let server = again(start, store.remove(0)).ready();
    server.wait("Taken over from the service manager's store");
    assert_eq!(
        server.address(),
        address,
        "the port was the system's choice"
    );
    for client in &mut waiting {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    // It knows that it is in the store, and says so again to nobody.
    assert!(stored(&manager).is_empty());
    server.reload();
    let told = manager.until("STATUS=Serving: 2 of 2 workers ready, generation 2");
    assert!(told.iter().all(|told| !told.text.contains("FDSTORE")));
    server.stop();
}

#[test]
fn the_store_follows_the_binds_of_a_reload() {
    let (manager, start) = managed(testapp().args("--workers 1").no_bind());
    let bind = |binds: &str| format!("bind = [{binds}]\n");
    let start = start.file(&bind("\"127.0.0.1:0\", \"unix:app.sock\""));
    let server = start.ready();
    let mut store = stored(&manager);
    assert_eq!(store.len(), 2, "{store:?}");
    let path = format!("{}", server.dir.path("app.sock").display());
    assert!(store[1].0.ends_with(&path), "{store:?}");

    // What cannot serve changes nothing here either.
    let file = |text: &str| server.dir.write("ferricorn.toml", text);
    file(&bind("\"unix:/nowhere/at/all\", \"127.0.0.1:0\""));
    server.reload_fails();
    keep(&mut store, manager.until("READY=1"));
    assert_eq!(store.len(), 2, "{store:?}");

    // The new one is there before the end of the reload is told.
    let first = store[0].0.clone();
    file(&bind("\"127.0.0.1:0\", \"unix:@stored %:\\u0001ä\""));
    server.reload();
    keep(&mut store, manager.until("READY=1"));
    let names = || store.iter().map(|(name, _)| &**name);
    assert!(names().any(|name| name == first), "{store:?}");
    assert!(names().any(|name| name.ends_with("-abstract-stored%20%25%3A%01%C3%A4")));
    // The old one is gone as soon as nobody accepts from it.
    while store.len() > 2 {
        keep(&mut store, manager.until("FDSTOREREMOVE=1"));
    }
    assert!(!store.iter().any(|(name, _)| name.ends_with("app.sock")));

    // At a stop it stays as it is.
    server.stop();
    keep(&mut store, std::iter::from_fn(|| manager.next()).collect());
    assert_eq!(store.len(), 2, "{store:?}");
}

#[test]
fn what_no_bind_wants_any_more_is_given_back() {
    let (manager, start) = managed(testapp().args("--workers 1"));
    let server = start.ready();
    let mut store = stored(&manager);
    let name = store[0].0.clone();
    let address = kill(server);

    let start = testapp().args("--workers 1").bind("127.0.0.2:0");
    let (manager, start) = managed(start);
    let server = again(start, store.remove(0)).ready();
    server.wait(&format!("no bind wants it any more: http://{address}"));
    let all = manager.until("READY=1");
    let removed = format!("FDSTOREREMOVE=1\nFDNAME={name}");
    assert!(all.iter().any(|told| told.text == removed), "{all:#?}");
    assert!(TcpStream::connect(address).is_err());
    server.stop();
}

/// Sockets in the store are none that systemd passed: those would be served without a bind.
#[test]
fn what_is_stored_says_nothing_of_what_to_serve() {
    let (manager, start) = managed(testapp().args("--workers 1"));
    let server = start.ready();
    let mut store = stored(&manager);
    let address = kill(server);
    let start = testapp().args("--workers 1").no_bind().env("PORT", "0");
    let server = again(start, store.remove(0)).ready();
    assert_ne!(server.address(), address);
    server.stop();
}

/// Of a server that stops, the system drops whoever comes: the next one must lift that.
#[test]
fn a_restart_serves_whoever_came_in_between() {
    let (manager, start) = managed(testapp().args("--workers 1"));
    let mut server = start.ready();
    let mut store = stored(&manager);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    let address = server.address();

    let client = std::thread::spawn(move || ask(address).answer().unwrap().status);
    let start = testapp().args("--workers 1");
    let server = again(start, store.remove(0)).ready();
    assert_eq!(client.join().unwrap(), 200);
    assert_eq!(server.address(), address);
    server.stop();
}

#[test]
fn a_unix_socket_comes_back_as_our_own_while_its_file_is_there() {
    for removed in [false, true] {
        let start = testapp().args("--workers 1");
        let path = start.dir().path("app.sock");
        let (manager, start) = managed(start.bind(format!("unix:{}", path.display())));
        let mut server = start.spawn();
        server.wait("Ready: serving at");
        let mut store = stored(&manager);
        server.signal(Signal::SIGKILL);
        server.wait_exit();
        server.until("the workers to follow", || {
            proc::group(server.pid).is_empty().then_some(())
        });
        let mut waiting = Client::connect_unix(&path).unwrap();
        waiting
            .stream()
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        waiting
            .send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        if removed {
            std::fs::remove_file(&path).unwrap();
        }

        let (manager, start) = managed(testapp().args("--workers 1"));
        let start = start.bind(format!("unix:{}", path.display()));
        let second = again(start, store.remove(0)).spawn();
        second.wait("Ready: serving at");
        assert_eq!(waiting.answer().is_ok(), !removed, "{removed}");
        let mut client = Client::connect_unix(&path).unwrap();
        assert_eq!(client.get("/").unwrap().status, 200);
        keep(&mut store, manager.until("READY=1"));
        assert_eq!(store.len(), usize::from(removed), "{store:?}");
        second.stop();
        assert!(!path.exists());
    }
}

#[test]
fn what_others_made_is_not_ours_to_store() {
    let passed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (manager, start) = managed(testapp().args("--workers 1").no_bind());
    let set = "export LISTEN_FDS=1 LISTEN_PID=$$";
    let server = start.inherit(passed, 3, set).ready();
    assert!(stored(&manager).is_empty());
    server.stop();

    let (manager, start) = managed(testapp().args("--workers 1"));
    let server = start.env("FDSTORE", "0").ready();
    assert!(stored(&manager).is_empty(), "there is no store");
    server.stop();
}
