//! What one peer address may take of the server: connections, and how fast they and requests come.
//!
//! The counts are on the scoreboard, in `ferricorn_base::board::Peers`, for all workers together. Where
//! no limit is set there is no table, and all this costs one look at that. Peers of unix sockets
//! have no address, and so no limit; a trusted proxy has as many connections as its clients need.

use std::net::IpAddr;

use ferricorn_base::Response;
use ferricorn_base::board::{Counter, Rate};
use ferricorn_http::RETRY_AFTER;
use http::{HeaderValue, StatusCode, header};

use crate::conn::Active;
use crate::core::Core;
use crate::event_loop::Loop;
use crate::executor::Executor;
use crate::protocol::Protocol;
use crate::respond::error_response;

impl<P: Protocol> Core<P> {
    /// Counts a connection for its peer. To be called once, where the peer becomes known. `false`:
    /// the peer has its share already, and the connection is to be refused.
    pub(crate) fn admit(&mut self, key: usize) -> bool {
        let (Some(peers), Some(conn)) = (&mut self.peers, self.conns.get_mut(key)) else {
            return true;
        };
        let trusted = self.conf.trust.proxies.trusts(&conn.peer);
        let Some(address) = conn.peer.ip().filter(|_| !trusted) else {
            return true;
        };
        let (limits, now) = (self.conf.peer_limits, self.clock.now());
        let known = peers.key(address);
        let (most, rate) = (limits.connections, limits.connection_rate);
        let admitted = (most == 0 || peers.connections(known) < most)
            && (rate == 0 || peers.is_below(Rate::Connections, known, rate, now));
        if admitted {
            peers.connected(known, now);
            conn.counted = true;
        } else {
            self.context.page.add(Counter::Limited, 1);
        }
        admitted
    }

    /// Counts a connection that a sibling counted until it handed it over: it is admitted already.
    pub(crate) fn moved_in(&mut self, key: usize) {
        if let (Some(peers), Some(conn)) = (&mut self.peers, self.conns.get_mut(key)) {
            if let Some(address) = conn.peer.ip() {
                let known = peers.key(address);
                peers.moved_in(known, self.clock.now());
                conn.counted = true;
            }
        }
    }

    /// A connection that was counted is gone.
    pub(crate) fn dismiss(&mut self, address: Option<IpAddr>) {
        if let (Some(peers), Some(address)) = (&mut self.peers, address) {
            let known = peers.key(address);
            peers.disconnected(known);
        }
    }

    /// Counts a request for its client: the answer instead, where that has its share already. What
    /// is refused does not count, so that a client that asks too fast gets what it may have.
    ///
    /// The connection stays: another one would cost both sides more than the next refusal. A body
    /// that nobody wants ends it, as always.
    pub(crate) fn over_rate(&mut self, active: &Active<P>) -> Option<Response> {
        let (peers, most) = (self.peers.as_mut()?, self.conf.peer_limits.request_rate);
        let address = active.request.client().ip().filter(|_| most > 0)?;
        let (known, now) = (peers.key(address), self.clock.now());
        if peers.is_below(Rate::Requests, known, most, now) {
            peers.requested(known, now);
            return None;
        }
        self.context.page.add(Counter::Limited, 1);
        let mut response = error_response(StatusCode::TOO_MANY_REQUESTS);
        let soon = HeaderValue::from_static(RETRY_AFTER);
        response.headers_mut().insert(header::RETRY_AFTER, soon);
        Some(response)
    }
}

impl<P: Protocol, E: Executor<P>> Loop<P, E> {
    /// Answers a connection that was not admitted, before it says anything, and closes it.
    pub(crate) fn turn_away(&mut self, key: usize) {
        if let Some(mut active) = self.take(key) {
            active.request.head_mut().clear();
            self.refuse(&mut active, StatusCode::TOO_MANY_REQUESTS);
            let next = self.advance(&mut active, false);
            self.settle(active, next);
        }
    }
}
