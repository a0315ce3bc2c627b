//! Messages on one connection: persistence, versions, pipelining, HEAD.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ferricorn_base::board::Counter;
use ferricorn_base::{Body, Request, Response};
use http::StatusCode;

use crate::client::{Client, End};
use crate::server::{Gate, Server, Setup, eventually};

/// Answers with method and target.
fn line(request: &mut Request) -> String {
    format!("{} {}", request.method(), request.uri())
}

fn serve() -> Server {
    Setup::new().serve(line)
}

#[test]
fn a_connection_persists_and_serves_one_request_after_the_other() {
    let server = serve();
    let mut client = server.connect();
    for n in 0..5 {
        client.get(&format!("/{n}"));
        let reply = client.reply();
        assert_eq!(
            (reply.status, reply.text()),
            (200, format!("GET /{n}").as_str())
        );
        assert_eq!(reply.field("connection"), None);
        assert_eq!(reply.field("server"), Some("ferricorn"));
        let date = reply.field("date").unwrap();
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
        assert_eq!(
            reply.field("content-type"),
            Some("text/plain; charset=utf-8")
        );
    }
    assert_eq!(server.counter(0, Counter::Accepted), 1);
}

#[test]
fn a_second_empty_line_is_refused_however_late_it_comes() {
    let server = serve();
    for answered in [0, 1] {
        let mut client = server.connect();
        for _ in 0..answered {
            client.get("/a");
            assert_eq!(client.reply().status, 200);
        }
        let before = server.counter(0, Counter::BytesIn);
        client.send("\r\n");
        eventually("the empty line is read", || {
            server.counter(0, Counter::BytesIn) == before + 2
        });
        client.send("\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.reply().status, 400);
        client.assert_closed();
    }
}

#[test]
fn connection_close_is_answered_and_then_closed() {
    let server = serve();
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(client.reply().says_close());
    client.assert_closed();
}

#[test]
fn http_1_0_closes_unless_it_asks_for_keep_alive() {
    let server = serve();
    let mut client = server.connect();
    client.send("GET /a HTTP/1.0\r\n\r\n");
    let reply = client.reply();
    assert!(reply.says_close());
    assert_eq!(reply.text(), "GET /a");
    client.assert_closed();

    let mut client = server.connect();
    for _ in 0..2 {
        client.send("GET /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let reply = client.reply();
        assert_eq!(reply.field("connection"), Some("keep-alive"));
        assert_eq!(reply.field("content-length"), Some("6"));
    }
}

#[test]
fn a_handler_that_says_close_is_obeyed() {
    let server = Setup::new().serve(|_: &mut Request| {
        let mut response = Response::new(Body::from("bye"));
        let close = http::HeaderValue::from_static("close");
        response.headers_mut().insert("connection", close);
        response
    });
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2));
    assert!(client.reply().says_close());
    // RFC 9112 section 9.6: what is pipelined behind it is no request any more.
    client.assert_closed();
    assert_eq!(server.counter(0, Counter::Requests), 1);
}

#[test]
fn requests_in_one_packet_are_all_answered_in_their_order() {
    let server = serve();
    let mut client = server.connect();
    let all: String = (0..200)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    client.send(all);
    for n in 0..200 {
        assert_eq!(client.reply().text(), format!("GET /{n}"));
    }
}

#[test]
fn bodies_and_heads_may_share_packets_however_they_are_cut() {
    let server = Setup::new().serve(|request: &mut Request| {
        let body = request.body_mut().to_bytes()?;
        Ok::<_, std::io::Error>(format!("{} {}", request.path(), body.len()))
    });
    let text = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
        GET /b HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
        GET /d HTTP/1.1\r\nHost: a\r\n\r\n";
    for step in [1, 2, 7, 50, 1000] {
        let mut client = server.connect();
        for piece in text.as_bytes().chunks(step) {
            client.send(piece);
        }
        for expected in ["/a 5", "/b 0", "/c 3", "/d 0"] {
            assert_eq!(client.reply().text(), expected, "in steps of {step}");
        }
    }
}

#[test]
fn a_stream_in_the_middle_of_a_pipeline_keeps_the_order_and_holds_nothing_before_it_back() {
    let gate = Gate::new();
    let inner = gate.clone();
    let server = Setup::new().serve(move |request: &mut Request| {
        let path = request.path().to_owned();
        let gate = inner.clone();
        match path.as_str() {
            "/slow" => Body::stream(move |exchange| {
                gate.pass();
                exchange.write_all(b"slow")?;
                Ok(())
            }),
            _ => Body::from(path),
        }
    });
    let mut client = server.connect();
    client.send(
        ["/1", "/2", "/slow", "/4", "/slow", "/6"]
            .map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .concat(),
    );
    // These do not wait for the stream behind them.
    assert_eq!(client.reply().text(), "/1");
    assert_eq!(client.reply().text(), "/2");
    gate.reached(1);
    gate.open();
    for expected in ["slow", "/4", "slow", "/6"] {
        assert_eq!(client.reply().text(), expected);
    }
}

#[test]
fn a_stream_that_fails_in_a_pipeline_takes_no_answer_before_it_along() {
    let server = Setup::new().serve(|request: &mut Request| match request.path() {
        "/bad" => Body::stream(|_| Err(ferricorn_base::Error::msg("no"))),
        path => Body::from(path.to_owned()),
    });
    let mut client = server.connect();
    client.send(
        ["/1", "/bad"]
            .map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .concat(),
    );
    assert_eq!(client.reply().text(), "/1");
    assert_eq!(client.reply().status, 500);
}

/// The answers that wait for a client that does not read are bounded: the worker stops reading.
#[test]
fn a_pipeline_without_a_reader_stops_and_loses_nothing() {
    const REQUESTS: u64 = 10_000;
    const SIZE: usize = 4000;
    let server = Setup::new().serve(|request: &mut Request| {
        let mut body = request.path().as_bytes().to_vec();
        body.resize(SIZE, b'.');
        body
    });
    let mut client = server.connect_narrow();
    let mut writer = client.writer();
    let sender = std::thread::spawn(move || {
        for n in 0..REQUESTS {
            let request = format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n");
            writer.write_all(request.as_bytes()).unwrap();
        }
    });
    // It stands still when all buffers are full; a loop that read on would come to the end.
    let mut before = 0;
    eventually("the worker stops reading", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = server.counter(0, Counter::Requests);
        std::mem::replace(&mut before, now) == now && now > 0
    });
    let held = before * SIZE as u64;
    assert!(held < 16 << 20, "{held} bytes of answers wait");
    // Meanwhile others are served.
    assert_eq!(server.get("/other").reply().status, 200);
    for n in 0..REQUESTS {
        let reply = client.reply();
        let text = format!("/{n}.");
        assert!(reply.body.starts_with(text.as_bytes()), "the answer to {n}");
    }
    sender.join().unwrap();
}

/// A pipeline of requests that each take a while does not keep the loop from the others.
#[test]
fn a_long_pipeline_lets_others_in_between() {
    let gate = Gate::new();
    let inner = gate.clone();
    let server = Setup::new().serve(move |request: &mut Request| {
        if request.path() == "/slow" {
            inner.pass();
            std::thread::sleep(Duration::from_millis(5));
        }
        "done"
    });
    let mut client = server.connect();
    let mut other = server.connect();
    other.get("/");
    other.reply();
    gate.open();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000));
    gate.reached(1);
    other.get("/");
    other.reply();
    let served = server.counter(0, Counter::Requests);
    assert!(served < 500, "{served} of the others went first");
}

#[test]
fn head_is_answered_with_the_fields_of_get_and_no_content() {
    let server = Setup::new().serve(|request: &mut Request| match request.path() {
        "/bytes" => Body::from(Bytes::from(vec![b'x'; 100_000])),
        "/reader" => Body::reader(&b"reader"[..], Some(6)),
        "/endless" => Body::reader(std::io::repeat(b'x'), None),
        "/stream" => Body::stream(|exchange| Ok(exchange.write_all(b"stream")?)),
        "/file" => Body::whole_file(std::fs::File::open("/proc/self/exe").unwrap()).unwrap(),
        _ => Body::from("text"),
    });
    let mut client = server.connect();
    for path in [
        "/text", "/bytes", "/reader", "/stream", "/file", "/endless", "/text",
    ] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let head = client.head();
        assert_eq!(head.status, 200, "{path}");
        let length = head.field("content-length");
        match path {
            "/text" => assert_eq!(length, Some("4")),
            "/bytes" => assert_eq!(length, Some("100000")),
            "/reader" | "/stream" => assert_eq!(length, Some("6")),
            "/endless" => assert_eq!(length, None),
            _ => assert!(length.unwrap().len() > 4),
        }
    }
    // Nothing was behind any of them, else this would not be a status line.
    client.get("/last");
    assert_eq!(client.reply().text(), "text");
}

#[test]
fn statuses_without_content_have_none() {
    let server = Setup::new().serve(|request: &mut Request| {
        let status = StatusCode::from_bytes(&request.path().as_bytes()[1..])?;
        Ok::<_, ferricorn_base::Error>((status, "content"))
    });
    let mut client = server.connect();
    for (path, length) in [("/204", None), ("/304", None), ("/205", Some("0"))] {
        client.get(path);
        let reply = client.reply();
        assert_eq!(format!("/{}", reply.status), path);
        assert_eq!(reply.field("content-length"), length, "{path}");
    }
    client.get("/404");
    assert_eq!(client.reply().text(), "content");
}

#[test]
fn a_client_that_sends_no_more_gets_all_its_answers_and_then_the_end() {
    let held = Arc::new(Mutex::new(Gate::new()));
    let inner = Arc::clone(&held);
    let server = Setup::new().serve(move |request: &mut Request| match request.path() {
        "/busy" => {
            let gate = inner.lock().unwrap().clone();
            gate.pass();
            Body::from("busy")
        }
        "/stream" => Body::stream(|exchange| Ok(exchange.write_all(b"stream")?)),
        "/large" => Body::from(vec![b'x'; 3 << 20]),
        path => Body::from(path.to_owned()),
    });
    for paths in [
        &["/1"][..],
        &["/1", "/2", "/3"],
        &["/stream"],
        &["/large"],
        &["/1", "/stream", "/large", "/4"],
    ] {
        // The worker is busy, so that it sees request and end at once.
        let gate = Gate::new();
        *held.lock().unwrap() = gate.clone();
        let mut busy = server.connect();
        let mut client: Client = server.connect();
        eventually("both are held", || server.connections(0) == 2);
        busy.get("/busy");
        gate.reached(1);
        for path in paths {
            client.get(path);
        }
        client.finish();
        gate.open();
        assert_eq!(busy.reply().text(), "busy");
        drop(busy);
        for path in paths {
            let reply = client.reply();
            match *path {
                "/stream" => assert_eq!(reply.text(), "stream"),
                "/large" => assert_eq!(reply.body.len(), 3 << 20),
                path => assert_eq!(reply.text(), path),
            }
        }
        client.assert_closed();
        drop(client);
        eventually("all are forgotten", || server.connections(0) == 0);
    }
}

#[test]
fn bytes_behind_the_last_request_do_not_spoil_its_answer() {
    let server = Setup::new().serve(|_: &mut Request| Body::from(vec![b'x'; 1 << 20]));
    let mut client = server.connect();
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let more = "GET /more HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000);
    let mut writer = client.writer();
    let sender = std::thread::spawn(move || writer.write_all([last, &more].concat().as_bytes()));
    assert_eq!(client.reply().body.len(), 1 << 20);
    client.assert_closed();
    sender.join().unwrap().unwrap();
    assert_eq!(server.counter(0, Counter::Requests), 1);
}

#[test]
fn an_end_inside_a_request_is_the_end() {
    let server = serve();
    for text in [
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
    ] {
        let mut client = server.connect();
        client.send(text);
        client.finish();
        client.assert_closed();
    }
    assert_eq!(server.counter(0, Counter::Requests), 0);
}

#[test]
fn options_asterisk_reaches_the_handler_and_connect_does_not() {
    let server = Setup::new().serve(|request: &mut Request| request.path().to_owned());
    let mut client = server.connect();
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.reply().text(), "*");
    client.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    assert_eq!(client.reply().status, 501);
    assert_eq!(client.rest().1, End::Close);
}

#[test]
fn unix_sockets_serve_alike() {
    let server = Setup::new().unix().serve(|request: &mut Request| {
        assert_eq!(*request.peer(), ferricorn_base::Peer::Unix);
        match request.path() {
            "/stream" => Body::stream(|exchange| Ok(exchange.write_all(b"stream")?)),
            _ => Body::from(vec![b'x'; 1 << 20]),
        }
    });
    let mut client = server.connect();
    client.get("/stream");
    assert_eq!(client.reply().text(), "stream");
    client.get("/");
    assert_eq!(client.reply().body.len(), 1 << 20);
    client.finish();
    client.assert_closed();
}
