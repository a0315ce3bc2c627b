//! Request bodies: in memory and in files, chunked, awaited with 100 Continue, or refused unread.

use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ferricorn_base::board::Counter;
use ferricorn_base::{App, Begin, Body, Error, Handler, Request, Response, Seat};
use http::StatusCode;

use crate::client::End;
use crate::server::{Setup, eventually, logged};

/// Says where the body is, how long it is, and sums it up.
fn describe(request: &mut Request) -> Result<String, Error> {
    let place = match (request.body().as_slice(), request.body().file()) {
        (Some(_), None) => "memory",
        (None, Some(_)) => "file",
        _ => "nowhere",
    };
    let len = request.body().len();
    let mut sum = 0u64;
    let mut read = 0;
    for byte in request.body_mut().bytes() {
        sum = sum.wrapping_mul(31).wrapping_add(u64::from(byte?));
        read += 1;
    }
    assert_eq!(read, len);
    Ok(format!("{place} {len} {sum}"))
}

fn expected(place: &str, body: &[u8]) -> String {
    let sum = body.iter().fold(0u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    format!("{place} {} {sum}", body.len())
}

fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

#[test]
fn a_body_is_in_memory_up_to_the_buffer_and_in_a_file_without_a_name_beyond_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Setup::new()
        .conf(|conf| {
            conf.body_buffer = 10_000;
            conf.tmp_dir = directory.path().to_owned();
        })
        .serve(describe);
    let mut client = server.connect();
    for (len, place) in [
        (1, "memory"),
        (10_000, "memory"),
        (10_001, "file"),
        (5_000_000, "file"),
        (3, "memory"),
    ] {
        let body = noise(len);
        client.post("/", &body);
        assert_eq!(client.reply().text(), expected(place, &body));
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// The files in `directory` that this process holds open, with a name or without.
fn open_files(directory: &Path) -> usize {
    let held = std::fs::read_dir("/proc/self/fd").unwrap();
    held.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|file| file.starts_with(directory))
        .count()
}

#[test]
fn the_file_of_a_body_and_what_a_handler_left_are_given_back_with_the_answer() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    let left = Arc::new(());
    let mark = Arc::clone(&left);
    let server = Setup::new()
        .conf(|conf| {
            conf.body_buffer = 10;
            conf.tmp_dir = place;
        })
        .serve(move |request: &mut Request| {
            request.extensions_mut().insert(Arc::clone(&mark));
            describe(request)
        });
    let before = Arc::strong_count(&left);
    let body = noise(100_000);
    // All three at a time, so that each has a request of its own.
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
        client.send(&body[1..]);
    }
    eventually("a file for each body", || open_files(directory.path()) == 3);
    for client in &mut clients {
        client.send(&body[..1]);
        assert_eq!(client.reply().status, 200);
    }
    eventually("nothing of the requests is held", || {
        open_files(directory.path()) == 0 && Arc::strong_count(&left) == before
    });
    // One that its client gives up does not stay either.
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    client.send(&body[1..]);
    eventually("a file for the body", || open_files(directory.path()) == 1);
    drop(client);
    eventually("the file is gone", || open_files(directory.path()) == 0);
}

#[test]
fn a_chunked_body_arrives_decoded_with_its_trailers() {
    let server = Setup::new().serve(|request: &mut Request| {
        let trailer = request
            .body()
            .trailers()
            .and_then(|trailers| trailers.get("x-sum"))
            .map(|value| value.to_str().unwrap().to_owned());
        let mut lines = vec![];
        for line in request.body_mut().lines() {
            lines.push(line?);
        }
        Ok::<_, std::io::Error>(format!("{lines:?} {trailer:?}"))
    });
    let mut client = server.connect();
    for _ in 0..2 {
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\none\n\r\n3;ext=1\r\ntwo\r\n0\r\nX-Sum: 42\r\n\r\n",
        );
        assert_eq!(client.reply().text(), r#"["one", "two"] Some("42")"#);
    }
    // The next request has none of it.
    client.post("/", "three");
    assert_eq!(client.reply().text(), r#"["three"] None"#);
}

#[test]
fn a_chunked_body_may_outgrow_memory() {
    let server = Setup::new()
        .conf(|conf| conf.body_buffer = 1000)
        .serve(describe);
    let mut client = server.connect();
    let body = noise(300_000);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(7_777) {
        client.send(format!("{:x}\r\n", piece.len()));
        client.send(piece);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.reply().text(), expected("file", &body));
}

#[test]
fn a_directory_that_takes_no_file_is_a_500_with_the_reason_in_the_log() {
    let server = Setup::new()
        .conf(|conf| {
            conf.body_buffer = 10;
            conf.tmp_dir = "/nonexistent/bodies".into();
        })
        .serve(describe);
    let mut client = server.connect();
    client.post("/", noise(100_000));
    assert_eq!(client.reply().status, 500);
    client.assert_closed();
    logged(&["ERROR", "cannot keep a request body", "/nonexistent/bodies"]);
}

/// Counts the requests that it handled.
#[derive(Clone, Default)]
struct Gatekeeper(Arc<AtomicUsize>);

impl App for Gatekeeper {
    type Handler = Gatekeeper;

    fn boot(&self, _: &Seat) -> Result<Gatekeeper, Error> {
        Ok(self.clone())
    }
}

impl Handler for Gatekeeper {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        let refuse = |status: StatusCode| {
            let mut response = Response::new(Body::from("refused"));
            *response.status_mut() = status;
            Ok(Begin::Respond(response))
        };
        match request.path() {
            "/401" => refuse(StatusCode::UNAUTHORIZED),
            "/413" => refuse(StatusCode::PAYLOAD_TOO_LARGE),
            "/error" => Err(Error::msg("begin went wrong")),
            "/unread" => Ok(Begin::Respond(Response::new(Body::stream(|exchange| {
                exchange.write_all(b"unread")?;
                Ok(())
            })))),
            "/echo" => Ok(Begin::Respond(Response::new(Body::stream(|exchange| {
                let mut piece = vec![0; 5_000];
                loop {
                    let n = exchange.read(&mut piece)?;
                    if n == 0 {
                        return Ok(());
                    }
                    exchange.write_all(&piece[..n])?;
                    exchange.flush()?;
                }
            })))),
            "/early" => Ok(Begin::Respond(Response::new(Body::stream(|exchange| {
                // The head is out before the body is wanted.
                exchange.write_all(b"got ")?;
                exchange.flush()?;
                let mut body = vec![];
                exchange.read_to_end(&mut body)?;
                exchange.write_all(&body)?;
                Ok(())
            })))),
            _ => Ok(Begin::Buffer),
        }
    }

    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(Body::from(format!(
            "handled {}",
            request.body().len()
        ))))
    }
}

const WAITING: &str = "Host: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

#[test]
fn continue_is_sent_when_the_body_is_wanted() {
    let server = Setup::new().serve(Gatekeeper::default());
    let mut client = server.connect();
    for (path, reply) in [("/", "handled 5"), ("/echo", "hello"), ("/", "handled 5")] {
        client.send(format!("POST {path} HTTP/1.1\r\n{WAITING}"));
        assert_eq!(client.head().status, 100, "{path}");
        client.send("hello");
        assert_eq!(client.reply().text(), reply);
    }
}

#[test]
fn continue_is_not_sent_when_the_body_comes_by_itself() {
    let server = Setup::new().serve(Gatekeeper::default());
    let mut client = server.connect();
    for path in ["/", "/echo"] {
        client.send(format!("POST {path} HTTP/1.1\r\n{WAITING}hello"));
        assert_eq!(client.reply().status, 200);
    }
    // Nor to a client that knows none (RFC 9110 section 10.1.1).
    client.send(format!("POST / HTTP/1.0\r\n{WAITING}"));
    client.assert_quiet(Duration::from_millis(100));
    client.send("hello");
    assert_eq!(client.reply().text(), "handled 5");
}

#[test]
fn continue_is_not_sent_when_the_head_decides() {
    let server = Setup::new().serve(Gatekeeper::default());
    for (path, status) in [
        ("/401", 401),
        ("/413", 413),
        ("/error", 500),
        ("/unread", 200),
    ] {
        let mut client = server.connect();
        client.send(format!("POST {path} HTTP/1.1\r\n{WAITING}"));
        let reply = client.reply();
        assert_eq!(reply.status, status);
        assert!(
            reply.says_close(),
            "what nobody reads cannot be followed: {path}"
        );
        client.assert_closed();
    }
}

/// A 100 (Continue) inside the content would be content.
#[test]
fn continue_is_not_sent_behind_the_head_of_the_response() {
    let server = Setup::new().serve(Gatekeeper::default());
    let mut client = server.connect();
    client.send(format!("POST /early HTTP/1.1\r\n{WAITING}"));
    let mut head = client.head();
    assert_eq!(head.status, 200);
    assert_eq!(client.chunk().unwrap(), b"got ");
    client.send("hello");
    client.body(&mut head);
    assert!(head.whole);
    assert_eq!(head.text(), "hello");
}

#[test]
fn an_answer_from_the_head_alone_keeps_the_connection_when_there_is_no_body() {
    let app = Gatekeeper::default();
    let handled = Arc::clone(&app.0);
    let server = Setup::new().serve(app);
    let mut client = server.connect();
    for (path, status) in [
        ("/401", 401),
        ("/echo", 200),
        ("/error", 500),
        ("/unread", 200),
    ] {
        client.get(path);
        let reply = client.reply();
        assert_eq!(reply.status, status);
        assert_eq!(reply.field("connection"), None, "{path}");
        client.get("/");
        assert_eq!(client.reply().text(), "handled 0", "after {path}");
    }
    assert_eq!(server.counter(0, Counter::Requests), 8);
    assert_eq!(handled.load(Ordering::Relaxed), 4);
    // All in one packet, too.
    let paths = ["/401", "/echo", "/", "/unread", "/unread", "/error", "/"];
    client.send(
        paths
            .map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .concat(),
    );
    let replies = paths.map(|_| client.reply().body);
    let texts = replies.each_ref().map(|body| str::from_utf8(body).unwrap());
    assert_eq!(texts[..5], ["refused", "", "handled 0", "unread", "unread"]);
    assert_eq!(texts[6], "handled 0");
    assert_eq!(server.counter(0, Counter::Requests), 15);
    assert_eq!(handled.load(Ordering::Relaxed), 6);
    assert!(server.view(0).in_flight.is_empty());
}

#[test]
fn a_client_that_sends_a_large_body_all_the_same_reads_the_refusal() {
    let server = Setup::new()
        .conf(|conf| conf.limits.body = 30_000_000)
        .serve(Gatekeeper::default());
    for (path, len, status) in [
        ("/401", 20_000_000, 401),
        ("/413", 20_000_000, 413),
        ("/unread", 20_000_000, 200),
        // The limit of the server; the reader has seen nothing of the body.
        ("/limit", 40_000_000, 413),
    ] {
        let mut client = server.connect();
        client.post(path, vec![b'x'; len]);
        assert_eq!(client.reply().status, status, "{path}");
        client.assert_closed();
    }
}

/// The limit strikes when much was read already.
#[test]
fn a_chunked_body_beyond_the_limit_is_refused_and_the_refusal_is_read() {
    let server = Setup::new()
        .conf(|conf| conf.limits.body = 4_000_000)
        .serve(Gatekeeper::default());
    for path in ["/", "/echo"] {
        let mut client = server.connect();
        let mut writer = client.writer();
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(head);
        let sender = std::thread::spawn(move || {
            let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
            (0..500).try_for_each(|_| writer.write_all(&chunk))
        });
        let (reply, end) = client.reply_or_end();
        match path {
            "/" => {
                sender.join().unwrap().expect("it reads on");
                assert_eq!((reply.status, end), (413, None));
                assert!(reply.says_close());
                client.assert_closed();
            }
            // Its head is out, so it can only be cut.
            _ => {
                let _ = sender.join().unwrap();
                assert!(!reply.whole && end.is_some(), "{end:?}");
            }
        }
    }
}

#[test]
fn a_streamed_echo_returns_what_came_while_it_comes() {
    let server = Setup::new().serve(Gatekeeper::default());
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("3\r\none\r\n");
    let mut head = client.head();
    assert_eq!(client.chunk().unwrap(), b"one");
    client.send("3\r\ntwo\r\n");
    assert_eq!(client.chunk().unwrap(), b"two");
    client.send("0\r\n\r\n");
    client.body(&mut head);
    assert!(head.whole);
    // Its head went out before the body was read, so that the connection had to end.
    assert!(head.says_close());
    client.assert_closed();
}

#[test]
fn a_stream_reads_a_body_that_was_buffered_too() {
    let server = Setup::new()
        .conf(|conf| conf.body_buffer = 1000)
        .serve(|_: &mut Request| {
            Body::stream(|exchange| {
                let mut body = vec![];
                exchange.read_to_end(&mut body)?;
                exchange.write_all(&body)?;
                Ok(())
            })
        });
    let mut client = server.connect();
    for len in [5, 1000, 50_000] {
        client.post("/", noise(len));
        assert!(client.reply().body == noise(len), "{len}");
    }
}

#[test]
fn a_streamed_body_that_is_refused_or_cut_is_told_from_a_failure() {
    let server = Setup::new().serve(Gatekeeper::default());
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
    assert_eq!(client.reply().status, 400);
    assert_eq!(client.rest().1, End::Close);
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
    client.finish();
    let (reply, end) = client.reply_or_end();
    assert!(!reply.whole && end == Some(End::Reset), "{reply:?}");
    eventually("it is counted", || server.counter(0, Counter::Aborted) == 1);
    assert_eq!(
        server.counter(0, Counter::Errors),
        0,
        "the client's fault, not the handler's"
    );
}

#[test]
fn a_body_can_be_taken_whole_after_it_was_read_in_part() {
    let server = Setup::new()
        .conf(|conf| conf.body_buffer = 8)
        .serve(|request: &mut Request| {
            let mut part = [0; 3];
            request.body_mut().read_exact(&mut part)?;
            let whole: Bytes = request.body_mut().to_bytes()?;
            Ok::<_, std::io::Error>(whole)
        });
    let mut client = server.connect();
    for body in ["in mem", "much longer than the buffer"] {
        client.post("/", body);
        assert_eq!(client.reply().text(), body);
    }
}
