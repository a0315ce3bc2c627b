//! Connections that go from a worker that drains to one that serves on: who has them is all that changes.

use std::io::Write;
use std::time::Duration;

use ferricorn_base::board::Counter;
use ferricorn_base::conf::PeerLimits;
use ferricorn_base::lifeline::Down;
use ferricorn_base::{Body, Conf, Error, Exit, Networks, Request};

use crate::client::Client;
use crate::server::{Gate, Server, Setup, eventually, is_logged};

/// Two workers; `/slow` and `/stream` wait for the gate.
fn two(change: impl FnOnce(&mut Conf)) -> (Server, Gate) {
    let gate = Gate::new();
    let passed = gate.clone();
    let server = Setup::new().workers(2).conf(change).serve(
        move |request: &mut Request| -> Result<Body, Error> {
            let gate = passed.clone();
            Ok(match request.path() {
                "/slow" => {
                    gate.pass();
                    Body::from("slow")
                }
                "/stream" => Body::stream(move |exchange| {
                    exchange.write_all(b"begun ")?;
                    exchange.flush()?;
                    gate.pass();
                    exchange.write_all(b"ended")?;
                    Ok(())
                }),
                path => Body::from(path.to_owned()),
            })
        },
    );
    (server, gate)
}

/// Tells a worker to drain, and that others serve on.
fn drain(server: &Server, seat: usize) {
    server.command(
        seat,
        Down::Drain {
            stop: false,
            heirs: true,
        },
    );
}

/// `number` connections of the worker on `seat`, which have each been answered once. The others of
/// as many as it took come second.
fn clients_of(server: &Server, seat: usize, number: usize) -> (Vec<Client>, Vec<Client>) {
    let (mut own, mut others) = (vec![], vec![]);
    while own.len() < number {
        let before = server.connections(seat);
        let mut client = server.get("/");
        client.reply();
        if server.connections(seat) > before {
            own.push(client);
        } else {
            others.push(client);
        }
    }
    (own, others)
}

#[test]
fn the_worker_ends_at_once_and_the_counters_know() {
    let (mut server, _gate) = two(|_| {});
    let (mut given, mut kept) = clients_of(&server, 0, 10);
    let accepted = server.counter(1, Counter::Accepted);
    drain(&server, 0);
    assert!(matches!(server.exit(0), Exit::Done));
    for client in given.iter_mut().chain(&mut kept) {
        client.get("/again");
        let reply = client.reply();
        assert!(reply.text() == "/again" && !reply.says_close());
    }
    assert_eq!(server.counter(0, Counter::Given), 10);
    assert_eq!(server.counter(1, Counter::Taken), 10);
    assert_eq!(server.counter(1, Counter::Accepted), accepted);
    let all = (given.len() + kept.len()) as u64;
    assert_eq!(server.connections(1), all);
    drop((given, kept));
    eventually("all are gone", || server.connections(1) == 0);
}

/// A full worker leaves what is given where it lies, until there is room.
#[test]
fn the_bound_of_connections_holds_for_those_that_are_taken_over() {
    let (mut server, gate) = two(|conf| conf.worker_connections = 5);
    let mut streams: Vec<_> = (0..10).map(|_| server.get("/stream")).collect();
    gate.reached(10);
    assert_eq!((server.connections(0), server.connections(1)), (5, 5));
    // What is on a stream thread stays until it is over.
    drain(&server, 0);
    eventually("it drains", || {
        server.view(0).state == ferricorn_base::board::State::Draining
    });
    let mut most = 0;
    gate.open();
    for stream in &mut streams {
        assert_eq!(stream.reply().text(), "begun ended");
        most = most.max(server.connections(1));
    }
    assert!(matches!(server.exit(0), Exit::Done));
    // Idle ones make room for others as always; nobody is served beyond the bound.
    eventually("all that fits is taken", || server.connections(1) == 5);
    assert!(most <= 5, "{most}");
    drop(streams);
    eventually("all are gone", || server.connections(1) == 0);
}

/// Half a head has the time that is left of it, however often it moves.
#[test]
fn a_deadline_is_not_put_off_by_moving() {
    let (mut server, _gate) = two(|conf| conf.deadlines.head = Duration::from_secs(3));
    let (mut own, _others) = clients_of(&server, 0, 1);
    let moved = &mut own[0];
    moved.send("GET / HT");
    std::thread::sleep(Duration::from_millis(1500));
    drain(&server, 0);
    assert!(matches!(server.exit(0), Exit::Done));
    let mut fresh = server.connect();
    fresh.send("GET / HT");
    assert_eq!(moved.reply().status, 408);
    fresh.assert_quiet(Duration::from_millis(500));
    assert_eq!(fresh.reply().status, 408);
}

/// The last ones at a stop find what was given to others that went before they took it.
#[test]
fn at_a_stop_what_lies_at_the_rendezvous_is_answered_and_closed() {
    let (mut server, gate) = two(|_| {});
    let (mut own, _others) = clients_of(&server, 0, 5);
    // It is busy, and takes nothing.
    let (mut slow, _others) = clients_of(&server, 1, 1);
    slow[0].get("/slow");
    gate.reached(1);
    drain(&server, 0);
    assert!(matches!(server.exit(0), Exit::Done));
    for client in &mut own {
        client.get("/late");
    }
    server.command(
        1,
        Down::Drain {
            stop: true,
            heirs: false,
        },
    );
    gate.open();
    assert_eq!(slow[0].reply().text(), "slow");
    for client in &mut own {
        assert_eq!(client.reply().text(), "/late");
        client.assert_closed();
    }
    drop((slow, own));
    assert!(matches!(server.exit(1), Exit::Done));
}

#[test]
fn who_takes_over_counts_for_the_peer() {
    let (mut server, _gate) = two(|conf| {
        conf.peer_limits = PeerLimits {
            connections: 9,
            connection_rate: 0,
            request_rate: 0,
        };
        conf.trust.proxies = Networks::default();
    });
    let (mut own, others) = clients_of(&server, 0, 2);
    drain(&server, 0);
    assert!(matches!(server.exit(0), Exit::Done));
    own[0].get("/");
    assert_eq!(own[0].reply().status, 200);
    let mut more: Vec<_> = (own.len() + others.len()..9)
        .map(|_| server.get("/"))
        .collect();
    for client in &mut more {
        assert_eq!(client.reply().status, 200);
    }
    assert_eq!(server.connect().reply().status, 429);
    own.pop();
    eventually("one that goes makes room", || {
        server.get("/").reply().status == 200
    });
}

/// A sibling that drains too, or is gone, takes nothing; then all is as if there were no heirs.
#[test]
fn without_anybody_who_takes_idle_connections_drain() {
    let (mut server, _gate) = two(|conf| conf.deadlines.keep_alive = Duration::from_secs(2));
    let (mut own, others) = clients_of(&server, 0, 3);
    drop(others);
    server.command(1, Down::Quit);
    assert!(matches!(server.exit(1), Exit::Done));
    server.board.set_alive(1, false);
    drain(&server, 0);
    own[0].get("/still");
    assert_eq!(own[0].reply().text(), "/still");
    for client in &mut own {
        client.assert_closed();
    }
    assert!(matches!(server.exit(0), Exit::Done));
}

#[test]
fn what_is_no_connection_is_logged_and_harms_nobody() {
    use std::os::fd::AsRawFd;
    let (server, _gate) = two(|_| {});
    let giving = server.rendezvous.ends()[0].as_raw_fd();
    let flags = nix::sys::socket::MsgFlags::empty();
    nix::sys::socket::send(giving, b"nonsense", flags).unwrap();
    eventually("it is logged", || {
        is_logged(&["ERROR closed a connection: a connection was handed over in a form"])
    });
    assert_eq!(server.get("/").reply().text(), "/");
}
