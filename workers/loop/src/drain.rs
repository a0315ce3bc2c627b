//! Draining: accept no more, hand on what can go on elsewhere, answer what came, close the rest
//! kindly, all before a deadline.

use std::fmt;
use std::time::Duration;

use ferricorn_base::Exit;
use ferricorn_base::board::{Counter, State};
use ferricorn_base::lifeline::Up;
use ferricorn_base::logs;
use http::StatusCode;

use crate::conn::{Active, Conn, Phase};
use crate::event_loop::Loop;
use crate::executor::Executor;
use crate::giving::Giving;
use crate::protocol::Protocol;
use crate::timers::Wait;

/// How long an idle connection may still bring a request when the whole server stops; a third less for
/// those that are closed first.
const QUIET: Duration = Duration::from_millis(1500);
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

impl Limit {
    /// For a worker that is to end without a drain.
    const AT_ONCE: Limit = Limit {
        name: "the order to end at once",
        time: Duration::ZERO,
    };
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if self.time.is_zero() {
            return Ok(());
        }
        write!(f, " ({} s)", self.time.as_secs_f32())
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

impl<P: Protocol, E: Executor<P>> Loop<P, E> {
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

    /// The master ends this worker in a moment. Who can go on elsewhere does; who waits for a handler, now or
    /// later, is sent away.
    pub(crate) fn despair(&mut self) {
        self.doomed = true;
        if self.drain.is_none() {
            let heirs = self.context.has_heirs();
            self.start_drain(false, heirs);
        }
        self.send_away();
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
        let waits = |conn: &Conn<P>| conn.phase == Phase::Idle || hurries && conn.is_silent();
        let keys = self.conns.iter().filter(|(_, conn)| waits(conn));
        let keys: Vec<usize> = keys.map(|(key, _)| key).collect();
        for (place, key) in keys.iter().enumerate() {
            let due = now + turn(quiet_us, place, keys.len());
            self.timers.set(*key, Wait::Quiet, due);
        }
    }

    /// Ends at once, and says whom that cuts.
    pub(crate) fn quit(&mut self) {
        self.part();
        self.cut_all(Limit::AT_ONCE);
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
        self.cut_all(limit);
        Some(Exit::Done)
    }

    /// Ends everything that is under way, and tells of it.
    fn cut_all(&mut self, limit: Limit) {
        let view = self.context.board.view(self.context.seat_number());
        for request in view.in_flight {
            let line = String::from_utf8_lossy(&request.line).into_owned();
            let age = self.age(request.started_us);
            log::warn!(
                "cut {line} of {} after {limit}, {age} (id {})",
                request.peer,
                request.id
            );
        }
        while let Some((active, _)) = self.unhold() {
            self.cut(active, limit);
        }
        let keys: Vec<usize> = self.conns.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(active) = self.take(key) {
                self.cut(active, limit);
            }
        }
    }

    /// How long something is under way that began then.
    fn age(&self, since_us: u64) -> String {
        let us = self.clock.now().saturating_sub(since_us);
        format!("under way for {:.1} s", us as f64 / 1e6)
    }

    /// Tells the master what became of the connections; those that are there still are ended next.
    pub(crate) fn part(&mut self) {
        // The last handlers count as well.
        self.read_clock();
        let page = &self.context.page;
        page.logged(logs::counted());
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

    /// Ends a connection in the middle of what it does, and tells of it. Who has not got a head yet is
    /// answered, where that can be done without waiting.
    fn cut(&mut self, mut active: Active<P>, limit: Limit) {
        let unanswered = match &active.work.task {
            Some(running) => !running.has_begun(),
            None => active.phase == Phase::Body,
        };
        if unanswered || active.work.unlogged.is_some() {
            let (request, age) = (&active.request, self.age(active.work.began_us));
            let (head, client) = (request.head(), request.client());
            let (method, target, id) = (head.method(), head.target(), request.request_id());
            log::warn!("cut {method} {target} of {client} after {limit}, {age} (id {id})");
        } else if let (false, Some(conn)) = (self.output.is_empty(), self.conns.get(active.key)) {
            let peer = &conn.peer;
            log::warn!("cut a response to {peer} after {limit}");
        }
        if unanswered {
            self.refuse(&mut active, StatusCode::SERVICE_UNAVAILABLE);
            self.advance(&mut active, false);
        }
        if let (false, Some(wire)) = (self.output.is_empty(), &mut active.wire) {
            wire.abort();
        }
        self.bury(active);
    }
}

/// After how much of the quiet time the connection at `place` of `count` is closed: they share its last third,
/// so that their clients do not all come back at once.
fn turn(quiet_us: u64, place: usize, count: usize) -> u64 {
    let third = quiet_us / 3;
    quiet_us - third + third * (place as u64 + 1) / count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_are_closed_one_after_another_in_the_last_third_of_their_time() {
        for (quiet, count, first, last) in [
            (1_500_000, 1, 1_500_000, 1_500_000),
            (1_500_000, 2, 1_250_000, 1_500_000),
            (1_500_000, 5, 1_100_000, 1_500_000),
            (1_500_000, 500, 1_001_000, 1_500_000),
            (0, 3, 0, 0),
        ] {
            let turns: Vec<u64> = (0..count).map(|place| turn(quiet, place, count)).collect();
            assert_eq!((turns[0], turns[count - 1]), (first, last), "{turns:?}");
            assert!(turns.is_sorted(), "{turns:?}");
        }
    }
}
