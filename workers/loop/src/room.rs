//! At `worker-connections`: which connection gives way to one that waits.
//!
//! Who holds a connection without earning it goes first; one under way never does. It decides by the
//! lists of waits alone, and looks at no more than a few of each.

use std::time::Duration;

use crate::conn::Conn;
use crate::core::Core;
use crate::event_loop::Loop;
use crate::executor::Executor;
use crate::pace::least_brought;
use crate::protocol::Protocol;
use crate::timers::Wait;

/// How long a new connection may be silent, and a closing one read its answer, before it is the
/// first to be closed to make room, in µs.
const MOMENT_US: u64 = 1_000_000;

/// How long a body must have been behind its minimum rate before it is given up to make room, in µs.
const LAG_US: u64 = 5_000_000;

/// How many connections that wait for the same are looked at for one to close.
const LOOK: usize = 16;

impl<P: Protocol, E: Executor<P>> Loop<P, E> {
    /// Closes a connection for another that waits; whether there is room then. One that brings a
    /// request at the last moment is passed over.
    pub(crate) fn make_room(&mut self) -> bool {
        for _ in 0..self.conns.len() {
            let Some(key) = self.dispensable() else {
                return false;
            };
            self.close_for_another(key);
            if !self.is_full() {
                return true;
            }
        }
        false
    }

    /// Closes this connection, unless a request came at the last moment; that begins another wait. Who
    /// has begun a request is told that its time is over.
    fn close_for_another(&mut self, key: usize) {
        self.close_idle(key);
        if self.had_a_moment(key, Wait::Head) {
            self.expired(key, Wait::Head);
        } else if self.lags(key) {
            self.expired(key, Wait::Body);
        }
    }
}

impl<P: Protocol> Core<P> {
    /// The connection to close for another: one that had a moment to read its last answer, else one
    /// that had a moment and said nothing, else the one idle longest, else one that has its last
    /// answer only now, else one that had a moment and has not brought a whole head, else one whose
    /// body comes too slowly. Who never asked for anything is not to drive out who did.
    ///
    /// Without the last two, a byte on each connection would keep everybody else waiting for as long as
    /// a head or a body may take.
    fn dispensable(&self) -> Option<usize> {
        let oldest = |wait| self.timers.oldest(wait);
        let patient = |wait| oldest(wait).filter(|key| self.had_a_moment(*key, wait));
        let mut heads = self.timers.waiting(Wait::Head).take(LOOK);
        let mut bodies = self.timers.waiting(Wait::Body).take(LOOK);
        patient(Wait::Linger)
            .or_else(|| {
                heads.find(|key| self.had_a_moment(*key, Wait::Head) && self.is_silent(*key))
            })
            .or_else(|| oldest(Wait::KeepAlive))
            .or_else(|| oldest(Wait::Linger))
            .or_else(|| patient(Wait::Head))
            .or_else(|| bodies.find(|key| self.lags(*key)))
    }

    /// Whether a connection has waited for this for longer than a moment.
    fn had_a_moment(&self, key: usize, wait: Wait) -> bool {
        self.waited(key, wait) >= Some(MOMENT_US)
    }

    /// How long a connection has waited for this, in µs; `None` when it does not.
    fn waited(&self, key: usize, wait: Wait) -> Option<u64> {
        let due = self.timers.due(key)?;
        let since = due.saturating_sub(self.waits[wait as usize]);
        let waits = self.timers.wait(key) == Some(wait);
        waits.then(|| self.clock.now().saturating_sub(since))
    }

    /// Whether the body of a connection has been behind its minimum rate for a while.
    fn lags(&self, key: usize) -> bool {
        let work = self.conns.get(key).and_then(|conn| conn.work.as_ref());
        let (Some(work), Some(waited)) = (work, self.waited(key, Wait::Body)) else {
            return false;
        };
        let brought = work.body_read - work.window;
        let least = least_brought(&self.conf.deadlines, Duration::from_micros(waited));
        waited >= LAG_US && brought < least
    }

    fn is_silent(&self, key: usize) -> bool {
        self.conns.get(key).is_some_and(Conn::is_silent)
    }
}
