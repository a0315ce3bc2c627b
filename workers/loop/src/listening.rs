//! A listener as connections are accepted from it, and what is known of one that arrives. Accepts
//! when asked to; whose turn it is stands in `accept`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use ferricorn_base::conf::{LocalAddr, ProxyListener};
use ferricorn_base::rendezvous::{Rendezvous, Stage, Taken};
use ferricorn_base::transport::{AnyTransport, Ready, Socket, wait};
use ferricorn_base::{Link, Listener, Peer};
use mio::net::{TcpListener, UnixListener};

use crate::conn::Phase;

/// A listener's second descriptor, and what its connections have in common.
#[derive(Debug)]
pub(crate) struct Listening {
    accepts: Accepts,
    local: Arc<LocalAddr>,
    proxy: Option<ProxyListener>,
}

/// The descriptor in the type that accepts with one system call.
#[derive(Debug)]
enum Accepts {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that has just been accepted.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) wire: AnyTransport,
    pub(crate) peer: Peer,
    pub(crate) local: Arc<LocalAddr>,
    pub(crate) link: Link,
    pub(crate) phase: Phase,
    /// What it brings along from the worker that had it.
    pub(crate) past: Option<Past>,
}

/// What a connection brings along that a sibling had.
#[derive(Debug)]
pub(crate) struct Past {
    /// When it began to wait for what it waits for, in µs of CLOCK_MONOTONIC.
    pub(crate) since_us: u64,
    /// It counts for its peer.
    pub(crate) counted: bool,
    /// Bytes read and not parsed.
    pub(crate) input: Vec<u8>,
}

impl Arrival {
    /// Takes over a connection that waits at the rendezvous. `locals` are the addresses of the
    /// listeners, which its own is likely to be among.
    pub(crate) fn take(rendezvous: &Rendezvous, locals: &[Listening]) -> io::Result<Arrival> {
        // Asked first: most who look find nothing, and taking is not for nothing.
        let nothing = |_| io::Error::from(io::ErrorKind::WouldBlock);
        wait(rendezvous.taking(), Ready::Readable, Some(Duration::ZERO)).map_err(nothing)?;
        let taken = rendezvous.take()?.ok_or(io::ErrorKind::WouldBlock)?;
        let Taken {
            parcel,
            input,
            socket,
        } = taken;
        let known = locals.iter().find(|one| one.local == parcel.local);
        Ok(Arrival {
            wire: Socket::of(socket)?.into(),
            peer: parcel.peer,
            local: known.map_or(parcel.local, |one| Arc::clone(&one.local)),
            link: parcel.link,
            phase: match parcel.stage {
                Stage::Preface(versions) => Phase::Preface(versions),
                Stage::Fresh => Phase::Fresh,
                Stage::Idle => Phase::Idle,
                Stage::Head => Phase::Head,
            },
            past: Some(Past {
                since_us: parcel.since_us,
                counted: parcel.counted,
                input,
            }),
        })
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.accepts {
            Accepts::Tcp(listener) => listener.as_fd(),
            Accepts::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Listening {
    pub(crate) fn new(listener: &Listener) -> io::Result<Listening> {
        let fd = listener.fd.try_clone()?;
        Ok(Listening {
            accepts: match listener.conf.local {
                LocalAddr::Tcp(_) => Accepts::Tcp(fd.into()),
                LocalAddr::Unix(_) => Accepts::Unix(fd.into()),
            },
            local: Arc::new(listener.conf.local.clone()),
            proxy: listener.conf.proxy.clone(),
        })
    }

    pub(crate) fn accept(&self) -> io::Result<Arrival> {
        let (wire, peer) = match &self.accepts {
            Accepts::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                (Socket::tcp(stream.into()), Peer::Tcp(peer))
            }
            Accepts::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                (Socket::unix(stream.into()), Peer::Unix)
            }
        };
        // Never guessed from what comes: who may begin with a header has to.
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.from.trusts(&peer));
        Ok(Arrival {
            phase: proxy.map_or(Phase::Fresh, |proxy| Phase::Preface(proxy.versions)),
            wire: wire.into(),
            peer,
            local: Arc::clone(&self.local),
            link: Link::default(),
            past: None,
        })
    }
}
