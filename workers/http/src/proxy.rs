//! The PROXY protocol (HAProxy's proxy-protocol.txt, versions 1 and 2): what a layer 4 proxy says of
//! the connection before its first byte. Reads the header and nothing behind it; whether one is to
//! come, and from whom, the caller knows: it is never guessed (section 2).

mod v1;
mod v2;

use crate::reject::Reject;
use std::net::SocketAddr;

/// The versions that a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersions {
    /// The text of version 1.
    V1,
    /// The binary of version 2.
    V2,
    /// Either; the first byte tells.
    Auto,
}

/// A header: what it says of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Between which addresses the client's connection is.
    pub addresses: ProxyAddresses,
    /// The client's connection to the proxy is TLS (`PP2_CLIENT_SSL`); version 2 only.
    pub tls: bool,
}

/// Between which addresses the client's connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyAddresses {
    /// There is no client: the connection is the proxy's own (`LOCAL`), to see whether we live.
    Local,
    /// There is one, of an unknown kind (`UNKNOWN`, or an unspecified family).
    Unknown,
    /// TCP. IPv4-mapped addresses are IPv4 here.
    Tcp {
        /// The client.
        source: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
    },
    /// A unix stream socket.
    Unix {
        /// The path that the client connected to, or `@` and an abstract name; without the zero bytes
        /// behind it.
        destination: Vec<u8>,
    },
}

/// What came of the input so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preface {
    /// The header goes on.
    NeedMore,
    /// The header is complete; the connection begins behind it.
    Complete {
        /// Its length in bytes.
        len: usize,
        /// What it says.
        header: ProxyHeader,
    },
}

impl ProxyHeader {
    /// The longest header, in bytes. Version 1 cannot be longer than 107 (section 2.1); version 2 could
    /// be 64 KiB, and certificates are the only thing that makes it longer than some hundred.
    pub const LONGEST: usize = 4096;

    /// Reads a header from the front of `input`, which is all that came on the connection so far.
    ///
    /// # Errors
    /// 400 at the first byte that shows that this is no header, however the input is cut. Nothing
    /// behind it may be read.
    pub fn parse(input: &[u8], versions: ProxyVersions) -> Result<Preface, Reject> {
        match (versions, input.first()) {
            (_, None) => Ok(Preface::NeedMore),
            (ProxyVersions::V1, _) | (ProxyVersions::Auto, Some(b'P')) => v1::parse(input),
            (ProxyVersions::V2 | ProxyVersions::Auto, _) => v2::parse(input),
        }
    }
}

/// Of two addresses, with those that are IPv4 in IPv6's clothes as what they are.
fn tcp(source: SocketAddr, destination: SocketAddr) -> ProxyAddresses {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    ProxyAddresses::Tcp {
        source: plain(source),
        destination: plain(destination),
    }
}
