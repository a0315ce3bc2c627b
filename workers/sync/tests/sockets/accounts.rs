//! What an operator sees: counters, requests in flight, the access log; and the handler's quiet hour.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ferricorn_base::board::{Counter, State};
use ferricorn_base::lifeline::{Retirement, Up};
use ferricorn_base::{App, Body, Error, Exit, Handler, Peer, Request, Response, Seat};
use http::StatusCode;

use crate::server::{Gate, Server, Setup, eventually};

fn gated(gate: &Gate) -> impl Fn(&mut Request) -> Result<Response, Error> + Clone + use<> {
    let gate = gate.clone();
    move |request: &mut Request| {
        let gate = gate.clone();
        let path = request.path().to_owned();
        let mut response = Response::new(match path.as_str() {
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
            "/error" => return Err(Error::msg("no")),
            _ => Body::from(path.clone()),
        });
        if let Ok(status) = path[1..].parse() {
            *response.status_mut() = StatusCode::from_u16(status)?;
        }
        Ok(response)
    }
}

fn serve() -> (Server, Gate) {
    let gate = Gate::new();
    (Setup::new().serve(gated(&gate)), gate)
}

#[test]
fn counters_say_what_happened() {
    let (server, gate) = serve();
    gate.open();
    let mut client = server.connect();
    for path in ["/200", "/201", "/301", "/404", "/503", "/error", "/stream"] {
        client.get(path);
        client.reply();
    }
    client.post("/body", [b'x'; 1000]);
    client.reply();
    let mut bad = server.connect();
    bad.send("nonsense\r\n\r\n");
    assert_eq!(bad.reply().status, 400);
    bad.assert_closed();
    drop(bad);
    eventually("it is forgotten", || server.connections(0) == 1);
    let expected = [
        (Counter::Accepted, 2),
        (Counter::Requests, 9),
        (Counter::Informational, 0),
        (Counter::Success, 4),
        (Counter::Redirection, 1),
        (Counter::ClientError, 2),
        (Counter::ServerError, 2),
        (Counter::Refused, 1),
        (Counter::Errors, 1),
        (Counter::Panics, 0),
        (Counter::Aborted, 0),
        (Counter::TimedOut, 0),
        (Counter::Streams, 1),
    ];
    for (counter, count) in expected {
        assert_eq!(server.counter(0, counter), count, "{counter:?}");
    }
    assert!(server.counter(0, Counter::BytesIn) > 1000);
    assert!(server.counter(0, Counter::BytesOut) > 9 * 100);
    let view = server.view(0);
    assert_eq!(
        (view.state, view.slot, view.generation),
        (State::Serving, 0, 1)
    );
    assert!(view.heartbeat_us > 0 && view.turns > 0);
    assert_eq!(view.recent[0].line, b"POST /body");
    assert_eq!(view.recent[0].status, 200);
    assert!(matches!(view.recent[0].peer, Peer::Tcp(_)));
}

#[test]
fn bytes_are_counted_to_the_last() {
    let (server, gate) = serve();
    gate.open();
    let mut sent = 0;
    for path in ["/a", "/stream", "/b"] {
        let mut client = server.connect();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ));
        sent += client.rest().0.len() as u64;
    }
    eventually("all bytes are counted", || {
        server.counter(0, Counter::BytesOut) == sent
    });
}

#[test]
fn a_request_is_in_flight_as_long_as_its_handler_or_stream() {
    let (server, gate) = serve();
    assert!(server.view(0).in_flight.is_empty());
    // A body that is still coming keeps no handler busy.
    let mut upload = server.connect();
    upload.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf!");
    let mut stream = server.get("/stream");
    gate.reached(1);
    let mut slow = server.get("/slow");
    gate.reached(2);
    let flight = server.view(0).in_flight;
    let mut lines: Vec<_> = flight
        .iter()
        .map(|request| {
            (
                String::from_utf8_lossy(&request.line).into_owned(),
                request.streaming,
            )
        })
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [("GET /slow".into(), false), ("GET /stream".into(), true)]
    );
    gate.open();
    slow.reply();
    stream.reply();
    upload.send("other");
    upload.reply();
    eventually("nothing is in flight", || {
        server.view(0).in_flight.is_empty()
    });
    // And nothing stays behind of what was refused on the way.
    let mut cut = server.connect();
    cut.send("POST /cut HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcnonsense");
    assert_eq!(cut.reply().status, 400);
    assert!(server.view(0).in_flight.is_empty());
}

#[test]
fn the_access_log_has_a_line_for_each_answer() {
    let gate = Gate::new();
    gate.open();
    let mut server = Setup::new()
        .access("%(m)s %(U)s %(s)s %(B)s %({content-type}o)s %(h)s")
        .conf(|conf| {
            conf.limits.body = 1000;
            conf.deadlines.head = Duration::from_millis(500);
        })
        .serve(gated(&gate));
    let mut client = server.connect();
    for path in ["/page", "/stream", "/error", "/204"] {
        client.get(path);
        client.reply();
    }
    client.send("HEAD /page HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    client.send("POST /big HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n");
    assert_eq!(client.reply().status, 413);
    let mut bad = server.connect();
    bad.send("GET /bad HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n");
    assert_eq!(bad.reply().status, 400);
    let mut late = server.connect();
    late.send("GET /late HTTP/1.1\r\n");
    assert_eq!(late.reply().status, 408);
    let lines = server.access_lines(8);
    // Only fields that the handler set are response fields. Of a refused head the request line is
    // believed, if it came and was in order.
    let expected = [
        "GET /page 200 5 - 127.0.0.1".to_owned(),
        "GET /stream 200 11 - 127.0.0.1".into(),
        "GET /error 500 21 - 127.0.0.1".into(),
        "GET /204 204 0 - 127.0.0.1".into(),
        "HEAD /page 200 0 - 127.0.0.1".into(),
        "POST /big 413 22 - 127.0.0.1".into(),
        "GET /bad 400 16 - 127.0.0.1".into(),
        "GET /late 408 20 - 127.0.0.1".into(),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_refusal_has_its_request_line_in_the_access_log_if_that_was_in_order() {
    let gate = Gate::new();
    let mut server = Setup::new()
        .access("%(r)s|%(s)s|%({user-agent}i)s")
        .conf(|conf| {
            conf.limits.body = 10;
            conf.limits.request_line = 100;
            conf.limits.fields = 2;
            conf.deadlines.head = Duration::from_millis(500);
        })
        .serve(gated(&gate));
    let long = "x".repeat(200);
    let fields = "Host: a\r\nUser-Agent: me\r\n";
    for (request, line) in [
        (
            format!("PUT /413 HTTP/1.1\r\n{fields}Content-Length: 11\r\n\r\n"),
            "PUT /413 HTTP/1.1|431",
        ),
        (
            "PUT /413 HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n".into(),
            "PUT /413 HTTP/1.1|413",
        ),
        (
            format!("GET /417 HTTP/1.1\r\nHost: a\r\nExpect: {long}\r\n\r\n"),
            "GET /417 HTTP/1.1|417",
        ),
        (
            "PUT /501 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into(),
            "PUT /501 HTTP/1.1|501",
        ),
        ("GET /400 HTTP/1.1\r\n\r\n".into(), "GET /400 HTTP/1.1|400"),
        ("GET /\"\\ HTTP/1.1\r\n\r\n".into(), "-|400"),
        (format!("GET /414{long} HTTP/1.1\r\n"), "-|414"),
        ("GET /505 HTTP/2.0\r\n".into(), "-|505"),
        ("GET /late HTTP/1.1\r\nHo".into(), "GET /late HTTP/1.1|408"),
        ("GET /late".into(), "-|408"),
        (
            "PUT /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx".into(),
            "PUT /body HTTP/1.1|400",
        ),
    ] {
        // Nothing is left of what the worker served before.
        server.get("/before").reply();
        let mut client = server.connect();
        client.send(&request);
        let reply = client.reply();
        let lines = server.access_lines(2);
        let expected = ["GET /before HTTP/1.1|200|-".to_owned(), format!("{line}|-")];
        assert_eq!(lines, expected, "{request:?} {}", reply.status);
    }
}

#[test]
fn a_large_body_that_is_cut_is_logged_with_what_was_sent_of_it() {
    const LARGE: u64 = 64 << 20;
    let mut server = Setup::new()
        .access("%(r)s|%(s)s|%(B)s|%({x}o)s")
        .conf(|conf| conf.deadlines.write = Duration::from_millis(300))
        .serve(|_: &mut Request| {
            (
                [(http::HeaderName::from_static("x"), "y")],
                vec![b'x'; LARGE as usize],
            )
        });
    let size = |line: &str| line.split('|').nth(2).unwrap().parse::<u64>().unwrap();
    // One that takes all of it, one that stops.
    let mut client = server.get("/whole");
    assert_eq!(client.reply().body.len() as u64, LARGE);
    assert_eq!(
        server.access_lines(1),
        [format!("GET /whole HTTP/1.1|200|{LARGE}|y")]
    );
    let _client = server.get("/part");
    let lines = server.access_lines(1);
    assert!(lines[0].starts_with("GET /part HTTP/1.1|200|"), "{lines:?}");
    assert!(size(&lines[0]) < LARGE / 2, "{lines:?}");
}

#[test]
fn what_a_drain_cuts_is_in_the_access_log() {
    let mut server = Setup::new()
        .access("%(r)s|%(s)s")
        .conf(|conf| conf.deadlines.graceful = Duration::from_millis(300))
        .serve(|_: &mut Request| vec![b'x'; 64 << 20]);
    let mut upload = server.connect();
    upload.send("PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
    let _download = server.get("/download");
    eventually("both are under way", || {
        server.counter(0, Counter::Requests) == 1 && server.counter(0, Counter::BytesIn) > 80
    });
    server.drain(false);
    assert!(matches!(server.exit(0), Exit::Done));
    let mut lines = server.access_lines(2);
    lines.sort();
    let expected = ["GET /download HTTP/1.1|200", "PUT /upload HTTP/1.1|503"];
    assert_eq!(lines, expected);
}

#[test]
fn a_pipelined_stream_has_its_own_size_in_the_access_log() {
    let gate = Gate::new();
    gate.open();
    let mut server = Setup::new().access("%(U)s %(B)s").serve(gated(&gate));
    let mut client = server.connect();
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    client.reply();
    client.reply();
    assert_eq!(server.access_lines(2), ["/a 2", "/stream 11"]);
}

#[derive(Clone, Default)]
struct Idler(Arc<AtomicUsize>);

impl App for Idler {
    type Handler = Idler;

    fn boot(&self, _: &Seat) -> Result<Idler, Error> {
        Ok(self.clone())
    }
}

impl Handler for Idler {
    fn handle(&mut self, _: &mut Request) -> Result<Response, Error> {
        Ok(Response::new(Body::from("busy")))
    }

    fn idle(&mut self) {
        assert!(
            self.0.fetch_add(1, Ordering::SeqCst) < 1,
            "the second time it panics"
        );
    }
}

#[test]
fn a_handler_hears_when_nothing_waits() {
    let app = Idler::default();
    let count = Arc::clone(&app.0);
    let server = Setup::new().serve(app);
    let mut client = server.connect();
    for n in 1..=3 {
        client.get("/");
        assert_eq!(client.reply().text(), "busy");
        eventually("the handler is told", || count.load(Ordering::SeqCst) == n);
    }
    // The second time it panicked: what it left half done is seen by no successor.
    assert_eq!(server.report(0), Up::Retiring(Retirement::Panic));
}
