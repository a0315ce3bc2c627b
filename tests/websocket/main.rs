//! The example `websocket`, by two implementations of its clients, straight and through proxies.
//!
//! It echoes, refuses what is no handshake, and says goodbye when its worker retires, so that the
//! worker need not wait for its clients until `graceful-timeout`, which here is beyond patience.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use support::http::{Answer, Client};
use support::proxy::{self, Proxy};
use support::{PATIENCE, Server, Start, example};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

/// A goodbye is `1001 Going Away` (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;

fn start() -> Start {
    example("websocket").args("--workers 1 --graceful-timeout 10m")
}

/// Every way to `server`: straight, and through each proxy that is installed.
fn ways(server: &Server) -> (Vec<(&'static str, SocketAddr)>, Vec<Proxy>) {
    let address = server.address().to_string();
    let nginx = proxy::nginx(&address, &[]).map(|proxy| ("nginx", proxy));
    let haproxy = proxy::haproxy(&address, &[]).map(|proxy| ("haproxy", proxy));
    let tcp = ("straight", server.address());
    let (names, proxies): (Vec<_>, Vec<_>) = nginx.into_iter().chain(haproxy).unzip();
    let through = names.into_iter().zip(&proxies);
    let ways = through.map(|(name, proxy)| (name, proxy.address));
    ([tcp].into_iter().chain(ways).collect(), proxies)
}

fn open(address: SocketAddr) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let request = "ws://localhost/echo".into_client_request().unwrap();
    tungstenite::client(request, stream).unwrap().0
}

/// What says goodbye to the client, which answers.
fn farewell(mut socket: WebSocket<TcpStream>) -> u16 {
    let Message::Close(Some(frame)) = socket.read().unwrap() else {
        panic!("something else came");
    };
    // The answer goes out, and the server closes first (section 7.1.1).
    let end = socket.read().unwrap_err();
    assert!(
        matches!(end, tungstenite::Error::ConnectionClosed),
        "{end:?}"
    );
    frame.code.into()
}

#[test]
fn messages_come_back_as_they_are() {
    let server = start().ready();
    let (ways, _proxies) = ways(&server);
    for (name, address) in ways {
        let mut socket = open(address);
        for message in [
            Message::text("Grüße"),
            Message::text(""),
            Message::binary(vec![7; 100_000]),
            Message::binary(vec![]),
        ] {
            socket.send(message.clone()).unwrap();
            assert_eq!(socket.read().unwrap(), message, "{name}");
        }
        socket.send(Message::Ping("are you there?".into())).unwrap();
        assert_eq!(
            socket.read().unwrap(),
            Message::Pong("are you there?".into()),
            "{name}"
        );
        socket.close(None).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Close(None), "{name}");
    }
    server.stop();
}

#[test]
fn another_implementation_agrees() {
    let server = start().ready();
    let (ways, _proxies) = ways(&server);
    for (name, address) in ways {
        let Some(mut client) = python(address, "talk") else {
            return;
        };
        let mut output = String::new();
        let mut stdout = client.stdout.take().unwrap();
        stdout.read_to_string(&mut output).unwrap();
        assert!(client.wait().unwrap().success(), "{name}: {output}");
        assert_eq!(output, "open\nwell\n", "{name}");
    }
    server.stop();
}

/// RFC 6455 section 4.2.1; what is missing in which handshake has which status.
#[test]
fn what_is_no_handshake_is_refused() {
    let server = start().ready();
    let good = [
        "Connection: keep-alive, Upgrade",
        "Upgrade: h2c, WebSocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let ask = |line: &str, without: usize, instead: &str| {
        let fields = good.iter().enumerate();
        let kept = fields
            .filter(|(n, _)| *n != without)
            .map(|(_, field)| *field);
        let fields: Vec<&str> = kept
            .chain((!instead.is_empty()).then_some(instead))
            .collect();
        let mut client = Client::connect(server.address()).unwrap();
        let head = format!(
            "{line}\r\nHost: localhost\r\n{}\r\n\r\n",
            fields.join("\r\n")
        );
        client.send(head).unwrap();
        client.head().unwrap()
    };
    let accepted = ask("GET /echo HTTP/1.1", 9, "");
    // The example of RFC 6455 section 1.3.
    let accept = Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(accepted.status, 101);
    assert_eq!(accepted.field("sec-websocket-accept"), accept);
    assert_eq!(accepted.field("upgrade"), Some("websocket"));
    let tells_how = |answer: &Answer| {
        answer.field("upgrade") == Some("websocket")
            && answer.field("sec-websocket-version") == Some("13")
    };
    for (without, instead) in [
        (0, ""),
        (0, "Connection: close"),
        (1, ""),
        (1, "Upgrade: h2c"),
        (2, ""),
        (2, "Sec-WebSocket-Version: 8"),
        (9, "Sec-WebSocket-Version: 13"),
    ] {
        let answer = ask("GET /echo HTTP/1.1", without, instead);
        assert_eq!(answer.status, 426, "{without} {instead}");
        assert!(tells_how(&answer), "{without} {instead}: {answer:?}");
    }
    assert_eq!(ask("GET /echo HTTP/1.0", 9, "").status, 426);
    for (without, instead) in [
        (3, ""),
        (3, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"),
        (3, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q=="),
        (9, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        let answer = ask("GET /echo HTTP/1.1", without, instead);
        assert_eq!(answer.status, 400, "{without} {instead}");
    }
    let answer = ask("POST /echo HTTP/1.1", 9, "Content-Length: 0");
    assert_eq!((answer.status, answer.field("allow")), (405, Some("GET")));
    server.stop();
}

#[test]
fn a_frame_that_must_not_be_is_answered_with_its_code() {
    let server = start().ready();
    // Unmasked; reserved bits; text that is no UTF-8; a continuation of nothing.
    for (bytes, code) in [
        (&b"\x81\x02hi"[..], CloseCode::Protocol),
        (b"\xf1\x80\0\0\0\0", CloseCode::Protocol),
        (b"\x81\x81\0\0\0\0\xff", CloseCode::Invalid),
        (b"\x80\x80\0\0\0\0", CloseCode::Protocol),
    ] {
        let mut socket = open(server.address());
        std::io::Write::write_all(socket.get_mut(), bytes).unwrap();
        let Message::Close(Some(frame)) = socket.read().unwrap() else {
            panic!("something else came");
        };
        assert_eq!(frame.code, code, "{bytes:?}");
    }
    server.stop();
}

#[test]
fn a_reload_says_goodbye_to_every_client() {
    let server = start().ready();
    let (ways, _proxies) = ways(&server);
    let mut sockets: Vec<_> = ways.iter().map(|(_, address)| open(*address)).collect();
    let mut python: Vec<_> = ways
        .iter()
        .filter_map(|(_, address)| Leaving::open(*address))
        .collect();
    for socket in &mut sockets {
        socket.send(Message::text("here")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("here"));
    }
    let old = server.workers();
    let mark = server.mark();
    server.signal(Signal::SIGHUP);
    for socket in sockets {
        assert_eq!(farewell(socket), GOING_AWAY);
    }
    for client in &mut python {
        assert_eq!(client.code(), GOING_AWAY);
    }
    // A new one serves, and the old one is gone long before it would be told to.
    server.wait_after(mark, "Reload complete");
    server.until("the old worker to leave", || {
        (!server.workers().iter().any(|pid| old.contains(pid))).then_some(())
    });
    for (_, address) in &ways {
        let mut socket = open(*address);
        socket.send(Message::text("again")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("again"));
    }
    assert_eq!(server.log.count(0, "ERROR"), 0, "{}", server.log.text());
    server.stop();
}

#[test]
fn a_stop_says_goodbye_to_every_client() {
    let server = start().ready();
    let (ways, _proxies) = ways(&server);
    let sockets: Vec<_> = ways.iter().map(|(_, address)| open(*address)).collect();
    let mut python: Vec<_> = ways
        .iter()
        .filter_map(|(_, address)| Leaving::open(*address))
        .collect();
    server.signal(Signal::SIGTERM);
    for socket in sockets {
        assert_eq!(farewell(socket), GOING_AWAY);
    }
    for client in &mut python {
        assert_eq!(client.code(), GOING_AWAY);
    }
    let mut server = server;
    assert_eq!(server.wait_exit().code(), Some(0), "{}", server.log.text());
}

/// A client that never answers anything does not keep a worker for long.
#[test]
fn who_does_not_answer_a_goodbye_is_left() {
    let mut server = start().ready();
    let mut silent = open(server.address());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0), "{}", server.log.text());
    assert!(matches!(silent.read().unwrap(), Message::Close(Some(_))));
}

/// A Python client that waits for the goodbye.
struct Leaving(Child, BufReader<std::process::ChildStdout>);

impl Leaving {
    fn open(address: SocketAddr) -> Option<Leaving> {
        let mut child = python(address, "leave")?;
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut leaving = Leaving(child, stdout);
        assert_eq!(leaving.line(), "open");
        Some(leaving)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn code(&mut self) -> u16 {
        let line = self.line();
        assert_eq!(self.line(), "well", "{line}");
        self.0.wait().unwrap();
        line.strip_prefix("code ").unwrap().parse().unwrap()
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // Gone already, if all is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `None`, with a message, where the module is not installed. Debian's Python knows Debian's modules.
fn python(address: SocketAddr, what: &str) -> Option<Child> {
    let knows = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", "import websockets"]);
        command.stderr(Stdio::null()).stdin(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let Some(python) = ["/usr/bin/python3", "python3"].into_iter().find(knows) else {
        eprintln!("skipped: the Python module websockets is not installed");
        return None;
    };
    let mut command = Command::new(python);
    command
        .arg("tests/websocket/client.py")
        .arg(format!("ws://{address}/echo"))
        .arg(what)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Some(command.spawn().unwrap())
}
