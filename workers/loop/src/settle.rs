//! After a connection's turn: what it keeps, what it is registered for, its deadline, its end.

use std::os::fd::AsRawFd;

use ferricorn_base::board::Counter;
use http::StatusCode;

use crate::buffer::Buffer;
use crate::conn::{Active, Conn, Next, Phase, Registered};
use crate::core::{Core, SPARE};
use crate::drain::Drain;
use crate::event_loop::Loop;
use crate::executor::Executor;
use crate::pace::{Pace, least_brought};
use crate::protocol::Protocol;
use crate::task::Running;
use crate::timers::Wait;

impl<P: Protocol> Core<P> {
    /// Puts a connection back with what it must keep, registers it and sets its deadline.
    pub(crate) fn settle(&mut self, mut active: Active<P>, next: Next) {
        let key = active.key;
        let writing = next == Next::Write || !self.output.is_empty();
        match next {
            Next::Close => return self.bury(active),
            Next::Abort => {
                if let Some(wire) = &mut active.wire {
                    wire.abort();
                }
                return self.bury(active);
            }
            Next::Streamed => {
                self.timers.clear(key);
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.phase = Phase::Away;
                }
                return self.recycle(active);
            }
            Next::Hold(call) => {
                self.leave(key);
                self.give_back(&mut active);
                return self.hold(active, call);
            }
            Next::Read | Next::Write | Next::Turn => {}
        }
        let idle = next == Next::Read
            && matches!(
                active.phase,
                Phase::Preface(_) | Phase::Fresh | Phase::Idle | Phase::Head
            )
            && active.work.protocol.is_idle(self.input.bytes());
        if idle && active.phase == Phase::Head {
            // Only an empty line came, which ends no wait.
            active.phase = match active.waits {
                Some(Wait::Head) => Phase::Fresh,
                _ => Phase::Idle,
            };
        }
        self.set_deadline(&mut active, writing);
        if !self.register_for(&active, next) {
            return self.bury(active);
        }
        let missed = self.conns.get_mut(key).map(|conn| &mut conn.missed);
        if next == Next::Turn || missed.is_some_and(std::mem::take) {
            self.ready.push_back(key);
        }
        let phase = if writing {
            self.writing(active.phase)
        } else {
            active.phase
        };
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        conn.wire = active.wire.take();
        conn.phase = phase;
        if idle && active.work.protocol.is_new() {
            self.rest(active);
            // It could make room for another now.
            self.room();
        } else {
            self.keep(active);
        }
        if self.drain.is_some() {
            self.give_on(key);
        }
    }

    /// A connection is in a handler while other hands turn the loop, or waits for one: nothing is due of
    /// its client.
    pub(crate) fn leave(&mut self, key: usize) {
        self.timers.clear(key);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.phase = Phase::Away;
        }
    }

    /// Keeps what a connection needs to go on.
    fn keep(&mut self, mut active: Active<P>) {
        self.give_back(&mut active);
        let needed = active.work.unlogged.is_some();
        if needed || matches!(active.phase, Phase::Body | Phase::Task | Phase::Answered) {
            active.work.request = Some(active.request);
        } else {
            self.return_request(active.request);
        }
        if let Some(conn) = self.conns.get_mut(active.key) {
            conn.work = Some(active.work);
        }
    }

    /// The phase to remember while a response waits: what comes after is in `After`.
    fn writing(&self, phase: Phase) -> Phase {
        match phase {
            Phase::Body | Phase::Task | Phase::Answered | Phase::Lingering => phase,
            _ => Phase::Writing,
        }
    }

    fn set_deadline(&mut self, active: &mut Active<P>, writing: bool) {
        let key = active.key;
        let wait = match active.phase {
            _ if writing => Wait::Write,
            Phase::Lingering => Wait::Linger,
            Phase::Task => match active.work.task.as_deref() {
                Some(running) if running.waits_for_client() => Wait::Body,
                Some(running) => match running.due_us() {
                    u64::MAX => return self.timers.clear(key),
                    due => return self.timers.set(key, Wait::Task, due),
                },
                None => Wait::Body,
            },
            Phase::Body | Phase::Answered => Wait::Body,
            Phase::Preface(_) | Phase::Head => Wait::Head,
            Phase::Fresh if !self.drain.as_ref().is_some_and(Drain::hurries) => Wait::Head,
            _ if self.drain.is_some() => Wait::Quiet,
            _ => Wait::KeepAlive,
        };
        // A deadline that runs is not put off by a trickle of bytes. A request that was served in
        // this turn has ended the wait that there was.
        if active.waits == Some(wait) {
            return;
        }
        if wait == Wait::Body {
            active.work.window = active.work.body_read;
        }
        if let (Wait::Write, Some(wire)) = (wait, &active.wire) {
            active.work.pace = Pace::begin(&**wire);
        }
        let due = self.clock.now() + self.waits[wait as usize];
        self.timers.set(key, wait, due);
    }

    /// Registers what has to be waited for; `false` when that fails.
    pub(crate) fn register_for(&mut self, active: &Active<P>, next: Next) -> bool {
        let Some(conn) = self.conns.get(active.key) else {
            return false;
        };
        let wanted = match (next, conn.registered) {
            (Next::Turn, registered) | (_, registered @ Registered::ReadWrite) => registered,
            (Next::Write, _) => Registered::ReadWrite,
            _ => Registered::Read,
        };
        if wanted == conn.registered {
            return true;
        }
        let Some(wire) = &active.wire else {
            return false;
        };
        let fd = wire.as_fd().as_raw_fd();
        let anew = conn.registered == Registered::No;
        if let Err(error) = self.register(active.key, fd, wanted == Registered::ReadWrite, anew) {
            log::error!("cannot watch a connection: {error}");
            return false;
        }
        self.conns[active.key].registered = wanted;
        true
    }

    /// Puts the worker's buffers back; what is in them is the connection's to keep.
    fn give_back(&mut self, active: &mut Active<P>) {
        let work = &mut active.work;
        if std::mem::take(&mut active.own_input) {
            std::mem::swap(&mut self.input, &mut work.input);
            if work.input.is_empty() {
                work.input = Buffer::default();
            }
        } else if !self.input.is_empty() {
            work.input = Buffer::holding(self.input.bytes());
            self.input.clear();
        }
        if std::mem::take(&mut active.own_output) {
            std::mem::swap(&mut self.output, &mut work.output);
        } else if !self.output.is_empty() {
            work.output = std::mem::take(&mut self.output);
        }
    }

    /// Gives everything back that a connection has borrowed that is between requests. Nothing in it
    /// is of the last one any more, or all that is will be set by the next.
    fn rest(&mut self, active: Active<P>) {
        let owned = active.own_input || active.own_output;
        if owned || self.spare_works.len() >= SPARE {
            return self.recycle(active);
        }
        debug_assert!(active.work.is_at_rest());
        self.return_request(active.request);
        self.spare_works.push(active.work);
    }

    /// Gives everything that was borrowed back; what is in the buffers is nobody's.
    fn recycle(&mut self, mut active: Active<P>) {
        self.input.clear();
        self.output.clear();
        if active.own_input {
            std::mem::swap(&mut self.input, &mut active.work.input);
        }
        if active.own_output {
            std::mem::swap(&mut self.output, &mut active.work.output);
        }
        self.return_request(active.request);
        self.return_work(active.work);
    }

    /// Ends a connection.
    pub(crate) fn bury(&mut self, mut active: Active<P>) {
        let key = active.key;
        self.log_large(&mut active);
        self.drop_task(&mut active);
        // Closing takes the descriptor out of the epoll set.
        active.wire = None;
        self.recycle(active);
        self.forget(key);
    }

    /// Forgets a connection whose socket is closed or gone.
    pub(crate) fn forget(&mut self, key: usize) {
        self.timers.clear(key);
        if let Some(conn) = self.conns.try_remove(key) {
            if conn.counted {
                self.dismiss(conn.peer.ip());
            }
            self.context.page.set_connections(self.conns.len());
            self.room();
        }
    }
}

impl<P: Protocol, E: Executor<P>> Loop<P, E> {
    /// Closes a connection that is idle, lingers or has never said anything, unless a request came
    /// at the last moment: that is served, and the client was told that it may send another.
    pub(crate) fn close_idle(&mut self, key: usize) {
        let before = self.context.page.counter(Counter::Requests);
        self.serve(key, false);
        let idle = |conn: &Conn<P>| {
            conn.is_silent() || matches!(conn.phase, Phase::Idle | Phase::Lingering)
        };
        let served = self.context.page.counter(Counter::Requests) != before;
        let Some(conn) = self.conns.get(key).filter(|conn| !served && idle(conn)) else {
            return;
        };
        let lingers = conn.phase == Phase::Lingering;
        if let (Some(drain), false) = (&mut self.drain, lingers) {
            drain.closed_idle();
        }
        self.forget(key);
    }

    /// Ends the connections whose deadline has passed at `now`, which must be before the events of
    /// this turn were asked for: what came in time has been seen then, however long handlers took.
    pub(crate) fn expire(&mut self, now: u64) {
        while let Some((key, wait)) = self.timers.pop_expired(now) {
            match wait {
                Wait::KeepAlive | Wait::Quiet => self.close_idle(key),
                Wait::Linger => self.forget(key),
                Wait::Task => self.wake_task(key),
                Wait::Head | Wait::Body | Wait::Write => self.expired(key, wait),
            }
        }
    }

    /// This wait of a connection is over.
    pub(crate) fn expired(&mut self, key: usize, wait: Wait) {
        let Some(mut active) = self.take(key) else {
            return;
        };
        let next = match (wait, active.phase) {
            (Wait::Write, _) => {
                let (pace, deadlines) = (&active.work.pace, &self.conf.deadlines);
                let wire = active.wire.as_deref();
                if wire.is_some_and(|wire| pace.is_kept(wire, deadlines)) {
                    return self.settle(active, Next::Write);
                }
                log::debug!("a client takes too little of its response");
                Next::Abort
            }
            // Who has not said whose connection it is knows of no HTTP yet.
            (Wait::Head, Phase::Fresh | Phase::Preface(_)) => Next::Close,
            (Wait::Body, _) => {
                let brought = active.work.body_read - active.work.window;
                let in_time = self.clock.now() < active.work.receive_due;
                let deadlines = &self.conf.deadlines;
                if in_time && brought >= least_brought(deadlines, deadlines.body) {
                    return self.settle(active, Next::Read);
                }
                if active.phase == Phase::Answered {
                    Next::Close
                } else if active.work.task.as_deref().is_some_and(Running::has_begun) {
                    Next::Abort
                } else {
                    self.refuse(&mut active, StatusCode::REQUEST_TIMEOUT);
                    self.advance(&mut active, false)
                }
            }
            _ => {
                let head = active.request.head_mut();
                active.work.protocol.give_up(head);
                self.refuse(&mut active, StatusCode::REQUEST_TIMEOUT);
                self.advance(&mut active, false)
            }
        };
        self.context.page.add(Counter::TimedOut, 1);
        self.settle(active, next);
    }
}
