//! The way to a back end: its address, connections to it that never block, and those that are kept for
//! the next request. Knows nothing of what is said over them.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ferricorn_base::task::{Beat, Turn, Watch};
use socket2::{Domain, SockAddr, Socket, Type};

/// Where a back end listens, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`
    Tcp(String),
    /// `unix:PATH`, or a path from the root.
    Unix(PathBuf),
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What was expected, for people.
    pub fn parse(text: &str) -> Result<Address, String> {
        let wrong = || format!("expected HOST:PORT or unix:PATH, found \"{text}\"");
        let path = text.strip_prefix("unix:");
        if let Some(path) = path.or_else(|| text.starts_with('/').then_some(text)) {
            // What sockaddr_un has room for, with the NUL (unix(7)).
            if path.is_empty() || path.len() > 107 || path.contains('\0') {
                return Err(wrong());
            }
            return Ok(Address::Unix(path.into()));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
        if host.is_empty() || port == 0 || host.contains(odd) {
            return Err(wrong());
        }
        Ok(Address::Tcp(text.to_owned()))
    }

    /// Looks the host up; may wait for a name server.
    ///
    /// # Errors
    /// What that answers.
    pub fn resolve(&self) -> io::Result<Target> {
        let at = match self {
            Address::Unix(path) => vec![SockAddr::unix(path)?],
            Address::Tcp(text) => text.to_socket_addrs()?.map(SockAddr::from).collect(),
        };
        if at.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the host has no address",
            ));
        }
        Ok(Target {
            name: self.to_string(),
            at,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(text) => f.write_str(text),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A back end whose addresses are known.
#[derive(Clone, Debug)]
pub struct Target {
    name: String,
    at: Vec<SockAddr>,
}

impl Target {
    /// How many addresses it has.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.at.len()
    }

    /// Begins to connect to the address of this number.
    ///
    /// # Errors
    /// What socket(2), connect(2) and epoll_ctl(2) answer; EAGAIN where the backlog of a Unix socket
    /// is full.
    pub fn connect(&self, number: usize, turn: &mut Turn<'_>) -> io::Result<Link> {
        let address = self.at.get(number).unwrap_or(&self.at[0]);
        let socket = Socket::new(address.domain(), Type::STREAM.nonblocking(), None)?;
        if address.domain() != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        let connecting = match socket.connect(address) {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => true,
            Err(error) => return Err(error),
        };
        let watch = turn.watch(socket.as_fd())?;
        Ok(Link {
            socket,
            watch,
            connecting,
            is_new: true,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// connect(2) goes on.
const EINPROGRESS: i32 = 115;

/// A connection to a back end.
#[derive(Debug)]
pub struct Link {
    socket: Socket,
    watch: Watch,
    connecting: bool,
    is_new: bool,
}

/// What reading or writing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes, not 0.
    Bytes(usize),
    /// Not now.
    Nothing,
    /// The other side sends nothing more.
    End,
}

impl Link {
    /// Whether no request was sent over it before.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether it is connected; to be asked until it is.
    ///
    /// # Errors
    /// What connecting came to.
    pub fn is_connected(&mut self) -> io::Result<bool> {
        if self.connecting && self.watch.is_writable() {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            self.connecting = false;
        }
        Ok(!self.connecting)
    }

    /// Writes what goes of these bytes, of which there are some.
    ///
    /// # Errors
    /// What send(2) answers.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<Moved> {
        loop {
            match (&self.socket).write(bytes) {
                Ok(n) => return Ok(Moved::Bytes(n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.watch.filled();
                    return Ok(Moved::Nothing);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads, if something was told of.
    ///
    /// # Errors
    /// What recv(2) answers.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<Moved> {
        while self.watch.is_readable() {
            match (&self.socket).read(room) {
                Ok(0) => return Ok(Moved::End),
                Ok(n) => {
                    if n < room.len() {
                        self.watch.drained();
                    }
                    return Ok(Moved::Bytes(n));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.watch.drained();
                    // A connection whose other side has closed is readable to its end.
                    return Ok(Moved::Nothing);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Moved::Nothing)
    }
}

/// Connections that are kept for the next request, of one handler.
#[derive(Clone, Debug)]
pub struct Pool {
    kept: Arc<Kept>,
    most: usize,
}

#[derive(Debug)]
struct Kept {
    idle: Mutex<Vec<Idle>>,
    time_us: u64,
    /// The loop has been told of it.
    looked_after: AtomicBool,
}

#[derive(Debug)]
struct Idle {
    link: Link,
    since_us: u64,
}

impl Kept {
    // No code that can panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are still good.
    fn good(&self, now_us: u64) -> MutexGuard<'_, Vec<Idle>> {
        let mut idle = self.lock();
        let fresh = |idle: &Idle| now_us.saturating_sub(idle.since_us) < self.time_us;
        idle.retain(|idle| fresh(idle) && !idle.link.watch.is_readable());
        idle
    }
}

impl Beat for Kept {
    /// A back end may have a process that waits for one, and nobody asks any more.
    fn beat(&self, now_us: u64) {
        drop(self.good(now_us));
    }
}

impl Pool {
    /// Keeps so many connections for so long.
    #[must_use]
    pub fn new(most: usize, time: Duration) -> Pool {
        let kept = Kept {
            idle: Mutex::default(),
            time_us: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            looked_after: AtomicBool::new(false),
        };
        Pool {
            kept: Arc::new(kept),
            most,
        }
    }

    /// Whether any are kept.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.most > 0
    }

    /// The one that was used last, if it is still good; the task of `turn` is woken for it.
    pub fn take(&self, turn: &Turn<'_>) -> Option<Link> {
        let Idle { link, .. } = self.kept.good(turn.now_us()).pop()?;
        turn.follow(&link.watch);
        Some(link)
    }

    /// Keeps a connection over which nothing is outstanding.
    pub fn put(&self, mut link: Link, turn: &mut Turn<'_>) {
        if !self.kept.looked_after.swap(true, Ordering::Relaxed) {
            let kept = Arc::downgrade(&self.kept);
            turn.look_after(kept);
        }
        let mut idle = self.kept.lock();
        if idle.len() < self.most && !link.watch.is_readable() {
            link.is_new = false;
            link.watch.rest();
            let since_us = turn.now_us();
            idle.push(Idle { link, since_us });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("127.0.0.1:9000", "127.0.0.1:9000"),
            ("[::1]:9000", "[::1]:9000"),
            ("php.internal:9000", "php.internal:9000"),
            ("unix:/run/php.sock", "unix:/run/php.sock"),
            ("/run/php.sock", "unix:/run/php.sock"),
        ] {
            let address = Address::parse(text).map(|address| address.to_string());
            assert_eq!(address, Ok(shown.to_owned()), "{text}");
        }
        for text in [
            "",
            "9000",
            ":9000",
            "host",
            "host:",
            "host:0",
            "host:70000",
            "unix:",
            "a/b:1",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        assert!(Address::parse(&format!("/{}", "a".repeat(107))).is_err());
    }
}
