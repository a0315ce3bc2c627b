//! What may last: streams, events, uploads, slow readers, files, upgrades, interim responses.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferricorn_base::board::Counter;
use ferricorn_base::{App, Begin, Body, Error, Handler, Request, Response, Seat};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::client::End;
use crate::server::{Gate, LIMIT, Setup, count_logged, eventually, logged};

#[test]
fn beyond_the_stream_threads_there_is_503_and_recovery_after() {
    let gate = Gate::new();
    let inner = gate.clone();
    let server =
        Setup::new()
            .conf(|conf| conf.stream_threads = 2)
            .serve(move |request: &mut Request| {
                let gate = inner.clone();
                match request.path() {
                    "/stream" => Body::stream(move |exchange| {
                        gate.pass();
                        Ok(exchange.write_all(b"streamed")?)
                    }),
                    path => Body::from(path.to_owned()),
                }
            });
    let mut streams = [server.get("/stream"), server.get("/stream")];
    gate.reached(2);
    let mut third = server.get("/stream");
    let reply = third.reply();
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")));
    // What needs no thread is served, on that connection too.
    third.get("/plain");
    assert_eq!(third.reply().text(), "/plain");
    gate.open();
    for stream in &mut streams {
        assert_eq!(stream.reply().text(), "streamed");
    }
    eventually("there is room again", || {
        third.get("/stream");
        third.reply().status == 200
    });
}

/// Who asks for streams in vain does not choose how many lines the log gets.
#[test]
fn a_crowd_that_finds_no_stream_thread_does_not_fill_the_log() {
    let gate = Gate::new();
    let inner = gate.clone();
    // No other test has as many, so that the lines are this one's.
    let server = Setup::new()
        .conf(|conf| conf.stream_threads = 7)
        .serve(move |_: &mut Request| {
            let gate = inner.clone();
            Body::stream(move |_| {
                gate.pass();
                Ok(())
            })
        });
    let _streams: Vec<_> = (0..7).map(|_| server.get("/")).collect();
    gate.reached(7);
    let start = Instant::now();
    let mut client = server.connect();
    for _ in 0..500 {
        client.get("/");
        assert_eq!(client.reply().status, 503);
    }
    gate.open();
    let lines = count_logged(&["all 7 stream threads are busy"]);
    let most = 1 + usize::try_from(start.elapsed().as_secs()).unwrap();
    assert!((1..=most).contains(&lines), "{lines} lines, {most} at most");
}

/// The thread that has just answered is as good as free.
#[test]
fn one_stream_after_the_other_needs_one_thread() {
    let server = Setup::new()
        .conf(|conf| conf.stream_threads = 1)
        .serve(|_: &mut Request| Body::pieces([Ok(Bytes::from("piece"))]));
    let mut client = server.connect();
    for n in 0..500 {
        client.get("/");
        let reply = client.reply();
        assert_eq!((reply.status, reply.text()), (200, "piece"), "{n}");
    }
}

#[test]
fn an_event_arrives_when_it_is_flushed() {
    let gate = Gate::new();
    let inner = gate.clone();
    let server = Setup::new().serve(move |_: &mut Request| {
        let gate = inner.clone();
        let mut response = Response::new(Body::stream(move |events| {
            events.write_all(b"data: 1\n\n")?;
            events.flush()?;
            gate.pass();
            events.write_all(b"data: 2\n\n")?;
            events.flush()?;
            Ok(())
        }));
        let kind = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert("content-type", kind);
        response
    });
    let mut client = server.get("/");
    let head = client.head();
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    assert_eq!(client.chunk().unwrap(), b"data: 1\n\n");
    gate.reached(1);
    gate.open();
    assert_eq!(client.chunk().unwrap(), b"data: 2\n\n");
    assert_eq!(client.chunk().unwrap(), b"");
}

#[test]
fn a_stream_may_change_its_head_until_it_is_sent_and_add_trailers() {
    let server = Setup::new().serve(|_: &mut Request| {
        Body::stream(|exchange| {
            exchange.set_status(StatusCode::CREATED)?;
            exchange.write_all(b"content")?;
            exchange.flush()?;
            assert!(exchange.head_mut().is_none());
            assert!(exchange.set_status(StatusCode::OK).is_err());
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("7"));
            exchange.set_trailers(trailers);
            Ok(())
        })
    });
    let mut client = server.get("/");
    let reply = client.reply();
    assert_eq!((reply.status, reply.text()), (201, "content"));
    assert_eq!(reply.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    // For HTTP/1.0 the end of the connection is the end; there are no trailers.
    let mut client = server.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let reply = client.reply();
    assert_eq!(
        (reply.text(), reply.field("transfer-encoding")),
        ("content", None)
    );
}

#[test]
fn a_short_stream_has_a_length() {
    let server = Setup::new()
        .serve(|_: &mut Request| Body::stream(|exchange| Ok(exchange.write_all(b"all of it")?)));
    let mut client = server.get("/");
    assert_eq!(client.reply().field("content-length"), Some("9"));
}

/// Uploads to a file as it comes.
#[derive(Clone)]
struct Upload(std::path::PathBuf);

impl App for Upload {
    type Handler = Upload;

    fn boot(&self, _: &Seat) -> Result<Upload, Error> {
        Ok(self.clone())
    }
}

impl Handler for Upload {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        if request.path() == "/fast" {
            return Ok(Begin::Buffer);
        }
        let path = self.0.join(&request.path()[1..]);
        Ok(Begin::Respond(Response::new(Body::stream(
            move |exchange| {
                let mut file = File::create(path)?;
                let len = io::copy(exchange, &mut file)?;
                exchange.set_status(StatusCode::CREATED)?;
                write!(exchange, "{len}")?;
                Ok(())
            },
        ))))
    }

    fn handle(&mut self, _: &mut Request) -> Result<Response, Error> {
        Ok(Response::new(Body::from("fast")))
    }
}

#[test]
fn a_streamed_upload_goes_to_disk_however_large() {
    let directory = tempfile::tempdir().unwrap();
    let server = Setup::new()
        .conf(|conf| conf.body_buffer = 1000)
        .serve(Upload(directory.path().to_owned()));
    let body: Vec<u8> = (0..8_000_000u32).map(|n| (n / 3) as u8).collect();
    let mut client = server.connect();
    for name in ["one", "two"] {
        client.post(&format!("/{name}"), &body);
        let reply = client.reply();
        assert_eq!((reply.status, reply.text()), (201, "8000000"));
        assert!(std::fs::read(directory.path().join(name)).unwrap() == body);
    }
    // The whole body was read, so the connection goes on.
    assert_eq!(server.counter(0, Counter::Accepted), 1);
}

/// One byte at a time, streamed and buffered, while the same worker serves others at once.
#[test]
fn a_slow_upload_delays_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let server = Setup::new().serve(Upload(directory.path().to_owned()));
    let mut other = server.connect();
    for path in ["/streamed", "/fast"] {
        let mut slow = server.connect();
        slow.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n"
        ));
        let mut slowest = Duration::ZERO;
        for _ in 0..200 {
            slow.send("x");
            let start = Instant::now();
            other.post("/fast", "quick");
            assert_eq!(other.reply().text(), "fast");
            slowest = slowest.max(start.elapsed());
        }
        assert!(slow.reply().status < 300);
        // A handler that waited for the slow one would never have answered.
        assert!(slowest < LIMIT / 3, "{slowest:?}");
    }
    assert_eq!(
        std::fs::read(directory.path().join("streamed"))
            .unwrap()
            .len(),
        200
    );
}

const LARGE: usize = 16 << 20;
static ZEROS: [u8; LARGE] = [0; LARGE];

#[test]
fn slow_readers_of_large_bodies_delay_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large");
    std::fs::write(&path, &ZEROS[..]).unwrap();
    let server = Setup::new().serve(move |request: &mut Request| match request.path() {
        "/bytes" => Body::from(vec![0; LARGE]),
        "/static" => Body::from_static(&ZEROS),
        "/file" => Body::whole_file(File::open(&path).unwrap()).unwrap(),
        "/reader" => Body::reader(io::repeat(0).take(LARGE as u64), Some(LARGE as u64)),
        "/chunked" => Body::reader(io::repeat(0).take(LARGE as u64), None),
        "/pieces" => Body::pieces((0..256).map(|_| Ok(Bytes::from(vec![0; LARGE / 256])))),
        path => Body::from(path.to_owned()),
    });
    let paths = [
        "/bytes", "/static", "/file", "/reader", "/chunked", "/pieces",
    ];
    let mut slow: Vec<_> = paths
        .iter()
        .map(|path| {
            let mut client = server.connect_narrow();
            client.get(path);
            let head = client.head();
            assert_eq!(head.status, 200);
            (client, head)
        })
        .collect();
    // All of them are stuck now, and nobody else is.
    let mut other = server.connect();
    for _ in 0..100 {
        other.get("/other");
        assert_eq!(other.reply().text(), "/other");
    }
    for ((client, head), path) in slow.iter_mut().zip(paths) {
        assert_eq!(client.body(head), None, "{path}");
        assert!(head.whole && head.body.len() == LARGE, "{path}");
        assert!(head.body.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn files_go_out_whole_and_in_ranges() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    for sendfile in [true, false] {
        let path = path.clone();
        let server = Setup::new().conf(|conf| conf.sendfile = sendfile).serve(
            move |request: &mut Request| {
                let mut numbers = request.path()[1..].split('-').map(str::parse);
                let (Some(Ok(start)), Some(Ok(len))) = (numbers.next(), numbers.next()) else {
                    return Body::whole_file(File::open(&path)?);
                };
                Ok::<_, io::Error>(Body::file(File::open(&path)?, start, len))
            },
        );
        let mut client = server.connect();
        client.get("/");
        assert!(client.reply().body == content);
        for (start, len) in [(0, 1), (2_999_999, 1), (1000, 2_000_000), (5, 0)] {
            client.get(&format!("/{start}-{len}"));
            let reply = client.reply();
            assert_eq!(
                reply.field("content-length"),
                Some(len.to_string().as_str())
            );
            assert!(reply.body == content[start..start + len]);
        }
        // Several in one pipeline.
        client.send("GET /1-100000 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5));
        for _ in 0..5 {
            assert!(client.reply().body == content[1..100_001]);
        }
    }
}

/// sendfile(2) cannot read everything.
#[test]
fn a_file_that_cannot_be_sent_directly_is_copied() {
    let auxiliary = std::fs::read("/proc/self/auxv").unwrap();
    let len = auxiliary.len() as u64;
    let server = Setup::new().serve(move |_: &mut Request| {
        Ok::<_, io::Error>(Body::file(File::open("/proc/self/auxv")?, 0, len))
    });
    assert_eq!(server.get("/").reply().body, auxiliary);
}

fn upgrade(request: &mut Request) -> Response {
    assert_eq!(request.header("upgrade"), Some("echo"));
    let mut response = Response::new(Body::upgrade(|io| {
        let mut lines = BufReader::new(io);
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            lines.get_mut().write_all(line.to_uppercase().as_bytes())?;
            if line == "bye\n" {
                break;
            }
            line.clear();
        }
        Ok(())
    }));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let echo = HeaderValue::from_static("echo");
    response.headers_mut().insert("upgrade", echo);
    response
}

#[test]
fn an_upgrade_has_the_connection_and_what_was_sent_early() {
    for unix in [false, true] {
        let setup = if unix {
            Setup::new().unix()
        } else {
            Setup::new()
        };
        let server = setup.serve(upgrade);
        let mut client = server.connect();
        client.send(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly\nb",
        );
        let head = client.head();
        assert_eq!(head.status, 101);
        assert_eq!(head.field("connection"), Some("upgrade"));
        assert_eq!(head.field("upgrade"), Some("echo"));
        assert_eq!(head.field("content-length"), None);
        assert_eq!(client.take(6), b"EARLY\n");
        client.send("oth\nways\n");
        assert_eq!(client.take(10), b"BOTH\nWAYS\n");
        client.send("bye\n");
        assert_eq!(client.rest(), (b"BYE\n".to_vec(), End::Close));
        eventually("it is over", || {
            server.counter(0, Counter::Informational) == 1 && server.connections(0) == 0
        });
    }
}

/// A 101 promises what follows it (RFC 9110 section 7.8).
#[test]
fn only_an_upgrade_that_was_asked_for_is_made() {
    let server = Setup::new().serve(|request: &mut Request| {
        let body = match request.path() {
            "/content" => Body::from("content"),
            "/stream" => Body::stream(|exchange| Ok(exchange.write_all(b"content")?)),
            _ => Body::upgrade(|mut io| Ok(io.write_all(b"switched")?)),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let protocols = request.query().map(|query| query.replace('+', ", "));
        if let Some(protocols) = protocols {
            let protocols = HeaderValue::try_from(protocols).unwrap();
            response.headers_mut().insert("upgrade", protocols);
        }
        response
    });
    let both = "Connection: keep-alive, Upgrade\r\nUpgrade: tea/2, coffee\r\n";
    for (target, version, fields, status) in [
        ("/?Tea/2", "1.1", both, 101),
        ("/?coffee+tea/2", "1.1", both, 101),
        ("/?milk", "1.1", both, 500),
        ("/?tea", "1.1", both, 500),
        ("/?coffee+milk", "1.1", both, 500),
        ("/", "1.1", both, 500),
        ("/?coffee", "1.1", "", 500),
        ("/?coffee", "1.1", "Upgrade: coffee\r\n", 500),
        ("/?coffee", "1.0", both, 500),
        ("/content?coffee", "1.1", both, 500),
        ("/stream?coffee", "1.1", both, 500),
    ] {
        let mut client = server.connect();
        client.send(format!(
            "GET {target} HTTP/{version}\r\nHost: a\r\n{fields}\r\n"
        ));
        let mut reply = client.head();
        assert_eq!(reply.status, status, "{target} {fields}");
        if status == 101 {
            assert_eq!(client.rest(), (b"switched".to_vec(), End::Close));
        } else {
            client.body(&mut reply);
            assert!(reply.whole && reply.says_close(), "{target} {fields}");
            client.assert_closed();
        }
    }
}

#[derive(Clone)]
struct Switch;

impl App for Switch {
    type Handler = Switch;

    fn boot(&self, _: &Seat) -> Result<Switch, Error> {
        Ok(Switch)
    }
}

impl Handler for Switch {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        match request.path() {
            "/begin" => Ok(Begin::Respond(self.handle(request)?)),
            _ => Ok(Begin::Buffer),
        }
    }

    fn handle(&mut self, _: &mut Request) -> Result<Response, Error> {
        let mut response = Response::new(Body::upgrade(|mut io| Ok(io.write_all(b"switched")?)));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let tea = HeaderValue::from_static("tea");
        response.headers_mut().insert("upgrade", tea);
        Ok(response)
    }
}

/// RFC 9110 section 7.8: the new protocol begins behind the whole request.
#[test]
fn an_upgrade_comes_behind_100_and_the_whole_body() {
    let server = Setup::new().serve(Switch);
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tea\r\n\
             Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
    };
    // The client waits for the 100, or has sent its body all the same.
    for early in [false, true] {
        let mut client = server.connect();
        client.send(head("/") + if early { "body" } else { "" });
        assert_eq!(client.head().status, 100, "{early}");
        if !early {
            client.send("body");
        }
        assert_eq!(client.head().status, 101, "{early}");
        assert_eq!(client.rest(), (b"switched".to_vec(), End::Close));
    }
    // What is left of the request would be taken for the new protocol.
    let mut client = server.connect();
    client.send(head("/begin") + "body");
    assert_eq!(client.reply().status, 500);
    client.assert_closed();
    logged(&["POST /begin", "an upgrade needs the whole request"]);
}

fn inform(request: &mut Request) -> io::Result<()> {
    let mut fields = HeaderMap::new();
    fields.insert("link", HeaderValue::from_static("</a.css>; rel=preload"));
    request.inform(StatusCode::EARLY_HINTS, &fields)
}

#[test]
fn an_interim_response_arrives_while_the_handler_works() {
    let gate = Gate::new();
    let inner = gate.clone();
    let server = Setup::new().serve(move |request: &mut Request| {
        assert!(request.inform(StatusCode::OK, &HeaderMap::new()).is_err());
        inform(request)?;
        inner.pass();
        Ok::<_, io::Error>("done")
    });
    let mut client = server.get("/");
    let hints = client.reply();
    assert_eq!(hints.status, 103);
    assert_eq!(hints.field("link"), Some("</a.css>; rel=preload"));
    gate.reached(1);
    gate.open();
    assert_eq!(client.reply().text(), "done");
    // A pipeline keeps its order.
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3));
    for _ in 0..3 {
        assert_eq!(client.reply().status, 103);
        assert_eq!(client.reply().text(), "done");
    }
    // HTTP/1.0 knows none.
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.reply().text(), "done");
}

#[derive(Clone)]
struct Hints(Gate);

impl App for Hints {
    type Handler = Hints;

    fn boot(&self, _: &Seat) -> Result<Hints, Error> {
        Ok(self.clone())
    }
}

impl Handler for Hints {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        inform(request)?;
        let gate = self.0.clone();
        match request.path() {
            "/stream" => Ok(Begin::Respond(Response::new(Body::stream(
                move |exchange| {
                    gate.pass();
                    Ok(exchange.write_all(b"streamed")?)
                },
            )))),
            _ => Ok(Begin::Buffer),
        }
    }

    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        if request.path() == "/slow" {
            self.0.pass();
        }
        Ok(Response::new(Body::from("handled")))
    }
}

#[test]
fn an_interim_response_may_come_before_the_body() {
    let gate = Gate::new();
    let server = Setup::new().serve(Hints(gate.clone()));
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.reply().status, 103);
    client.send("body");
    assert_eq!(client.reply().text(), "handled");
    // Nor does it wait for what the handler does then.
    for (n, path) in ["/stream", "/slow"].into_iter().enumerate() {
        gate.close();
        client.get(path);
        assert_eq!(client.reply().status, 103);
        gate.reached(n + 1);
        gate.open();
        assert_eq!(client.reply().status, 200);
    }
}
