//! A client that sees the bytes: no retries, no pooling, a deadline on every read and write.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::PATIENCE;

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Which process answered: what the test application says at `/who`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    pub pid: i32,
    pub slot: usize,
    pub generation: u64,
}

impl Answer {
    /// The value of a field; its name in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(other, _)| other == name)?;
        Some(value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the test application writes text")
    }

    #[track_caller]
    pub fn who(&self) -> Who {
        assert_eq!(self.status, 200, "{self:?}");
        Who::parse(self.text()).unwrap_or_else(|| panic!("{self:?}"))
    }

    pub fn closes(&self) -> bool {
        self.field("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Who {
    /// "pid 12 slot 0 generation 1".
    pub fn parse(text: &str) -> Option<Who> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let ["pid", pid, "slot", slot, "generation", generation] = words[..] else {
            return None;
        };
        Some(Who {
            pid: pid.parse().ok()?,
            slot: slot.parse().ok()?,
            generation: generation.parse().ok()?,
        })
    }
}

/// A connection, over TCP or a unix socket.
pub struct Client<S: Read + Write>(BufReader<S>);

impl Client<TcpStream> {
    pub fn connect(address: SocketAddr) -> io::Result<Client<TcpStream>> {
        Client::new(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    pub fn new(stream: TcpStream) -> io::Result<Client<TcpStream>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Client(BufReader::new(stream)))
    }
}

impl Client<UnixStream> {
    pub fn connect_unix(path: &Path) -> io::Result<Client<UnixStream>> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client(BufReader::new(stream)))
    }
}

impl<S: Read + Write> Client<S> {
    pub fn stream(&self) -> &S {
        self.0.get_ref()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    /// Asks on a connection that stays open.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))?;
        self.answer()
    }

    /// The next answer, interim ones aside.
    pub fn answer(&mut self) -> io::Result<Answer> {
        loop {
            let mut answer = self.head()?;
            if answer.status / 100 == 1 && answer.status != 101 {
                continue;
            }
            answer.body = self.body(&answer)?;
            return Ok(answer);
        }
    }

    /// The next head.
    pub fn head(&mut self) -> io::Result<Answer> {
        let status = self.line()?;
        let bad = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("status line {status:?}"),
            )
        };
        let code = status
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let mut answer = Answer {
            status: code.and_then(|code| code.parse().ok()).ok_or_else(bad)?,
            ..Answer::default()
        };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(answer);
            }
            let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
            answer
                .fields
                .push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    fn body(&mut self, answer: &Answer) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if answer.status == 204 || answer.status == 304 {
            return Ok(body);
        }
        if answer.field("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk()? {
                body.extend(chunk);
            }
        } else if let Some(length) = answer.field("content-length") {
            let length: usize = length.parse().map_err(io::Error::other)?;
            body.resize(length, 0);
            self.0.read_exact(&mut body)?;
        } else {
            self.0.read_to_end(&mut body)?;
        }
        Ok(body)
    }

    /// The next chunk, `None` behind the last one.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size];
        self.0.read_exact(&mut chunk)?;
        let end = self.line()?;
        assert_eq!(end, "", "a chunk ends with its line");
        Ok((size > 0).then_some(chunk))
    }

    pub fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(bytes)
    }

    /// Waits for the end of the connection; returns what came before it.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest)?;
        Ok(rest)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None if line.is_empty() => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "closed without an answer",
            )),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("cut in a line: {line:?}"),
            )),
        }
    }
}

/// One request on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut client = Client::connect(address)?;
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ))?;
    client.answer()
}
