//! Listeners against the real system, on the loopback and in a temporary directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::config::Origin;

fn bind_to(address: Address) -> Bind {
    Bind {
        text: "test".to_owned(),
        address,
        backlog: 16,
        socket_mode: 0o660,
        socket_owner: None,
        socket_group: None,
        proxy_protocol: None,
        proxy_allow_from: Default::default(),
        for_aide: false,
        origin: Origin::Default,
    }
}

fn tcp(text: &str) -> Bind {
    bind_to(Address::Tcp(text.parse().unwrap()))
}

fn listen(bind: &Bind) -> Result<Listener, BindError> {
    Listener::bind(bind, &Inherited::default())
}

/// A path in a directory that goes with it.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    (dir, path)
}

fn unix(path: &Path) -> Bind {
    bind_to(Address::Unix(path.to_owned()))
}

#[test]
fn a_tcp_listener_tells_its_real_port_and_refuses_a_second() {
    let first = listen(&tcp("127.0.0.1:0")).unwrap();
    let LocalAddr::Tcp(address) = first.local else {
        panic!()
    };
    assert_ne!(address.port(), 0);
    let error = listen(&tcp(&address.to_string())).unwrap_err();
    assert!(error.in_use);
    assert_eq!(error.to_string(), "cannot bind test: address in use");
}

#[test]
fn ipv4_and_ipv6_do_not_get_in_each_others_way() {
    let Ok(first) = listen(&tcp("[::]:0")) else {
        return;
    };
    let LocalAddr::Tcp(address) = first.local else {
        panic!()
    };
    listen(&tcp(&format!("0.0.0.0:{}", address.port()))).unwrap();
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_its_listener() {
    let (_dir, path) = place();
    let listener = listen(&unix(&path)).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o660);
    UnixStream::connect(&path).unwrap();
    let open = Bind {
        socket_mode: 0o666,
        ..unix(&path)
    };
    listener.adjust(&open).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o666
    );
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not_stolen() {
    let (_dir, path) = place();
    let stale = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = listen(&unix(&path)).unwrap_err();
    assert!(error.in_use);
    drop(stale);
    let listener = listen(&unix(&path)).unwrap();
    UnixStream::connect(&path).unwrap();
    drop(listener);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let (_dir, path) = place();
    fs::write(&path, "data").unwrap();
    let error = listen(&unix(&path)).unwrap_err().to_string();
    assert!(
        error.ends_with("there is a file that is no socket"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
}

#[test]
fn a_socket_file_that_somebody_else_made_since_stays() {
    let (_dir, path) = place();
    let listener = listen(&unix(&path)).unwrap();
    fs::remove_file(&path).unwrap();
    // The first listener keeps its inode, so that this one has another.
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(fs::metadata(&path).unwrap().ino() > 0);
    drop(listener);
    assert!(path.exists());
}

#[test]
fn an_abstract_socket_has_no_file() {
    let name = format!("ferricorn-test-{}", std::process::id());
    let listener = listen(&bind_to(Address::Abstract(name.clone()))).unwrap();
    assert_eq!(
        listener.local,
        LocalAddr::Unix(PathBuf::from(format!("@{name}")))
    );
    assert!(
        listen(&bind_to(Address::Abstract(name)))
            .unwrap_err()
            .in_use
    );
}

#[test]
fn a_descriptor_that_was_not_inherited_is_refused() {
    let error = listen(&bind_to(Address::Fd(77))).unwrap_err().to_string();
    assert!(error.contains("descriptor 77"), "{error}");
}

#[test]
fn unchanged_listeners_are_taken_over_and_a_failure_changes_nothing() {
    let taken = listen(&tcp("127.0.0.1:0")).unwrap();
    let LocalAddr::Tcp(busy) = taken.local else {
        panic!()
    };
    let kept = bind_to(Address::Abstract(format!(
        "ferricorn-kept-{}",
        std::process::id()
    )));
    let none = Inherited::default();
    let old = listeners(std::slice::from_ref(&kept), &[], &none).unwrap();
    let new = listeners(&[kept.clone(), tcp("127.0.0.1:0")], &old, &none).unwrap();
    assert!(Rc::ptr_eq(&old[0], &new[0]));
    drop(new);
    assert!(listeners(&[kept, tcp(&busy.to_string())], &old, &none).is_err());
    assert_eq!(Rc::strong_count(&old[0]), 1);
}

#[test]
fn whoever_waits_in_an_accept_queue_is_counted() {
    let (_dir, path) = place();
    let name = format!("ferricorn-queue-{}", std::process::id());
    let binds = [
        tcp("127.0.0.1:0"),
        unix(&path),
        bind_to(Address::Abstract(name)),
    ];
    for bind in binds {
        let listener = listen(&bind).unwrap();
        let waits = |waiting: u32| {
            let expected = queue::Queue { waiting, limit: 16 };
            // The other side of a TCP connection may know of it a moment later.
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
            while listener.queue().unwrap() != expected {
                assert!(
                    std::time::Instant::now() < deadline,
                    "{:?}",
                    listener.queue()
                );
                std::thread::yield_now();
            }
        };
        waits(0);
        let connect = |_| {
            let address = listener.socket.local_addr().unwrap();
            let client = Socket::new(address.domain(), Type::STREAM, None).unwrap();
            client.connect(&address).unwrap();
            client
        };
        let clients: Vec<Socket> = (0..5).map(connect).collect();
        waits(5);
        listener.accept().unwrap();
        waits(4);
        drop(clients);
    }
}
