//! Messages that wait for a socket, each of which goes as one datagram.
//!
//! They wait in a bounded buffer and go when the socket takes them. A receiver that does not read, or
//! is away for a while, costs the newest messages, never time; they are counted. It must never block.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, UnixAddr, send, sendto};

use crate::sink::CAPACITY;

/// Messages that wait for a socket.
#[derive(Debug)]
pub struct Datagrams {
    fd: OwnedFd,
    /// Where each goes; none when the socket is connected.
    to: Option<UnixAddr>,
    buffer: Vec<u8>,
    lengths: VecDeque<usize>,
    /// Bytes that came since the last flush.
    fresh: usize,
    /// Messages dropped that nothing was said of yet.
    lost: u64,
    dropped: u64,
}

impl Datagrams {
    /// Sends by this socket: to `to`, anew by its name each time, so that a receiver may be started
    /// again; or where the socket is connected to.
    #[must_use]
    pub fn new(fd: OwnedFd, to: Option<UnixAddr>) -> Datagrams {
        Datagrams {
            fd,
            to,
            buffer: Vec::new(),
            lengths: VecDeque::new(),
            fresh: 0,
            lost: 0,
            dropped: 0,
        }
    }

    /// Takes the message that `render` appends.
    pub fn push_with(&mut self, render: impl FnOnce(&mut Vec<u8>)) {
        // From the first that is lost to the last that waits none is taken, so that all that are
        // missing are missing in one place.
        if self.lost > 0 && !self.lengths.is_empty() {
            return self.lose();
        }
        let start = self.buffer.len();
        render(&mut self.buffer);
        if self.buffer.len() > CAPACITY {
            self.buffer.truncate(start);
            return self.lose();
        }
        self.lengths.push_back(self.buffer.len() - start);
        self.fresh += self.buffer.len() - start;
    }

    /// Sends what the socket takes now.
    pub fn flush(&mut self) {
        self.fresh = 0;
        let mut done = 0;
        let mut refused = false;
        while let Some(&length) = self.lengths.front() {
            match self.send(&self.buffer[done..done + length]) {
                Ok(_) => refused = false,
                Err(Errno::EINTR) => continue,
                // Of a datagram before this one, which is on its way to nobody (udp(7)).
                Err(Errno::ECONNREFUSED) if self.to.is_none() && !refused => {
                    refused = true;
                    continue;
                }
                // Larger than this system lets any datagram be.
                Err(Errno::EMSGSIZE) => self.lose(),
                // It is full, or away: perhaps not for long.
                Err(_) => break,
            }
            done += length;
            self.lengths.pop_front();
        }
        self.buffer.drain(..done);
    }

    /// How many messages are missing, when nothing waits any more: that is to be said now, once.
    pub fn take_lost(&mut self) -> Option<u64> {
        (self.lost > 0 && self.lengths.is_empty()).then(|| std::mem::take(&mut self.lost))
    }

    /// Whether messages wait.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.lengths.is_empty()
    }

    /// Bytes taken since the last flush.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.fresh
    }

    /// Messages dropped since this was made.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Drops what waits, uncounted: after a fork it is the parent's to send.
    pub fn discard(&mut self) {
        self.buffer.clear();
        self.lengths.clear();
        (self.fresh, self.lost) = (0, 0);
    }

    /// Where each goes; none when the socket is connected.
    #[must_use]
    pub fn to(&self) -> Option<UnixAddr> {
        self.to
    }

    /// The socket.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn send(&self, message: &[u8]) -> nix::Result<usize> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match &self.to {
            Some(to) => sendto(self.fd.as_raw_fd(), message, to, flags),
            None => send(self.fd.as_raw_fd(), message, flags),
        }
    }

    fn lose(&mut self) {
        self.lost += 1;
        self.dropped += 1;
    }
}
