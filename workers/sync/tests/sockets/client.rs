//! A raw client of HTTP/1.1: it sends bytes as they are and takes replies apart strictly.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::server::LIMIT;

pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub struct Client {
    stream: Stream,
    /// Read and not yet taken.
    ahead: Vec<u8>,
}

/// A response, or the head of one.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Nothing of the body is missing.
    pub whole: bool,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Close,
    Reset,
}

impl Reply {
    /// The value of the one field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(n, _)| n == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice: {self:?}");
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn says_close(&self) -> bool {
        self.field("connection") == Some("close")
    }
}

impl Client {
    pub fn new(stream: Stream) -> Client {
        match &stream {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                stream.set_write_timeout(Some(LIMIT)).unwrap();
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                stream.set_write_timeout(Some(LIMIT)).unwrap();
            }
        }
        Client {
            stream,
            ahead: vec![],
        }
    }

    /// A second handle, to write from another thread.
    pub fn writer(&self) -> Stream {
        match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().unwrap()),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone().unwrap()),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    pub fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }

    pub fn post(&mut self, path: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let length = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
        ));
        self.send(body);
    }

    /// Sends no more.
    pub fn finish(&mut self) {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// Goes away with a reset.
    pub fn reset(self) {
        if let Stream::Tcp(stream) = &self.stream {
            let linger = Some(Duration::ZERO);
            socket2::SockRef::from(stream).set_linger(linger).unwrap();
        }
    }

    /// Reads more; `None` when something came.
    fn fill(&mut self) -> Option<End> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Some(End::Close),
            Ok(n) => {
                self.ahead.extend_from_slice(&buffer[..n]);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(End::Reset),
            Err(error) => panic!("cannot read: {error}; so far {:?}", self.shown()),
        }
    }

    fn shown(&self) -> String {
        let end = self.ahead.len().min(500);
        String::from_utf8_lossy(&self.ahead[..end]).into_owned()
    }

    /// Exactly so many bytes.
    pub fn take(&mut self, n: usize) -> Vec<u8> {
        self.take_up_to(n)
            .unwrap_or_else(|(got, end)| panic!("{end:?} after {} of {n} bytes", got.len()))
    }

    /// The same, or how the connection ended before.
    pub fn take_or_end(&mut self, n: usize) -> Result<usize, End> {
        let taken = self.take_up_to(n).map_err(|(_, end)| end)?;
        Ok(taken.len())
    }

    fn take_up_to(&mut self, n: usize) -> Result<Vec<u8>, (Vec<u8>, End)> {
        while self.ahead.len() < n {
            if let Some(end) = self.fill() {
                return Err((std::mem::take(&mut self.ahead), end));
            }
        }
        Ok(self.ahead.drain(..n).collect())
    }

    /// A line without its CRLF.
    fn line(&mut self) -> Result<String, End> {
        loop {
            if let Some(at) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.ahead.drain(..=at).collect();
                assert!(line.ends_with(b"\r\n"), "bare LF in {line:?}");
                return Ok(String::from_utf8(line[..at - 1].to_vec()).unwrap());
            }
            if let Some(end) = self.fill() {
                return Err(end);
            }
        }
    }

    fn fields(&mut self) -> Result<Vec<(String, String)>, End> {
        let mut fields = vec![];
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(": ").unwrap();
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    /// The head of the next response, interim ones among them.
    pub fn head(&mut self) -> Reply {
        let line = match self.line() {
            Ok(line) => line,
            Err(end) => panic!("{end:?} instead of a response: {:?}", self.shown()),
        };
        let rest = line
            .strip_prefix("HTTP/1.1 ")
            .unwrap_or_else(|| panic!("{line:?} is no status line"));
        Reply {
            status: rest[..3].parse().unwrap(),
            fields: self.fields().unwrap(),
            ..Reply::default()
        }
    }

    /// The next response, which must be whole.
    pub fn reply(&mut self) -> Reply {
        let (reply, end) = self.reply_or_end();
        assert!(reply.whole, "{end:?} inside {reply:?}");
        reply
    }

    /// The next response, as far as it comes, and how the connection ended if it ended.
    pub fn reply_or_end(&mut self) -> (Reply, Option<End>) {
        let mut reply = self.head();
        let end = self.body(&mut reply);
        (reply, end)
    }

    /// The content that belongs to a head (RFC 9112 section 6.3).
    pub fn body(&mut self, reply: &mut Reply) -> Option<End> {
        let status = reply.status;
        if status < 200 || status == 204 || status == 304 {
            reply.whole = true;
            return None;
        }
        if let Some(coding) = reply.field("transfer-encoding") {
            assert_eq!(coding, "chunked");
            return self.chunks(reply);
        }
        if let Some(length) = reply.field("content-length") {
            let length = length.parse().unwrap();
            return match self.take_up_to(length) {
                Ok(body) => {
                    reply.body = body;
                    reply.whole = true;
                    None
                }
                Err((body, end)) => {
                    reply.body = body;
                    Some(end)
                }
            };
        }
        assert!(reply.says_close(), "no framing: {reply:?}");
        let (body, end) = self.rest();
        reply.body = body;
        reply.whole = end == End::Close;
        Some(end)
    }

    fn chunks(&mut self, reply: &mut Reply) -> Option<End> {
        loop {
            match self.chunk() {
                Ok(chunk) if chunk.is_empty() => match self.fields() {
                    Ok(trailers) => {
                        reply.trailers = trailers;
                        reply.whole = true;
                        return None;
                    }
                    Err(end) => return Some(end),
                },
                Ok(chunk) => reply.body.extend(chunk),
                Err(end) => return Some(end),
            }
        }
    }

    /// One chunk; the last is empty, and its trailers are not read yet.
    pub fn chunk(&mut self) -> Result<Vec<u8>, End> {
        let line = self.line()?;
        let size = usize::from_str_radix(&line, 16).unwrap();
        if size == 0 {
            return Ok(vec![]);
        }
        let mut chunk = self.take_up_to(size + 2).map_err(|(_, end)| end)?;
        assert!(chunk.ends_with(b"\r\n"));
        chunk.truncate(size);
        Ok(chunk)
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Some(end) = self.fill() {
                return (std::mem::take(&mut self.ahead), end);
            }
        }
    }

    /// The connection was closed in order, and nothing came before.
    pub fn assert_closed(&mut self) {
        let (rest, end) = self.rest();
        assert_eq!(
            (String::from_utf8_lossy(&rest).as_ref(), end),
            ("", End::Close)
        );
    }

    /// Nothing comes for so long. For what must not happen; a slow machine only makes it miss that.
    pub fn assert_quiet(&mut self, time: Duration) {
        assert_eq!(self.shown(), "");
        let set = |stream: &Stream, time| match stream {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(time)).unwrap(),
            Stream::Unix(stream) => stream.set_read_timeout(Some(time)).unwrap(),
        };
        set(&self.stream, time);
        let mut byte = [0];
        let read = self.stream.read(&mut byte);
        let quiet = matches!(&read, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        assert!(quiet, "{read:?} came: {byte:?}");
        set(&self.stream, LIMIT);
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
