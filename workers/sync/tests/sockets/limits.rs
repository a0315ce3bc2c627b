//! Limits and deadlines, and what a client sees of them.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use ferricorn_base::board::Counter;
use ferricorn_base::{Body, Conf, Request};

use crate::client::End;
use crate::server::{Gate, LIMIT, Setup, eventually};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn quick(change: impl FnOnce(&mut Conf)) -> crate::server::Server {
    Setup::new()
        .conf(change)
        .serve(|request: &mut Request| format!("{} {}", request.path(), request.body().len()))
}

#[test]
fn what_is_too_large_is_told_apart() {
    let server = quick(|conf| {
        conf.limits.request_line = 100;
        conf.limits.fields = 5;
        conf.limits.field_size = 200;
        conf.limits.body = 1000;
    });
    let long = "x".repeat(300);
    for (request, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
            431,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(5)),
            431,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n".into(),
            413,
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{long}"
            ),
            413,
        ),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
    ] {
        let mut client = server.connect();
        client.send(&request);
        let reply = client.reply();
        assert_eq!(reply.status, status, "{request:?}");
        assert!(reply.says_close());
        client.assert_closed();
    }
    assert_eq!(server.counter(0, Counter::Refused), 6);
    let mut client = server.connect();
    client.post("/", "x".repeat(1000));
    assert_eq!(client.reply().text(), "/ 1000");
}

/// RFC 9110 section 9.3.2 has no exception for a HEAD that is refused.
#[test]
fn a_refused_head_request_has_no_content_either() {
    let server = quick(|conf| conf.deadlines.head = millis(300));
    for (request, status) in [
        ("HEAD / HTTP/1.1\r\n\r\n", "400"),
        ("\r\nHEAD / HTTP/1.1\r\nHost: a\nA: b\r\n\r\n", "400"),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", "417"),
        (
            "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx",
            "400",
        ),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nA: ", "408"),
    ] {
        let mut client = server.connect();
        client.send(request);
        let text = String::from_utf8(client.rest().0).unwrap();
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {text}"
        );
        assert!(
            text.ends_with("\r\nConnection: close\r\n\r\n"),
            "{request:?}: {text}"
        );
    }
}

#[test]
fn a_refusal_comes_behind_the_answers_to_what_was_before_it() {
    let server = quick(|_| {});
    let mut client = server.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.reply().text(), "/1 0");
    assert_eq!(client.reply().status, 400);
    client.assert_closed();
}

#[test]
fn an_unfinished_head_is_a_408_and_none_at_all_a_silent_end() {
    let server = quick(|conf| conf.deadlines.head = millis(300));
    let mut silent = server.connect();
    let mut begun = server.connect();
    begun.send("GET / HTTP/1.1\r\nHo");
    let reply = begun.reply();
    assert_eq!(reply.status, 408);
    assert!(reply.says_close());
    begun.assert_closed();
    silent.assert_closed();
    // Also behind a request that was served.
    let mut client = server.get("/");
    client.send("GET / HT");
    client.reply();
    assert_eq!(client.reply().status, 408);
    eventually("all three are counted", || {
        server.counter(0, Counter::TimedOut) == 3
    });
}

/// A trickle of bytes does not put the deadline off.
#[test]
fn a_head_that_trickles_is_late_all_the_same() {
    let server = quick(|conf| {
        conf.deadlines.head = millis(500);
        conf.deadlines.linger = millis(100);
    });
    let mut client = server.connect();
    let mut writer = client.writer();
    let start = Instant::now();
    let sender = std::thread::spawn(move || {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ";
        for byte in text.iter().chain([b'x'; 1000].iter()) {
            if writer.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(millis(20));
        }
    });
    assert_eq!(client.reply().status, 408);
    assert!(start.elapsed() < millis(10_000));
    drop(client);
    sender.join().unwrap();
}

/// Each head has its own time, even if the connection never was between two.
#[test]
fn a_busy_pipeline_is_never_late() {
    let server = quick(|conf| conf.deadlines.head = millis(1000));
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHo");
    let end = Instant::now() + millis(2500);
    while Instant::now() < end {
        std::thread::sleep(millis(50));
        client.send("st: a\r\n\r\nGET / HTTP/1.1\r\nHo");
        assert_eq!(client.reply().status, 200);
    }
}

#[test]
fn a_body_must_keep_its_minimum_rate() {
    let server = quick(|conf| {
        conf.deadlines.body = millis(500);
        conf.deadlines.body_min_rate = 1000;
        conf.deadlines.linger = millis(100);
    });
    // Nothing comes.
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\nabc");
    assert_eq!(client.reply().status, 408);
    client.assert_closed();
    // Too little comes.
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n");
    let mut writer = client.writer();
    let sender = std::thread::spawn(move || {
        while writer.write_all(b"x").is_ok() {
            std::thread::sleep(millis(20));
        }
    });
    assert_eq!(client.reply().status, 408);
    drop(client);
    sender.join().unwrap();
    // Enough comes, for longer than the deadline.
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n");
    for _ in 0..20 {
        std::thread::sleep(millis(60));
        client.send([b'x'; 500]);
    }
    assert_eq!(client.reply().text(), "/ 10000");
}

#[test]
fn each_body_has_its_own_window_of_the_minimum_rate() {
    let server = quick(|conf| conf.deadlines.body = millis(400));
    let mut client = server.connect();
    let first = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 6000\r\n\r\n";
    client.send([first.as_bytes(), &[b'x'; 4000]].concat());
    // So that the window begins within the first body.
    eventually("the first part is read", || {
        server.counter(0, Counter::BytesIn) > 4000
    });
    let second = "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 6000\r\n\r\nabc";
    client.send([&[b'x'; 2000], second.as_bytes()].concat());
    assert_eq!(client.reply().text(), "/1 6000");
    assert_eq!(client.reply().status, 408);
}

#[test]
fn a_connection_that_is_idle_too_long_is_closed_silently() {
    let server = quick(|conf| conf.deadlines.keep_alive = millis(200));
    let mut client = server.get("/");
    client.reply();
    client.assert_closed();
}

/// What came in time is served, however long the worker was busy.
#[test]
fn a_slow_handler_makes_nobody_else_late() {
    let gate = Gate::new();
    let inner = gate.clone();
    let server = Setup::new()
        .conf(|conf| {
            conf.deadlines.keep_alive = millis(300);
            conf.deadlines.head = millis(300);
        })
        .serve(move |request: &mut Request| {
            if request.path() == "/slow" {
                inner.pass();
            }
            "done"
        });
    let mut idle = server.get("/");
    idle.reply();
    let mut half = server.connect();
    half.send("GET / HTTP/1.1\r\n");
    eventually("the half is read", || server.connections(0) == 2);
    let mut slow = server.get("/slow");
    gate.reached(1);
    idle.get("/");
    half.send("Host: a\r\n\r\n");
    std::thread::sleep(millis(600));
    gate.open();
    for client in [&mut slow, &mut idle, &mut half] {
        assert_eq!(client.reply().text(), "done");
    }
}

#[test]
fn a_client_that_takes_nothing_for_too_long_is_cut_off() {
    let server = Setup::new()
        .conf(|conf| conf.deadlines.write = millis(500))
        .serve(|request: &mut Request| match request.path() {
            "/stream" => Body::stream(|exchange| {
                loop {
                    exchange.write_all(&[b'x'; 65536])?;
                }
            }),
            _ => Body::from(vec![b'x'; 64 << 20]),
        });
    for (path, counter) in [("/", Counter::TimedOut), ("/stream", Counter::Aborted)] {
        let mut client = server.connect_narrow();
        client.get(path);
        eventually("it is given up", || server.counter(0, counter) == 1);
        let (reply, end) = client.reply_or_end();
        assert!(!reply.whole && end == Some(End::Reset), "{end:?}");
    }
    assert_eq!(server.counter(0, Counter::Errors), 0);
}

/// One that takes some now and then is not, even if it takes long to make room for another write.
#[test]
fn a_client_that_takes_a_little_gets_all() {
    const SIZE: usize = 16 << 20;
    let server = Setup::new()
        .conf(|conf| conf.deadlines.write = millis(1000))
        .serve(|request: &mut Request| match request.path() {
            "/stream" => Body::reader(std::io::repeat(b'x').take(SIZE as u64), Some(SIZE as u64)),
            _ => Body::from(vec![b'x'; SIZE]),
        });
    for path in ["/bytes", "/stream"] {
        let mut client = server.connect_narrow();
        client.get(path);
        client.head();
        for _ in 0..40 {
            std::thread::sleep(millis(75));
            client.take(10_000);
        }
        client.take(SIZE - 400_000);
    }
}

/// Bytes behind a request that closes the connection, unread when it closes, must not reset it.
#[test]
fn the_answer_survives_what_was_not_read() {
    let server = quick(|conf| conf.limits.body = 10);
    for _ in 0..20 {
        let mut client = server.connect();
        // The refusal is on its way while the client still writes.
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n");
        for _ in 0..50 {
            client.send([b'x'; 100_000]);
        }
        assert_eq!(client.reply().status, 413);
        client.assert_closed();
    }
}

/// A lingering close has an end, too.
#[test]
fn a_client_that_never_stops_is_left_in_the_end() {
    let server = quick(|conf| {
        conf.limits.body = 10;
        conf.deadlines.linger = millis(300);
    });
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000000\r\n\r\n");
    assert_eq!(client.reply().status, 413);
    let start = Instant::now();
    while client.try_send([b'x'; 10_000]).is_ok() {
        assert!(start.elapsed() < LIMIT);
        std::thread::sleep(millis(5));
    }
    eventually("it is forgotten", || server.connections(0) == 0);
}

#[test]
fn without_keep_alive_each_answer_closes() {
    let server = quick(|conf| conf.deadlines.keep_alive = Duration::ZERO);
    let mut client = server.get("/1");
    let reply = client.reply();
    assert!(reply.says_close());
    client.assert_closed();
    // A pipeline that hoped for more reads at least the first answer.
    let mut client = server.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000));
    assert_eq!(client.reply().text(), "/1 0");
    client.finish();
    client.assert_closed();
}

/// The other side may be gone at any moment.
#[test]
fn clients_that_vanish_leave_nothing() {
    let server = Setup::new().serve(|_: &mut Request| Body::from(vec![b'x'; 1 << 20]));
    for n in 0..50 {
        let mut client = server.connect();
        match n % 5 {
            0 => {}
            1 => client.send("GET / HT"),
            2 => client.get("/"),
            3 => client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"),
            _ => {
                client.get("/");
                client.head();
            }
        }
        if n % 2 == 0 {
            client.reset();
        }
    }
    eventually("all are forgotten", || {
        server.counter(0, Counter::Accepted) == 50 && server.connections(0) == 0
    });
    assert_eq!(server.get("/").reply().status, 200);
}
