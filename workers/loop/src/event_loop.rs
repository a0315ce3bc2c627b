//! The event loop: one thread owns the connections and turns until it is told to end.
//!
//! It tries I/O first and registers a descriptor only when that would block; it never waits for a
//! client in place, never forks, and never touches another process but through its
//! [`Context`](ferricorn_base::Context). While it runs a handler, what it owns may be in other hands: of a
//! turn nothing is kept on the stack that the next thread would need.

use std::io;
use std::ops::{Deref, DerefMut};

use ferricorn_base::board::{Cell, Counter};
use ferricorn_base::lifeline::Retirement;
use ferricorn_base::{Command, Context, Exit, Handler, logs};

use crate::core::{
    COMMAND, CONNECTIONS, Core, DOOR, LISTENERS, NOBODY, SIGNAL, STREAMS, TAKING, WATCHES,
};
use crate::executor::{Errand, Executor, Failure, Inline, Own, guard};
use crate::found::Told;
use crate::protocol::Protocol;

/// An event loop that serves one protocol over any transport: a [`Core`] in the hands of an executor.
#[derive(Debug)]
pub struct Loop<P: Protocol, E: Executor<P>> {
    pub(crate) hand: E::Hand,
    pub(crate) executor: E,
}

/// Nothing waits.
struct Idle {
    cell: Option<Cell>,
}

impl<P: Protocol, H: Handler> Errand<P, H> for Idle {
    type Result = Result<(), Failure>;
    type End = ();

    fn key(&self) -> usize {
        NOBODY
    }

    fn run(&mut self, handler: &mut H) -> Result<(), Failure> {
        guard(|| {
            handler.idle();
            Ok(())
        })
    }

    fn end(self, core: &mut Core<P>, done: &mut Result<(), Failure>) -> ((), bool) {
        if let Some(cell) = self.cell {
            core.context.page.cancel(cell);
        }
        if let Err(failure) = done {
            core.log_idle_failure(failure);
        }
        ((), false)
    }
}

/// Why a thread stops turning the loop.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Another thread waits for it.
    Wanted,
    /// The worker ends.
    Over(Exit),
}

impl<P: Protocol, H: Handler> Loop<P, Inline<H>> {
    /// A loop over what `context` has, which runs `handler` inline. In the worker.
    ///
    /// # Errors
    /// What epoll_create1(2), epoll_ctl(2), eventfd(2) or mmap(2) answer.
    pub fn new(context: Context, handler: H) -> io::Result<Loop<P, Inline<H>>> {
        let hand = Own::new(Core::new(context)?);
        Ok(Loop {
            hand,
            executor: Inline::new(handler),
        })
    }

    /// Tells the master that it is ready, and serves until told to end.
    pub fn run(mut self) -> Exit {
        if let Some(exit) = self.start() {
            return exit;
        }
        loop {
            if let Stop::Over(exit) = self.turn_on() {
                return exit;
            }
        }
    }
}

impl<P: Protocol, E: Executor<P>> Loop<P, E> {
    /// Tells the master that it is ready, unless it has another wish.
    pub(crate) fn start(&mut self) -> Option<Exit> {
        // Nobody may want it any more; then it accepts from nobody.
        if let Some(exit) = self.command() {
            return Some(exit);
        }
        if self.drain.is_none() {
            // The master may let another go as soon as it hears, so accepting comes first.
            if let Err(error) = self.arm() {
                return Some(Exit::Broken(format!("cannot listen: {error}")));
            }
            if let Err(error) = self.context.ready() {
                let text = format!("cannot tell the master to be ready: {error}");
                return Some(Exit::Broken(text));
            }
        }
        None
    }

    /// Turns until another thread wants the loop, or the worker ends.
    #[inline]
    pub(crate) fn turn_on(&mut self) -> Stop {
        loop {
            if let Err(stop) = self.turn() {
                return stop;
            }
        }
    }

    /// Waits for events, unless some are left, and deals with them.
    #[inline(always)]
    fn turn(&mut self) -> Result<(), Stop> {
        if self.executor.has_handler() {
            self.open_doors();
        }
        if self.found.is_over() {
            let hurries = self.executor.has_handler() && !self.held.is_empty();
            self.wait(hurries).map_err(Stop::Over)?;
        }
        let requests = self.context.page.counter(Counter::Requests);
        // They have waited longer than what is new.
        for _ in 0..self.ready.len() {
            if let Some(key) = self.ready.pop_front() {
                self.late.left_over();
                // Its event may have told of an end, and comes once only.
                self.serve(key, true);
                self.yield_loop()?;
            }
        }
        loop {
            let core = &mut **self;
            let Some(told) = core.found.next() else {
                break;
            };
            core.late.event();
            self.dispatch(told);
            self.yield_loop()?;
        }
        self.serve_held()?;
        self.late.forget();
        // What came before is seen now.
        let now = self.found.told_us();
        self.expire(now);
        self.retry_accept();
        if self.is_time_to_look(now) {
            self.accept_unannounced();
            self.watches.beat(now);
            self.context.page.logged(logs::counted());
        }
        let all = self.context.page.counter(Counter::Requests);
        self.served_since_idle |= all != requests;
        if all >= self.max_requests {
            self.retire(Retirement::MaxRequests);
        }
        if std::mem::take(&mut self.asked) {
            if let Some(exit) = self.command() {
                self.quit();
                return Err(Stop::Over(exit));
            }
        }
        if let Some(exit) = self.drained() {
            return Err(Stop::Over(exit));
        }
        if self.found.is_empty() && self.ready.is_empty() {
            // What a slow reader of the error log left behind.
            logs::flush();
            if self.served_since_idle && self.executor.has_handler() {
                self.served_since_idle = false;
                self.idle();
            }
        }
        self.flush_access_log();
        self.yield_loop()
    }

    /// Gives way to a thread that waits for the loop.
    #[inline]
    pub(crate) fn yield_loop(&self) -> Result<(), Stop> {
        if self.executor.is_wanted() {
            return Err(Stop::Wanted);
        }
        Ok(())
    }

    /// Nothing waits: the handler may do what it put off.
    fn idle(&mut self) {
        let cell = self.executor.is_shared().then(|| self.note_idle());
        if let Some(cell) = cell {
            self.executor.serves(&self.hand, cell);
        }
        self.executor.run(&mut self.hand, Idle { cell });
    }

    #[inline(always)]
    fn dispatch(&mut self, told: Told) {
        match told.token {
            COMMAND | SIGNAL => self.asked = true,
            DOOR => {
                self.accept();
                self.take_over();
            }
            TAKING => self.take_over(),
            STREAMS => self.take_finished(),
            token if token < CONNECTIONS => self.accept_told(token - LISTENERS),
            token if token >= WATCHES => self.told(token - WATCHES, told),
            token => {
                let key = token - CONNECTIONS;
                if told.closed && !self.held.is_empty() && self.has_left(key) {
                    return;
                }
                self.late.ended = told.closed;
                self.serve(key, told.closed);
            }
        }
    }

    /// Does what the master or a signal asks.
    pub(crate) fn command(&mut self) -> Option<Exit> {
        while let Some(command) = self.context.command() {
            match command {
                Command::Drain { stop, heirs } => self.start_drain(stop, heirs),
                Command::Hurry(within) => self.hurry(within),
                Command::Doomed => self.despair(),
                Command::Quit => return Some(Exit::Done),
                Command::Orphaned => {
                    log::warn!("the master is gone: finishing");
                    self.orphaned();
                    return None;
                }
            }
        }
        None
    }

    /// Streams that ended come back.
    fn take_finished(&mut self) {
        while let Some(done) = self.finished.take() {
            self.after_stream(done);
        }
    }
}

impl<P: Protocol, E: Executor<P>> Deref for Loop<P, E> {
    type Target = Core<P>;

    #[inline(always)]
    fn deref(&self) -> &Core<P> {
        &self.hand
    }
}

impl<P: Protocol, E: Executor<P>> DerefMut for Loop<P, E> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Core<P> {
        &mut self.hand
    }
}
