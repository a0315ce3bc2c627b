//! Handing connections to siblings while this worker drains, so that no client notices.
//!
//! What goes: connections that are idle, that have said nothing, or that have brought a part of a head,
//! with the bytes that were read. What is under way is finished first. It never waits: while the
//! rendezvous is full, or nobody takes, a connection is this worker's and drains as if there were no
//! heirs. Taking over is in `accept`.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use ferricorn_base::board::Counter;
use ferricorn_base::rendezvous::{INPUT_MAX, Parcel, Stage};
use ferricorn_base::transport::Transport;
use mio::unix::SourceFd;
use nix::errno::Errno;

use crate::conn::{After, Conn, Phase, Registered};
use crate::core::Core;
use crate::drain::{Drain, RETRY_US};
use crate::protocol::Protocol;
use crate::timers::Wait;

/// How long nothing may go until clients are told that their connections end, in µs.
const STALLED_US: u64 = 1_000_000;

/// The way to those who serve on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Giving {
    /// There is nobody.
    Nobody,
    /// It is open.
    Open,
    /// Nobody takes, or not as fast as we give.
    Blocked {
        /// The time of the first failure in a row, in µs of CLOCK_MONOTONIC.
        since: u64,
        /// The time of the last.
        tried: u64,
    },
}

impl Giving {
    pub(crate) fn new(heirs: bool) -> Giving {
        if heirs { Giving::Open } else { Giving::Nobody }
    }

    pub(crate) fn has_heirs(self) -> bool {
        self != Giving::Nobody
    }

    /// Whether a connection that is kept alive now can probably be handed on.
    pub(crate) fn is_likely(self) -> bool {
        match self {
            Giving::Nobody => false,
            Giving::Open => true,
            Giving::Blocked { since, tried } => tried < since + STALLED_US,
        }
    }

    /// When to try again.
    pub(crate) fn retry_due(self) -> Option<u64> {
        match self {
            Giving::Blocked { tried, .. } => Some(tried + RETRY_US),
            Giving::Nobody | Giving::Open => None,
        }
    }

    fn failed(&mut self, now: u64) {
        let since = match *self {
            Giving::Blocked { since, .. } => since,
            _ => now,
        };
        *self = Giving::Blocked { since, tried: now };
    }
}

/// What came of giving one connection away.
enum Given {
    /// It is gone.
    Gone,
    /// It is not one that could go now.
    Stays,
    /// It could not go, and neither could another.
    Blocked,
}

impl<P: Protocol> Core<P> {
    /// Whether a response may say that its connection goes on.
    #[inline]
    pub(crate) fn goes_on(&self) -> bool {
        if self.drain.is_some() {
            return self.goes_on_elsewhere();
        }
        // Whose handler was running when the word came has not heard it yet.
        !self.context.board.is_ending()
    }

    #[inline(never)]
    fn goes_on_elsewhere(&self) -> bool {
        self.drain.as_ref().is_some_and(Drain::goes_on)
    }

    /// Gives away every connection that can go, those that have waited longest first.
    pub(crate) fn give_all(&mut self) {
        if self
            .drain
            .as_ref()
            .is_none_or(|drain| !drain.giving.has_heirs())
        {
            return;
        }
        let kinds = [Wait::Head, Wait::KeepAlive, Wait::Quiet].into_iter();
        let keys: Vec<usize> = kinds.flat_map(|wait| self.timers.waiting(wait)).collect();
        let now = self.clock.now();
        let heirs = keys.is_empty() || self.context.has_heirs();
        let all = heirs
            && !keys
                .into_iter()
                .any(|key| matches!(self.give(key), Given::Blocked));
        if let Some(drain) = &mut self.drain {
            if all {
                drain.giving = Giving::Open;
            } else {
                drain.giving.failed(now);
            }
        }
    }

    /// Tries again what could not go, when it is time.
    pub(crate) fn retry_giving(&mut self) {
        let due = self
            .drain
            .as_ref()
            .and_then(|drain| drain.giving.retry_due());
        if due.is_some_and(|due| due <= self.clock.now()) {
            self.give_all();
        }
    }

    /// Gives away a connection whose turn is over, if it can go.
    pub(crate) fn give_on(&mut self, key: usize) {
        let open = |drain: &Drain| drain.giving == Giving::Open;
        if !self.drain.as_ref().is_some_and(open) {
            return;
        }
        let blocked = !self.context.has_heirs() || matches!(self.give(key), Given::Blocked);
        if let (true, Some(drain)) = (blocked, &mut self.drain) {
            drain.giving.failed(self.clock.now());
        }
    }

    fn give(&mut self, key: usize) -> Given {
        let Some((stage, conn)) = self.conns.get_mut(key).and_then(portable) else {
            return Given::Stays;
        };
        let since = match (self.timers.wait(key), self.timers.due(key)) {
            (Some(Wait::Head), Some(due)) => due - self.waits[Wait::Head as usize],
            _ => self.clock.now(),
        };
        let input = conn
            .work
            .as_ref()
            .map_or(&[][..], |work| work.input.bytes());
        // There is something to be parsed, whatever the phase is called.
        let stage = match stage {
            Stage::Fresh | Stage::Idle if !input.is_empty() => Stage::Head,
            stage => stage,
        };
        let Some(socket) = conn.wire.as_deref().and_then(Transport::movable) else {
            return Given::Stays;
        };
        let parcel = Parcel {
            stage,
            since_us: since,
            // Where nobody counts, whoever can be counted is.
            counted: conn.counted || self.peers.is_none() && is_known(stage, conn),
            link: conn.link,
            peer: conn.peer.clone(),
            local: Arc::clone(&conn.local),
        };
        if conn.registered != Registered::No {
            let _ = self
                .poll
                .registry()
                .deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
        let given = self.context.rendezvous.give(&parcel, input, socket);
        let fd = socket.as_raw_fd();
        match given {
            Ok(()) => {
                self.context.page.add(Counter::Given, 1);
                self.forget(key);
                Given::Gone
            }
            Err(error) => {
                conn.registered = Registered::Read;
                if self.register(key, fd, false, true).is_err() {
                    self.forget(key);
                }
                if is_its_own(&error) {
                    Given::Stays
                } else {
                    log::debug!("cannot hand a connection over now: {error}");
                    Given::Blocked
                }
            }
        }
    }
}

/// Where a connection is, if it is where it could go on elsewhere.
fn portable<P: Protocol>(conn: &mut Conn<P>) -> Option<(Stage, &mut Conn<P>)> {
    let stage = match conn.phase {
        Phase::Preface(versions) => Stage::Preface(versions),
        Phase::Fresh => Stage::Fresh,
        Phase::Idle => Stage::Idle,
        Phase::Head => Stage::Head,
        Phase::Body
        | Phase::Task
        | Phase::Answered
        | Phase::Writing
        | Phase::Lingering
        | Phase::Away => {
            return None;
        }
    };
    let done = |work: &crate::conn::Work<P>| {
        work.after == After::Next && work.output.is_empty() && work.input.bytes().len() <= INPUT_MAX
    };
    let ready = conn.work.as_deref().is_none_or(done);
    ready.then_some((stage, conn))
}

/// Whether a connection's peer is a client that can be counted.
fn is_known<P: Protocol>(stage: Stage, conn: &Conn<P>) -> bool {
    !matches!(stage, Stage::Preface(_)) && !conn.link.nameless
}

/// Whether an error says something of the one connection only.
fn is_its_own(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
        || error.raw_os_error() == Some(Errno::EMSGSIZE as i32)
}
