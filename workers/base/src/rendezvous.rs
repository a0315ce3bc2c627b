//! The rendezvous: one SOCK_SEQPACKET pair by which workers hand connections to each other.
//!
//! The master makes it before its first fork, every worker has both ends, and nobody closes them, so
//! what lies in it is never lost to the death of a worker: whoever watches the taking end next takes
//! it. A message is one connection: what is known of it, the bytes that were read and not parsed, and
//! its socket (SCM_RIGHTS, unix(7)). Both ends are non-blocking and close-on-exec. A receiver believes
//! only the form: what it does not know it closes. The codec is pure; the master reads nothing here.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use ferricorn_http::ProxyVersions;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, setsockopt, socketpair, sockopt,
};

use crate::conf::LocalAddr;
use crate::peer::Peer;
use crate::request::Link;

/// The version of the messages. A worker gives only where somebody takes this one
/// ([`Board::takes`](crate::board::Board::takes)).
pub const VERSION: u8 = 1;
/// The most bytes that were read and not parsed; a connection with more of them stays where it is.
pub const INPUT_MAX: usize = 64 * 1024;
/// What comes before those bytes, at most.
const FACTS_MAX: usize = 512;
/// The queue that is asked for, in bytes; the system gives what `net.core.wmem_max` allows.
const QUEUE: usize = 4 << 20;

/// Where a connection is when it is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A PROXY header is to come first, or some of it came.
    Preface(ProxyVersions),
    /// No byte has come.
    Fresh,
    /// Between requests.
    Idle,
    /// Some of a head has come.
    Head,
}

/// What is known of a connection that is handed over, beside its socket and the bytes read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Where it is.
    pub stage: Stage,
    /// When it began to wait for what it waits for, in µs of CLOCK_MONOTONIC: a deadline is not put
    /// off by being handed over.
    pub since_us: u64,
    /// It counts for its peer's address.
    pub counted: bool,
    /// What a PROXY header said beside the addresses.
    pub link: Link,
    /// The client, or whom a PROXY header named.
    pub peer: Peer,
    /// Where it came in.
    pub local: Arc<LocalAddr>,
}

/// A connection as it arrives.
#[derive(Debug)]
pub struct Taken {
    /// What is known of it.
    pub parcel: Parcel,
    /// The bytes read and not parsed.
    pub input: Vec<u8>,
    /// Its socket.
    pub socket: OwnedFd,
}

/// Both ends of the pair.
#[derive(Debug)]
pub struct Rendezvous {
    giving: OwnedFd,
    taking: OwnedFd,
}

impl Rendezvous {
    /// Makes the pair: in the master, before the first fork.
    ///
    /// # Errors
    /// What socketpair(2) answers.
    pub fn new() -> io::Result<Rendezvous> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (giving, taking) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        setsockopt(&giving, sockopt::SndBuf, &QUEUE)?;
        Ok(Rendezvous { giving, taking })
    }

    /// The pair of [`Rendezvous::ends`] that another program image made.
    #[must_use]
    pub fn of([giving, taking]: [OwnedFd; 2]) -> Rendezvous {
        Rendezvous { giving, taking }
    }

    /// The giving end, then the taking end.
    #[must_use]
    pub fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.giving.as_fd(), self.taking.as_fd()]
    }

    /// The same pair by descriptors of its own.
    ///
    /// # Errors
    /// What fcntl(2) answers.
    pub fn try_clone(&self) -> io::Result<Rendezvous> {
        Ok(Rendezvous {
            giving: self.giving.try_clone()?,
            taking: self.taking.try_clone()?,
        })
    }

    /// The end that is readable when a connection waits.
    #[must_use]
    pub fn taking(&self) -> BorrowedFd<'_> {
        self.taking.as_fd()
    }

    /// Gives a connection away; never blocks. It is the giver's until this succeeds. The socket must
    /// have left every epoll set: a set follows it to whoever takes it (epoll(7)).
    ///
    /// # Errors
    /// `WouldBlock` while the queue is full, `InvalidInput` for what no message holds, and what
    /// sendmsg(2) answers, as where too many descriptors are on their way.
    pub fn give(&self, parcel: &Parcel, input: &[u8], socket: impl AsFd) -> io::Result<()> {
        let facts = encode(parcel).filter(|_| input.len() <= INPUT_MAX);
        let facts = facts.ok_or(io::ErrorKind::InvalidInput)?;
        let sockets = [socket.as_fd().as_raw_fd()];
        sendmsg::<()>(
            self.giving.as_raw_fd(),
            &[IoSlice::new(&facts), IoSlice::new(input)],
            &[ControlMessage::ScmRights(&sockets)],
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        Ok(())
    }

    /// Takes a connection that waits, `None` when there is none; never blocks.
    ///
    /// # Errors
    /// `InvalidData` for a message of unknown form; its connection is closed. What fcntl(2) answers
    /// when there is no descriptor left: then the message stays where it is.
    pub fn take(&self) -> io::Result<Option<Taken>> {
        // recvmsg(2) drops a descriptor for which there is no room, and with it the connection.
        drop(self.taking.try_clone()?);
        let mut buffer = vec![0; FACTS_MAX + INPUT_MAX];
        // As many as a message can have (unix(7)): what has no room is kept by the process, but by nobody in it.
        let mut control = nix::cmsg_space!([RawFd; 253]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let received = loop {
            match recvmsg::<()>(
                self.taking.as_raw_fd(),
                &mut parts,
                Some(&mut control),
                flags,
            ) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
                Ok(received) => break received,
            }
        };
        let mut sockets = vec![];
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                sockets.extend(raw.into_iter().map(crate::sys::own));
            }
        }
        let (len, flags) = (received.bytes, received.flags);
        let cut = flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
        let decoded = decode(&buffer[..len]).filter(|_| !cut);
        let (Some((parcel, input)), Some(socket)) = (decoded, sockets.pop()) else {
            let text = "a connection was handed over in a form that is not known";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        Ok(Some(Taken {
            parcel,
            input: input.to_vec(),
            socket,
        }))
    }
}

const COUNTED: u8 = 1;
const TLS: u8 = 2;
const NAMELESS: u8 = 4;

/// The front of a message; `None` for an address that is too long for one.
fn encode(parcel: &Parcel) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    let flag = |is: bool, bit: u8| if is { bit } else { 0 };
    let flags = flag(parcel.counted, COUNTED)
        | flag(parcel.link.tls, TLS)
        | flag(parcel.link.nameless, NAMELESS);
    let stage = match parcel.stage {
        Stage::Fresh => b'f',
        Stage::Idle => b'i',
        Stage::Head => b'h',
        Stage::Preface(ProxyVersions::V1) => b'1',
        Stage::Preface(ProxyVersions::V2) => b'2',
        Stage::Preface(ProxyVersions::Auto) => b'a',
    };
    out.extend([VERSION, stage, flags]);
    out.extend(parcel.since_us.to_le_bytes());
    match &parcel.peer {
        Peer::Unix => out.push(b'u'),
        Peer::Tcp(address) => encode_address(&mut out, *address),
    }
    match &*parcel.local {
        LocalAddr::Tcp(address) => encode_address(&mut out, *address),
        LocalAddr::Unix(path) => {
            let path = path.as_os_str().as_bytes();
            out.extend([b'u', u8::try_from(path.len()).ok()?]);
            out.extend(path);
        }
    }
    Some(out)
}

fn encode_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(address) => {
            out.push(b'4');
            out.extend(address.ip().octets());
        }
        SocketAddr::V6(address) => {
            out.push(b'6');
            out.extend(address.ip().octets());
            out.extend(address.flowinfo().to_le_bytes());
            out.extend(address.scope_id().to_le_bytes());
        }
    }
    out.extend(address.port().to_le_bytes());
}

/// What a message says, and the input behind it; `None` where its form is not known.
fn decode(message: &[u8]) -> Option<(Parcel, &[u8])> {
    let mut rest = Rest(message);
    let [version, stage, flags] = rest.take()?;
    if version != VERSION || flags & !(COUNTED | TLS | NAMELESS) != 0 {
        return None;
    }
    let stage = match stage {
        b'f' => Stage::Fresh,
        b'i' => Stage::Idle,
        b'h' => Stage::Head,
        b'1' => Stage::Preface(ProxyVersions::V1),
        b'2' => Stage::Preface(ProxyVersions::V2),
        b'a' => Stage::Preface(ProxyVersions::Auto),
        _ => return None,
    };
    let since_us = u64::from_le_bytes(rest.take()?);
    let peer = match rest.take()? {
        [b'u'] => Peer::Unix,
        [kind] => Peer::Tcp(rest.address(kind)?),
    };
    let local = match rest.take()? {
        [b'u'] => {
            let [len] = rest.take()?;
            let path = rest.bytes(len.into())?.to_vec();
            LocalAddr::Unix(OsString::from_vec(path).into())
        }
        [kind] => LocalAddr::Tcp(rest.address(kind)?),
    };
    // Between requests and before the first there is nothing to be parsed.
    let empty = matches!(stage, Stage::Fresh | Stage::Idle);
    if rest.0.len() > INPUT_MAX || empty && !rest.0.is_empty() {
        return None;
    }
    let parcel = Parcel {
        stage,
        since_us,
        counted: flags & COUNTED != 0,
        link: Link {
            tls: flags & TLS != 0,
            nameless: flags & NAMELESS != 0,
            // For whoever takes it to say.
            stranger: true,
        },
        peer,
        local: Arc::new(local),
    };
    Some((parcel, rest.0))
}

/// What of a message is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn address(&mut self, kind: u8) -> Option<SocketAddr> {
        Some(match kind {
            b'4' => {
                let ip = Ipv4Addr::from(self.take::<4>()?);
                SocketAddr::new(IpAddr::V4(ip), u16::from_le_bytes(self.take()?))
            }
            b'6' => {
                let ip = Ipv6Addr::from(self.take::<16>()?);
                let flow = u32::from_le_bytes(self.take()?);
                let scope = u32::from_le_bytes(self.take()?);
                let port = u16::from_le_bytes(self.take()?);
                SocketAddrV6::new(ip, port, flow, scope).into()
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
