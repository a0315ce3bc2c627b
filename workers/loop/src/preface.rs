//! Before HTTP: the PROXY header by which a layer 4 proxy tells whose connection it is. From then on
//! the connection is that client's, also where trust is concerned; a proxy of this kind passes on
//! every byte of the client's as it is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use ferricorn_base::conf::LocalAddr;
use ferricorn_base::{Link, Peer};
use ferricorn_http::{Preface, ProxyAddresses, ProxyHeader, ProxyVersions};
use http::StatusCode;

use crate::conn::{Active, Phase};
use crate::core::Core;
use crate::event_loop::Loop;
use crate::executor::Executor;
use crate::protocol::Protocol;
use crate::serve::Served;

impl<P: Protocol, E: Executor<P>> Loop<P, E> {
    /// Reads the header with which a connection has to begin, then what stands behind it.
    pub(crate) fn preface(&mut self, active: &mut Active<P>, versions: ProxyVersions) -> Served {
        match ProxyHeader::parse(self.input.bytes(), versions) {
            Ok(Preface::NeedMore) => Served::More,
            Ok(Preface::Complete { len, header }) => {
                self.input.consume(len);
                active.request.head_mut().clear();
                if self.announce(active.key, header) && !self.admit(active.key) {
                    self.refuse(active, StatusCode::TOO_MANY_REQUESTS);
                    return Served::Flush;
                }
                active.phase = Phase::Head;
                self.parse(active)
            }
            Err(reject) => {
                active.request.head_mut().clear();
                self.reject(active, reject);
                Served::Flush
            }
        }
    }
}

impl<P: Protocol> Core<P> {
    /// Notes what the header says; whether it names a client.
    fn announce(&mut self, key: usize, header: ProxyHeader) -> bool {
        let Some(conn) = self.conns.get_mut(key) else {
            return false;
        };
        conn.link = Link {
            tls: header.tls,
            nameless: header.addresses == ProxyAddresses::Unknown,
            stranger: true,
        };
        let (peer, local) = match header.addresses {
            ProxyAddresses::Local | ProxyAddresses::Unknown => {
                conn.link.stranger = !self.conf.trust.vouches(&conn.peer, conn.link);
                return false;
            }
            ProxyAddresses::Tcp {
                source,
                destination,
            } => (Peer::Tcp(source), LocalAddr::Tcp(destination)),
            ProxyAddresses::Unix { destination } => {
                let path = OsString::from_vec(destination).into();
                (Peer::Unix, LocalAddr::Unix(path))
            }
        };
        conn.link.stranger = !self.conf.trust.vouches(&peer, conn.link);
        conn.peer = peer;
        conn.local = Arc::new(local);
        true
    }
}
