//! Requests that wait for a handler, as all threads are in one: in the order in which they came, until one is
//! free, their client leaves, or no handler will come back.
//!
//! Nothing is due of who waits here. What it runs are handlers, as `serve` does.
use http::StatusCode;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::conn::{Active, Call, Held, Next, Registered};
use crate::core::Core;
use crate::event_loop::{Loop, Stop};
use crate::executor::Executor;
use crate::protocol::Protocol;
use crate::serve::{SHARE_US, Served};

/// What nginx(8) logs of a client that has left before it had an answer; nobody is sent it.
const LEFT: u16 = 499;

impl<P: Protocol, E: Executor<P>> Loop<P, E> {
    /// Serves what has waited longest for a handler, if there is one now. One in each turn, so that who comes
    /// anew is let in.
    #[inline]
    pub(crate) fn serve_held(&mut self) -> Result<(), Stop> {
        if self.held.is_empty() {
            return Ok(());
        }
        if self.doomed {
            self.send_away();
        }
        if !self.executor.has_handler() {
            return Ok(());
        }
        if let Some((active, call)) = self.unhold() {
            self.resume(active, call);
        }
        self.yield_loop()
    }

    /// Goes on with a request that waited for a handler.
    fn resume(&mut self, mut active: Active<P>, call: Call) {
        let now = self.clock.now();
        if let Some(waited) = self.late.sample(now) {
            self.context.page.queued(waited);
        }
        let served = match call {
            Call::Begin { has_body } => match self.overloaded() {
                Some(refusal) => self.respond_early(&mut active, refusal, has_body),
                None => self.begin(&mut active, has_body),
            },
            Call::Handle => self.handle(&mut active),
        };
        let next = match served {
            Some(Served::Streamed) => Next::Streamed,
            // What came meanwhile is read, and its end with it.
            _ => self.advance(&mut active, true),
        };
        self.settle(active, next);
    }

    /// Answers all who wait that no handler will come back for them.
    pub(crate) fn send_away(&mut self) {
        let all = self.held.len();
        while let Some((mut active, _)) = self.unhold() {
            self.refuse(&mut active, StatusCode::SERVICE_UNAVAILABLE);
            let next = self.advance(&mut active, true);
            self.settle(active, next);
        }
        if all > 0 {
            log::warn!("503 for {all} requests that waited for a handler: none comes back in time");
        }
    }
}

impl<P: Protocol> Core<P> {
    /// A request waits for a handler.
    pub(crate) fn hold(&mut self, active: Active<P>, call: Call) {
        let conn = self.conns.get(active.key);
        let unwatched = conn.is_some_and(|conn| conn.registered == Registered::No);
        // Who has sent its last byte with the request wants its answer all the same.
        if unwatched && !has_ended(&active) && !self.register_for(&active, Next::Read) {
            return self.bury(active);
        }
        let since_us = self.clock.now();
        self.held.push_back(Held {
            active,
            call,
            since_us,
        });
        self.context.page.set_waiting(self.held.len());
    }

    /// Takes out the request that has waited longest for a handler, and what it waits for.
    pub(crate) fn unhold(&mut self) -> Option<(Active<P>, Call)> {
        let Held {
            mut active,
            call,
            since_us,
        } = self.held.pop_front()?;
        self.context.page.set_waiting(self.held.len());
        let now = self.clock.now();
        let waited = now.saturating_sub(since_us);
        self.late.accepted(now, waited, false);
        // That was not its client's time.
        active.work.receive_due = active.work.receive_due.saturating_add(waited);
        (active.own_input, active.own_output) = self.borrow(&mut active.work);
        active.until = self.clock.now() + SHARE_US;
        Some((active, call))
    }

    /// The client of the connection `key` has closed it, or its half: if its request waits for a handler it has
    /// left, and nothing is run for it. Tells whether that was so.
    pub(crate) fn has_left(&mut self, key: usize) -> bool {
        let at = self.held.iter().position(|held| held.active.key == key);
        let Some(Held { mut active, .. }) = at.and_then(|at| self.held.remove(at)) else {
            return false;
        };
        self.context.page.set_waiting(self.held.len());
        (active.own_input, active.own_output) = self.borrow(&mut active.work);
        self.log_large(&mut active);
        let (request, began) = (&active.request, active.work.began_us);
        let head = request.head();
        let (method, target, client) = (head.method(), head.target(), request.client());
        log::debug!("{client} left while {method} {target} waited for a handler");
        self.context.page.count_status(LEFT);
        self.log_access(&active.request, LEFT, None, 0, began);
        self.bury(active);
        true
    }
}

/// Whether the client of a request has sent its last byte already.
fn has_ended<P: Protocol>(active: &Active<P>) -> bool {
    let ended = PollFlags::from_bits_retain(libc::POLLRDHUP);
    let Some(wire) = &active.wire else {
        return true;
    };
    let mut fds = [PollFd::new(wire.as_fd(), ended)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|found| found > 0)
}
