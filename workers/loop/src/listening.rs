//! A listener as connections are accepted from it, and what is known of one that arrives. Accepts
//! when asked to; whose turn it is stands in `accept`.

use std::io;
use std::sync::Arc;

use ferricorn_base::conf::{LocalAddr, ProxyListener};
use ferricorn_base::transport::{Socket, Transport};
use ferricorn_base::{Listener, Peer};
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
    pub(crate) wire: Box<dyn Transport>,
    pub(crate) peer: Peer,
    pub(crate) local: Arc<LocalAddr>,
    pub(crate) phase: Phase,
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
            wire: Box::new(wire),
            peer,
            local: Arc::clone(&self.local),
        })
    }
}
