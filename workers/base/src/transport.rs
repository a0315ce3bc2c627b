//! A connection as bytes: what TCP, unix sockets and later TLS have in common.
//!
//! The loop holds connections as [`AnyTransport`], so listeners of all kinds meet in one loop;
//! the two virtual calls of a request cost nothing beside its system calls. Sockets are
//! non-blocking; whoever wants to wait uses [`wait`].

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockaddrLike, SockaddrStorage, getsockname, setsockopt, sockopt,
};
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// Seconds of silence after which a peer is probed that has no limit of its own.
const SILENCE: u64 = 60;
/// The most that the system takes (tcp(7)).
const SILENCE_MAX: u32 = 32767;
/// `TCP_ESTABLISHED` of the kernel's tcp_states.h.
const ESTABLISHED: u8 = 1;
/// Probes without an answer until the peer counts as gone.
const PROBES: u32 = 3;

/// A non-blocking, reliable stream of bytes to one client.
pub trait Transport: AsFd + fmt::Debug + Send {
    /// Reads what is there; 0 at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there now; what read(2) answers.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as goes now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing goes now; what write(2) answers.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// As [`Transport::write`], and more follows at once: the system may wait for that rather than send a
    /// packet that is not full. By default it does not.
    ///
    /// # Errors
    /// As [`Transport::write`].
    fn write_more(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    /// Writes as much of several pieces as goes now.
    ///
    /// # Errors
    /// As [`Transport::write`].
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sends up to `len` bytes of `file` from `offset`; 0 when the file ends there. By default it
    /// reads and writes; plain sockets use sendfile(2).
    ///
    /// # Errors
    /// As [`Transport::write`], and what reading the file answers.
    fn send_file(&mut self, file: &File, offset: u64, len: u64) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let want = buffer.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        let n = file.read_at(&mut buffer[..want], offset)?;
        if n == 0 {
            Ok(0)
        } else {
            self.write(&buffer[..n])
        }
    }

    /// How many bytes that were written the client has not taken yet, if that can be known. The
    /// system's buffer may be large: it gets smaller long before there is room for another write.
    fn unsent(&self) -> Option<u32> {
        crate::sys::unsent(self.as_fd()).ok()
    }

    /// The socket, where it is all that there is of the connection: then it can go on in another
    /// process. Not so by default, as where there are keys and half records.
    fn movable(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What the system knows of a connection that is about to be served first: how long it waited for
    /// that. `None` by default, and on unix sockets, of which it knows nothing.
    fn queued(&self) -> Option<Queued> {
        None
    }

    /// Says that nothing more will be written (shutdown(2)).
    ///
    /// # Errors
    /// What shutdown(2) answers.
    fn finish(&mut self) -> io::Result<()>;

    /// Makes the close that follows a reset instead of an orderly end, so that no cache takes what
    /// was sent for complete (SO_LINGER of zero, socket(7)).
    fn abort(&mut self);

    /// Lets the system find out that a silent peer is gone, and end the connection then with an
    /// error: for TCP, probes (SO_KEEPALIVE) after `limit`, or after a minute, of silence, and an
    /// end when nothing is acknowledged for `limit` (TCP_USER_TIMEOUT, tcp(7)). A unix socket needs
    /// none of this: its peer is on this machine.
    fn watch_peer(&mut self, limit: Option<Duration>);
}

/// What the system knows of a connection that has just been accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// How long what it brought lay there, as exact as the kernel's tick (1 to 10 ms).
    pub waited: Duration,
    /// The client has sent its last byte, or has gone altogether.
    pub ended: bool,
}

/// A plain socket, TCP or unix.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix stream socket.
    Unix(std::os::unix::net::UnixStream),
}

/// A transport of any kind: a plain socket without an allocation of its own, as most are, and there may be
/// ten thousand idle ones.
#[derive(Debug)]
pub enum AnyTransport {
    /// A plain socket.
    Socket(Socket),
    /// Another one; in two boxes, so that a plain socket is not larger for it.
    Other(Box<Box<dyn Transport>>),
}

impl From<Socket> for AnyTransport {
    #[inline]
    fn from(socket: Socket) -> AnyTransport {
        AnyTransport::Socket(socket)
    }
}

impl From<Box<dyn Transport>> for AnyTransport {
    fn from(other: Box<dyn Transport>) -> AnyTransport {
        AnyTransport::Other(Box::new(other))
    }
}

impl Deref for AnyTransport {
    type Target = dyn Transport;

    #[inline]
    fn deref(&self) -> &(dyn Transport + 'static) {
        match self {
            AnyTransport::Socket(socket) => socket,
            AnyTransport::Other(other) => &***other,
        }
    }
}

impl DerefMut for AnyTransport {
    #[inline]
    fn deref_mut(&mut self) -> &mut (dyn Transport + 'static) {
        match self {
            AnyTransport::Socket(socket) => socket,
            AnyTransport::Other(other) => &mut ***other,
        }
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $body:expr) => {
        match $self {
            Socket::Tcp($stream) => $body,
            Socket::Unix($stream) => $body,
        }
    };
}

// The C library's recv(2) and send(2) are points at which a thread can be cancelled, which costs as much
// again as the call itself on this side of the kernel once there are threads. These are the bare calls.
impl Transport for Socket {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, n) = recv(&*self, buffer, RecvFlags::empty())?;
        Ok(n)
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&*self, bytes, SendFlags::NOSIGNAL)?)
    }

    fn write_more(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::MORE;
        Ok(send(&*self, bytes, flags)?)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(self, stream => stream.write_vectored(pieces))
    }

    fn send_file(&mut self, file: &File, offset: u64, len: u64) -> io::Result<usize> {
        // sendfile(2) moves at most 0x7ffff000 bytes a call.
        let count = usize::try_from(len.min(0x7fff_f000)).unwrap_or(usize::MAX);
        let mut offset = i64::try_from(offset).map_err(io::Error::other)?;
        Ok(nix::sys::sendfile::sendfile(
            self.as_fd(),
            file,
            Some(&mut offset),
            count,
        )?)
    }

    fn movable(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }

    fn queued(&self) -> Option<Queued> {
        let Socket::Tcp(stream) = self else {
            return None;
        };
        let (state, silence) = crate::sys::tcp_silence(stream.as_fd()).ok()?;
        Some(Queued {
            // From the last byte of its request, which is here, or from the handshake.
            waited: Duration::from_millis(silence.into()),
            ended: state != ESTABLISHED,
        })
    }

    fn finish(&mut self) -> io::Result<()> {
        each!(self, stream => stream.shutdown(Shutdown::Write))
    }

    fn abort(&mut self) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // It only fails on a socket that is gone already.
        let _ = setsockopt(self, sockopt::Linger, &linger);
    }

    fn watch_peer(&mut self, limit: Option<Duration>) {
        if let Socket::Unix(_) = self {
            return;
        }
        let limit_ms = limit.map_or(0, |limit| u32::try_from(limit.as_millis()).unwrap_or(0));
        let silence = limit.map_or(SILENCE, |limit| limit.as_secs().max(1));
        let idle = u32::try_from(silence).map_or(SILENCE_MAX, |secs| secs.min(SILENCE_MAX));
        // They only fail on a socket that is gone already.
        let _ = setsockopt(self, sockopt::KeepAlive, &true);
        let _ = setsockopt(self, sockopt::TcpKeepIdle, &idle);
        let _ = setsockopt(self, sockopt::TcpKeepInterval, &idle.div_ceil(PROBES));
        let _ = setsockopt(self, sockopt::TcpKeepCount, &PROBES);
        let _ = setsockopt(self, sockopt::TcpUserTimeout, &limit_ms);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, stream => stream.as_fd())
    }
}

impl Socket {
    /// A connected, non-blocking TCP socket.
    #[must_use]
    pub fn tcp(fd: OwnedFd) -> Socket {
        Socket::Tcp(fd.into())
    }

    /// A connected, non-blocking socket of either kind: it is asked (getsockname(2)).
    ///
    /// # Errors
    /// `InvalidData` for any other kind.
    pub fn of(fd: OwnedFd) -> io::Result<Socket> {
        let own = getsockname::<SockaddrStorage>(fd.as_raw_fd())?;
        match own.family() {
            Some(AddressFamily::Inet | AddressFamily::Inet6) => Ok(Socket::tcp(fd)),
            Some(AddressFamily::Unix) => Ok(Socket::unix(fd)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// A connected, non-blocking unix socket.
    #[must_use]
    pub fn unix(fd: OwnedFd) -> Socket {
        Socket::Unix(fd.into())
    }
}

/// What [`wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Something to read, or the end.
    Readable,
    /// Room to write, or an error.
    Writable,
}

/// Waits until `fd` is ready, at most for `limit` (poll(2)). For stream threads only: the loop
/// never waits in place.
///
/// # Errors
/// `TimedOut` after `limit`.
pub fn wait(fd: BorrowedFd<'_>, ready: Ready, limit: Option<Duration>) -> io::Result<()> {
    wait_or(fd, ready, limit, None)
}

/// As [`wait`], and ends when `other` is readable, too.
pub(crate) fn wait_or(
    fd: BorrowedFd<'_>,
    ready: Ready,
    limit: Option<Duration>,
    other: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let events = match ready {
        Ready::Readable => PollFlags::POLLIN,
        Ready::Writable => PollFlags::POLLOUT,
    };
    let first = PollFd::new(fd, events);
    let mut fds = [
        first.clone(),
        other.map_or(first, |other| PollFd::new(other, PollFlags::POLLIN)),
    ];
    let fds = &mut fds[..1 + usize::from(other.is_some())];
    let end = limit.map(|limit| Instant::now() + limit);
    loop {
        let timeout = match end {
            None => PollTimeout::NONE,
            Some(end) => {
                // Rounded up, so that the last wait is not a busy one of 0 ms.
                let left = end.saturating_duration_since(Instant::now());
                let millis = left.as_micros().div_ceil(1000).min(i32::MAX as u128);
                PollTimeout::try_from(millis as i32).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(fds, timeout) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
