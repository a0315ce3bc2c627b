//! A log destination that never makes its writer wait.
//!
//! Complete lines go into a bounded buffer and from there to a descriptor, whenever it takes them.
//! When it does not, the oldest lines are kept, the newest dropped and counted, and once it drains
//! again a line says how many are missing. It may call the system through nix and [`crate::sys`];
//! it must never block, log, or write half a line where another process could write into the gap.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::{stamp, sys};

/// Bytes that wait at most; a line that does not fit in is dropped.
pub const CAPACITY: usize = 256 * 1024;
/// The longest line in a regular file, its line end included.
const FILE_LINE: usize = 64 * 1024;
/// The longest line for a socket, and the most of one send(2): the kernel takes that much as one
/// piece, so that lines of workers that share the socket do not mix.
const SOCKET_LINE: usize = 16 * 1024;
/// The longest line for a pipe, and the most of one write(2): up to PIPE_BUF bytes are written all
/// or not at all, and never mixed with those of another writer (pipe(7)).
const PIPE_LINE: usize = libc::PIPE_BUF;
/// What ends a line that was cut.
pub(crate) const CUT: &[u8] = b"...";

/// How bytes get to a descriptor without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A regular file, or a device that is no terminal: write(2) as it is.
    File,
    /// A pipe or terminal whose open file description is O_NONBLOCK.
    NonBlocking,
    /// A pipe that blocks, because its description is shared: each write says RWF_NOWAIT.
    NoWait,
    /// The same, where the kernel knows no RWF_NOWAIT for it: poll(2) before each write.
    Poll,
    /// A socket: MSG_DONTWAIT.
    Socket,
}

/// A log destination that never makes its writer wait. In master and worker.
#[derive(Debug)]
pub struct Sink {
    fd: OwnedFd,
    way: Way,
    buffer: Vec<u8>,
    /// Bytes that came since the last flush.
    fresh: usize,
    /// The last byte that the descriptor took was not the end of a line.
    torn: bool,
    /// Lines dropped that no line has told of yet.
    lost: u64,
    /// The buffer begins with the line that tells of this many, which ends at `notice_end`.
    notice: u64,
    notice_end: usize,
    dropped: u64,
    tell: fn(u64, &mut Vec<u8>),
}

impl Sink {
    /// A sink that writes to `fd`: an O_APPEND file, what [`unshared`] gave, or anything else.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Sink {
        Sink {
            way: way_to(fd.as_fd()),
            fd,
            buffer: Vec::new(),
            fresh: 0,
            torn: false,
            lost: 0,
            notice: 0,
            notice_end: 0,
            dropped: 0,
            tell: tell_as_text,
        }
    }

    /// Has `tell` append the line, without its end, that says how many lines are missing.
    #[must_use]
    pub fn telling(mut self, tell: fn(u64, &mut Vec<u8>)) -> Sink {
        self.tell = tell;
        self
    }

    /// Takes one line, which holds no line end but may have one behind it.
    pub fn push(&mut self, line: &[u8]) {
        self.push_with(|out| out.extend_from_slice(line));
    }

    /// Takes one line that `render` appends; it is not called when the line would be dropped.
    pub fn push_with(&mut self, render: impl FnOnce(&mut Vec<u8>)) {
        if self.is_shedding() {
            self.lose(1);
            return;
        }
        if self.buffer.is_empty() {
            self.begin();
        }
        let start = self.buffer.len();
        render(&mut self.buffer);
        self.end_line(start);
        if self.buffer.len() > CAPACITY {
            self.buffer.truncate(start);
            self.lose(1);
            return;
        }
        self.fresh += self.buffer.len() - start;
    }

    /// Drops what waits, uncounted: after a fork it is the parent's to write.
    pub fn discard(&mut self) {
        self.buffer.clear();
        (self.fresh, self.lost, self.notice, self.notice_end) = (0, 0, 0, 0);
        self.torn = false;
    }

    /// Writes what the descriptor takes now.
    pub fn flush(&mut self) {
        self.fresh = 0;
        let mut done = 0;
        while done < self.buffer.len() {
            let end = done + self.piece(done);
            match write(self.fd.as_fd(), &mut self.way, &self.buffer[done..end]) {
                Ok(0) | Err(Errno::EAGAIN | Errno::ENOBUFS) => break,
                Ok(count) => {
                    done += count;
                    self.torn = self.buffer[done - 1] != b'\n';
                }
                Err(Errno::EINTR) => {}
                // Nobody reads (EPIPE), no space (ENOSPC), or the like: waiting would not help.
                Err(_) => {
                    self.forget(done, false);
                    self.forget(self.buffer.len(), true);
                    return;
                }
            }
            if done == self.buffer.len() && self.lost > 0 {
                self.forget(done, false);
                done = 0;
                self.begin();
            }
        }
        self.forget(done, false);
    }

    /// Whether lines wait that the descriptor did not take yet.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Bytes taken since the last [`flush`](Sink::flush).
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.fresh
    }

    /// Lines dropped since the sink was made.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The longest line that is not cut, its line end included, in bytes.
    #[must_use]
    pub fn longest_line(&self) -> usize {
        match self.way {
            Way::File => FILE_LINE,
            Way::NonBlocking | Way::NoWait | Way::Poll => PIPE_LINE,
            Way::Socket => SOCKET_LINE,
        }
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The descriptor alone; what waits is dropped.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Goes on with another descriptor (a rotated file). What the old one does not take at once
    /// goes to the new one, but for the rest of a line that the old one has the beginning of.
    pub fn replace(&mut self, fd: OwnedFd) {
        self.flush();
        if self.torn {
            let rest = self.buffer.iter().position(|&byte| byte == b'\n');
            self.forget(rest.map_or(0, |at| at + 1), true);
        }
        self.torn = false;
        self.way = way_to(fd.as_fd());
        self.fd = fd;
        self.flush();
    }

    /// Between the first line dropped and the buffer running empty no line is taken, so that one
    /// notice stands where all of them are missing.
    fn is_shedding(&self) -> bool {
        self.lost > 0 && !self.buffer.is_empty()
    }

    fn lose(&mut self, lines: u64) {
        self.lost += lines;
        self.dropped += lines;
    }

    /// What goes before the first line in an empty buffer.
    fn begin(&mut self) {
        if self.torn {
            self.buffer.push(b'\n');
        }
        if self.lost > 0 {
            let start = self.buffer.len();
            (self.tell)(self.lost, &mut self.buffer);
            self.end_line(start);
            self.notice = std::mem::take(&mut self.lost);
            self.notice_end = self.buffer.len();
        }
    }

    /// Ends the line that begins at `start`, and cuts it when it is too long.
    fn end_line(&mut self, start: usize) {
        if self.buffer.len() > start && self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        }
        let most = self.longest_line() - 1;
        if self.buffer.len() - start > most {
            let mut end = start + most - CUT.len();
            // Not inside a UTF-8 sequence.
            while end > start && self.buffer[end] & 0xC0 == 0x80 {
                end -= 1;
            }
            self.buffer.truncate(end);
            self.buffer.extend_from_slice(CUT);
        }
        self.buffer.push(b'\n');
    }

    /// How much the next write takes: all for a file, else as many whole lines as go in one piece.
    fn piece(&self, from: usize) -> usize {
        let rest = &self.buffer[from..];
        let most = self.longest_line();
        if self.way == Way::File || rest.len() <= most {
            return rest.len();
        }
        let end = rest[..most].iter().rposition(|&byte| byte == b'\n');
        end.map_or(most, |at| at + 1)
    }

    /// Takes the first `count` bytes out of the buffer; `lost` when they were not written.
    fn forget(&mut self, count: usize, lost: bool) {
        if lost {
            let gone = &self.buffer[..count];
            let ends = gone.iter().filter(|&&byte| byte == b'\n').count() as u64;
            // The end of a line whose text was written before, or was lost and counted before.
            let spare = u64::from(self.torn && gone.first() == Some(&b'\n'));
            // The notice is no line of the log: what it would have told is still untold.
            let untold = if self.notice > 0 && count >= self.notice_end {
                self.notice
            } else {
                0
            };
            self.lose(ends.saturating_sub(spare + u64::from(untold > 0)));
            self.lost += untold;
        }
        if count >= self.notice_end {
            self.notice = 0;
            self.notice_end = 0;
        } else {
            self.notice_end -= count;
        }
        self.buffer.drain(..count);
    }
}

fn tell_as_text(lines: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&stamp::error_now());
    out.extend_from_slice(b" [");
    out.extend_from_slice(itoa::Buffer::new().format(std::process::id()).as_bytes());
    out.extend_from_slice(b"] [WARNING] ");
    out.extend_from_slice(missing(lines).as_bytes());
}

/// What is said where so many lines are missing.
pub(crate) fn missing(lines: u64) -> String {
    let were = if lines == 1 { "line was" } else { "lines were" };
    format!("{lines} log {were} dropped here: the log could not be written as fast as it came")
}

/// A descriptor for the pipe or terminal behind `fd` whose O_NONBLOCK is nobody else's business.
///
/// Standard output and error are often shared with the shell and its other programs, and
/// O_NONBLOCK belongs to the open file description that all of them share (open(2)); so the same
/// pipe or terminal is opened once more. Where that is refused (another user made it) and for
/// anything else `fd` itself comes back: [`Sink`] then takes care with each write. A regular file
/// is not opened again, because what others write there at the shared offset would overwrite what
/// we append. In the master, before privileges are dropped.
#[must_use]
pub fn unshared(fd: OwnedFd) -> OwnedFd {
    if !waits(fd.as_fd()) {
        return fd;
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags =
        OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    open(path.as_str(), flags, Mode::empty()).unwrap_or(fd)
}

/// Whether it is a pipe or a terminal.
fn waits(fd: BorrowedFd<'_>) -> bool {
    kind(fd) == SFlag::S_IFIFO || fd.is_terminal()
}

fn kind(fd: BorrowedFd<'_>) -> SFlag {
    fstat(fd).map_or(SFlag::empty(), |stat| {
        SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
    })
}

fn way_to(fd: BorrowedFd<'_>) -> Way {
    if kind(fd) == SFlag::S_IFSOCK {
        return Way::Socket;
    }
    if !waits(fd) {
        return Way::File;
    }
    let flags = fcntl(fd, FcntlArg::F_GETFL).map_or(OFlag::empty(), OFlag::from_bits_truncate);
    if flags.contains(OFlag::O_NONBLOCK) {
        Way::NonBlocking
    } else {
        Way::NoWait
    }
}

/// Writes without waiting, or says EAGAIN.
fn write(fd: BorrowedFd<'_>, way: &mut Way, bytes: &[u8]) -> nix::Result<usize> {
    match way {
        Way::File | Way::NonBlocking => nix::unistd::write(fd, bytes),
        Way::Socket => send(
            fd.as_raw_fd(),
            bytes,
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        ),
        Way::NoWait => match sys::write_nowait(fd, bytes).map_err(errno) {
            // Named pipes and terminals, older kernels, sandboxes that forbid what they do not know.
            Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => {
                *way = Way::Poll;
                write(fd, way, bytes)
            }
            result => result,
        },
        // A pipe that is ready takes PIPE_BUF bytes, unless another process fills it in between.
        Way::Poll => {
            let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
            match poll(&mut fds, PollTimeout::ZERO)? {
                0 => Err(Errno::EAGAIN),
                _ => nix::unistd::write(fd, bytes),
            }
        }
    }
}

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
