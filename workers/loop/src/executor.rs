//! The seam for executors: how handlers are run. Inline here; the threads class will pass a baton.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use ferricorn_base::{Begin, Error, Handler, Request, Response};

/// Runs handlers, and tells errors from panics.
pub trait Executor {
    /// The handler sees the head: its response, or `None` when it wants the body first. Boxed, so
    /// that the usual `None` is not as large as a response.
    ///
    /// # Errors
    /// What the handler failed with.
    fn begin(&mut self, request: &mut Request) -> Result<Option<Box<Response>>, Failure>;

    /// The handler answers.
    ///
    /// # Errors
    /// What the handler failed with.
    fn handle(&mut self, request: &mut Request) -> Result<Response, Failure>;

    /// Nothing waits.
    ///
    /// # Errors
    /// That the handler panicked.
    fn idle(&mut self) -> Result<(), Failure>;
}

/// How a handler failed.
#[derive(Debug)]
pub enum Failure {
    /// It returned an error.
    Error(Error),
    /// It panicked, with this message and place.
    Panic(String),
}

/// Handlers run on the loop's thread.
#[derive(Debug)]
pub struct Inline<H>(pub H);

impl<H: Handler> Executor for Inline<H> {
    #[inline]
    fn begin(&mut self, request: &mut Request) -> Result<Option<Box<Response>>, Failure> {
        guard(|| match self.0.begin(request)? {
            Begin::Buffer => Ok(None),
            Begin::Respond(response) => Ok(Some(Box::new(response))),
            // The enum may grow in the contract; what is not known here is a failure.
            _ => Err(Error::msg("this worker class cannot begin so")),
        })
    }

    #[inline]
    fn handle(&mut self, request: &mut Request) -> Result<Response, Failure> {
        guard(|| self.0.handle(request))
    }

    fn idle(&mut self) -> Result<(), Failure> {
        guard(|| {
            self.0.idle();
            Ok(())
        })
    }
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static GUARDED: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs code of the application; a panic in it becomes a [`Failure`]. What the application left
/// half changed it sees again: the worker retires after a panic.
///
/// # Errors
/// What the code failed with.
pub fn guard<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    GUARDED.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    GUARDED.set(false);
    match result {
        Ok(result) => result.map_err(Failure::Error),
        Err(payload) => {
            let place = LAST_PANIC.take();
            Err(Failure::Panic(place.unwrap_or_else(|| message(&*payload))))
        }
    }
}

/// Makes panics log lines: those of handlers come with their request, from the loop; others at once.
/// In the worker, before the application is loaded.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        let text = match info.location() {
            Some(place) => format!("{} at {place}", message(info.payload())),
            None => message(info.payload()),
        };
        if GUARDED.with_borrow(|guarded| *guarded) {
            LAST_PANIC.set(Some(text));
        } else {
            let thread = std::thread::current();
            log::error!(
                "thread {} panicked: {text}",
                thread.name().unwrap_or("without a name")
            );
        }
    }));
}

fn message(payload: &(dyn Any + Send)) -> String {
    match payload.downcast_ref::<&str>() {
        Some(text) => (*text).to_owned(),
        None => payload
            .downcast_ref::<String>()
            .cloned()
            .unwrap_or_else(|| "panic".to_owned()),
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Error(error) => write!(f, "{error:#}"),
            Failure::Panic(text) => write!(f, "panic: {text}"),
        }
    }
}
