//! One connection's turn: write what waits, parse what is here, read more.
//!
//! A connection is taken out of the slab for its turn, and every path of it ends in a [`Next`]:
//! `settle` puts it back with what it must keep, and gives each wait its deadline.

use ferricorn_base::board::Counter;
use ferricorn_http::{Event, Reject};
use http::StatusCode;

use crate::buffer::Filled;
use crate::conn::{Active, After, Call, Next, Phase, Work};
use crate::core::Core;
use crate::event_loop::Loop;
use crate::executor::Executor;
use crate::output::Flushed;
use crate::protocol::Protocol;
use crate::timers::Wait;

/// Reads that one connection gets before others have their turn.
const ROUNDS: usize = 8;
/// How long the handlers of one connection's pipelined requests may take until others have their
/// turn, in µs. One request is always served.
pub(crate) const SHARE_US: u64 = 2_000;
/// Bytes that a lingering close reads and drops at most: many clients read no answer before they
/// have sent their whole body.
const LINGER_BYTES: u64 = 64 << 20;

/// What parsing came to.
pub(crate) enum Served {
    /// It wants more bytes.
    More,
    /// Something is to be written first.
    Flush,
    /// The connection left the loop.
    Streamed,
    /// No handler is free for its request.
    Hold(Call),
    /// A task answers.
    Task,
}

impl<P: Protocol, E: Executor<P>> Loop<P, E> {
    /// Serves the connection `key`, if it is there. `closed` says that the client has sent its last
    /// byte, so that a short read may still have an end behind it.
    #[inline(always)]
    pub(crate) fn serve(&mut self, key: usize, closed: bool) {
        let core = &mut **self;
        let Some(mut active) = core.take(key) else {
            return core.miss(key);
        };
        let next = self.advance(&mut active, closed);
        self.settle(active, next);
    }

    pub(crate) fn advance(&mut self, active: &mut Active<P>, closed: bool) -> Next {
        if active.phase == Phase::Lingering {
            return self.linger(active);
        }
        if active.phase == Phase::Task {
            // Something may have come on its connection, if only the end.
            if let Some(running) = &mut active.work.task {
                running.look();
            }
            return match self.attend(active) {
                Ok(drained) => self.go_on(active, drained, closed),
                Err(next) => next,
            };
        }
        self.go_on(active, false, closed)
    }

    /// Goes on with a connection of which `drained` says that its socket holds nothing more.
    pub(crate) fn go_on(
        &mut self,
        active: &mut Active<P>,
        mut drained: bool,
        closed: bool,
    ) -> Next {
        let mut rounds = 0;
        loop {
            loop {
                // Asked for once: it is behind what is in hand.
                let core = &mut **self;
                if core.is_at_rest(active) {
                    break;
                }
                if !core.output.is_empty() {
                    match core.flush(active) {
                        Ok(Flushed::All) if core.is_at_rest(active) => break,
                        Ok(Flushed::All) => {}
                        Ok(Flushed::Blocked) => return Next::Write,
                        Ok(Flushed::Turn) => return Next::Turn,
                        Err(next) => return next,
                    }
                }
                match active.work.after {
                    After::Next if core.clock.now() > active.until => return Next::Turn,
                    After::Next => {}
                    // Only if surely nothing more is there: closing would reset the client then.
                    After::Close if drained && core.input.is_empty() => return Next::Close,
                    After::Close | After::Linger => {
                        active.phase = Phase::Lingering;
                        active.work.body_read = 0;
                        core.input.clear();
                        // The client may be gone already; reading says so.
                        if let Some(wire) = &mut active.wire {
                            let _ = wire.finish();
                        }
                        return core.linger(active);
                    }
                }
                let served = match active.phase {
                    Phase::Preface(versions) => self.preface(active, versions),
                    _ => self.parse(active),
                };
                match served {
                    Served::More if self.output.is_empty() => break,
                    Served::More | Served::Flush => {}
                    Served::Streamed => return Next::Streamed,
                    Served::Task => {
                        if let (false, Some(running)) = (drained && !closed, &mut active.work.task)
                        {
                            running.look();
                        }
                        match self.attend(active) {
                            Ok(all) => drained = all,
                            Err(next) => return next,
                        }
                    }
                    Served::Hold(call) => {
                        // Earlier answers need not wait with it; how far they came is seen later.
                        let _ = self.flush(active);
                        return Next::Hold(call);
                    }
                }
            }
            if drained && !closed {
                return Next::Read;
            }
            // Not before all is parsed that was read: what is left has to be kept, which for content would be
            // a copy of a whole buffer.
            if rounds == ROUNDS {
                return Next::Turn;
            }
            rounds += 1;
            let Some(wire) = &mut active.wire else {
                return Next::Close;
            };
            let core = &mut **self;
            match core.input.fill(&mut **wire) {
                Ok(Filled::Bytes(n, all)) => {
                    drained = all;
                    core.context.page.add(Counter::BytesIn, n as u64);
                    if matches!(active.phase, Phase::Fresh | Phase::Idle) {
                        active.phase = Phase::Head;
                    }
                }
                Ok(Filled::Nothing) => return Next::Read,
                Ok(Filled::End) => return Next::Close,
                Err(error) => {
                    log::debug!("cannot read from a client: {error}");
                    return Next::Close;
                }
            }
        }
    }

    /// Parses and serves what is in the input, pipelined requests one after the other.
    pub(crate) fn parse(&mut self, active: &mut Active<P>) -> Served {
        loop {
            let core = &mut **self;
            let enough = core.output.is_full() || core.clock.now() > active.until;
            if enough || active.work.after != After::Next {
                return Served::Flush;
            }
            // Between messages an empty input has nothing to tell.
            if core.input.is_empty()
                && matches!(active.phase, Phase::Fresh | Phase::Idle | Phase::Head)
            {
                return Served::More;
            }
            let work = &mut active.work;
            let head = active.request.head_mut();
            match work
                .protocol
                .next(core.input.bytes(), &core.conf.limits, head)
            {
                Ok(Event::NeedMore { consumed }) => {
                    core.input.consume(consumed);
                    // RFC 9110 section 10.1.1: the body is wanted, and does not come by itself.
                    let waits = work.body_read == 0 && core.input.is_empty();
                    if work.wants_go_on && active.phase == Phase::Body && waits {
                        work.wants_go_on = false;
                        work.protocol.go_on(&mut core.output.bytes);
                    }
                    return Served::More;
                }
                Ok(Event::Head { consumed }) => {
                    core.input.consume(consumed);
                    if let Some(served) = self.on_head(active) {
                        return served;
                    }
                }
                Ok(Event::Data { skip, len }) => {
                    work.body_read += len as u64;
                    if active.phase == Phase::Body {
                        let content = self.input.range(skip..skip + len);
                        let conf = &self.conf;
                        let pushed = active.request.body_mut().push(
                            content,
                            conf.body_buffer,
                            &conf.tmp_dir,
                        );
                        if let Err(error) = pushed {
                            let place = conf.tmp_dir.display();
                            log::error!("cannot keep a request body in {place}: {error}");
                            self.refuse(active, StatusCode::INTERNAL_SERVER_ERROR);
                        }
                    }
                    self.input.consume(skip + len);
                    let late = self.clock.now() >= active.work.receive_due;
                    if late && active.phase == Phase::Body {
                        self.context.page.add(Counter::TimedOut, 1);
                        self.refuse(active, StatusCode::REQUEST_TIMEOUT);
                    }
                }
                Ok(Event::End { consumed }) => {
                    self.input.consume(consumed);
                    if active.phase == Phase::Answered {
                        active.phase = self.between();
                    } else if let Some(served) = self.on_end(active) {
                        return served;
                    }
                }
                Err(reject) => {
                    self.reject(active, reject);
                    return Served::Flush;
                }
            }
        }
    }
}

impl<P: Protocol> Core<P> {
    /// Whether a connection is between messages and nothing is to be done but to read on.
    fn is_at_rest(&self, active: &Active<P>) -> bool {
        self.input.is_empty()
            && self.output.is_empty()
            && matches!(active.phase, Phase::Fresh | Phase::Idle | Phase::Head)
            && active.work.after == After::Next
    }

    /// Answers what is refused for what it says, and closes.
    pub(crate) fn reject(&mut self, active: &mut Active<P>, reject: Reject) {
        self.context.page.add(Counter::Refused, 1);
        if active.phase == Phase::Answered {
            // The handler has answered; what is wrong behind its head is of no interest any more.
            active.work.after = After::Linger;
        } else {
            self.refuse(active, reject.status);
        }
        let client = active.request.client();
        let (status, reason) = (reject.status, reject.reason);
        log::debug!("refused a request of {client} with {status}: {reason}");
    }

    /// Where a connection is when one of its messages is over.
    pub(crate) fn between(&self) -> Phase {
        if self.input.is_empty() {
            Phase::Idle
        } else {
            Phase::Head
        }
    }

    /// Answers without a handler, and closes. The request has what is known of its head: that goes
    /// to the access log.
    pub(crate) fn refuse(&mut self, active: &mut Active<P>, status: StatusCode) {
        let head_request = if matches!(active.phase, Phase::Body | Phase::Task | Phase::Answered) {
            active.work.facts.is_some_and(|facts| facts.head_request)
        } else {
            if let Some(conn) = self.conns.get(active.key) {
                let number = self.ids.next_number();
                let request = &mut active.request;
                request.renew(&conn.peer, &conn.local, conn.link, number);
            }
            active.work.began_us = self.clock.now();
            P::is_head_request(self.input.bytes())
        };
        let defaults = self.clock.defaults(None);
        let before = self.output.bytes.len();
        active
            .work
            .protocol
            .refuse(&mut self.output.bytes, status, head_request, &defaults);
        self.context.page.count_status(status.as_u16());
        active.work.after = After::Linger;
        active.phase = Phase::Answered;
        if self.context.access.is_some() {
            let began = active.work.began_us;
            let sent = content_len(&self.output.bytes[before..]);
            self.log_access(&active.request, status.as_u16(), None, sent, began);
        }
    }

    /// Writes what waits. An error says how the connection ends.
    pub(crate) fn flush(&mut self, active: &mut Active<P>) -> Result<Flushed, Next> {
        let Some(wire) = &mut active.wire else {
            return Err(Next::Close);
        };
        let mut written = 0;
        let result = self.output.flush(&mut **wire, &mut written);
        self.context.page.add(Counter::BytesOut, written);
        if written > 0 && active.waits == Some(Wait::Write) {
            active.work.pace.wrote(written);
        }
        if active.work.unlogged.is_some() && self.output.is_empty() {
            self.log_large(active);
        }
        result.map_err(|error| {
            use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut};
            let peer = self.conns.get(active.key).map(|conn| &conn.peer);
            let peer = peer.map(ToString::to_string).unwrap_or_default();
            match error.kind() {
                BrokenPipe | ConnectionReset | ConnectionAborted | TimedOut => {
                    log::debug!("cannot write to {peer}: {error}");
                }
                // A file that is shorter than promised, or cannot be read.
                _ => log::error!("cannot finish a response to {peer}: {error}"),
            }
            self.context.page.add(Counter::Aborted, 1);
            Next::Abort
        })
    }

    /// Reads and drops until the client ends, so that it is not reset before it saw the answer.
    fn linger(&mut self, active: &mut Active<P>) -> Next {
        let Some(wire) = &mut active.wire else {
            return Next::Close;
        };
        for _ in 0..ROUNDS {
            self.input.clear();
            match self.input.fill(&mut **wire) {
                Ok(Filled::Bytes(n, _)) => {
                    active.work.body_read += n as u64;
                    if active.work.body_read > LINGER_BYTES {
                        return Next::Close;
                    }
                }
                Ok(Filled::Nothing) => {
                    self.input.clear();
                    return Next::Read;
                }
                Ok(Filled::End) | Err(_) => return Next::Close,
            }
        }
        self.input.clear();
        Next::Turn
    }

    /// Takes a connection out for its turn.
    pub(crate) fn take(&mut self, key: usize) -> Option<Active<P>> {
        let conn = self.conns.get_mut(key)?;
        let wire = conn.wire.take()?;
        let (mut phase, work) = (conn.phase, conn.work.take());
        let (mut own_input, mut own_output) = (false, false);
        let (work, request) = match work {
            None => (self.spare_work(), self.spare_request()),
            Some(mut work) => {
                (own_input, own_output) = self.borrow(&mut work);
                let request = work.request.take();
                (work, request.unwrap_or_else(|| self.spare_request()))
            }
        };
        if phase == Phase::Writing {
            phase = if own_input { Phase::Head } else { Phase::Idle };
        }
        Some(Active {
            key,
            wire: Some(wire),
            phase,
            work,
            request,
            own_input,
            own_output,
            waits: self.timers.wait(key),
            until: self.clock.now() + SHARE_US,
        })
    }

    /// Swaps what a connection has of its own for the worker's buffers: whether there was input, and
    /// output.
    pub(crate) fn borrow(&mut self, work: &mut Work<P>) -> (bool, bool) {
        let own_input = !work.input.is_empty();
        if own_input {
            std::mem::swap(&mut self.input, &mut work.input);
        }
        let own_output = !work.output.is_empty();
        if own_output {
            std::mem::swap(&mut self.output, &mut work.output);
        }
        (own_input, own_output)
    }

    /// Something is told of a connection that is away: it looks for itself when it is back, as what is
    /// told comes once only.
    pub(crate) fn miss(&mut self, key: usize) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.missed = true;
        }
    }
}

/// Bytes of content in a whole response.
fn content_len(response: &[u8]) -> u64 {
    let head = response.windows(4).position(|four| four == b"\r\n\r\n");
    head.map_or(0, |end| (response.len() - end - 4) as u64)
}
