//! Handlers that fail: before the head a generic 500, behind it an end that nobody takes for whole.

use std::fs::File;
use std::io::{self, Read, Write};

use bytes::Bytes;
use ferricorn_base::board::Counter;
use ferricorn_base::lifeline::{Down, Retirement, Up};
use ferricorn_base::{App, Begin, Body, Error, Exit, Handler, Request, Response, Seat};
use http::HeaderValue;

use crate::client::{Client, End};
use crate::server::{Server, Setup, eventually, is_logged, logged};

#[test]
fn an_error_is_a_500_whose_detail_goes_to_the_log_only() {
    let server = Setup::new().serve(|request: &mut Request| match request.path() {
        "/secret-error" => Err(Error::msg("the database password is hunter2")),
        path => Ok(path.to_owned()),
    });
    let mut client = server.get("/secret-error");
    let reply = client.reply();
    assert_eq!((reply.status, reply.text()), (500, "Internal Server Error"));
    assert!(!format!("{reply:?}").contains("hunter2"));
    logged(&[
        "ERROR GET /secret-error of 127.0.0.1:",
        "failed: the database password is hunter2",
    ]);
    // The connection goes on.
    client.get("/after");
    assert_eq!(client.reply().text(), "/after");
    assert_eq!(server.counter(0, Counter::Errors), 1);
    assert_eq!(server.report_now(0), None);
}

/// A timeout or broken pipe of the handler's own connections is the handler's failure, whatever its
/// kind.
#[test]
fn an_error_of_a_back_end_is_not_taken_for_the_clients() {
    let kinds = [
        io::ErrorKind::TimedOut,
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::ConnectionReset,
    ];
    let server = Setup::new().serve(move |request: &mut Request| {
        let n: usize = request.path()[2..].parse()?;
        let error = io::Error::new(kinds[n], format!("back end {n}"));
        if request.path().starts_with("/s") {
            return Ok(Body::stream(|_| Err(error.into())));
        }
        Err::<_, Error>(error.into())
    });
    for n in 0..3 {
        for way in ["h", "s"] {
            let reply = server.get(&format!("/{way}{n}")).reply();
            assert_eq!(reply.status, 500, "{way}{n}");
            logged(&[&format!("ERROR GET /{way}{n} "), &format!("back end {n}")]);
        }
    }
    assert_eq!(server.counter(0, Counter::Errors), 6);
}

#[test]
fn a_panic_is_a_500_and_the_worker_retires_but_serves_until_told() {
    let mut server = Setup::new().serve(|request: &mut Request| match request.path() {
        "/panic" => panic!("no tea"),
        "/panic-stream" => Body::stream(|_| panic!("no coffee")),
        path => Body::from(path.to_owned()),
    });
    let mut client = server.get("/panic");
    let reply = client.reply();
    assert_eq!((reply.status, reply.text()), (500, "Internal Server Error"));
    assert_eq!(server.report(0), Up::Retiring(Retirement::Panic));
    logged(&[
        "ERROR GET /panic of ",
        "panic: no tea at ",
        "failures.rs",
        "this worker retires",
    ]);
    client.get("/on");
    assert_eq!(client.reply().text(), "/on");
    assert_eq!(server.get("/new").reply().text(), "/new");
    // It asks once only.
    assert_eq!(server.get("/panic-stream").reply().status, 500);
    logged(&["ERROR GET /panic-stream of ", "panic: no coffee"]);
    assert_eq!(server.get("/panic").reply().status, 500);
    assert_eq!(server.report_now(0), None);
    eventually("three are counted", || {
        server.counter(0, Counter::Panics) == 3
    });
    server.command(
        0,
        Down::Drain {
            stop: false,
            heirs: false,
        },
    );
    client.finish();
    assert!(matches!(server.exit(0), Exit::Done));
}

/// What an application drops is its code as well, wherever the worker does it.
#[test]
fn a_panic_in_a_drop_costs_no_other_request_anything() {
    #[derive(Clone, Debug)]
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("dropped");
            }
        }
    }
    impl std::fmt::Display for Bomb {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bomb")
        }
    }
    impl std::error::Error for Bomb {}
    let server = Setup::new().serve(|request: &mut Request| {
        let path = request.path().to_owned();
        let mut response = match &*path {
            "/stream" => {
                Response::new(Body::stream(|exchange| Ok(exchange.write_all(b"/stream")?)))
            }
            path => Response::new(Body::from(path.to_owned())),
        };
        match &*path {
            "/request" => drop(request.extensions_mut().insert(Bomb)),
            "/response" | "/stream" => drop(response.extensions_mut().insert(Bomb)),
            "/error" => return Err(Error::from(Bomb)),
            "/payload" => std::panic::panic_any(Bomb),
            _ => {}
        }
        Ok(response)
    });
    let paths = [
        ("/request", 200),
        ("/response", 200),
        ("/stream", 200),
        ("/error", 500),
        ("/payload", 500),
    ];
    for (panics, (path, status)) in (1..).zip(paths) {
        // With one behind it that has no part in it.
        let mut client = server.connect();
        let both =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        client.send(&both);
        assert_eq!(client.reply().status, status, "{path}");
        assert_eq!(client.reply().text(), "/next", "{path}");
        logged(&[&format!("ERROR GET {path} of "), "this worker retires"]);
        eventually("it is counted", || {
            server.counter(0, Counter::Panics) == panics
        });
    }
}

/// A panic before the body is read is answered as well, and the body does not get in the way.
#[test]
fn a_panic_at_the_head_is_a_500_too() {
    #[derive(Clone)]
    struct Nervous;
    impl App for Nervous {
        type Handler = Nervous;
        fn boot(&self, _: &Seat) -> Result<Nervous, Error> {
            Ok(Nervous)
        }
    }
    impl Handler for Nervous {
        fn begin(&mut self, _: &mut Request) -> Result<Begin, Error> {
            panic!("no nerves")
        }
        fn handle(&mut self, _: &mut Request) -> Result<Response, Error> {
            unreachable!("it never begins")
        }
    }
    let server = Setup::new().serve(Nervous);
    let mut client = server.connect();
    client.get("/");
    assert_eq!(client.reply().status, 500);
    client.post("/nervous-body", "body");
    let reply = client.reply();
    assert!(reply.status == 500 && reply.says_close());
    client.assert_closed();
    assert_eq!(server.report(0), Up::Retiring(Retirement::Panic));
    logged(&["ERROR POST /nervous-body of ", "panic: no nerves"]);
    assert!(server.view(0).in_flight.is_empty());
}

/// Sends the first part, then waits for the client to have it, then fails as the path says.
fn failing(request: &mut Request) -> Result<Response, Error> {
    let path = request.path().to_owned();
    let declared = path.ends_with("/length");
    let body = match path.trim_end_matches("/length") {
        "/pieces" => {
            let pieces = [
                Ok(Bytes::from_static(b"first")),
                Err(io::Error::other("cut")),
            ];
            Body::pieces(pieces)
        }
        "/panic" => Body::stream(|exchange| {
            exchange.write_all(b"first")?;
            exchange.flush()?;
            panic!("cut")
        }),
        "/reader" => {
            struct Broken;
            impl Read for Broken {
                fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                    Err(io::Error::other("cut"))
                }
            }
            let first = vec![b'x'; 100_000];
            let len = declared.then_some(200_000);
            Body::reader(io::Cursor::new(first).chain(Broken), len)
        }
        "/short" => Body::reader(io::Cursor::new(vec![b'x'; 100_000]), Some(200_000)),
        "/short-stream" => Body::stream(|exchange| {
            exchange.write_all(b"first")?;
            exchange.flush()?;
            Ok(())
        }),
        "/long-stream" => Body::stream(|exchange| {
            exchange.write_all(b"first")?;
            exchange.flush()?;
            exchange.write_all(&[b'x'; 300_000])?;
            Ok(())
        }),
        _ => Body::stream(|exchange| {
            exchange.write_all(b"first")?;
            exchange.flush()?;
            Err(Error::msg("cut"))
        }),
    };
    let mut response = Response::new(body);
    if declared && path != "/reader/length" {
        let length = HeaderValue::from_static("200000");
        response.headers_mut().insert("content-length", length);
    }
    Ok(response)
}

/// Whoever keeps what came must see that it is not all.
#[test]
fn a_failure_behind_the_head_is_never_a_clean_end() {
    let server = Setup::new().serve(failing);
    let mut aborted = 0;
    for version in ["1.1", "1.0"] {
        for path in [
            "/stream",
            "/stream/length",
            "/pieces",
            "/panic",
            "/reader",
            "/reader/length",
            "/short",
            "/short-stream/length",
            "/long-stream/length",
        ] {
            let mut client = server.connect();
            client.send(format!("GET {path} HTTP/{version}\r\nHost: a\r\n\r\n"));
            let (reply, end) = client.reply_or_end();
            assert_eq!(reply.status, 200);
            let framed = reply.field("content-length").is_some();
            match path {
                // All that was promised came; what was too much did not.
                "/long-stream/length" => assert!(reply.whole || end == Some(End::Reset)),
                _ => assert!(!reply.whole, "{version} {path} {end:?} {framed}"),
            }
            if reply.whole {
                assert_eq!(client.rest(), (vec![], End::Reset), "{path}");
            } else {
                assert_eq!(end, Some(End::Reset), "{version} {path}");
            }
            aborted += 1;
        }
    }
    eventually("all are counted", || {
        server.counter(0, Counter::Aborted) == aborted
    });
    assert_eq!(server.counter(0, Counter::Success), aborted);
    assert_eq!(server.connections(0), 0);
}

#[test]
fn a_stream_that_fails_before_its_head_is_a_500() {
    let server = Setup::new().serve(|request: &mut Request| match request.path() {
        "/early" => Body::stream(|exchange| {
            // Gathered, not sent.
            exchange.write_all(b"never seen")?;
            Err(Error::msg("early"))
        }),
        "/reader" => Body::reader(File::open("/proc/self/mem").unwrap(), Some(10)),
        "/pieces" => Body::pieces([Err(io::Error::other("none"))]),
        _ => Body::empty(),
    });
    for path in ["/early", "/reader", "/pieces"] {
        let mut client = server.get(path);
        let reply = client.reply();
        assert_eq!(reply.status, 500, "{path}");
        assert!(!reply.text().contains("never seen"));
        client.assert_closed();
    }
}

fn respond(body: Body, fields: &[(&'static str, &'static str)], status: u16) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    for (name, value) in fields {
        let value = HeaderValue::from_static(value);
        response.headers_mut().append(*name, value);
    }
    response
}

/// What a handler says of its message's frame is checked: a wrong word is a 500, not a wrong frame.
#[test]
fn a_response_that_cannot_be_sent_as_it_is_is_a_500() {
    let server = Setup::new().serve(|request: &mut Request| {
        let stream = || Body::stream(|exchange| Ok(exchange.write_all(b"stream")?));
        match request.path() {
            "/length-long" => respond(Body::from("text"), &[("content-length", "5")], 200),
            "/length-short" => respond(Body::from("text"), &[("content-length", "3")], 200),
            "/length-odd" => respond(Body::from("text"), &[("content-length", "four")], 200),
            "/length-stream" => respond(stream(), &[("content-length", "5")], 200),
            "/length-twice" => respond(
                Body::from("text"),
                &[("content-length", "4"), ("content-length", "4")],
                200,
            ),
            "/gzip" => respond(Body::from("text"), &[("transfer-encoding", "gzip")], 200),
            "/gzip-stream" => respond(stream(), &[("transfer-encoding", "gzip")], 200),
            "/interim" => respond(Body::empty(), &[], 103),
            "/switch" => respond(Body::empty(), &[], 101),
            "/upgrade-200" => respond(Body::upgrade(|_| Ok(())), &[("upgrade", "x")], 200),
            "/upgrade-what" => respond(Body::upgrade(|_| Ok(())), &[], 101),
            "/right" => respond(Body::from("text"), &[("content-length", "4")], 200),
            "/chunked" => respond(Body::from("text"), &[("transfer-encoding", "chunked")], 200),
            path => respond(Body::from(path.to_owned()), &[], 200),
        }
    });
    for path in [
        "/length-long",
        "/length-short",
        "/length-odd",
        "/length-twice",
        "/length-stream",
        "/gzip",
        "/gzip-stream",
        "/interim",
        "/switch",
        "/upgrade-200",
        "/upgrade-what",
    ] {
        let mut client = server.get(path);
        let reply = client.reply();
        assert_eq!(reply.status, 500, "{path}");
        assert!(reply.says_close(), "{path}");
        client.assert_closed();
        logged(&["ERROR", &format!("GET {path}")]);
    }
    for path in ["/right", "/chunked"] {
        assert_eq!(server.get(path).reply().text(), "text");
    }
    assert_eq!(server.counter(0, Counter::Errors), 11);
}

/// The client's own faults are no errors of the handler: they are in the log for who asks.
#[test]
fn a_client_that_leaves_a_stream_is_no_error() {
    let server = Setup::new().serve(|_: &mut Request| {
        Body::stream(|exchange| {
            loop {
                exchange.write_all(&[b'x'; 100_000])?;
            }
        })
    });
    let mut client = server.get("/left-stream");
    client.head();
    client.take(1000);
    client.reset();
    logged(&["DEBUG GET /left-stream of ", "ended: "]);
    eventually("it is counted", || server.counter(0, Counter::Aborted) == 1);
    assert_eq!(server.counter(0, Counter::Errors), 0);
    assert!(!is_logged(&["ERROR GET /left-stream"]));
}

#[test]
fn a_file_that_shrinks_ends_its_response_with_a_reset() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, vec![b'x'; 1000]).unwrap();
    for sendfile in [true, false] {
        let file = path.clone();
        let server: Server =
            Setup::new()
                .conf(|conf| conf.sendfile = sendfile)
                .serve(move |_: &mut Request| {
                    // As if it had been longer when it was measured.
                    Ok::<_, io::Error>(Body::file(File::open(&file)?, 0, 2000))
                });
        let mut client: Client = server.get("/");
        let (reply, end) = client.reply_or_end();
        assert!(!reply.whole);
        assert_eq!((reply.status, end), (200, Some(End::Reset)));
        logged(&["ERROR", "the file is shorter than the response promised"]);
        assert_eq!(server.counter(0, Counter::Aborted), 1);
    }
}
