//! Exchanges whose answer comes from elsewhere: the back end here is the test itself, on a socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ferricorn_base::board::Counter;
use ferricorn_base::task::{Turn, Watch};
use ferricorn_base::transport::{Ready, wait};
use ferricorn_base::{App, Begin, Body, Error, Handler, Request, Response, Seat, Step, Task};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::client::{Client, End};
use crate::server::{LIMIT, Server, Setup, eventually, is_logged, logged};

/// Relays requests to a back end: the path and a line end, then the body; what comes back is the content, to its
/// end. By the path it does otherwise.
#[derive(Clone)]
struct Relay {
    back: SocketAddr,
    /// How many tasks there are.
    alive: Arc<AtomicUsize>,
}

impl App for Relay {
    type Handler = Relay;

    fn boot(&self, _: &Seat) -> Result<Relay, Error> {
        Ok(self.clone())
    }
}

impl Handler for Relay {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        let path = request.path().to_owned();
        let step = match path.as_str() {
            "/hello" => return Ok(Begin::Buffer),
            "/fail" => Some(Step::Fail(
                StatusCode::GATEWAY_TIMEOUT,
                Error::msg("nobody there"),
            )),
            "/content-first" => Some(Step::Content(Bytes::from_static(b"too soon"))),
            "/away" => Some(Step::Redirect("/hello?from=away".into())),
            "/round" => Some(Step::Redirect("/round".into())),
            "/nowhere" => Some(Step::Redirect("/a b".into())),
            "/whole-answer" => {
                let body = Body::from("written by the loop");
                Some(Step::Respond(Box::new(Response::new(body))))
            }
            "/streamed-answer" => {
                let body = Body::stream(|exchange| Ok(exchange.write_all(b"by a thread")?));
                Some(Step::Respond(Box::new(Response::new(body))))
            }
            _ => None,
        };
        if let Some(step) = step {
            return Ok(Begin::Task(Box::new(Once(Some(step)))));
        }
        self.alive.fetch_add(1, Ordering::SeqCst);
        let stream = TcpStream::connect(self.back)?;
        stream.set_nonblocking(true)?;
        Ok(Begin::Task(Box::new(Relaying {
            alive: Alive(Arc::clone(&self.alive)),
            stream,
            watch: None,
            out: format!("{path}\n").into_bytes(),
            ended: false,
            answered: false,
            whole: path.starts_with("/whole"),
            patience: (path == "/impatient").then_some(Duration::from_millis(50)),
            breaks: path == "/breaks",
        })))
    }

    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        let query = request.query().unwrap_or_default();
        Ok(Response::new(Body::from(format!("hello {query}"))))
    }
}

/// One step, whatever comes.
struct Once(Option<Step>);

impl Task for Once {
    fn step(&mut self, _: &mut Turn<'_>) -> Result<Step, Error> {
        self.0.take().ok_or_else(|| Error::msg("it was over"))
    }
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Relaying {
    #[expect(dead_code, reason = "it counts itself")]
    alive: Alive,
    stream: TcpStream,
    watch: Option<Watch>,
    out: Vec<u8>,
    ended: bool,
    answered: bool,
    whole: bool,
    patience: Option<Duration>,
    breaks: bool,
}

impl Task for Relaying {
    fn needs_whole_body(&self) -> bool {
        self.whole
    }

    fn step(&mut self, turn: &mut Turn<'_>) -> Result<Step, Error> {
        if self.watch.is_none() {
            self.watch = Some(turn.watch(self.stream.as_fd())?);
            if let Some(patience) = self.patience {
                turn.wake_after(patience);
            }
        }
        if self.patience.is_some() && turn.is_due() {
            let late = Error::msg("the back end takes too long");
            return Ok(Step::Fail(StatusCode::GATEWAY_TIMEOUT, late));
        }
        if self.whole && self.out.starts_with(b"/") {
            let len = turn.request.body().len();
            self.out.extend(format!("{len} bytes: ").bytes());
        }
        loop {
            let (own, bytes) = match self.out.is_empty() {
                true => (false, turn.body()?.to_vec()),
                false => (true, self.out.clone()),
            };
            if bytes.is_empty() {
                break;
            }
            match self.stream.write(&bytes) {
                Ok(n) if own => drop(self.out.drain(..n)),
                Ok(n) => turn.take(n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        if turn.body()?.is_empty() && turn.is_body_ended() && self.out.is_empty() && !self.ended {
            self.stream.shutdown(std::net::Shutdown::Write)?;
            self.ended = true;
        }
        let mut buffer = vec![0; 32 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(n) if !self.answered => {
                self.answered = true;
                self.out.clear();
                let mut fields = HeaderMap::new();
                let first = String::from_utf8_lossy(&buffer[..n.min(1)]).into_owned();
                fields.insert("x-first", HeaderValue::from_str(&first)?);
                // The first byte is for the field.
                Ok(Step::Head(StatusCode::OK, fields, None))
            }
            Ok(0) => Ok(Step::End),
            Ok(_) if self.breaks => Err(Error::msg("the back end broke")),
            Ok(n) => {
                buffer.truncate(n);
                Ok(Step::Content(buffer.into()))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Step::Wait),
            Err(error) => Err(error.into()),
        }
    }
}

/// A server that relays, and its back end.
fn relayed(setup: Setup) -> (Server, TcpListener, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let alive = Arc::new(AtomicUsize::new(0));
    let back = listener.local_addr().unwrap();
    let app = Relay {
        back,
        alive: Arc::clone(&alive),
    };
    (setup.serve(app), listener, alive)
}

/// The next task's connection, and its line.
fn accept(listener: &TcpListener) -> (TcpStream, String) {
    wait(listener.as_fd(), Ready::Readable, Some(LIMIT)).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut line = vec![];
    let mut byte = [0];
    loop {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "a line");
        if byte == *b"\n" {
            return (stream, String::from_utf8(line).unwrap());
        }
        line.push(byte[0]);
    }
}

/// Answers as a back end: a byte for the head, which is waited for, then the content.
fn answer(mut stream: TcpStream, client: &mut Client, content: &[u8]) {
    stream.write_all(b"!").unwrap();
    let mut reply = client.head();
    assert_eq!((reply.status, reply.field("x-first")), (200, Some("!")));
    stream.write_all(content).unwrap();
    drop(stream);
    assert_eq!(client.body(&mut reply), None);
    assert_eq!(reply.body, content);
}

#[test]
fn a_back_end_answers_piece_by_piece_and_the_connection_goes_on() {
    let (server, back, alive) = relayed(Setup::new());
    let mut client = server.get("/one");
    let (mut stream, line) = accept(&back);
    assert_eq!(line, "/one");
    stream.write_all(b"x").unwrap();
    assert_eq!(client.head().field("transfer-encoding"), Some("chunked"));
    for piece in ["first", "second"] {
        stream.write_all(piece.as_bytes()).unwrap();
        assert_eq!(client.chunk().unwrap(), piece.as_bytes());
    }
    drop(stream);
    assert!(client.chunk().unwrap().is_empty());
    client.take(2);
    // The same connection, with two at once: one behind the other.
    client.send("GET /two HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    let (stream, line) = accept(&back);
    assert_eq!(line, "/two");
    answer(stream, &mut client, b"the second");
    assert_eq!(client.reply().text(), "hello ");
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    assert_eq!(server.counter(0, Counter::Requests), 3);
}

#[test]
fn five_hundred_slow_back_ends_hold_nobody_up() {
    let (server, back, alive) = relayed(Setup::new());
    let mut clients: Vec<Client> = (0..500).map(|n| server.get(&format!("/{n}"))).collect();
    let waiting: Vec<_> = (0..500).map(|_| accept(&back)).collect();
    assert_eq!(alive.load(Ordering::SeqCst), 500);
    for _ in 0..10 {
        assert_eq!(server.get("/hello").reply().text(), "hello ");
    }
    for (stream, line) in waiting {
        let number: usize = line[1..].parse().unwrap();
        answer(stream, &mut clients[number], line.as_bytes());
    }
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn large_bodies_go_both_ways_at_once() {
    let (server, back, _) = relayed(Setup::new());
    let content: Vec<u8> = (0..8_u32 << 20).map(|n| (n / 7) as u8).collect();
    for chunked in [false, true] {
        let mut client = server.connect();
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {}", content.len()),
        };
        client.send(format!("POST /up HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
        let (mut writer, body) = (client.writer(), content.clone());
        let sending = std::thread::spawn(move || {
            for piece in body.chunks(100_000) {
                if chunked {
                    write!(writer, "{:x}\r\n", piece.len()).unwrap();
                }
                writer.write_all(piece).unwrap();
                if chunked {
                    writer.write_all(b"\r\n").unwrap();
                }
            }
            if chunked {
                writer.write_all(b"0\r\n\r\n").unwrap();
            }
        });
        let (mut stream, _) = accept(&back);
        // An echo, behind the byte for the head.
        let echo = std::thread::spawn(move || {
            stream.write_all(b"!").unwrap();
            let mut buffer = [0; 64 * 1024];
            loop {
                match stream.read(&mut buffer).unwrap() {
                    0 => return,
                    n => stream.write_all(&buffer[..n]).unwrap(),
                }
            }
        });
        let reply = client.reply();
        // What came together with the first byte went with it.
        assert!(reply.body.len() >= content.len() - 32 * 1024);
        assert!(content.ends_with(&reply.body), "chunked: {chunked}");
        sending.join().unwrap();
        echo.join().unwrap();
        client.get("/hello");
        assert_eq!(client.reply().text(), "hello ");
    }
}

#[test]
fn who_needs_the_whole_body_gets_it_with_its_length() {
    for size in [0, 10, 64 * 1024, 3 << 20] {
        let (server, back, _) = relayed(Setup::new());
        let mut client = server.connect();
        client.send("POST /whole HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let content = vec![b'x'; size];
        if size > 0 {
            client.send(format!("{size:x}\r\n"));
            client.send(&content);
            client.send("\r\n");
        }
        client.send("0\r\n\r\n");
        let (mut stream, line) = accept(&back);
        assert_eq!(line, "/whole");
        let mut all = vec![];
        stream.read_to_end(&mut all).unwrap();
        let expected = format!("{size} bytes: ").into_bytes();
        assert_eq!(all, [expected, content].concat());
        answer(stream, &mut client, b"received");
    }
}

#[test]
fn a_body_is_asked_for_when_the_client_waits_for_that() {
    let (server, back, _) = relayed(Setup::new());
    let mut client = server.connect();
    client
        .send("POST /up HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let (mut stream, _) = accept(&back);
    assert_eq!(client.head().status, 100);
    client.send("12345");
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "12345");
    answer(stream, &mut client, b"ok");
}

#[test]
fn a_client_that_leaves_ends_its_task() {
    let (mut server, back, alive) = relayed(Setup::new().access("%(s)s %(U)s"));
    // Before its answer, in the middle of it, and in the middle of its body.
    for case in 0..4 {
        let mut client = server.connect();
        match case {
            2 => client.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome"),
            _ => client.get("/left"),
        }
        let (mut stream, _) = accept(&back);
        if case == 1 {
            stream.write_all(b"!").unwrap();
            client.head();
        }
        match case {
            3 => client.reset(),
            _ => drop(client),
        }
        eventually("the task is dropped", || alive.load(Ordering::SeqCst) == 0);
        // Its back end sees that, too: with what was left of the request before it.
        let mut rest = vec![];
        let _ = stream.read_to_end(&mut rest);
    }
    let lines = server.access_lines(4);
    assert_eq!(lines[0], "0 /left");
    assert_eq!(lines[1], "200 /left");
    eventually("no request is shown as under way", || {
        server.view(0).in_flight.is_empty()
    });
}

/// Whatever it has sent behind its request, and however fast the back end answers what nobody is sent.
#[test]
fn a_client_that_leaves_is_seen_behind_what_it_sent() {
    let (server, back, alive) = relayed(Setup::new());
    let mut client = server.connect();
    client.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\n");
    let _held = accept(&back);
    drop(client);
    eventually("the task is dropped", || alive.load(Ordering::SeqCst) == 0);
    let mut client = server.connect();
    client.send("HEAD /left HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut stream, _) = accept(&back);
    let writing = std::thread::spawn(move || while stream.write(&[b'x'; 64 * 1024]).is_ok() {});
    assert_eq!(client.head().status, 200);
    drop(client);
    eventually("the task is dropped", || alive.load(Ordering::SeqCst) == 0);
    writing.join().unwrap();
}

#[test]
fn a_task_that_fails_is_told_of() {
    let (server, back, _) = relayed(Setup::new());
    let mut client = server.connect();
    for (path, status, line) in [
        ("/fail", 504, "GET /fail of 127.0.0.1"),
        ("/content-first", 502, "content without a head"),
        ("/impatient", 504, "the back end takes too long"),
        ("/round", 502, "too many local redirects"),
        ("/nowhere", 502, "a local redirect to \"/a b\""),
    ] {
        client.get(path);
        assert_eq!(client.reply().status, status, "{path}");
        logged(&[line]);
    }
    drop(accept(&back));
    // The connection has outlived them all.
    client.get("/hello");
    assert_eq!(client.reply().status, 200);
    client.get("/breaks");
    let (mut stream, _) = accept(&back);
    stream.write_all(b"!").unwrap();
    let mut reply = client.head();
    stream.write_all(b"?").unwrap();
    assert_eq!(client.body(&mut reply), Some(End::Reset));
    assert!(!reply.whole);
    assert!(is_logged(&["the back end broke"]));
}

#[test]
fn an_answer_may_be_that_to_another_request_or_written_by_the_loop() {
    let (server, _back, _) = relayed(Setup::new());
    let mut client = server.connect();
    for _ in 0..2 {
        client.get("/away");
        assert_eq!(client.reply().text(), "hello from=away");
        client.post("/away", "a body that nobody reads");
        assert_eq!(client.reply().text(), "hello from=away");
        client.get("/whole-answer");
        assert_eq!(client.reply().text(), "written by the loop");
        client.get("/streamed-answer");
        assert_eq!(client.reply().text(), "by a thread");
    }
    client.send("HEAD /away HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().field("content-length"), Some("15"));
    client.get("/hello");
    assert_eq!(client.reply().text(), "hello ");
}

#[test]
fn head_has_no_content_and_the_old_version_is_closed() {
    let (server, back, _) = relayed(Setup::new());
    let mut client = server.connect();
    client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut stream, _) = accept(&back);
    stream.write_all(b"!").unwrap();
    assert_eq!(client.head().status, 200);
    stream.write_all(b"nobody gets this").unwrap();
    drop(stream);
    client.get("/hello");
    assert_eq!(client.reply().text(), "hello ");
    client.send("GET /old HTTP/1.0\r\n\r\n");
    let (mut stream, _) = accept(&back);
    stream.write_all(b"!").unwrap();
    let mut reply = client.head();
    assert!(reply.says_close());
    stream.write_all(b"until the end").unwrap();
    drop(stream);
    assert_eq!(client.body(&mut reply), Some(End::Close));
    assert_eq!(reply.text(), "until the end");
}

#[test]
fn a_client_that_does_not_read_makes_the_back_end_wait() {
    let (server, back, _) = relayed(Setup::new());
    let mut client = server.connect_narrow();
    client.get("/much");
    let (mut stream, _) = accept(&back);
    stream.write_all(b"!").unwrap();
    let mut reply = client.head();
    stream.set_nonblocking(true).unwrap();
    // What fits into all the buffers on the way is bounded.
    let (piece, mut sent) = (vec![b'x'; 64 * 1024], 0_usize);
    let mut quiet = 0;
    while quiet < 20 {
        match stream.write(&piece) {
            Ok(n) => (sent, quiet) = (sent + n, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                quiet += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 64 << 20, "nothing holds it up");
    }
    assert_eq!(server.get("/hello").reply().text(), "hello ");
    drop(stream);
    assert_eq!(client.body(&mut reply), None);
    assert_eq!(reply.body.len(), sent);
}

#[test]
fn a_client_that_sends_no_body_is_told_so() {
    let (server, back, _) = relayed(Setup::new().conf(|conf| {
        conf.deadlines.body = Duration::from_millis(50);
    }));
    let mut client = server.connect();
    client.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123");
    let (mut stream, _) = accept(&back);
    assert_eq!(client.reply().status, 408);
    client.assert_closed();
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    assert_eq!(rest, "123");
    // Nor is a bad one waited for.
    let mut client = server.connect();
    client.send("POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n");
    let _stream = back.accept().unwrap();
    assert_eq!(client.reply().status, 400);
}

#[test]
fn a_worker_that_drains_waits_for_its_tasks() {
    let (mut server, back, _) = relayed(Setup::new());
    let mut client = server.get("/last");
    let (mut stream, _) = accept(&back);
    server.drain(true);
    eventually("it accepts nobody", || is_draining(&server));
    stream.write_all(b"!").unwrap();
    let mut reply = client.head();
    assert!(reply.says_close(), "{reply:?}");
    stream.write_all(b"answered").unwrap();
    drop(stream);
    client.body(&mut reply);
    assert_eq!(reply.text(), "answered");
    server.exit(0);
}

fn is_draining(server: &Server) -> bool {
    server.view(0).state == ferricorn_base::board::State::Draining
}

#[test]
fn what_takes_too_long_at_a_stop_is_cut_with_an_answer() {
    let (mut server, back, alive) = relayed(Setup::new().conf(|conf| {
        conf.deadlines.graceful = Duration::from_millis(100);
    }));
    let mut client = server.get("/cut/this");
    let _held = accept(&back);
    server.drain(true);
    assert_eq!(client.reply().status, 503);
    server.exit(0);
    logged(&["cut GET /cut/this", "graceful-timeout"]);
    eventually("the task is dropped", || alive.load(Ordering::SeqCst) == 0);
}
