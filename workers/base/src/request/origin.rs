//! Who sent a request, and what for: the connection, and what trusted proxies say of the one in front
//! of theirs. Believes what it is given; whom to trust is decided in `trust`.

use std::sync::Arc;

use ferricorn_http::split_authority;

use super::Request;
use crate::conf::LocalAddr;
use crate::peer::Peer;

/// What trusted proxies said of a request; what they did not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Who sent the request to the outermost of them; port 0 where that is not known.
    pub client: Option<Peer>,
    /// Whether it came there by `https`.
    pub https: Option<bool>,
    /// The authority that the client asked.
    pub host: Option<String>,
    /// The port that the client asked.
    pub port: Option<u16>,
    /// The path of the application, decoded: empty, or `/` and more.
    pub script_name: Option<Vec<u8>>,
    /// The path inside of the application, decoded.
    pub path_info: Option<Vec<u8>>,
}

/// What is known of a connection beside its addresses. A PROXY header tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// It is TLS.
    pub tls: bool,
    /// The peer is not the one who sends: whoever that is has no name, and nobody's trust.
    pub nameless: bool,
    /// The peer is no trusted proxy: what a request is called, and of which trace it is, is not its
    /// to say.
    pub stranger: bool,
}

/// The client of a request as an extension of an [`http::Request`]; its [`Peer`] is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client(pub Peer);

impl Request {
    /// Who is at the other end of the connection: the client, or the proxy in front of us. Where
    /// the PROXY protocol is spoken, whom its header names.
    #[inline]
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Who sent the request: the peer, or whom trusted proxies name (`forwarded-allow-ips`).
    #[inline]
    #[must_use]
    pub fn client(&self) -> &Peer {
        let forwarded = self.forwarded.as_ref();
        forwarded
            .and_then(|said| said.client.as_ref())
            .unwrap_or(&self.peer)
    }

    /// `https` or `http`: how the client sent the request, as far as trusted proxies or a PROXY
    /// header tell.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        let said = self.forwarded.as_ref().and_then(|said| said.https);
        if said.unwrap_or(self.link.tls) {
            "https"
        } else {
            "http"
        }
    }

    /// The authority that the client asked, not normalised: what a trusted proxy names, else that
    /// of the target, else Host. `None` when that is missing or empty.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        let said = self
            .forwarded
            .as_ref()
            .and_then(|said| said.host.as_deref());
        said.or_else(|| self.head.authority())
    }

    /// The port that the client asked: what trusted proxies say, or what follows from the scheme
    /// and host that they name; else that of the listener, or of a PROXY header's destination; else
    /// that of [`Request::host`] or of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        let said = self.forwarded.as_deref();
        if let Some(port) = said.and_then(|said| said.port) {
            return port;
        }
        let proxied = said.is_some_and(|said| said.host.is_some() || said.https.is_some());
        match self.local() {
            Some(LocalAddr::Tcp(address)) if !proxied => address.port(),
            _ => {
                let port = self
                    .host()
                    .and_then(split_authority)
                    .and_then(|(_, port)| port);
                port.unwrap_or(if self.scheme() == "https" { 443 } else { 80 })
            }
        }
    }

    /// Where the connection came in: the listener's address, or the destination that a PROXY header
    /// names. `None` for a request made by hand.
    #[must_use]
    pub fn local(&self) -> Option<&LocalAddr> {
        self.local.as_deref()
    }

    /// What trusted proxies said, if anything.
    #[must_use]
    pub fn forwarded(&self) -> Option<&Forwarded> {
        self.forwarded.as_deref()
    }

    /// Gives a request made by hand a peer.
    #[must_use]
    pub fn with_peer(mut self, peer: Peer) -> Request {
        self.peer = peer;
        self
    }

    /// Gives a request made by hand a listener's address.
    #[must_use]
    pub fn with_local(mut self, local: LocalAddr) -> Request {
        self.local = Some(Arc::new(local));
        self
    }

    /// Gives a request made by hand what trusted proxies say of it.
    #[must_use]
    pub fn with_forwarded(mut self, forwarded: Forwarded) -> Request {
        self.forwarded = Some(Box::new(forwarded));
        self
    }
}
