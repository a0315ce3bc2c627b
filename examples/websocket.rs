//! A WebSocket (RFC 6455) that sends back what it gets, and says goodbye before the worker retires.
//!
//!     cargo run --release --example websocket     # and open http://127.0.0.1:8000/ in a browser
//!
//! Every open WebSocket holds a thread for streams: raise `--stream-threads` to as many as a worker
//! shall have. Needs the dependency `tungstenite`, without its default features but `handshake`.

use std::time::{Duration, Instant};

use ferricorn::http::{HeaderMap, HeaderValue, StatusCode, header};
use ferricorn::{Body, Error, IntoResponse, Request, Response, Upgraded, typed};
use tungstenite::error::{Error as Failed, ProtocolError};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocket, WebSocketConfig};

/// Bytes of a message at most; a longer one ends the connection.
const MESSAGE: usize = 1 << 20;
/// After so much silence there is a ping, and after as much again an end. It is shorter than what
/// proxies bear, commonly a minute.
const SILENCE: Duration = Duration::from_secs(25);
/// How long the other side may take to answer our goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

const PAGE: &str = r#"<!doctype html>
<title>Echo</title>
<form onsubmit="socket.send(text.value); text.value = ''; return false"><input id="text"></form>
<pre id="log"></pre>
<script>
  const say = text => log.textContent += text + "\n"
  const socket = new WebSocket(location.href.replace("http", "ws") + "echo")
  socket.onopen = () => say("open")
  socket.onmessage = event => say(event.data)
  socket.onclose = event => say("closed: " + event.code)
</script>
"#;

fn main() -> std::process::ExitCode {
    ferricorn::main(|request: &mut Request| match request.path() {
        "/" => Ok(typed("text/html; charset=utf-8", PAGE)),
        "/echo" => shake_hands(request),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
}

/// The server's side of the opening handshake (RFC 6455 section 4.2). Who knows its users by cookies
/// must look at Origin here, too: browsers let every page open a WebSocket (section 10.2).
fn shake_hands(request: &Request) -> Result<Response, Error> {
    let mut fields = HeaderMap::new();
    if request.head().method() != "GET" {
        fields.insert(header::ALLOW, HeaderValue::from_static("GET"));
        return (StatusCode::METHOD_NOT_ALLOWED, fields, ()).into_response();
    }
    fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    // There only if Connection lists it, and never in HTTP/1.0 (RFC 9110 section 7.8).
    let offered = request.head().upgrade().unwrap_or_default();
    let is_offered = |name: &str| name.trim().eq_ignore_ascii_case("websocket");
    let version = only(request, "sec-websocket-version");
    if !offered.split(',').any(is_offered) || version != Some("13") {
        let version = HeaderValue::from_static("13");
        fields.insert(header::SEC_WEBSOCKET_VERSION, version);
        return (StatusCode::UPGRADE_REQUIRED, fields, "WebSocket 13 only\n").into_response();
    }
    let Some(key) = only(request, "sec-websocket-key").filter(|key| is_key(key)) else {
        return (StatusCode::BAD_REQUEST, "no WebSocket key\n").into_response();
    };
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))?;
    fields.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    (StatusCode::SWITCHING_PROTOCOLS, fields, Body::upgrade(echo)).into_response()
}

/// The value of a field that is there once.
fn only<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let mut values = request.headers().get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.to_str().ok()?)
}

/// Sixteen bytes in base64 (RFC 6455 section 4.2.1).
fn is_key(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
    text.strip_suffix("==")
        .is_some_and(|digits| digits.len() == 22 && digits.bytes().all(digit))
}

/// The conversation, on a thread of its own.
fn echo(mut io: Upgraded) -> Result<(), Error> {
    io.set_read_timeout(Some(SILENCE));
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE))
        .max_frame_size(Some(MESSAGE))
        .read_buffer_size(16 * 1024);
    let mut socket = WebSocket::from_raw_socket(io, Role::Server, Some(limits));
    let mut pinged = false;
    let why = loop {
        let message = socket.read();
        let was_pinged = std::mem::take(&mut pinged);
        match message {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message)?,
            // The next read answers a ping, or the other side's goodbye.
            Ok(_) => {}
            Err(Failed::ConnectionClosed) => return Ok(()),
            Err(Failed::Io(error)) => match error.kind() {
                // The worker retires: this is how a read says so.
                std::io::ErrorKind::WouldBlock => break CloseCode::Away,
                std::io::ErrorKind::TimedOut if !was_pinged => {
                    socket.send(Message::Ping(Default::default()))?;
                    pinged = true;
                }
                _ => return Err(error.into()),
            },
            Err(Failed::Capacity(_)) => break CloseCode::Size,
            Err(Failed::Utf8(_)) => break CloseCode::Invalid,
            Err(Failed::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return Ok(()),
            Err(Failed::Protocol(_)) => break CloseCode::Protocol,
            Err(error) => return Err(error.into()),
        }
    };
    say_goodbye(socket, why)
}

/// The closing handshake (RFC 6455 section 7.1.2): ours, theirs, and the end.
fn say_goodbye(mut socket: WebSocket<Upgraded>, why: CloseCode) -> Result<(), Error> {
    let frame = CloseFrame {
        code: why,
        reason: Default::default(),
    };
    socket.get_mut().set_write_timeout(Some(GOODBYE));
    let mut heard = socket.close(Some(frame)).map(|()| None);
    let end = Instant::now() + GOODBYE;
    // What they had sent before they heard of it comes first. After a failure nothing can be read,
    // and their answer is not waited for (section 7.1.7).
    while why == CloseCode::Away && heard.is_ok() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.get_mut().set_read_timeout(Some(left));
        heard = socket.read().map(Some);
    }
    Ok(())
}
