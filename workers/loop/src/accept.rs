//! Accepting: only what can start now, evenly over the workers, at most `worker-connections`. What
//! siblings hand over at the rendezvous is taken by the same rules as what waits at a listener.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use ferricorn_base::board::Counter;
use ferricorn_base::transport::{Ready, wait};

use crate::balance::{Balance, PATIENCE_US, SLOW_US, Sibling};
use crate::buffer::Buffer;
use crate::conn::{Conn, Phase, Registered};
use crate::core::{CONNECTIONS, Core, LISTENERS, TAKING};
use crate::event_loop::Loop;
use crate::executor::Executor;
use crate::listening::{Arrival, Listening};
use crate::protocol::Protocol;
use crate::timers::Wait;

/// Connections that one turn of the loop accepts from one listener at most.
const BATCH: usize = 64;
/// How long to leave the listeners alone when connections or descriptors ran out, in µs.
const STARVED_US: u64 = 100_000;

/// Of so many connections the system is asked for one how long it waited to be accepted.
const SAMPLE: u32 = 16;

/// Whether the listeners are being watched.
#[derive(Debug, Default, PartialEq, Eq)]
enum Watch {
    /// Not yet, or no more.
    #[default]
    Closed,
    /// In the epoll set.
    Armed,
    /// Out of it until this time: a sibling was woken, or descriptors ran out.
    Until(u64),
    /// Out of it until a connection ends, or until this time, when one may have fallen silent.
    Full(u64),
    /// Out of it until a handler is free.
    Busy,
}

/// Where connections come from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// A listener, by its number.
    Listener(usize),
    /// Siblings that drain.
    Rendezvous,
}

impl Source {
    fn token(self) -> usize {
        match self {
            Source::Listener(n) => (LISTENERS + n).min(CONNECTIONS - 1),
            Source::Rendezvous => TAKING,
        }
    }
}

/// The state of accepting.
#[derive(Debug, Default)]
pub(crate) struct Acceptor {
    listeners: Vec<Listening>,
    watch: Watch,
    balance: Balance,
    /// How many were accepted since the system was asked for the wait of one.
    sampled: u32,
}

impl Acceptor {
    /// Whether nothing may be accepted.
    fn is_closed(&self) -> bool {
        matches!(self.watch, Watch::Closed | Watch::Full(_) | Watch::Busy)
    }

    pub(crate) fn retry_due(&self) -> Option<u64> {
        match self.watch {
            Watch::Until(due) | Watch::Full(due) => Some(due),
            _ => None,
        }
    }
}

impl<P: Protocol> Core<P> {
    /// Begins to accept.
    pub(crate) fn arm(&mut self) -> io::Result<()> {
        for listener in &self.context.listeners {
            self.acceptor.listeners.push(Listening::new(listener)?);
        }
        self.watch()?;
        self.context.take_over();
        Ok(())
    }

    fn watch(&mut self) -> io::Result<()> {
        let listeners = (0..self.acceptor.listeners.len()).map(Source::Listener);
        for source in listeners.chain([Source::Rendezvous]) {
            match self.watch_source(self.source(source), source.token()) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        self.acceptor.watch = Watch::Armed;
        self.context.page.set_accepting(true);
        Ok(())
    }

    fn unwatch(&mut self, watch: Watch) {
        if self.acceptor.watch == Watch::Armed {
            for listener in &self.acceptor.listeners {
                self.unwatch_source(listener.as_fd());
            }
            self.unwatch_source(self.context.rendezvous.taking());
        }
        self.acceptor.watch = watch;
    }

    /// Watches it anew, so that others are woken first for what comes next: of those who sleep the system wakes
    /// the one that has watched longest (epoll_ctl(2), EPOLLEXCLUSIVE).
    fn step_back(&mut self, source: Source) {
        if self.acceptor.watch == Watch::Armed {
            self.unwatch_source(self.source(source));
            if let Err(error) = self.watch_source(self.source(source), source.token()) {
                log::error!("cannot watch a listener: {error}");
                self.refrain(Watch::Until);
            }
        }
    }

    /// Takes nothing for a while, and has nobody wait for that.
    fn refrain(&mut self, until: fn(u64) -> Watch) {
        self.context.page.set_accepting(false);
        self.pause(until, STARVED_US);
    }

    /// Leaves the listeners alone for so many µs at most.
    fn pause(&mut self, until: fn(u64) -> Watch, time_us: u64) {
        let due = self.clock.now() + time_us;
        self.unwatch(until(due));
    }

    /// Accepts from nobody while no handler is free.
    pub(crate) fn close_doors(&mut self) {
        if self.acceptor.watch != Watch::Closed {
            self.unwatch(Watch::Busy);
            self.context.page.set_accepting(false);
        }
    }

    /// Accepts again, if a handler has become free.
    pub(crate) fn open_doors(&mut self) {
        if self.acceptor.watch == Watch::Busy {
            self.context.page.set_accepting(true);
            self.rewatch();
        }
    }

    /// Whether it is there still: while a handler ran, the loop may have been in other hands.
    fn is_open(&self, source: Source) -> bool {
        match source {
            Source::Listener(n) => n < self.acceptor.listeners.len(),
            Source::Rendezvous => true,
        }
    }

    fn source(&self, source: Source) -> BorrowedFd<'_> {
        match source {
            Source::Listener(n) => self.acceptor.listeners[n].as_fd(),
            Source::Rendezvous => self.context.rendezvous.taking(),
        }
    }

    fn next_from(&self, source: Source) -> io::Result<Arrival> {
        let listeners = &self.acceptor.listeners;
        match source {
            Source::Listener(n) => listeners[n].accept(),
            Source::Rendezvous => Arrival::take(&self.context.rendezvous, listeners),
        }
    }

    /// Takes the listeners out of the epoll set for good, and keeps them for what they hold.
    pub(crate) fn stop_watching(&mut self) {
        self.unwatch(Watch::Closed);
    }

    /// Gives up the listeners: out of the epoll set first, then closed. The rendezvous stays, for the
    /// day when nobody else takes what lies there.
    pub(crate) fn stop_accepting(&mut self) {
        self.unwatch(Watch::Closed);
        self.acceptor.listeners.clear();
        self.context.listeners.clear();
    }

    /// Watches the listeners again when the time for that has come.
    pub(crate) fn retry_accept(&mut self) {
        if self
            .acceptor
            .retry_due()
            .is_none_or(|due| due > self.clock.now())
        {
            return;
        }
        let board = &self.context.board;
        self.acceptor.balance.give_up(|seat| board.turns(seat));
        self.rewatch();
    }

    /// A connection has ended or is idle: there is room again.
    pub(crate) fn room(&mut self) {
        if matches!(self.acceptor.watch, Watch::Full(_)) {
            self.rewatch();
        }
    }

    fn rewatch(&mut self) {
        if let Err(error) = self.watch() {
            log::error!("cannot watch the listeners: {error}");
            self.acceptor.watch = Watch::Until(self.clock.now() + STARVED_US);
        }
    }

    /// Whether no other connection may be held.
    pub(crate) fn is_full(&self) -> bool {
        self.conns.len() >= self.conf.worker_connections
    }

    /// Whether a connection waits there: nobody is sent away for one that a sibling has taken.
    fn somebody_waits(&self, source: Source) -> bool {
        wait(self.source(source), Ready::Readable, Some(Duration::ZERO)).is_ok()
    }

    /// The sibling whose turn it is to accept, if it is not this worker's.
    fn sibling_to_accept(&mut self) -> Option<Sibling> {
        let board = &self.context.board;
        let own = self.context.seat_number();
        let high = board.high();
        if high <= 1 {
            return None;
        }
        let before = self.clock.now().saturating_sub(SLOW_US);
        let held_up = |seat| {
            board
                .held_up_since(seat)
                .is_some_and(|since| since < before)
        };
        let siblings = (0..high)
            .filter(|seat| *seat != own && board.is_accepting(*seat))
            .map(|seat| Sibling {
                seat,
                connections: board.connections(seat),
                turns: board.turns(seat),
            });
        self.acceptor
            .balance
            .yield_to(self.conns.len() as u64, siblings, held_up)
    }

    /// Notes how long a connection has waited to be accepted. Asking the system is for each one where
    /// requests are refused for that; else for one of [`SAMPLE`], as it costs as much as a small write.
    fn note_wait(&mut self, arrival: &Arrival) {
        self.late.forget();
        if arrival.past.is_some() {
            return;
        }
        self.acceptor.sampled = (self.acceptor.sampled + 1) % SAMPLE;
        if self.codel.is_none() && self.acceptor.sampled != 0 {
            return;
        }
        if let Some(queued) = arrival.wire.queued() {
            let waited = queued.waited.as_micros() as u64;
            self.late.accepted(self.clock.now(), waited, queued.ended);
        }
    }

    /// Takes a connection in.
    fn take_in(&mut self, arrival: Arrival) -> usize {
        let now = self.clock.now();
        let (idle, past) = (arrival.phase == Phase::Idle, arrival.past);
        let counted = past.as_ref().is_some_and(|past| past.counted);
        let since = past.as_ref().map_or(now, |past| past.since_us.min(now));
        let counter = match past {
            None => Counter::Accepted,
            Some(_) => Counter::Taken,
        };
        let input = past
            .map(|past| past.input)
            .filter(|input| !input.is_empty());
        let work = input.map(|input| {
            let mut work = self.spare_work();
            work.input = Buffer::holding(&input);
            work
        });
        let mut link = arrival.link;
        link.stranger = !self.conf.trust.vouches(&arrival.peer, link);
        let key = self.conns.insert(Conn {
            wire: Some(arrival.wire),
            peer: arrival.peer,
            local: arrival.local,
            link,
            phase: arrival.phase,
            registered: Registered::No,
            counted: false,
            missed: false,
            work,
        });
        self.context.page.add(counter, 1);
        self.context.page.set_connections(self.conns.len());
        if counted {
            self.moved_in(key);
        }
        if !idle {
            let due = since + self.waits[Wait::Head as usize];
            self.timers.set(key, Wait::Head, due);
        }
        key
    }
}

impl<P: Protocol, E: Executor<P>> Loop<P, E> {
    /// Accepts what waits at the listeners, as long as it is this worker's turn.
    pub(crate) fn accept(&mut self) {
        for n in 0..self.acceptor.listeners.len() {
            if !self.accept_from(Source::Listener(n)) {
                return;
            }
        }
    }

    /// Accepts what an event of this listener tells of. A loop that slept until then accepts one
    /// connection, which is nearly always all there is: to ask for another would be a system call in vain
    /// for each connection. What is left is told of again at once.
    pub(crate) fn accept_told(&mut self, listener: usize) {
        if self.late.slept() && listener < self.acceptor.listeners.len() {
            self.accept_some(Source::Listener(listener), 1);
        } else {
            self.accept();
        }
    }

    /// Takes what siblings hand over, as long as it is this worker's turn.
    pub(crate) fn take_over(&mut self) {
        self.accept_from(Source::Rendezvous);
    }

    /// Accepts what came with no event here: an arrival wakes one worker, and one that was stopped or
    /// killed in that very moment has taken the only wake-up along.
    pub(crate) fn accept_unannounced(&mut self) {
        self.accept();
        self.take_over();
    }

    /// Whether it is worth while to look elsewhere too.
    fn accept_from(&mut self, source: Source) -> bool {
        // Who waits for a handler is not to wait behind many who come later, nor to keep them out.
        let most = if self.held.is_empty() { BATCH } else { 1 };
        self.accept_some(source, most)
    }

    /// As [`Loop::accept_from`], so many at most. Who is ahead of a sibling then gives way as ever.
    fn accept_some(&mut self, source: Source, most: usize) -> bool {
        for accepted in 0..=most {
            // While a handler ran, the loop may have been in other hands.
            if self.acceptor.is_closed() || self.executor.is_wanted() {
                return false;
            }
            if let Some(sibling) = self.sibling_to_accept() {
                if !self.somebody_waits(source) {
                    self.step_back(source);
                    return true;
                }
                // What it does may be over soon.
                let busy = self.context.board.held_up_since(sibling.seat).is_some();
                self.pause(Watch::Until, if busy { SLOW_US } else { PATIENCE_US });
                self.context.knock(sibling.seat);
                self.acceptor.balance.wait_for(sibling);
                return false;
            }
            if accepted == most {
                break;
            }
            if self.is_full() {
                if !self.somebody_waits(source) {
                    return true;
                }
                if self.make_room() {
                    // Whoever made room may have asked something, and a handler run.
                    continue;
                }
                if !self.acceptor.is_closed() {
                    self.refrain(Watch::Full);
                }
                return false;
            }
            match self.next_from(source) {
                Ok(arrival) => self.welcome(arrival),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    log::error!("cannot accept a connection: {error}");
                    self.refrain(Watch::Until);
                    return false;
                }
            }
        }
        true
    }

    /// Takes what waits at the rendezvous if nobody else will, and with `backlog` what waits at the
    /// listeners, whoever's turn it is. All of it is served in the next turn, not here: while
    /// handlers ran, ever more would come.
    /// Whether that was all; else it is to be tried again when there is room.
    pub(crate) fn accept_the_rest(&mut self, backlog: bool, heirs: bool) -> bool {
        let listeners = if backlog {
            self.acceptor.listeners.len()
        } else {
            0
        };
        let rendezvous = (!heirs).then_some(Source::Rendezvous);
        for source in (0..listeners).map(Source::Listener).chain(rendezvous) {
            while self.is_open(source) {
                if self.is_full() {
                    if !self.somebody_waits(source) {
                        break;
                    }
                    if !self.make_room() {
                        return false;
                    }
                    continue;
                }
                match self.next_from(source) {
                    Ok(arrival) => {
                        let key = self.take_in(arrival);
                        self.ready.push_back(key);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_passing(&error) => {}
                    // Out of descriptors or memory, until something ends.
                    Err(_) => return false,
                }
            }
        }
        true
    }

    /// Takes a connection in and tries to serve it at once.
    fn welcome(&mut self, arrival: Arrival) {
        // Behind a PROXY header it is another's connection.
        let known = !matches!(arrival.phase, Phase::Preface(_));
        let admitted = arrival.past.is_some();
        self.note_wait(&arrival);
        let key = self.take_in(arrival);
        if !known || admitted || self.admit(key) {
            self.serve(key, false);
        } else {
            self.turn_away(key);
        }
    }
}

/// Whether an error concerns one connection only, which is gone: its client gave up while it waited
/// in the backlog, or it was handed over in a way that nobody knows.
fn is_passing(error: &io::Error) -> bool {
    if error.kind() == io::ErrorKind::InvalidData {
        log::error!("closed a connection: {error}");
    }
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted | io::ErrorKind::InvalidData
    )
}
