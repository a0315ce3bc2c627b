//! Draining: accept no more, hand on what can go on elsewhere, answer what came, close the rest
//! kindly, all before a deadline.

use std::fmt;
use std::time::Duration;

use ferricorn_base::Exit;
use ferricorn_base::board::{Counter, State};
use ferricorn_base::lifeline::Up;

use crate::conn::{Active, Phase};
use crate::event_loop::Loop;
use crate::executor::Executor;
use crate::giving::Giving;
use crate::protocol::Protocol;
use crate::timers::Wait;

/// How long an idle connection may still bring a request when the whole server stops.
const QUIET: Duration = Duration::from_secs(1);
/// How soon to try the backlog or a full rendezvous again, in µs.
pub(crate) const RETRY_US: u64 = 10_000;
/// How long a worker goes on whose master died; the kernel's alarm ends it soon after.
const ORPHANED: Duration = Duration::from_millis(900);

/// Which limit ends a drain, and how long it lets it last.
#[derive(Clone, Copy, Debug)]
struct Limit {
    name: &'static str,
    time: Duration,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} s)", self.name, self.time.as_secs_f32())
    }
}

/// The state of a worker that drains.
#[derive(Debug)]
pub(crate) struct Drain {
    due: u64,
    /// What makes it due then.
    limit: Limit,
    /// Nobody else accepts.
    stop: bool,
    /// Connections wait that nobody else will take.
    backlog: bool,
    /// Connections that were closed with nothing under way.
    closed_idle: u64,
    /// The way to those who serve on.
    pub(crate) giving: Giving,
}

impl Drain {
    /// When to look at it again, at `now`, in µs of CLOCK_MONOTONIC.
    pub(crate) fn due(&self, now: u64) -> u64 {
        if self.backlog {
            return self.due.min(now + RETRY_US);
        }
        self.giving
            .retry_due()
            .map_or(self.due, |retry| retry.min(self.due))
    }

    /// Whether a response may say that its connection goes on, here or elsewhere.
    pub(crate) fn goes_on(&self) -> bool {
        self.giving.is_likely()
    }

    /// A connection was closed with nothing under way on it.
    pub(crate) fn closed_idle(&mut self) {
        self.closed_idle += 1;
    }

    /// Whether a connection that has said nothing may do so for a moment only.
    pub(crate) fn hurries(&self) -> bool {
        self.stop && !self.giving.has_heirs()
    }
}

impl<P: Protocol, E: Executor> Loop<P, E> {
    /// Begins to drain, or to drain sooner. With `stop` nobody accepts after us, so what waits in
    /// the backlog is ours. With `heirs` others serve on: the connections become theirs.
    pub(crate) fn start_drain(&mut self, stop: bool, heirs: bool) {
        let deadlines = self.conf.deadlines;
        // Successors serve: an idle client may take as long as it usually may, within the grace.
        let quiet = if stop && !heirs {
            QUIET
        } else {
            deadlines.keep_alive
        };
        let quiet = quiet.min(deadlines.graceful);
        let limit = Limit {
            name: "graceful-timeout",
            time: deadlines.graceful,
        };
        self.begin_drain(stop, heirs, quiet, limit);
    }

    /// What is left has so long, if it had longer.
    pub(crate) fn hurry(&mut self, within: Duration) {
        let due = self.clock.now() + within.as_micros() as u64;
        if let Some(drain) = self.drain.as_mut().filter(|drain| due < drain.due) {
            drain.due = due;
            drain.limit = Limit {
                name: "superseded-timeout",
                time: within,
            };
        }
    }

    /// The master is gone; nobody will accept after us.
    pub(crate) fn orphaned(&mut self) {
        let limit = Limit {
            name: "the end of the master",
            time: ORPHANED,
        };
        self.begin_drain(true, false, ORPHANED / 2, limit);
    }

    fn begin_drain(&mut self, stop: bool, heirs: bool, quiet: Duration, limit: Limit) {
        // Whoever gives takes no more: it would get its own connections back.
        self.stop_watching();
        let backlog = !self.accept_the_rest(stop, heirs);
        if backlog {
            log::warn!("not all that waits in the backlog can be taken yet");
        } else {
            self.stop_accepting();
        }
        self.context.page.set_state(State::Draining);
        self.closing.begin();
        let now = self.clock.now();
        let due = now + limit.time.as_micros() as u64;
        let (due, limit) = match &self.drain {
            Some(drain) if drain.due < due => (drain.due, drain.limit),
            _ => (due, limit),
        };
        let before = self.drain.as_ref();
        let drain = Drain {
            due,
            limit,
            stop,
            backlog,
            closed_idle: before.map_or(0, |drain| drain.closed_idle),
            giving: Giving::new(heirs),
        };
        let hurries = drain.hurries();
        self.drain = Some(drain);
        self.give_all();
        let quiet_us = quiet.as_micros() as u64;
        self.waits[Wait::Quiet as usize] = quiet_us;
        // Those with nothing under way wait for a shorter time now; silent new ones too, if nobody
        // could take them over any more.
        for (key, conn) in &self.conns {
            if conn.phase == Phase::Idle || hurries && conn.is_silent() {
                self.timers.set(key, Wait::Quiet, now + quiet_us);
            }
        }
    }

    /// Whether a drain is over: everything is answered, or its deadline has passed.
    pub(crate) fn drained(&mut self) -> Option<Exit> {
        let drain = self.drain.as_ref()?;
        let (stop, heirs) = (drain.stop, drain.giving.has_heirs());
        let backlog = drain.backlog && !self.accept_the_rest(stop, heirs);
        self.retry_giving();
        let drain = self.drain.as_mut()?;
        let emptied = std::mem::replace(&mut drain.backlog, backlog) && !backlog;
        let (due, limit) = (drain.due, drain.limit);
        if emptied {
            self.stop_accepting();
        }
        if self.conns.is_empty() && !backlog {
            // A stop that came meanwhile makes us take back what those who left before us did not.
            let told = if heirs { self.command() } else { None };
            let over = self.conns.is_empty() && !self.drain.as_ref()?.backlog;
            if told.is_none() && !over {
                return None;
            }
            self.part();
            return told.or(Some(Exit::Done));
        }
        if self.clock.now() < due {
            return None;
        }
        if backlog {
            log::warn!("connections are left in the backlog");
        }
        self.part();
        for request in self
            .context
            .board
            .view(self.context.seat_number())
            .in_flight
        {
            let line = String::from_utf8_lossy(&request.line).into_owned();
            log::warn!("cut {line} of {} after {limit}", request.peer);
        }
        let keys: Vec<usize> = self.conns.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(active) = self.take(key) {
                self.cut(active, limit);
            }
        }
        Some(Exit::Done)
    }

    /// Tells the master what became of the connections; those that are there still are ended next.
    pub(crate) fn part(&self) {
        let page = &self.context.page;
        let mut closed_idle = self.drain.as_ref().map_or(0, |drain| drain.closed_idle);
        let mut forced = 0;
        for (_, conn) in &self.conns {
            match conn.phase {
                // It has its answer.
                Phase::Lingering => {}
                Phase::Idle => closed_idle += 1,
                _ if conn.is_silent() => closed_idle += 1,
                _ => forced += 1,
            }
        }
        // A master that is gone counts nothing any more.
        let _ = self.context.report(&Up::Left {
            answered: page.counter(Counter::Requests),
            handed_over: page.counter(Counter::Given),
            closed_idle,
            forced,
        });
    }

    /// Ends a connection in the middle of what it does, and tells of it.
    fn cut(&mut self, mut active: Active<P>, limit: Limit) {
        let request = &active.request;
        let (head, client) = (request.head(), request.client());
        let (method, target) = (head.method(), head.target());
        if active.phase == Phase::Body {
            log::warn!("cut {method} {target} of {client} after {limit}");
            // It has no status: nothing was answered.
            self.log_access(&active.request, 0, None, 0, active.work.began_us);
        } else if active.work.unlogged.is_some() {
            log::warn!("cut {method} {target} of {client} after {limit}");
        } else if let (false, Some(conn)) = (self.output.is_empty(), self.conns.get(active.key)) {
            let peer = &conn.peer;
            log::warn!("cut a response to {peer} after {limit}");
        }
        if let (false, Some(wire)) = (self.output.is_empty(), &mut active.wire) {
            wire.abort();
        }
        self.bury(active);
    }
}
