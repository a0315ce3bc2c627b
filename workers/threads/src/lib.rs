//! The worker class with handler threads: one event loop, and threads that pass it among them.
//!
//! The thread that turns the loop runs the handler on itself, as the class sync does. When a handler lasts
//! for more than about a millisecond, another thread goes on with the loop, so that fast handlers cost
//! what they cost in sync, and slow ones delay nobody. Each thread has a handler of its own. While all are
//! busy, the worker accepts from nobody, and requests of the connections that it has wait.
#![forbid(unsafe_code)]

use std::sync::Arc;

use ferricorn_base::{App, Between, Context, Error, Exit, Seat, Worker};
use ferricorn_loop::{Http1, guard, install_panic_hook, run_threads};

/// The class `threads`: it owns the application that it serves.
#[derive(Debug)]
pub struct Threads<A>(A);

impl<A: App> Threads<A> {
    /// Serves `app`.
    pub fn new(app: A) -> Threads<A> {
        Threads(app)
    }
}

impl<A: App> Worker for Threads<A> {
    fn name(&self) -> &'static str {
        "threads"
    }

    fn load(&mut self) -> Result<(), Error> {
        install_panic_hook();
        guard(|| self.0.load()).map_err(Error::from)
    }

    fn run(self: Box<Self>, context: Context) -> Exit {
        let (app, threads) = (Arc::new(self.0), context.conf().threads);
        let boot = move |seat: &Seat| guard(|| app.boot(seat)).map_err(Error::from);
        let hooks = context.hooks().clone();
        if hooks.is_none() {
            return run_threads::<Http1, _>(context, threads, boot);
        }
        let between = move |seat: &Seat| Ok(Between::new(boot(seat)?, hooks.clone()));
        run_threads::<Http1, _>(context, threads, between)
    }
}
