//! One connection in the loop.
//!
//! An idle connection is a slab entry and its socket; everything a request needs is in [`Work`],
//! which it borrows from the worker while one is under way.

use std::sync::Arc;

use ferricorn_base::board::Cell;
use ferricorn_base::conf::LocalAddr;
use ferricorn_base::transport::AnyTransport;
use ferricorn_base::{Link, Peer, Request};
use ferricorn_http::{Facts, ProxyVersions};
use http::HeaderMap;

use crate::buffer::Buffer;
use crate::output::Output;
use crate::pace::Pace;
use crate::protocol::Protocol;
use crate::task::Running;
use crate::timers::Wait;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A PROXY header is to come first, or some of it came.
    Preface(ProxyVersions),
    /// Just accepted: no byte has come.
    Fresh,
    /// Between requests.
    Idle,
    /// Some of a head has come.
    Head,
    /// A body is being read for a handler.
    Body,
    /// The handler has answered; the rest of the request is still to be read and dropped.
    Answered,
    /// A task answers; what is left of the body is read for it.
    Task,
    /// A response waits for the client; nothing is read.
    Writing,
    /// The response is out; reading on so that the client is not reset.
    Lingering,
    /// It is elsewhere: on a stream thread, in a handler while other hands turn the loop, or waiting
    /// for one.
    Away,
}

/// What becomes of a connection when its output is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum After {
    /// It goes on.
    #[default]
    Next,
    /// It is closed: the client asked for that, and everything it sent was read.
    Close,
    /// It is closed once the client has seen the answer (RFC 9112 section 9.6).
    Linger,
}

/// Which events its descriptor is registered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    No,
    Read,
    ReadWrite,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn<P: Protocol> {
    /// The socket; `None` while it is away or in the hands of the loop.
    pub(crate) wire: Option<AnyTransport>,
    pub(crate) peer: Peer,
    /// Where it came in.
    pub(crate) local: Arc<LocalAddr>,
    pub(crate) link: Link,
    pub(crate) phase: Phase,
    pub(crate) registered: Registered,
    /// It counts for its peer.
    pub(crate) counted: bool,
    /// Something was told of it while it was in a handler, or waited for one.
    pub(crate) missed: bool,
    pub(crate) work: Option<Box<Work<P>>>,
}

impl<P: Protocol> Conn<P> {
    /// Whether nothing of a request has come on it yet.
    pub(crate) fn is_silent(&self) -> bool {
        match self.phase {
            Phase::Fresh => true,
            Phase::Preface(_) => self.work.is_none(),
            _ => false,
        }
    }
}

/// What a connection needs while a request is under way.
#[derive(Debug, Default)]
pub(crate) struct Work<P: Protocol> {
    pub(crate) protocol: P,
    /// Bytes read and not parsed.
    pub(crate) input: Buffer,
    pub(crate) output: Output,
    pub(crate) request: Option<Box<Request>>,
    pub(crate) facts: Option<Facts>,
    pub(crate) after: After,
    /// Bytes of the body when its window of the minimum rate began.
    pub(crate) window: u64,
    /// Bytes read of this body.
    pub(crate) body_read: u64,
    /// When the whole request must be here, in µs of CLOCK_MONOTONIC, if it has a body.
    pub(crate) receive_due: u64,
    /// What the client takes while its output waits.
    pub(crate) pace: Pace,
    /// The client waits for `100 Continue`, or did until its body came all the same.
    pub(crate) wants_go_on: bool,
    /// What the access log is to say of the request when its large body is out.
    pub(crate) unlogged: Option<Box<Unlogged>>,
    /// What answers in place of a handler, or will when the body is complete.
    pub(crate) task: Option<Box<Running<P>>>,
    /// How often the answer was that to another request.
    pub(crate) redirects: u8,
    /// The cell on the scoreboard of the request under way.
    pub(crate) cell: Option<Cell>,
    /// When its head was complete, in µs of CLOCK_MONOTONIC.
    pub(crate) began_us: u64,
}

/// What is known of an answer before all of it is sent.
#[derive(Debug)]
pub(crate) struct Unlogged {
    pub(crate) status: u16,
    /// Its fields, if they are logged.
    pub(crate) fields: Option<HeaderMap>,
    /// Bytes of content that were promised.
    pub(crate) promised: u64,
}

impl<P: Protocol> Work<P> {
    /// Whether nothing is here of a request: the next sets whatever else it needs, on this connection
    /// or another.
    pub(crate) fn is_at_rest(&self) -> bool {
        let nothing_waits = self.input.is_empty() && self.output.is_empty();
        let nothing_is_held =
            self.request.is_none() && self.unlogged.is_none() && self.cell.is_none();
        debug_assert!(self.task.is_none(), "a task answers, or is dropped");
        nothing_waits && nothing_is_held && self.after == After::Next
    }

    /// As new, for another connection.
    pub(crate) fn renew(&mut self) {
        self.protocol = P::default();
        // What one large request needed is not kept for the next.
        self.input = Buffer::default();
        if !self.output.is_empty() {
            self.output = Output::default();
        }
        self.request = None;
        self.facts = None;
        self.after = After::Next;
        self.window = 0;
        self.body_read = 0;
        self.wants_go_on = false;
        self.unlogged = None;
        self.task = None;
        self.cell = None;
        self.began_us = 0;
    }
}

/// A connection that is being served: its parts, out of the slab.
///
/// Its input and output are the loop's for this turn; what the connection had of its own was
/// swapped in, and the worker's are kept in its work meanwhile.
#[derive(Debug)]
pub(crate) struct Active<P: Protocol> {
    pub(crate) key: usize,
    /// `None` only while a handler has it.
    pub(crate) wire: Option<AnyTransport>,
    pub(crate) phase: Phase,
    pub(crate) work: Box<Work<P>>,
    pub(crate) request: Box<Request>,
    pub(crate) own_input: bool,
    pub(crate) own_output: bool,
    /// What it waits for with a deadline that goes on; none, when a request has ended that wait.
    pub(crate) waits: Option<Wait>,
    /// When this turn is long enough, in µs of CLOCK_MONOTONIC.
    pub(crate) until: u64,
}

/// What a request waits for that no handler is free for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// To be shown its head, with nothing behind it or a body.
    Begin {
        /// Its body is yet to be read.
        has_body: bool,
    },
    /// To be answered.
    Handle,
}

/// A request that waits for a handler, with its connection.
#[derive(Debug)]
pub(crate) struct Held<P: Protocol> {
    pub(crate) active: Active<P>,
    pub(crate) call: Call,
    /// Since when it waits, in µs of CLOCK_MONOTONIC.
    pub(crate) since_us: u64,
}

/// What is to happen with a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait for the client to send.
    Read,
    /// Wait for the client to take what is written.
    Write,
    /// It has had its share of this turn; go on in the next.
    Turn,
    /// It is gone, in order.
    Close,
    /// It is gone, with a reset.
    Abort,
    /// It is on a stream thread.
    Streamed,
    /// It waits for a handler.
    Hold(Call),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Http1;

    /// What an idle connection takes in the loop beside its [`crate::timers::Timers`].
    #[test]
    fn an_idle_connection_is_small() {
        assert_eq!(size_of::<Option<AnyTransport>>(), 16);
        assert_eq!(size_of::<Peer>(), 32);
        assert_eq!(size_of::<Conn<Http1>>(), 72);
        // As the slab has it.
        #[expect(dead_code, reason = "it is only measured")]
        enum Entry {
            Vacant(usize),
            Occupied(Conn<Http1>),
        }
        assert_eq!(size_of::<Entry>(), size_of::<Conn<Http1>>());
    }
}
