//! The default worker class: the event loop, with handlers inline on its one thread.
//!
//! A handler that computes for long delays the other connections of its worker, nothing else does:
//! bodies are complete before it runs, responses go out as clients take them, and what may block
//! has threads of its own.
#![forbid(unsafe_code)]

use ferricorn_base::lifeline::Stage;
use ferricorn_base::{App, Between, Context, Error, Exit, Handler, Worker};
use ferricorn_loop::{Http1, Loop, guard, install_panic_hook};

/// The class `sync`: it owns the application that it serves.
#[derive(Debug)]
pub struct Sync<A>(A);

impl<A: App> Sync<A> {
    /// Serves `app`.
    pub fn new(app: A) -> Sync<A> {
        Sync(app)
    }
}

impl<A: App> Worker for Sync<A> {
    fn name(&self) -> &'static str {
        "sync"
    }

    fn load(&mut self) -> Result<(), Error> {
        install_panic_hook();
        guard(|| self.0.load()).map_err(Error::from)
    }

    fn run(self: Box<Self>, context: Context) -> Exit {
        let seat = context.seat(0);
        let handler = match guard(|| self.0.boot(&seat)) {
            Ok(handler) => handler,
            Err(failure) => return context.fail(Stage::Boot, &failure.into()),
        };
        let hooks = context.hooks().clone();
        if hooks.is_none() {
            return run(context, handler);
        }
        run(context, Between::new(handler, hooks))
    }
}

fn run(context: Context, handler: impl Handler) -> Exit {
    match Loop::<Http1, _>::new(context, handler) {
        Ok(event_loop) => event_loop.run(),
        Err(error) => Exit::Broken(format!("cannot make the event loop: {error}")),
    }
}
