//! Messages for a syslog receiver that is reached by a stream: taken from all processes of the server,
//! each as one packet, and sent on over one connection.
//!
//! Who sends packets never waits: while the receiver is away or slow, a bounded buffer fills here, then
//! the socket before it, then theirs, and what does not fit there they drop and count. Connecting never
//! waits either, and is tried again with back-off. A message that was begun when the connection ended is
//! sent again from its beginning.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use ferricorn_base::sys::monotonic;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect,
    getsockopt, recv, send, socket, sockopt,
};

use crate::{Duty, Inquiry};

/// Bytes that wait here at most, but for the last message.
const CAPACITY: usize = 256 * 1024;
/// The longest message.
const LONGEST: usize = 16 * 1024;
/// How soon a lost connection is made again, at first and at last.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(30);
/// How long the last messages may take.
const LAST: Duration = Duration::from_millis(100);

/// Where messages go.
#[derive(Clone, Debug)]
pub enum Target {
    /// By TCP, each led by its length (RFC 6587 section 3.4.1).
    Tcp(SocketAddr),
    /// To a unix socket, each ended by a line end (RFC 6587 section 3.4.2).
    Unix(PathBuf),
}

/// What is to be sent on.
#[derive(Debug)]
pub struct Forward {
    /// Where the packets come from.
    pub from: OwnedFd,
    /// Where they go.
    pub to: Target,
}

/// The connection.
#[derive(Debug)]
enum Line {
    /// There is none before this time.
    Down(Duration),
    /// It is being made.
    Connecting(OwnedFd),
    Up(OwnedFd),
}

/// Sends messages on.
#[derive(Debug)]
pub(crate) struct Relay {
    forward: Forward,
    epoll: Epoll,
    line: Line,
    backoff: Duration,
    /// Framed messages, and the length of each.
    buffer: Vec<u8>,
    lengths: VecDeque<usize>,
    /// Bytes of the first that were sent already.
    sent: usize,
    /// The receiver is away, and that was said.
    told: bool,
}

impl Relay {
    /// Begins to connect.
    ///
    /// # Errors
    /// What epoll_create1(2) or epoll_ctl(2) answer.
    pub(crate) fn new(forward: Forward) -> io::Result<Relay> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&forward.from, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        let mut relay = Relay {
            forward,
            epoll,
            line: Line::Down(Duration::ZERO),
            backoff: SOON,
            buffer: Vec::new(),
            lengths: VecDeque::new(),
            sent: 0,
            told: false,
        };
        relay.pump();
        Ok(relay)
    }

    /// Does what can be done now, and asks to be told when more can be.
    fn pump(&mut self) {
        self.connect();
        self.take();
        self.send();
        self.watch();
    }

    /// Begins a connection that is due, and looks at one that is being made.
    fn connect(&mut self) {
        match &self.line {
            Line::Down(due) if monotonic() >= *due => match open(&self.forward.to) {
                Ok((fd, done)) => {
                    let added = self
                        .epoll
                        .add(&fd, EpollEvent::new(EpollFlags::EPOLLOUT, 1));
                    match added {
                        Ok(()) if done => self.is_up(fd),
                        Ok(()) => self.line = Line::Connecting(fd),
                        Err(error) => self.is_down(error),
                    }
                }
                Err(error) => self.is_down(error),
            },
            Line::Connecting(fd) => {
                let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut fds, PollTimeout::ZERO) != Ok(1) {
                    return;
                }
                let error = getsockopt(fd, sockopt::SocketError).map(Errno::from_raw);
                match (
                    error,
                    std::mem::replace(&mut self.line, Line::Down(Duration::MAX)),
                ) {
                    (Ok(Errno::UnknownErrno), Line::Connecting(fd)) => self.is_up(fd),
                    (Ok(error) | Err(error), _) => self.is_down(error),
                }
            }
            _ => {}
        }
    }

    fn is_up(&mut self, fd: OwnedFd) {
        self.line = Line::Up(fd);
        self.backoff = SOON;
        if std::mem::take(&mut self.told) {
            log::info!("syslog takes messages again");
        }
    }

    /// The connection is gone, or cannot be made.
    fn is_down(&mut self, error: Errno) {
        // Closing it takes it out of the epoll set.
        self.line = Line::Down(monotonic() + self.backoff);
        self.sent = 0;
        if !std::mem::replace(&mut self.told, true) {
            log::warn!("syslog takes no messages: {}", io::Error::from(error));
        }
        self.backoff = (self.backoff * 2).min(LATE);
    }

    /// Takes packets as long as there is room.
    fn take(&mut self) {
        let mut packet = [0; LONGEST];
        while self.buffer.len() < CAPACITY {
            let from = self.forward.from.as_raw_fd();
            let length = match recv(from, &mut packet, MsgFlags::MSG_DONTWAIT) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(length) => length,
                Err(_) => return,
            };
            let start = self.buffer.len();
            if let Target::Tcp(_) = self.forward.to {
                self.buffer.extend_from_slice(length.to_string().as_bytes());
                self.buffer.push(b' ');
            }
            self.buffer.extend_from_slice(&packet[..length]);
            if let Target::Unix(_) = self.forward.to {
                self.buffer.push(b'\n');
            }
            self.lengths.push_back(self.buffer.len() - start);
        }
    }

    /// Sends what the connection takes.
    fn send(&mut self) {
        let Line::Up(fd) = &self.line else { return };
        let fd = fd.as_raw_fd();
        // What a receiver says is nothing to us, but that it has gone.
        let mut said = [0; 512];
        let gone = loop {
            match recv(fd, &mut said, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => break Some(Errno::ECONNRESET),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break None,
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = gone {
            return self.is_down(error);
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let mut at = self.sent;
        let lost = loop {
            if at == self.buffer.len() {
                break None;
            }
            match send(fd, &self.buffer[at..], flags) {
                Ok(length) => at += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) => break None,
                Err(error) => break Some(error),
            }
        };
        let mut done = 0;
        while let Some(length) = self.lengths.front().filter(|length| done + **length <= at) {
            done += length;
            self.lengths.pop_front();
        }
        self.buffer.drain(..done);
        self.sent = at - done;
        if let Some(error) = lost {
            self.is_down(error);
        }
    }

    /// Asks for packets where there is room for them, and for the connection to go on.
    fn watch(&mut self) {
        let room = self.buffer.len() < CAPACITY;
        let packets = EpollFlags::from_bits_truncate(if room { libc::EPOLLIN } else { 0 });
        let _ = self
            .epoll
            .modify(&self.forward.from, &mut EpollEvent::new(packets, 0));
        let (fd, wanted) = match &self.line {
            Line::Down(_) => return,
            Line::Connecting(fd) => (fd, EpollFlags::EPOLLOUT),
            Line::Up(fd) if self.buffer.is_empty() => (fd, EpollFlags::EPOLLIN),
            Line::Up(fd) => (fd, EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT),
        };
        let _ = self.epoll.modify(fd, &mut EpollEvent::new(wanted, 1));
    }
}

impl Duty for Relay {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.epoll.0.as_fd())
    }

    fn readable(&mut self) {
        self.pump();
    }

    fn tick(&mut self, _: &Inquiry) {
        self.pump();
    }

    fn end(&mut self, _: &Inquiry) {
        let until = monotonic() + LAST;
        loop {
            self.pump();
            let left = until.saturating_sub(monotonic());
            if self.lengths.is_empty() || left.is_zero() {
                break;
            }
            let timeout = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
            let _ = self
                .epoll
                .wait(&mut [EpollEvent::empty()], EpollTimeout::from(timeout));
        }
        if !self.lengths.is_empty() {
            log::warn!("{} messages did not get to syslog", self.lengths.len());
        }
    }
}

/// Begins a connection; whether it is made already.
fn open(to: &Target) -> nix::Result<(OwnedFd, bool)> {
    let (family, address): (_, Box<dyn SockaddrLike>) = match to {
        Target::Tcp(address) => {
            let family = match address {
                SocketAddr::V4(_) => AddressFamily::Inet,
                SocketAddr::V6(_) => AddressFamily::Inet6,
            };
            (family, Box::new(SockaddrStorage::from(*address)))
        }
        Target::Unix(path) => (AddressFamily::Unix, Box::new(UnixAddr::new(path)?)),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    match connect(fd.as_raw_fd(), &*address) {
        Ok(()) => Ok((fd, true)),
        Err(Errno::EINPROGRESS) => Ok((fd, false)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use nix::sys::socket::{setsockopt, socketpair};

    use super::*;

    /// One that takes packets from the other end, which is returned.
    fn relay(to: Target) -> (Relay, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (giving, from) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        (Relay::new(Forward { from, to }).unwrap(), giving)
    }

    fn give(giving: &OwnedFd, packet: &[u8]) -> bool {
        send(giving.as_raw_fd(), packet, MsgFlags::MSG_DONTWAIT).is_ok()
    }

    #[test]
    fn what_waits_for_a_receiver_that_is_away_is_bounded() {
        let (mut relay, giving) = relay(Target::Unix("/nonexistent/syslog".into()));
        let packet = [b'x'; 8192];
        let mut given = 0;
        while give(&giving, &packet) {
            relay.pump();
            given += packet.len();
            assert!(given < 4 << 20, "nobody has said that it is enough");
        }
        let waits = relay.buffer.len();
        assert!((CAPACITY..CAPACITY + LONGEST).contains(&waits), "{waits}");
    }

    #[test]
    fn a_message_that_was_begun_begins_anew_on_the_next_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        setsockopt(&listener, sockopt::RcvBuf, &4096).unwrap();
        let (mut relay, giving) = relay(Target::Tcp(listener.local_addr().unwrap()));
        let (mut first, _) = listener.accept().unwrap();
        setsockopt(&relay.forward.from, sockopt::RcvBuf, &4096).unwrap();
        // Until one of them is sent in part.
        let mut number = 0_u32;
        while relay.sent == 0 {
            let packet = format!("{number:05} {}", "x".repeat(15_000));
            if give(&giving, packet.as_bytes()) {
                number += 1;
            }
            relay.pump();
            assert!(number < 4000, "it takes everything");
        }
        let _ = first.read(&mut [0; 10]).unwrap();
        drop(first);
        while !matches!(relay.line, Line::Down(_)) {
            relay.pump();
        }
        relay.line = Line::Down(Duration::ZERO);
        relay.pump();
        let (mut next, _) = listener.accept().unwrap();
        relay.pump();
        let mut head = [0; 12];
        next.read_exact(&mut head).unwrap();
        let head = String::from_utf8_lossy(&head);
        let (length, text) = head.split_once(' ').unwrap();
        assert_eq!(length, "15006");
        assert!(
            text.starts_with("0") && text[5..].starts_with(' '),
            "{head}"
        );
    }

    #[test]
    fn a_unix_stream_has_a_line_for_each() {
        let path = std::env::temp_dir().join(format!("ferricorn-relay-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let (mut relay, giving) = relay(Target::Unix(path.clone()));
        let (mut stream, _) = listener.accept().unwrap();
        std::fs::remove_file(path).unwrap();
        assert!(give(&giving, b"one") && give(&giving, b"two"));
        relay.pump();
        let mut text = [0; 8];
        stream.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"one\ntwo\n");
    }
}
