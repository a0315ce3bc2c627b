//! Draining: accept no more, answer what came, close the rest kindly, all before a deadline.

use std::time::Duration;

use ferricorn_base::Exit;
use ferricorn_base::board::State;

use crate::conn::{Active, Phase};
use crate::event_loop::Loop;
use crate::executor::Executor;
use crate::protocol::Protocol;
use crate::timers::Wait;

/// How long an idle connection may still bring a request when the whole server stops.
const QUIET: Duration = Duration::from_secs(1);
/// How soon to try the backlog again, in µs.
const RETRY_US: u64 = 10_000;
/// How long a worker goes on whose master died; the kernel's alarm ends it soon after.
const ORPHANED: Duration = Duration::from_millis(900);

/// The state of a worker that drains.
#[derive(Debug)]
pub(crate) struct Drain {
    due: u64,
    /// Connections wait at the listeners that nobody else will take.
    backlog: bool,
}

impl Drain {
    /// When to look at it again, at `now`, in µs of CLOCK_MONOTONIC.
    pub(crate) fn due(&self, now: u64) -> u64 {
        if self.backlog {
            self.due.min(now + RETRY_US)
        } else {
            self.due
        }
    }
}

impl<P: Protocol, E: Executor> Loop<P, E> {
    /// Begins to drain, or to drain sooner. With `stop` nobody accepts after us, so what waits in
    /// the backlog is ours.
    pub(crate) fn start_drain(&mut self, stop: bool) {
        let deadlines = self.conf.deadlines;
        // Successors serve: an idle client may take as long as it usually may, within the grace.
        let quiet = if stop { QUIET } else { deadlines.keep_alive };
        self.begin_drain(stop, quiet.min(deadlines.graceful), deadlines.graceful);
    }

    /// The master is gone; nobody will accept after us.
    pub(crate) fn orphaned(&mut self) {
        self.begin_drain(true, ORPHANED / 2, ORPHANED);
    }

    fn begin_drain(&mut self, stop: bool, quiet: Duration, grace: Duration) {
        let backlog = stop && !self.accept_the_rest();
        if backlog {
            log::warn!("not all that waits in the backlog can be taken yet");
            self.stop_watching();
        } else {
            self.stop_accepting();
        }
        self.context.page.set_state(State::Draining);
        self.closing.begin();
        let now = self.clock.now();
        let due = now + grace.as_micros() as u64;
        let due = self.drain.as_ref().map_or(due, |drain| drain.due.min(due));
        self.drain = Some(Drain { due, backlog });
        let quiet_us = quiet.as_micros() as u64;
        self.waits[Wait::Quiet as usize] = quiet_us;
        // Those with nothing under way wait for a shorter time now, silent new ones too.
        for (key, conn) in &self.conns {
            if conn.phase == Phase::Idle || conn.is_silent() {
                self.timers.set(key, Wait::Quiet, now + quiet_us);
            }
        }
    }

    /// Whether a drain is over: everything is answered, or its deadline has passed.
    pub(crate) fn drained(&mut self) -> Option<Exit> {
        let backlog = self.drain.as_ref()?.backlog && !self.accept_the_rest();
        let drain = self.drain.as_mut()?;
        let emptied = std::mem::replace(&mut drain.backlog, backlog) && !backlog;
        let due = drain.due;
        if emptied {
            self.stop_accepting();
        }
        if self.conns.is_empty() && !backlog {
            return Some(Exit::Done);
        }
        if self.clock.now() < due {
            return None;
        }
        if backlog {
            log::warn!("connections are left in the backlog");
        }
        let grace = self.conf.deadlines.graceful.as_secs_f32();
        for request in self
            .context
            .board
            .view(self.context.seat_number())
            .in_flight
        {
            let line = String::from_utf8_lossy(&request.line).into_owned();
            log::warn!(
                "cut {line} of {} after graceful-timeout ({grace} s)",
                request.peer
            );
        }
        let keys: Vec<usize> = self.conns.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(active) = self.take(key) {
                self.cut(active);
            }
        }
        Some(Exit::Done)
    }

    /// Ends a connection in the middle of what it does, and tells of it.
    fn cut(&mut self, mut active: Active<P>) {
        let grace = self.conf.deadlines.graceful.as_secs_f32();
        let request = &active.request;
        let (head, client) = (request.head(), request.client());
        let (method, target) = (head.method(), head.target());
        if active.phase == Phase::Body {
            log::warn!("cut {method} {target} of {client} after graceful-timeout ({grace} s)");
            // It has no status: nothing was answered.
            self.log_access(&active.request, 0, None, 0, active.work.began_us);
        } else if active.work.unlogged.is_some() {
            log::warn!("cut {method} {target} of {client} after graceful-timeout ({grace} s)");
        } else if let (false, Some(conn)) = (self.output.is_empty(), self.conns.get(active.key)) {
            let peer = &conn.peer;
            log::warn!("cut a response to {peer} after graceful-timeout ({grace} s)");
        }
        if let (false, Some(wire)) = (self.output.is_empty(), &mut active.wire) {
            wire.abort();
        }
        self.bury(active);
    }
}
