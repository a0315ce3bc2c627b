//! At `worker-connections`: who makes room for another, and who does not.

use std::io::Write;
use std::time::Duration;

use ferricorn_base::{Body, Request};

use crate::client::Client;
use crate::limits::quick;
use crate::server::{Gate, Setup, eventually};

fn ask(client: &mut Client, path: &str) -> String {
    client.get(path);
    client.reply().text().to_owned()
}

#[test]
fn at_the_bound_the_longest_idle_connection_is_closed_and_no_other() {
    let server = quick(|conf| conf.worker_connections = 3);
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        ask(client, "/");
    }
    // The first is the youngest now.
    ask(&mut clients[0], "/again");
    let mut new = server.connect();
    assert_eq!(ask(&mut new, "/new"), "/new 0");
    clients[1].assert_closed();
    assert_eq!(ask(&mut clients[0], "/0"), "/0 0");
    assert_eq!(ask(&mut clients[2], "/2"), "/2 0");
    assert_eq!(ask(&mut new, "/new"), "/new 0");
    assert_eq!(server.connections(0), 3);
}

#[test]
fn at_the_bound_a_busy_connection_is_not_closed() {
    let gate = Gate::new();
    let inner = gate.clone();
    let server = Setup::new().conf(|conf| conf.worker_connections = 2).serve(
        move |request: &mut Request| {
            let gate = inner.clone();
            match request.path() {
                "/stream" => Body::stream(move |exchange| {
                    gate.pass();
                    Ok(exchange.write_all(b"streamed")?)
                }),
                path => Body::from(path.to_owned()),
            }
        },
    );
    // One streams, one has sent half a body: both are busy.
    let mut stream = server.get("/stream");
    gate.reached(1);
    let mut upload = server.connect();
    upload.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf!");
    eventually("both are held", || server.connections(0) == 2);
    let mut waiting = server.get("/waiting");
    // It waits in the backlog until one is idle; nobody has to go away for good.
    waiting.assert_quiet(Duration::from_millis(200));
    upload.send("other");
    assert_eq!(upload.reply().text(), "/upload");
    assert_eq!(waiting.reply().text(), "/waiting");
    upload.assert_closed();
    gate.open();
    assert_eq!(stream.reply().text(), "streamed");
    assert_eq!(ask(&mut stream, "/after"), "/after");
}

/// A large body on its way over several turns of the loop is no idle connection.
#[test]
fn at_the_bound_a_connection_that_is_written_to_is_not_closed() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(16 << 20).unwrap();
    let server = Setup::new()
        .conf(|conf| {
            conf.worker_connections = 1;
            // Each turn of the loop copies a part.
            conf.sendfile = false;
        })
        .serve({
            let file = std::sync::Arc::new(file);
            move |_: &mut Request| Body::whole_file(file.try_clone()?)
        });
    let mut first = server.get("/");
    let mut head = first.head();
    let mut others: Vec<_> = (0..4).map(|_| server.get("/")).collect();
    assert_eq!(first.body(&mut head), None);
    assert_eq!(head.body.len(), 16 << 20);
    for other in &mut others {
        assert_eq!(other.reply().body.len(), 16 << 20);
    }
}

/// One that brings its next request just when it was to make room keeps its connection, as its
/// answer says.
#[test]
fn at_the_bound_a_connection_is_not_closed_with_its_answer() {
    let gate = Gate::new();
    let inner = gate.clone();
    let server = Setup::new().conf(|conf| conf.worker_connections = 2).serve(
        move |request: &mut Request| {
            if request.path() == "/slow" {
                inner.pass();
            }
            request.path().to_owned()
        },
    );
    let mut idle = server.connect();
    ask(&mut idle, "/1");
    let mut slow = server.get("/slow");
    gate.reached(1);
    // The worker sees both at once, the new one first.
    let mut new = server.get("/new");
    idle.get("/2");
    gate.open();
    assert_eq!(new.reply().text(), "/new");
    let reply = idle.reply();
    assert_eq!(reply.text(), "/2");
    assert!(!reply.says_close());
    assert_eq!(slow.reply().text(), "/slow");
    // Idle since before the others were served, it is the one that went.
    slow.assert_closed();
    assert_eq!(ask(&mut idle, "/3"), "/3");
}

#[test]
fn a_connection_that_never_says_anything_makes_room_too() {
    let server = quick(|conf| conf.worker_connections = 2);
    let _silent: Vec<_> = (0..2).map(|_| server.connect()).collect();
    eventually("both are held", || server.connections(0) == 2);
    assert_eq!(server.get("/").reply().status, 200);
}

/// Nor does one that begins a head and stops, at once or behind a request; it is told so.
#[test]
fn a_connection_that_never_ends_its_head_makes_room_too() {
    let server = quick(|conf| {
        conf.worker_connections = 2;
        conf.deadlines.head = Duration::from_secs(3600);
    });
    let mut first = server.connect();
    first.send("G");
    let mut second = server.get("/");
    second.send("GET / HTTP/1.1\r\nHo");
    second.reply();
    let mut busy = server.get("/");
    assert_eq!(busy.reply().status, 200);
    busy.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
    assert_eq!(server.get("/").reply().status, 200);
    for client in [&mut first, &mut second] {
        assert_eq!(client.reply().status, 408);
        client.assert_closed();
    }
    busy.send("x");
    assert_eq!(busy.reply().status, 200);
}

/// Nor does one that was refused and could still read why.
#[test]
fn a_connection_that_lingers_makes_room_too() {
    let server = quick(|conf| {
        conf.worker_connections = 2;
        conf.deadlines.linger = Duration::from_secs(60);
    });
    let mut refused: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for client in &mut refused {
        client.send("BAD\r\n\r\n");
        assert_eq!(client.reply().status, 400);
    }
    assert_eq!(server.get("/").reply().status, 200);
}

/// Nor does one whose body trickles; it is told so. One that keeps its rate stays.
#[test]
fn a_connection_whose_body_comes_too_slowly_makes_room_too() {
    let server = quick(|conf| {
        conf.worker_connections = 2;
        conf.deadlines.body = Duration::from_secs(3600);
        conf.deadlines.body_min_rate = 1000;
    });
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n");
        client.send("Expect: 100-continue\r\n\r\n");
        assert_eq!(client.head().status, 100);
    }
    let [good, slow] = &mut clients;
    good.send(vec![b'x'; 100_000]);
    slow.send("a few");
    assert_eq!(server.get("/").reply().status, 200);
    assert_eq!(slow.reply().status, 408);
    good.send("x");
    assert_eq!(good.reply().status, 200);
}
