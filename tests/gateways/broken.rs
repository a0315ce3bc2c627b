//! Back ends that are not there, slow, or lie: the client gets a right answer, and the worker serves on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::Server;
use crate::support::http::Client;
use crate::{ask, mounted, serving};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A back end that does this with each connection, once it has said something.
fn back_end(run: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut some = [0; 4096];
            let _ = stream.read(&mut some);
            run(stream);
        }
    });
    address.to_string()
}

/// A record of FastCGI.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[1, kind, 0, 1, high, low, 0, 0], content].concat()
}

const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const END: u8 = 3;

fn serves_on(server: &Server) {
    assert_eq!(
        ask(server, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").status,
        200
    );
}

/// A server whose `/` is a back end, and whose `/hello` is its own.
fn beside(app: &str, options: &str) -> Server {
    mounted(
        crate::ferricorn(),
        &format!(
            "[[mount]]\nprefix = \"/\"\napp = \"{app}\"\n{options}[[mount]]\nprefix = \"/hello\"\napp = \
             \"hello\"\n"
        ),
    )
}

#[test]
fn a_back_end_that_is_not_there_is_a_502() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for scheme in ["fastcgi", "scgi", "uwsgi"] {
        let server = beside(&format!("{scheme}:{address}"), "");
        assert_eq!(ask(&server, GET).status, 502);
        server.wait(&format!("{address}: Connection refused"));
        serves_on(&server);
    }
    let server = beside("fastcgi:unix:/no/such/socket", "");
    assert_eq!(ask(&server, GET).status, 502);
    server.wait("unix:/no/such/socket: No such file or directory");
}

#[test]
fn a_back_end_that_never_answers_is_a_504() {
    let held = std::sync::Mutex::new(Vec::new());
    let address = back_end(move |stream| held.lock().unwrap().push(stream));
    for scheme in ["fastcgi", "scgi", "uwsgi"] {
        let server = beside(&format!("{scheme}:{address}"), "timeout = 1\n");
        // Others are served meanwhile.
        let mut client = Client::connect(server.address()).unwrap();
        client.send(GET).unwrap();
        serves_on(&server);
        assert_eq!(client.answer().unwrap().status, 504);
        server.wait(&format!("{address}: it takes too long"));
        serves_on(&server);
    }
}

/// Its pause is the client's, whose time is another.
#[test]
fn a_pause_in_a_body_is_not_the_back_ends() {
    let address = back_end(|mut stream| {
        let mut some = [0; 4096];
        let _ = stream.read(&mut some);
        let answer = [
            record(STDOUT, b"Content-Type: a/b\r\n\r\nok"),
            record(END, &[0; 8]),
        ];
        stream.write_all(&answer.concat()).unwrap();
    });
    let server = beside(&format!("fastcgi:{address}"), "timeout = 1\n");
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        .unwrap();
    thread::sleep(Duration::from_millis(1500));
    client.send("def").unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
}

/// A process of the back end may wait for it, and nobody else gets that.
#[test]
fn an_idle_connection_is_closed_when_its_time_is_over() {
    let (sender, closed) = std::sync::mpsc::channel();
    let address = back_end(move |mut stream| {
        let answer = [
            record(STDOUT, b"Content-Type: a/b\r\n\r\nok"),
            record(END, &[0; 8]),
        ];
        stream.write_all(&answer.concat()).unwrap();
        let mut more = [0; 1];
        let _ = sender.send(stream.read(&mut more).unwrap());
    });
    let server = serving(&format!("fastcgi:{address}"), "pool = 1\npool-time = 1\n");
    assert_eq!(ask(&server, GET).status, 200);
    // Nobody asks anything meanwhile.
    assert_eq!(closed.recv_timeout(Duration::from_secs(30)), Ok(0));
}

/// What is no answer: its description in the log, and the bytes.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let head = |text: &str| record(STDOUT, text.as_bytes());
    vec![
        ("closed the connection", vec![]),
        ("closed the connection", head("Content-Type: a\r\n")),
        ("version", b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        (
            "no Content-Type",
            [head("X: a\r\n\r\n"), record(END, &[0; 8])].concat(),
        ),
        ("answers nothing", record(END, &[0; 8])),
        ("has no colon", head("no field\r\n\r\n")),
        (
            "refuses the request",
            record(END, &[0, 0, 0, 0, 2, 0, 0, 0]),
        ),
    ]
}

#[test]
fn a_back_end_that_lies_is_a_502() {
    for (reason, bytes) in lies() {
        let address = back_end(move |mut stream| {
            stream.write_all(&bytes).unwrap();
        });
        let server = beside(&format!("fastcgi:{address}"), "");
        assert_eq!(ask(&server, GET).status, 502, "{reason}");
        server.wait(reason);
        serves_on(&server);
    }
}

#[test]
fn a_gigabyte_of_head_is_a_502() {
    let address = back_end(|mut stream| {
        let some = record(STDOUT, &[b"X: y\r\n".repeat(5000)].concat());
        // Until nobody listens any more.
        for _ in 0..40_000 {
            if stream.write_all(&some).is_err() {
                return;
            }
        }
        panic!("all of it was read");
    });
    let server = beside(&format!("fastcgi:{address}"), "");
    assert_eq!(ask(&server, GET).status, 502);
    server.wait("the head");
    serves_on(&server);
}

#[test]
fn a_back_end_that_dies_in_its_answer_aborts_that_connection() {
    let address = back_end(|mut stream| {
        let head = record(STDOUT, b"Content-Type: text/plain\r\n\r\nsome");
        stream.write_all(&head).unwrap();
        thread::sleep(Duration::from_millis(50));
    });
    let server = beside(&format!("fastcgi:{address}"), "");
    let mut client = Client::connect(server.address()).unwrap();
    client.send(GET).unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    // The last chunk never comes.
    assert_eq!(client.chunk().unwrap().unwrap(), b"some");
    assert!(client.chunk().is_err());
    serves_on(&server);
}

#[test]
fn what_is_said_to_the_log_is_bounded_and_has_its_request() {
    let address = back_end(|mut stream| {
        let mut all = record(STDERR, b"first line\nsecond");
        all.extend(record(STDERR, b" goes on\n\x1b[31mred\n"));
        for n in 0..300 {
            all.extend(record(STDERR, format!("line {n}\n").as_bytes()));
        }
        all.extend(record(STDOUT, b"Status: 201 Made\r\n\r\ncontent"));
        all.extend(record(END, &[0; 8]));
        stream.write_all(&all).unwrap();
    });
    let server = beside(&format!("fastcgi:{address}"), "");
    let answer = ask(&server, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((answer.status, answer.text()), (201, "content"));
    server.wait("says of GET /x: first line");
    server.wait("says of GET /x: second goes on");
    server.wait("says more of GET /x than is logged");
    assert!(!server.log.text().contains("line 250"));
    assert!(!server.log.text().contains('\x1b'));
}

/// One that was kept may be closed at any moment: then the request goes over another.
#[test]
fn a_kept_connection_that_closes_costs_no_request() {
    let address = back_end(|mut stream| {
        let answer = [
            record(STDOUT, b"Content-Type: a/b\r\n\r\nok"),
            record(END, &[0; 8]),
        ];
        stream.write_all(&answer.concat()).unwrap();
        // It is kept, and ends when it is used once more.
        let mut more = [0; 1];
        let _ = stream.read(&mut more);
    });
    let server = serving(&format!("fastcgi:{address}"), "pool = 1\n");
    let mut client = Client::connect(server.address()).unwrap();
    for _ in 0..10 {
        let answer = client.get("/").unwrap();
        assert_eq!((answer.status, answer.text()), (200, "ok"));
    }
}

#[test]
fn what_an_option_cannot_be_is_said_with_its_place() {
    for (line, message) in [
        ("pool = \"many\"", "pool: expected a number"),
        ("root = \"relative\"", "root: expected a path from the root"),
        ("env = [\"no value\"]", "env: expected NAME=VALUE"),
        (
            "connect-timeout = 0",
            "connect-timeout: expected a time, which is not 0",
        ),
        ("indexx = \"a\"", "did you mean \"index\"?"),
    ] {
        let file = format!("[[mount]]\nprefix = \"/\"\napp = \"fastcgi:127.0.0.1:1\"\n{line}\n");
        let ended = crate::ferricorn().file(&file).args("--check-config").run();
        assert_eq!(ended.code, Some(1));
        assert!(ended.log.contains(message), "{}", ended.log);
        assert!(ended.log.contains(":4:"), "{}", ended.log);
    }
}
