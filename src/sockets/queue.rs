//! How many connections wait in the accept queue of a listener, as the kernel counts them.
//!
//! In the master only, and asked only when somebody wants to know: one system call for TCP, four for
//! a unix socket. It reads no connection and changes nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use ferricorn_base::conf::LocalAddr;
use ferricorn_base::words;
use nix::sys::stat::fstat;
use socket2::{Domain, Protocol, Socket, Type};

use super::Listener;
use crate::sys;

/// The accept queue of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Connections that nobody has accepted yet.
    pub waiting: u32,
    /// How many may wait: what was asked for with listen(2), and what the system allows.
    pub limit: u32,
}

impl Listener {
    /// Its accept queue.
    ///
    /// # Errors
    /// What the system answers: for a unix socket also that it does not tell (no sock_diag(7), or a
    /// socket of another network namespace).
    pub fn queue(&self) -> io::Result<Queue> {
        let (waiting, limit) = match self.local {
            LocalAddr::Tcp(_) => sys::tcp_accept_queue(self.as_fd())?,
            LocalAddr::Unix(_) => unix_accept_queue(self.as_fd())?,
        };
        Ok(Queue { waiting, limit })
    }
}

/// The accept queues of these listeners, for whoever asks how the server stands. One of which the
/// system tells nothing is left out.
pub fn queues(listeners: &[Rc<Listener>]) -> Vec<words::Queue> {
    let queues = listeners.iter().filter_map(|listener| {
        let Queue { waiting, limit } = listener.queue().ok()?;
        Some(words::Queue {
            listener: listener.url(),
            waiting,
            room: limit,
        })
    });
    queues.collect()
}

// linux/netlink.h, linux/sock_diag.h, linux/unix_diag.h.
const HEADER: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const UNIX_DIAG_RQLEN: u16 = 4;
const MESSAGE: usize = 16;
const ATTRIBUTE: usize = 4;

/// Asks sock_diag(7) about one unix socket, by its inode.
fn unix_accept_queue(fd: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let inode = fstat(fd)?.st_ino as u32;
    let protocol = Protocol::from(libc::NETLINK_SOCK_DIAG);
    let socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::DGRAM.nonblocking(),
        Some(protocol),
    )?;
    socket.send(&request(inode))?;
    // The answer is there when send returns: the kernel writes it in our own call.
    let mut room = [0; 512];
    let len = io::Read::read(&mut &socket, &mut room)?;
    answer(&room[..len])
}

fn request(inode: u32) -> Vec<u8> {
    let mut body = vec![libc::AF_UNIX as u8, 0, 0, 0];
    for word in [1 << LISTEN, inode, UDIAG_SHOW_RQLEN, u32::MAX, u32::MAX] {
        body.extend(word.to_ne_bytes());
    }
    let len = (HEADER + body.len()) as u32;
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.append(&mut body);
    bytes
}

/// The state of a listener (`TCP_LISTEN`, which unix sockets use, too).
const LISTEN: u32 = 10;

/// Finds the lengths in an answer.
fn answer(bytes: &[u8]) -> io::Result<(u32, u32)> {
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "an answer that makes no sense");
    let short = |at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let kind = short(4).ok_or_else(strange)?;
    if kind == libc::NLMSG_ERROR as u16 {
        let errno = word(HEADER).ok_or_else(strange)? as i32;
        return Err(io::Error::from_raw_os_error(errno.saturating_neg()));
    }
    let mut at = HEADER + MESSAGE;
    while let (Some(len), Some(kind)) = (short(at), short(at + 2)) {
        if kind == UNIX_DIAG_RQLEN {
            let lengths = word(at + ATTRIBUTE).zip(word(at + ATTRIBUTE + 4));
            return lengths.ok_or_else(strange);
        }
        // Attributes begin at multiples of four.
        at += usize::from(len).max(ATTRIBUTE).next_multiple_of(4);
    }
    Err(strange())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let mut bytes = vec![0; HEADER + MESSAGE];
        bytes[4] = SOCK_DIAG_BY_FAMILY as u8;
        // An attribute of three bytes, which is padded, and then ours.
        bytes.extend([7, 0, 6, 0, 1, 2, 3, 0]);
        bytes.extend([12, 0, 4, 0, 5, 0, 0, 0, 16, 0, 0, 0]);
        assert_eq!(answer(&bytes).unwrap(), (5, 16));
        for len in 0..bytes.len() {
            assert!(answer(&bytes[..len]).is_err(), "{len}");
        }
        let mut error = vec![0; HEADER];
        error[4] = libc::NLMSG_ERROR as u8;
        error.extend((-libc::ENOENT).to_ne_bytes());
        let error = answer(&error).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
