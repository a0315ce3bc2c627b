//! Clients that send or take a little at a time: no deadline is put off by that. On the loop and on
//! stream threads, which wait in ways of their own.

use std::io::{Read, Write};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ferricorn_base::board::Counter;
use ferricorn_base::{App, Begin, Body, Conf, Error, Handler, Request, Response, Seat};

use crate::client::{Client, End};
use crate::server::{LIMIT, Server, Setup, eventually};

/// Bodies that fill every buffer on the way to a client that does not read.
const LARGE: usize = 64 << 20;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Reads bodies on the loop, or below `/stream` on a stream thread; sends large ones the same way.
#[derive(Clone)]
struct Both;

impl App for Both {
    type Handler = Both;

    fn boot(&self, _: &Seat) -> Result<Both, Error> {
        Ok(self.clone())
    }
}

impl Handler for Both {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        Ok(match request.path() {
            "/stream/length" => Begin::Respond(Response::new(Body::stream(|exchange| {
                let length = std::io::copy(exchange, &mut std::io::sink())?;
                Ok(write!(exchange, "{length}")?)
            }))),
            "/stream/slow-reader" => Begin::Respond(Response::new(Body::stream(|exchange| {
                exchange.write_all(b"a")?;
                exchange.flush()?;
                exchange.read_exact(&mut [0])?;
                // Longer than any window: the client waits for its turn.
                std::thread::sleep(millis(2500));
                exchange.write_all(b"b")?;
                exchange.flush()?;
                std::io::copy(exchange, &mut std::io::sink())?;
                Ok(exchange.write_all(b"c")?)
            }))),
            _ => Begin::Buffer,
        })
    }

    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        Ok(Response::new(match request.path() {
            "/large" => Body::from(vec![b'x'; LARGE]),
            "/stream/large" => {
                Body::reader(std::io::repeat(b'x').take(LARGE as u64), Some(LARGE as u64))
            }
            _ => Body::from(request.body().len().to_string()),
        }))
    }
}

fn serve(change: impl FnOnce(&mut Conf)) -> Server {
    Setup::new().conf(change).serve(Both)
}

/// Writes pieces until the server has had enough of them.
fn trickle(client: &Client, piece: &'static [u8], pause: Duration) -> JoinHandle<()> {
    let mut writer = client.writer();
    let end = Instant::now() + LIMIT;
    std::thread::spawn(move || {
        while writer.write_all(piece).is_ok() {
            assert!(Instant::now() < end, "the server takes everything");
            std::thread::sleep(pause);
        }
    })
}

/// However fast each byte follows the other.
#[test]
fn a_request_that_takes_too_long_as_a_whole_is_a_408() {
    let server = serve(|conf| {
        conf.deadlines.receive = millis(700);
        conf.deadlines.body = millis(100);
        conf.deadlines.linger = millis(100);
    });
    for (path, framing, piece) in [
        ("/length", "Content-Length: 999999999", &b"0123456789"[..]),
        ("/length", "Transfer-Encoding: chunked", b"1\r\nx\r\n"),
        ("/stream/length", "Content-Length: 999999999", b"0123456789"),
        (
            "/stream/length",
            "Transfer-Encoding: chunked",
            b"1\r\nx\r\n",
        ),
    ] {
        let mut client = server.connect();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"
        ));
        let sender = trickle(&client, piece, millis(2));
        let reply = client.reply();
        assert_eq!(reply.status, 408, "{path} {framing}");
        assert!(reply.says_close());
        drop(client);
        sender.join().unwrap();
    }
}

#[test]
fn the_time_of_a_request_as_a_whole_begins_with_its_first_byte() {
    let server = serve(|conf| {
        conf.deadlines.receive = millis(1000);
        conf.deadlines.linger = millis(100);
    });
    // On a connection that is older than that: each request has the whole time.
    let mut client = server.connect();
    for _ in 0..3 {
        client.post("/length", "ten bytes!");
        assert_eq!(client.reply().text(), "10");
        std::thread::sleep(millis(500));
    }
    // A head that is too slow for it needs no other limit.
    client.send("POST /length HTTP/1.1\r\nHo");
    assert_eq!(client.reply().status, 408);
    client.assert_closed();
}

/// Bytes that nobody asked for yet cannot be missing.
#[test]
fn the_time_that_a_handler_takes_is_not_the_clients() {
    let server = serve(|conf| {
        conf.deadlines.receive = millis(2000);
        conf.deadlines.body = millis(1000);
    });
    let mut client = server.connect();
    client
        .send("POST /stream/slow-reader HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head();
    assert_eq!(client.chunk().unwrap(), b"a");
    // Each part is waited for.
    std::thread::sleep(millis(50));
    client.send("1\r\nx\r\n");
    assert_eq!(client.chunk().unwrap(), b"b");
    std::thread::sleep(millis(50));
    client.send("1\r\nx\r\n0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), b"c");
}

/// Empty lines are let pass in front of a request. They are none.
#[test]
fn empty_lines_put_off_neither_the_first_request_nor_the_next() {
    let server = serve(|conf| {
        conf.deadlines.head = millis(300);
        conf.deadlines.keep_alive = millis(300);
    });
    for served in [false, true] {
        let mut client = server.connect();
        if served {
            client.get("/");
            client.reply();
        }
        let start = Instant::now();
        let mut sent = 0;
        while client.try_send("\r\n").is_ok() {
            assert!(start.elapsed() < LIMIT, "{sent} empty lines");
            sent += 1;
            std::thread::sleep(millis(100));
        }
    }
    eventually("both are forgotten", || server.connections(0) == 0);
}

#[test]
fn a_client_that_takes_less_than_it_must_is_cut_off() {
    let server = serve(|conf| {
        conf.deadlines.write = millis(300);
        conf.deadlines.write_min_rate = 10 << 20;
    });
    for path in ["/large", "/stream/large"] {
        let mut client = server.connect_narrow();
        client.get(path);
        client.head();
        let (mut taken, start) = (0, Instant::now());
        // 500 kB a second, which is enough for any socket to take a write now and then.
        let end = loop {
            match client.take_or_end(10_000) {
                Ok(bytes) => taken += bytes,
                Err(end) => break end,
            }
            assert!(taken < LARGE / 2 && start.elapsed() < LIMIT, "{taken}");
            std::thread::sleep(millis(20));
        };
        assert_eq!(end, End::Reset, "{path}");
    }
    assert_eq!(server.counter(0, Counter::TimedOut), 1);
    eventually("both are counted", || {
        server.counter(0, Counter::Aborted) == 1
    });
}

#[test]
fn a_client_that_takes_enough_gets_all_however_long_it_takes() {
    let server = serve(|conf| {
        // Longer than a busy machine lets a client wait for the processor.
        conf.deadlines.write = millis(2000);
        // In a window less than the system holds, so that a server that a busy machine does not let
        // run needs to write but once.
        conf.deadlines.write_min_rate = 32 << 10;
    });
    let get = |mut client: Client, path: &str| {
        client.get(path);
        let mut reply = client.head();
        // Three windows at 10 MB a second at most, then as fast as it goes.
        let start = Instant::now();
        while start.elapsed() < millis(6000) && reply.body.len() + 100_000 < LARGE {
            reply.body.extend(client.take(100_000));
            std::thread::sleep(millis(10));
        }
        assert_eq!(reply.status, 200);
        client.take(LARGE - reply.body.len());
    };
    std::thread::scope(|scope| {
        for path in ["/large", "/stream/large"] {
            let client = server.connect_narrow();
            scope.spawn(move || get(client, path));
        }
    });
    assert_eq!(server.counter(0, Counter::Aborted), 0);
}
